//! `info_nce`: the contrastive loss over a batch and its gradient, without the matrix of all scores.
//!
//! Scores are computed block by block and reduced at once; the gradient computes them again. The exponents' sums of
//! each row are kept beside the loss, so that it needs one pass.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::check::{alike, by_dtype, matrix, output, parts};
use super::group_mask::{GroupMask, MaskedPairs};
use super::info_nce_blocks::Blocks;

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
    let op = InfoNceOp { temperature: loss.temperature, direction: loss.direction, masked: Arc::new(masked) };
    queries.apply_op2(passages, op)?.narrow(0, 0, 1)?.reshape(())
}

/// (queries, passages) -> a vector: the loss, then the log-sum-exp of each row, and of each column if symmetric. The
/// gradient reads them; they take none themselves.
#[derive(Clone)]
struct InfoNceOp {
    temperature: f64,
    direction: Direction,
    masked: Arc<MaskedPairs>,
}

impl CustomOp2 for InfoNceOp {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        queries_layout: &Layout,
        passages: &CpuStorage,
        passages_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let blocks = self.blocks((queries, queries_layout), (passages, passages_layout));
        by_dtype!(queries, T => {
            let statistics = blocks.forward::<T>()?;
            let len = statistics.len();
            Ok(output(statistics, len))
        })
    }

    fn bwd(
        &self,
        queries: &Tensor,
        passages: &Tensor,
        statistics: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let len = statistics.dim(0)? - 1;
        let statistics =
            Tensor::cat(&[gradient.narrow(0, 0, 1)?, statistics.narrow(0, 1, len)?.detach()], 0)?;
        let flat = queries.apply_op3_no_bwd(passages, &statistics, &Gradient(self.clone()))?;
        let [dqueries, dpassages] = parts(&flat, [queries.shape().clone(), passages.shape().clone()])?;
        Ok((Some(dqueries), Some(dpassages)))
    }
}

/// (queries, passages, statistics with the gradient of the loss in its place) -> dqueries (B, D), then dpassages
/// (M, D).
struct Gradient(InfoNceOp);

impl CustomOp3 for Gradient {
    fn name(&self) -> &'static str {
        "info_nce_gradient"
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        queries_layout: &Layout,
        passages: &CpuStorage,
        passages_layout: &Layout,
        statistics: &CpuStorage,
        statistics_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let blocks = self.0.blocks((queries, queries_layout), (passages, passages_layout));
        by_dtype!(queries, T => {
            let flat = blocks.backward::<T>(super::check::elements(statistics, statistics_layout)?)?;
            let len = flat.len();
            Ok(output(flat, len))
        })
    }
}

