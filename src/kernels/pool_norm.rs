//! `pool_norm`: one vector a sequence, of length 1 if wanted.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use serde::Serialize;

use super::Segments;
use super::check::{by_dtype, elements, matrix, output};
use super::lanes::{add, dot, vectorised};
use super::real::Real;
use super::rows::{by_segment, for_rows};
use super::tape::Operand;

const OP: &str = "pool_norm";

/// Shorter vectors are divided by this instead of their length, as PyTorch's `normalize` does, which
/// sentence-transformers uses.
const SHORTEST: f64 = 1e-12;

/// Which vector stands for a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The mean over its tokens.
    Mean,
    /// Its first token.
    Cls,
}

/// How sequences become vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolNorm {
    pub pooling: Pooling,
    /// Whether to divide each vector by its length.
    pub normalise: bool,
}

/// x: (T, D) -> (S, D).
///
/// # Errors
/// When x is not a contiguous matrix of floats, or has other rows than the segments have tokens.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use prep::kernels::{PoolNorm, Pooling, Segments, pool_norm};
///
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[1_f32, 2.0], [5.0, 6.0], [0.0, 2.0]], &Device::Cpu)?;
/// let how = PoolNorm { pooling: Pooling::Mean, normalise: true };
/// let y = pool_norm(&x, &Segments::new(vec![0, 2, 3], 0)?, how)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[0.6, 0.8], [0.0, 1.0]]);
/// # Ok(())
/// # }
/// ```
pub fn pool_norm<V: Operand>(x: &V, segments: &Segments, how: PoolNorm) -> Result<V> {
    let (rows, _) = matrix(OP, "x", x.tensor())?;
    if rows != segments.n_tokens() {
        bail!("{OP}: `x` has {rows} rows for segments of {} tokens", segments.n_tokens());
    }
    x.apply1(PoolNormOp { segments: segments.clone(), how })
}

struct PoolNormOp {
    segments: Segments,
    how: PoolNorm,
}

impl CustomOp1 for PoolNormOp {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        by_dtype!(x, T => Ok(output(self.forward::<T>(elements(x, layout)?, width), (self.segments.len(), width))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let gradient = Gradient(Self { segments: self.segments.clone(), how: self.how });
        Ok(Some(x.apply_op2_no_bwd(&dy.contiguous()?, &gradient)?))
    }
}

/// (x, dy) -> dx (T, D).
struct Gradient(PoolNormOp);

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        "pool_norm_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = x_layout.shape().dims2()?;
        by_dtype!(x, T => {
            let dx = self.0.backward::<T>(elements(x, x_layout)?, elements(dy, dy_layout)?, width);
            Ok(output(dx, x_layout.shape()))
        })
    }
}

impl PoolNormOp {
    fn forward<T: Real>(&self, x: &[T], width: usize) -> Vec<T> {
        let ranges: Vec<_> = self.segments.ranges().collect();
        let mut y = vec![T::zero(); ranges.len() * width];
        for_rows(
            &mut y,
            width,
            #[inline(always)]
            |s, y| {
                self.pool(&x[ranges[s].start * width..ranges[s].end * width], y);
                if self.how.normalise {
                    let length = dot(y, y).sqrt();
                    let shortest = T::of(SHORTEST);
                    let divisor = if length < shortest { shortest } else { length };
                    for y in y {
                        *y /= divisor;
                    }
                }
            },
        );
        y
    }

    /// The gradient du of the pooled vector, shared among the tokens that were pooled.
    fn backward<T: Real>(&self, x: &[T], dy: &[T], width: usize) -> Vec<T> {
        let mut dx = vec![T::zero(); x.len()];
        let ranges: Vec<_> = self.segments.ranges().collect();
        let segments = by_segment(&mut dx, &self.segments, width);
        segments.into_par_iter().zip(ranges).enumerate().for_each(|(s, (dx, range))| {
            vectorised(
                #[inline(always)]
                || {
                    let mut du = dy[s * width..][..width].to_vec();
                    if self.how.normalise {
                        let mut u = vec![T::zero(); width];
                        self.pool(&x[range.start * width..range.end * width], &mut u);
                        through_length(&u, &mut du);
                    }
                    match self.how.pooling {
                        Pooling::Cls => dx[..width].copy_from_slice(&du),
                        Pooling::Mean => {
                            let share = T::of(width as f64 / dx.len() as f64);
                            for dx in dx.chunks_exact_mut(width) {
                                for (dx, &du) in dx.iter_mut().zip(&du) {
                                    *dx = du * share;
                                }
                            }
                        }
                    }
                },
            );
        });
        dx
    }

