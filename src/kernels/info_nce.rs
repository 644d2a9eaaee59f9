//! `info_nce`: the contrastive loss over a batch and its gradient, without the matrix of all scores.
//!
//! Scores are computed block by block and reduced at once; the gradient computes them again. The exponents' sums of
//! each row are kept beside the loss, so that it needs one pass.

use std::sync::Arc;

use candle_core::{Layout, Result, Shape, Tensor, bail};

use super::check::{alike, matrix};
use super::gpu::{Gpu, Memory, View};
use super::group_mask::{GroupMask, MaskedPairs};
use super::info_nce_blocks::Blocks;
use super::info_nce_chunks::{Chunks, Cut};
use super::op::{Differentiable, Fused, Input, Op, evaluate};
use super::real::Real;

const OP: &str = "info_nce";

/// Which passages, or queries, a row of the loss has as candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Each query has all passages.
    QueryToPassage,
    /// The mean of that and of its mirror image, where each of the first B passages has all queries.
    Symmetric,
    /// Each query has its own positive and the hard negatives of all rows, passages B to M: the form that Elmahdy, Lin
    /// and Ahmad (2024) print.
    OwnPositivePlusAllNegatives,
}

/// The loss beside its two tensors.
#[derive(Clone, Debug)]
pub struct InfoNce {
    /// Scores are divided by it.
    pub temperature: f64,
    pub direction: Direction,
    /// Pairs that are no negatives. Without it all are.
    pub mask: Option<GroupMask>,
}

/// queries: (B, D), passages: (M, D) with B <= M, passage i being the positive of query i -> the loss, a scalar.
///
/// With `s = queries passagesᵀ / temperature`, the mean over rows i of `log(sum over candidates j of e^s[i, j]) -
/// s[i, i]` (van den Oord, Li and Vinyals 2018). A masked pair is no candidate, except a row's own positive.
///
/// # Errors
/// When shapes or types do not fit, a tensor is not contiguous, or the temperature is not above 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use prep::kernels::{Direction, InfoNce, info_nce};
///
/// # fn main() -> candle_core::Result<()> {
/// let queries = Tensor::new(&[[1_f64, 0.0], [0.0, 1.0]], &Device::Cpu)?;
/// let loss = InfoNce { temperature: 1.0, direction: Direction::QueryToPassage, mask: None };
/// let found = info_nce(&queries, &queries, &loss)?.to_scalar::<f64>()?; // ln(e¹ + e⁰) - 1 in each row
/// assert!((found - ((1_f64.exp() + 1.0).ln() - 1.0)).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn info_nce(queries: &Tensor, passages: &Tensor, loss: &InfoNce) -> Result<Tensor> {
    let op = InfoNceOp::new(queries, passages, loss)?;
    queries.apply_op2(passages, Fused(op))?.narrow(0, 0, 1)?.reshape(())
}

/// The loss of [`info_nce`] with its gradients by queries (B, D) and passages (M, D), without candle's graph: one sweep
/// over the scores where two would be needed.
///
/// On the CPU all are of the type of the inputs; on a GPU, where those may be bf16, all are f32.
///
/// # Errors
/// Those of [`info_nce`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use prep::kernels::{Direction, InfoNce, info_nce_with_gradients};
///
/// # fn main() -> candle_core::Result<()> {
/// let queries = Tensor::new(&[[1_f64, 0.0], [0.0, 1.0]], &Device::Cpu)?;
/// let loss = InfoNce { temperature: 1.0, direction: Direction::QueryToPassage, mask: None };
/// let (_, by_queries, _) = info_nce_with_gradients(&queries, &queries, &loss)?;
/// // Half of (p - 1, 1 - p), p being the positive's share e / (e + 1).
/// let share = 1_f64.exp() / (1_f64.exp() + 1.0);
/// assert!((by_queries.to_vec2::<f64>()?[0][0] - (share - 1.0) / 2.0).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn info_nce_with_gradients(
    queries: &Tensor,
    passages: &Tensor,
    loss: &InfoNce,
) -> Result<(Tensor, Tensor, Tensor)> {
    let op = InfoNceOp::new(queries, passages, loss)?;
    let [loss, dqueries, dpassages] = evaluate(&Both(op), [queries, passages])?;
    Ok((loss, dqueries, dpassages))
}

/// (queries, passages) -> a vector: the loss, then the log-sum-exp of each row, and of each column if symmetric. The
/// gradient reads them; they take none themselves.
#[derive(Clone)]
pub(super) struct InfoNceOp {
    pub(super) temperature: f64,
    pub(super) direction: Direction,
    pub(super) masked: Arc<MaskedPairs>,
    /// On a GPU.
    pub(super) cut: Cut,
}

