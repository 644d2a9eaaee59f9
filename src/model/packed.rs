//! Texts as an encoder takes them: tokens of all texts one after another, without padding.

use std::sync::Arc;

use crate::error::Result;
use crate::kernels::{Dropout, Segments};
use crate::keys::subkey;

/// The tokens of several texts.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// T ids of the vocabulary.
    pub ids: Arc<[u32]>,
    /// The row of each token in the table of word embeddings that is at hand: its id, or, in training, its number among
    /// the rows that a step touches.
    pub rows: Arc<[u32]>,
    pub segments: Segments,
}

impl Tokens {
    /// Packs texts; `first_token` counts the tokens of the batch before these.
    ///
    /// # Errors
    /// When a text has no token.
    pub fn pack<'a>(texts: impl IntoIterator<Item = &'a [u32]>, first_token: u64) -> Result<Self> {
        let (mut ids, mut offsets) = (Vec::new(), vec![0]);
        for text in texts {
            ids.extend_from_slice(text);
            offsets.push(u32::try_from(ids.len()).expect("a batch has fewer than 2^32 tokens"));
        }
        let ids: Arc<[u32]> = ids.into();
        Ok(Self { rows: Arc::clone(&ids), ids, segments: Segments::new(offsets, first_token)? })
    }

    /// The same tokens over a table that holds these rows of the vocabulary alone, in ascending order.
    #[must_use]
    pub fn over(self, touched: &[u32]) -> Self {
        let row = |id: &u32| touched.binary_search(id).expect("the ids of a batch are touched") as u32;
        Self { rows: self.ids.iter().map(row).collect(), ..self }
    }
}

/// Whether to drop out, and the key of the draws.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// Everything is kept.
    Evaluate,
    /// Draws follow from (seed, step, place in the network, token).
    Train { seed: u64, step: u64 },
}

impl Mode {
    /// The dropout at a place, where there is any.
    pub(super) fn dropout(self, place: &str, probability: f64) -> Result<Option<Dropout>> {
        match self {
            Self::Train { seed, step } if 0.0 < probability => {
                Ok(Some(Dropout::new(probability, subkey(seed, "dropout", place, step))?))
            }
            _ => Ok(None),
        }
    }
}