impl InfoNceOp {
    fn blocks<'a>(
        &'a self,
        queries: (&'a CpuStorage, &'a Layout),
        passages: (&'a CpuStorage, &'a Layout),
    ) -> Blocks<'a> {
        Blocks {
            queries,
            passages,
            temperature: self.temperature,
            direction: self.direction,
            masked: &self.masked,
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::testing::{assert_close, check_gradients, one_to_three_threads, tensor, values};
    use super::*;

    const DIRECTIONS: [Direction; 3] =
        [Direction::QueryToPassage, Direction::Symmetric, Direction::OwnPositivePlusAllNegatives];

    fn loss(direction: Direction, mask: Option<GroupMask>) -> InfoNce {
        InfoNce { temperature: 0.4, direction, mask }
    }

    /// Every third query is of group 0, the others of groups of their own; every fifth passage answers group 0.
    fn mask(n_queries: u32, n_passages: u32) -> GroupMask {
        let query_groups: Vec<u32> = (0..n_queries).map(|i| if i % 3 == 0 { 0 } else { i }).collect();
        let offsets: Vec<u32> = (0..=n_passages).map(|j| j.div_ceil(5)).collect();
        GroupMask::new(query_groups, offsets, vec![0; n_passages.div_ceil(5) as usize]).unwrap()
    }

    /// The definition, pair by pair, under [`mask`] or without.
    fn by_definition(queries: &Tensor, passages: &Tensor, loss: &InfoNce) -> f64 {
        let (queries, passages) = (queries.to_vec2::<f64>().unwrap(), passages.to_vec2::<f64>().unwrap());
        let n = queries.len();
        let score = |i: usize, j: usize| {
            queries[i].iter().zip(&passages[j]).map(|(q, p)| q * p).sum::<f64>() / loss.temperature
        };
        let negative = |i: usize, j: usize| {
            let masked = loss.mask.is_some() && i.is_multiple_of(3) && j.is_multiple_of(5);
            let foreign = loss.direction == Direction::OwnPositivePlusAllNegatives && j < n;
            i != j && !masked && !foreign
        };
        let row = |i: usize| {
            let others = (0..passages.len()).filter(|&j| negative(i, j));
            (score(i, i).exp() + others.map(|j| score(i, j).exp()).sum::<f64>()).ln() - score(i, i)
        };
        let column = |j: usize| {
            let others = (0..n).filter(|&i| negative(i, j));
            (score(j, j).exp() + others.map(|i| score(i, j).exp()).sum::<f64>()).ln() - score(j, j)
        };
        let mean = |one: &dyn Fn(usize) -> f64| (0..n).map(one).sum::<f64>() / n as f64;
        match loss.direction {
            Direction::Symmetric => f64::midpoint(mean(&row), mean(&column)),
            _ => mean(&row),
        }
    }

    /// Sizes within a block, and of several blocks with remainders.
    #[test]
    fn is_the_definition() {
        for (n_queries, n_passages) in [(1, 1), (7, 7), (5, 13), (300, 1100)] {
            let (queries, passages) = (tensor((n_queries, 6), 1), tensor((n_passages, 6), 2));
            for direction in DIRECTIONS {
                for mask in [None, Some(mask(n_queries as u32, n_passages as u32))] {
                    let loss = loss(direction, mask);
                    let exact = by_definition(&queries, &passages, &loss);
                    let exact = Tensor::new(exact, &Device::Cpu).unwrap();
                    assert_close(&info_nce(&queries, &passages, &loss).unwrap(), &exact, 1e-12);
                    let (queries, passages) =
                        (queries.to_dtype(DType::F32).unwrap(), passages.to_dtype(DType::F32).unwrap());
                    // Scores below 15 have an error of 15 * 2^-22 at most, and so has the loss.
                    assert_close(&info_nce(&queries, &passages, &loss).unwrap(), &exact, 4e-6);
                }
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (n_queries, n_passages) in [(1, 3), (6, 6), (5, 13)] {
            let inputs = [tensor((n_queries, 3), 1), tensor((n_passages, 3), 2)];
            for direction in DIRECTIONS {
                for mask in [None, Some(mask(n_queries as u32, n_passages as u32))] {
                    let loss = loss(direction, mask);
                    check_gradients(|i| info_nce(&i[0], &i[1], &loss), &inputs, 1e-7);
                }
            }
        }
    }

    /// Several blocks: along any direction the loss changes as the gradient says.
    #[test]
    fn gradient_over_several_blocks() {
        let (queries, passages) = (tensor((300, 6), 1), tensor((1100, 6), 2));
        for direction in DIRECTIONS {
            let loss = loss(direction, Some(mask(300, 1100)));
            let variables = [&queries, &passages].map(|input| candle_core::Var::from_tensor(input).unwrap());
            let gradients = info_nce(&variables[0], &variables[1], &loss).unwrap().backward().unwrap();
            for (seed, argument) in (3..).zip(0..2) {
                let way = tensor(variables[argument].shape(), seed);
                let gradient = gradients.get(&variables[argument]).unwrap();
                let slope = values(&(gradient * &way).unwrap().sum_all().unwrap())[0];
                let at = |step: f64| {
                    let mut moved = [queries.clone(), passages.clone()];
                    moved[argument] = (&moved[argument] + (&way * step).unwrap()).unwrap();
                    values(&info_nce(&moved[0], &moved[1], &loss).unwrap())[0]
                };
                let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((slope - difference).abs() < 1e-8, "{slope}, difference {difference}");
            }
        }
    }

    #[test]
    fn a_row_with_nothing_but_its_positive_loses_nothing() {
        let every = GroupMask::new(vec![4, 4], vec![0, 1, 2, 3], vec![4, 4, 4]).unwrap();
        let inputs = [tensor((2, 3), 1), tensor((3, 3), 2)].map(|t| t.to_dtype(DType::F32).unwrap());
        let [queries, passages] = inputs.map(|input| candle_core::Var::from_tensor(&input).unwrap());
        let found = info_nce(&queries, &passages, &loss(Direction::Symmetric, Some(every))).unwrap();
        let gradients = found.backward().unwrap();
        assert_eq!(values(&found), [0.0]);
        assert_eq!(values(gradients.get(&queries).unwrap()), [0.0; 6]);
        assert_eq!(values(gradients.get(&passages).unwrap()), [0.0; 9]);
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let scale = |tensor: Tensor| (tensor * 100.0).unwrap().to_dtype(DType::F32).unwrap();
        let (queries, passages) = (scale(tensor((40, 8), 1)), scale(tensor((40, 8), 2)));
        let found = info_nce(&queries, &passages, &loss(Direction::Symmetric, None)).unwrap();
        assert!(values(&found)[0].is_finite());
    }

    #[test]
    fn threads_do_not_show() {
        let inputs = [tensor((300, 17), 1), tensor((900, 17), 2)];
        for direction in DIRECTIONS {
            let loss = loss(direction, Some(mask(300, 900)));
            one_to_three_threads(&inputs, |i| info_nce(&i[0], &i[1], &loss));
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let queries = tensor((3, 5), 1);
        let message =
            |passages: &Tensor, loss: &InfoNce| info_nce(&queries, passages, loss).unwrap_err().to_string();
        let plain = loss(Direction::Symmetric, None);
        let e = message(&tensor((2, 5), 2), &plain);
        assert!(e.contains("3 queries and 2 passages"), "{e}");
        let e = message(&tensor((3, 4), 2), &plain);
        assert!(e.contains("`queries` has 5 columns and `passages` has 4"), "{e}");
        let e = message(&tensor((3, 5), 2), &InfoNce { temperature: 0.0, ..plain.clone() });
        assert!(e.contains("temperature must be above 0"), "{e}");
        let e = message(&tensor((4, 5), 2), &InfoNce { mask: Some(mask(3, 3)), ..plain });
        assert!(e.contains("a mask of 3 queries and 3 passages for 3 and 4"), "{e}");
    }
}