impl InfoNceOp {
    fn new(queries: &Tensor, passages: &Tensor, loss: &InfoNce) -> Result<Self> {
        let (n_queries, width) = matrix(OP, "queries", queries)?;
        let (n_passages, passage_width) = matrix(OP, "passages", passages)?;
        alike(OP, ("queries", queries), &[("passages", passages)])?;
        if width != passage_width {
            bail!("{OP}: `queries` has {width} columns and `passages` has {passage_width}");
        }
        if n_queries == 0 || n_passages < n_queries {
            bail!(
                "{OP}: {n_queries} queries and {n_passages} passages; each query has a positive, and there is a query"
            );
        }
        if !(0.0 < loss.temperature && loss.temperature.is_finite()) {
            bail!("{OP}: the temperature must be above 0, found {}", loss.temperature);
        }
        let masked = match &loss.mask {
            Some(mask) => mask.pairs(n_queries, n_passages)?,
            None => MaskedPairs::none(n_queries),
        };
        let (temperature, direction) = (loss.temperature, loss.direction);
        Ok(Self { temperature, direction, masked: Arc::new(masked), cut: Cut::DEFAULT })
    }

    /// Calls `f` with the scores on the CPU. Candle multiplies storages, so this copies both tensors, which is little
    /// beside what their product takes.
    fn on_blocks<T: Real, R>(
        &self,
        inputs: [Input<'_, T>; 2],
        f: impl FnOnce(&Blocks) -> Result<R>,
    ) -> Result<R> {
        let [queries, passages] = inputs.map(|input| {
            (T::to_cpu_storage_owned(input.data.to_vec()), Layout::contiguous(input.dims.to_vec()))
        });
        f(&Blocks {
            queries: (&queries.0, &queries.1),
            passages: (&passages.0, &passages.1),
            temperature: self.temperature,
            direction: self.direction,
            masked: &self.masked,
        })
    }
}

impl Op<2> for InfoNceOp {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, inputs: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 1]> {
        self.on_blocks(inputs, |blocks| {
            let statistics = blocks.forward::<T>()?;
            let len = statistics.len();
            Ok([(statistics, len.into())])
        })
    }

    fn gpu(&self, gpu: &dyn Gpu, [queries, passages]: [View<'_>; 2]) -> Result<[(Memory, Shape); 1]> {
        let (statistics, len) = Chunks::new(gpu, self, queries, passages)?.forward()?;
        Ok([(statistics, len.into())])
    }
}

impl Differentiable<2> for InfoNceOp {
    fn gradients(
        &self,
        [queries, passages]: [&Tensor; 2],
        statistics: &Tensor,
        upstream: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let upstream = upstream.narrow(0, 0, 1)?;
        let [dqueries, dpassages] =
            evaluate(&Gradient(self.clone()), [queries, passages, statistics, &upstream])?;
        // Candle adds up gradients in the type of what they are of.
        Ok([Some(dqueries.to_dtype(queries.dtype())?), Some(dpassages.to_dtype(passages.dtype())?)])
    }
}

/// (queries, passages, statistics, gradient of the loss) -> dqueries (B, D), dpassages (M, D).
struct Gradient(InfoNceOp);

impl Op<4, 2> for Gradient {
    const NAME: &'static str = "info_nce_gradient";

    fn cpu<T: Real>(
        &self,
        [queries, passages, statistics, upstream]: [Input<'_, T>; 4],
    ) -> Result<[(Vec<T>, Shape); 2]> {
        let mut statistics = statistics.data.to_vec();
        statistics[0] = upstream.data[0];
        let flat = self.0.on_blocks([queries, passages], |blocks| blocks.backward(&statistics))?;
        Ok(cut_gradients(flat, [queries.dims, passages.dims]))
    }

    fn gpu(
        &self,
        gpu: &dyn Gpu,
        [queries, passages, statistics, upstream]: [View<'_>; 4],
    ) -> Result<[(Memory, Shape); 2]> {
        let gradients = Chunks::new(gpu, &self.0, queries, passages)?.backward(statistics, upstream)?;
        Ok([(gradients.queries, queries.dims.into()), (gradients.passages, passages.dims.into())])
    }
}

/// (queries, passages) -> the loss, dqueries (B, D), dpassages (M, D).
struct Both(InfoNceOp);

impl Op<2, 3> for Both {
    const NAME: &'static str = "info_nce_with_gradients";

    fn cpu<T: Real>(&self, inputs: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 3]> {
        let (loss, flat) = self.0.on_blocks(inputs, |blocks| {
            let mut statistics = blocks.forward::<T>()?;
            let loss = std::mem::replace(&mut statistics[0], T::one());
            Ok((loss, blocks.backward(&statistics)?))
        })?;
        let [dqueries, dpassages] = cut_gradients(flat, inputs.map(|input| input.dims));
        Ok([(vec![loss], ().into()), dqueries, dpassages])
    }

    fn gpu(&self, gpu: &dyn Gpu, [queries, passages]: [View<'_>; 2]) -> Result<[(Memory, Shape); 3]> {
        let (loss, gradients) = Chunks::new(gpu, &self.0, queries, passages)?.both()?;
        Ok([
            (loss, ().into()),
            (gradients.queries, queries.dims.into()),
            (gradients.passages, passages.dims.into()),
        ])
    }
}

/// The gradients of queries and passages, which come back to back.
fn cut_gradients<T>(mut flat: Vec<T>, [queries, passages]: [&[usize]; 2]) -> [(Vec<T>, Shape); 2] {
    let dpassages = flat.split_off(queries.iter().product());
    [(flat, queries.into()), (dpassages, passages.into())]
}

#[cfg(test)]
mod tests;
