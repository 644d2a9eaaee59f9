//! `pool_norm`: one vector a sequence, of length 1 if wanted.

use candle_core::{CpuStorage, DType, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use serde::Serialize;

use super::Segments;
use super::check::matrix;
use super::gpu::{Dims, Gpu, Kernel, Memory, View, WARP, args};
use super::lanes::{add, dot, vectorised};
use super::op::{Differentiable, Fused, Input, Op, evaluate};
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
    x.apply1(Fused(PoolNormOp { segments: segments.clone(), how }))
}

#[derive(Clone)]
struct PoolNormOp {
    segments: Segments,
    how: PoolNorm,
}

impl Op<1> for PoolNormOp {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, [x]: [Input<'_, T>; 1]) -> Result<[(Vec<T>, Shape); 1]> {
        let width = x.dims[1];
        Ok([(self.forward(x.data, width), (self.segments.len(), width).into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x]: [View<'_>; 1]) -> Result<[(Memory, Shape); 1]> {
        let ((_, width), n) = (x.matrix(), self.segments.len());
        let y = gpu.allocate(x.dtype, n * width)?;
        let (offsets, scratch) = self.beside(gpu, width)?;
        let [is_mean, is_normalised] = self.flags();
        let args = args![x, offsets, y, scratch, width, is_mean, is_normalised];
        gpu.launch(&Kernel::new(OP, OP, x.dtype)?, Dims::blocks(n, THREADS), &args)?;
        Ok([(y, (n, width).into())])
    }
}

impl Differentiable<1> for PoolNormOp {
    fn gradients(&self, [x]: [&Tensor; 1], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok(evaluate(&Gradient(self.clone()), [x, dy])?.map(Some))
    }
}

/// (x, dy) -> dx (T, D).
struct Gradient(PoolNormOp);

impl Op<2> for Gradient {
    const NAME: &'static str = "pool_norm_gradient";

    fn cpu<T: Real>(&self, [x, dy]: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 1]> {
        Ok([(self.0.backward(x.data, dy.data, x.dims[1]), x.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, dy]: [View<'_>; 2]) -> Result<[(Memory, Shape); 1]> {
        let (_, width) = x.matrix();
        let dx = gpu.allocate(x.dtype, x.len())?;
        let (offsets, scratch) = self.0.beside(gpu, width)?;
        let [is_mean, is_normalised] = self.0.flags();
        let args = args![x, dy, offsets, dx, scratch, width, is_mean, is_normalised];
        let dims = Dims::blocks(self.0.segments.len(), THREADS);
        gpu.launch(&Kernel::new(OP, Self::NAME, x.dtype)?, dims, &args)?;
        Ok([(dx, x.dims.into())])
    }
}

/// Of a block, which has a sequence.
const THREADS: usize = 8 * WARP;

impl PoolNormOp {
    /// The offsets of the sequences, and (S, D) f32 for the kernels' own use.
    fn beside(&self, gpu: &dyn Gpu, width: usize) -> Result<(Memory, Memory)> {
        let offsets = gpu.upload(CpuStorage::U32(self.segments.offsets.to_vec()))?;
        Ok((offsets, gpu.allocate(DType::F32, self.segments.len() * width)?))
    }

    fn flags(&self) -> [u32; 2] {
        [u32::from(self.how.pooling == Pooling::Mean), u32::from(self.how.normalise)]
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

    use super::super::testing::{assert_close, check_gpu, check_gradients, one_to_three_threads, tensor};
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
    fn a_gpu_computes_the_same() {
        for (offsets, width) in
            [(&[0, 1][..], 1), (&[0, 7, 8, 41], 31), (&[0, 33, 36], 264), (&[0, 131, 133, 150], 768)]
        {
            let segments = segments(offsets);
            let n_tokens = segments.n_tokens();
            for how in WAYS {
                let x = tensor((n_tokens, width), 1);
                check_gpu(|i| pool_norm(&i[0], &segments, how), &[x], n_tokens + width);
            }
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let e = pool_norm(&tensor((3, 5), 1), &segments(&[0, 4]), WAYS[0]).unwrap_err().to_string();
        assert!(e.contains("`x` has 3 rows for segments of 4 tokens"), "{e}");
    }
}
