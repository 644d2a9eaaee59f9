//! The fused operations that an encoder is trained with, as custom ops of candle, but for one of two outputs, which candle
//! has no place for and our tape has.
//!
//! Candle's own fused softmax, layer norm and RMS norm have no backward: `backward()` succeeds and what stands before
//! them gets no gradient. Its elementwise ops run on one thread and write one tensor each, its batched products of
//! small matrices are slow, and a padded batch multiplies padding. The ops here
//!
//! * have a gradient for every argument, held against finite differences in f64;
//! * do a layer's work in few passes and few edges of the graph (candle adds up gradients edge by edge, on one thread);
//! * take sequences packed one after another without padding ([`Segments`]);
//! * run on all threads with results, bit for bit, that do not depend on their number, and draw dropout by the number
//!   of a token, so that cutting a batch into parts does not change it;
//! * refuse tensors of a wrong shape or type, or that are not contiguous, with the name of the argument.
//!
//! One op is one file: its function, which checks and applies it; its struct, whose `cpu` is the definition and whose
//! `gpu` launches the kernels of the `.cu` file of the same name (`op.rs` is the frame); and its gradient, which is an op
//! of its own without a further one. On a GPU activations are f32 or bf16, and gradients of parameters f32. Tests hold
//! the kernels against the definitions on a GPU that is emulated (`emulated.rs`), or on a real one.
//!
//! Letters: T tokens, D width, H heads, V vocabulary, S segments, B queries, M passages.

#![cfg_attr(
    not(any(feature = "cuda", test)),
    expect(
        dead_code,
        reason = "only a GPU or its emulator calls what launches kernels; those builds are linted, too"
    )
)]
#![expect(
    clippy::inline_always,
    reason = "only what is inlined is compiled for the machine's vector instructions"
)]

mod check;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
pub(crate) mod emulated;
mod gpu;
mod lanes;
mod norm_rows;
mod op;
mod product;
mod real;
mod rows;
#[cfg(test)]
mod testing;

mod adamw;
mod adamw_buffer;
mod add;
mod add_norm;
mod add_rms_norm;
mod attention;
mod attention_head;
mod attention_tiles;
mod bias_activation;
mod dropout;
mod embedding;
mod gated_gelu;
mod group_mask;
mod info_nce;
mod info_nce_blocks;
mod info_nce_chunks;
mod layer_norm;
mod linear;
mod pool_norm;
mod rank_count;
mod rms_norm;
mod scale_rows;
mod tape;
mod tiles;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, bail};

pub use self::adamw::{AdamW, AdamWState, SparseRows, squared_norm};
pub use self::adamw_buffer::{Updated, adamw, gradient_norm};
pub use self::add::add;
pub use self::add_norm::{AddNorm, add_norm};
pub use self::add_rms_norm::{AddRmsNorm, add_rms_norm};
pub use self::attention::{Attention, attention};
pub use self::bias_activation::{Activation, bias_activation};
pub use self::dropout::{Dropout, dropout};
pub use self::embedding::{TokenIds, embedding, token_embeddings};
pub use self::gated_gelu::gated_gelu;
pub(crate) use self::gpu::open_gpu;
pub use self::group_mask::GroupMask;
pub use self::info_nce::{Direction, InfoNce, info_nce, info_nce_with_gradients};
pub use self::layer_norm::layer_norm;
pub use self::linear::linear;
pub use self::pool_norm::{PoolNorm, Pooling, pool_norm};
pub use self::rank_count::{Target, Targets, rank_count, runs_of_terms};
pub use self::rms_norm::rms_norm;
pub use self::scale_rows::scale_rows;
pub use self::tape::{Node, Operand, Tape, Times};

impl From<candle_core::Error> for crate::Error {
    fn from(source: candle_core::Error) -> Self {
        Self::Compute { source: Box::new(source) }
    }
}

/// Sequences packed one after another: where each begins, and which token of the whole batch is the first.
///
/// ```
/// use prep::kernels::Segments;
///
/// # fn main() -> candle_core::Result<()> {
/// let segments = Segments::new(vec![0, 3, 4], 100)?;
/// assert_eq!(segments.ranges().collect::<Vec<_>>(), [0..3, 3..4]);
/// assert!(Segments::new(vec![0, 3, 3], 0).is_err()); // no sequence is empty
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    offsets: Arc<[u32]>,
    first_token: u64,
}

impl Segments {
    /// `offsets`: S + 1 ascending numbers from 0 to T. `first_token`: how many tokens of the batch stand before these;
    /// not 0 where a batch is cut into parts.
    ///
    /// # Errors
    /// When the offsets do not begin with 0, or do not ascend.
    pub fn new(offsets: impl Into<Arc<[u32]>>, first_token: u64) -> Result<Self> {
        let offsets = offsets.into();
        if offsets.first() != Some(&0) {
            bail!("segments: offsets must begin with 0, found {:?}", offsets.first());
        }
        if let Some(i) = offsets.windows(2).position(|pair| pair[1] <= pair[0]) {
            bail!("segments: segment {i} goes from token {} to token {}", offsets[i], offsets[i + 1]);
        }
        Ok(Self { offsets, first_token })
    }

    /// S, the number of sequences.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// T, the number of tokens.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.offsets[self.len()] as usize
    }

    /// Tokens of the batch before these.
    #[must_use]
    pub fn first_token(&self) -> u64 {
        self.first_token
    }

    /// The tokens of each sequence.
    #[must_use]
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.offsets.windows(2).map(|pair| pair[0] as usize..pair[1] as usize)
    }

    /// Tokens of the longest sequence; 0 if there is none.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.ranges().map(|range| range.len()).max().unwrap_or(0)
    }
}