    /// Adds the pooled tokens of one sequence to `pooled`, which is zero.
    #[inline(always)]
    fn pool<T: Real>(&self, tokens: &[T], pooled: &mut [T]) {
        let width = pooled.len();
        match self.how.pooling {
            Pooling::Cls => pooled.copy_from_slice(&tokens[..width]),
            Pooling::Mean => {
                for token in tokens.chunks_exact(width) {
                    add(pooled, token);
                }
                let share = T::of(width as f64 / tokens.len() as f64);
                for pooled in pooled {
                    *pooled *= share;
                }
            }
        }
    }
}

/// From the gradient of `u / max(|u|, SHORTEST)` to that of u: `(du - u (u · du) / |u|²) / |u|`.
#[inline(always)]
fn through_length<T: Real>(u: &[T], du: &mut [T]) {
    let square = dot(u, u);
    let length = square.sqrt();
    if length < T::of(SHORTEST) {
        for du in du {
            *du /= T::of(SHORTEST);
        }
        return;
    }
    let along = dot(u, du) / square;
    for (du, &u) in du.iter_mut().zip(u) {
        *du = (*du - u * along) / length;
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::testing::{assert_close, check_gradients, one_to_three_threads, tensor};
    use super::*;

    const WAYS: [PoolNorm; 4] = [
        PoolNorm { pooling: Pooling::Mean, normalise: true },
        PoolNorm { pooling: Pooling::Mean, normalise: false },
        PoolNorm { pooling: Pooling::Cls, normalise: true },
        PoolNorm { pooling: Pooling::Cls, normalise: false },
    ];

    fn segments(offsets: &[u32]) -> Segments {
        Segments::new(offsets, 0).unwrap()
    }

    /// By hand: the tokens (1, 2) and (5, 6) have the mean (3, 4) of length 5; (0, 2) stands alone.
    #[test]
    fn vectors_by_hand() {
        let x = Tensor::new(&[[1_f64, 2.0], [5.0, 6.0], [0.0, 2.0]], &Device::Cpu).unwrap();
        let root = 5_f64.sqrt();
        let expected = [
            [[0.6, 0.8], [0.0, 1.0]],
            [[3.0, 4.0], [0.0, 2.0]],
            [[1.0 / root, 2.0 / root], [0.0, 1.0]],
            [[1.0, 2.0], [0.0, 2.0]],
        ];
        for (how, expected) in WAYS.into_iter().zip(expected) {
            let expected = Tensor::new(&expected, &Device::Cpu).unwrap();
            assert_close(&pool_norm(&x, &segments(&[0, 2, 3]), how).unwrap(), &expected, 1e-15);
        }
    }

    #[test]
    fn a_vector_of_zeros_stays_one() {
        let x = tensor((2, 3), 1).zeros_like().unwrap();
        let y = pool_norm(&x, &segments(&[0, 2]), WAYS[0]).unwrap();
        assert_close(&y, &Tensor::zeros((1, 3), DType::F64, &Device::Cpu).unwrap(), 0.0);
    }

    #[test]
    fn gradients_are_finite_differences() {
        for how in WAYS {
            let segments = segments(&[0, 1, 4, 11]);
            check_gradients(|i| pool_norm(&i[0], &segments, how), &[tensor((11, 3), 1)], 1e-6);
        }
    }

    #[test]
    fn threads_do_not_show() {
        let offsets: Vec<u32> = (0..=200).map(|s| s * (s + 1) / 2).collect();
        for how in WAYS {
            one_to_three_threads(&[tensor((20_100, 5), 1)], |i| pool_norm(&i[0], &segments(&offsets), how));
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let e = pool_norm(&tensor((3, 5), 1), &segments(&[0, 4]), WAYS[0]).unwrap_err().to_string();
        assert!(e.contains("`x` has 3 rows for segments of 4 tokens"), "{e}");
    }
}
