//! `rms_norm`: the norm of T5, without mean and shift (Zhang and Sennrich 2019).

use candle_core::{Result, Shape, Tensor};

use super::check::{alike, argument, matrix};
use super::gpu::{Gpu, Memory, View};
use super::lanes::sum;
use super::norm_rows::Norm;
use super::op::{Differentiable, Fused, Input, Op, evaluate};
use super::real::Real;
use super::rows::{fold_rows, for_rows};
use super::tape::Operand;

const OP: &str = "rms_norm";

/// x: (T, D), gain: (D) -> (T, D), `x / sqrt(mean(x²) + eps) * gain` over a row.
///
/// # Errors
/// When shapes or types do not fit, or a tensor is not contiguous.
pub fn rms_norm<V: Operand>(x: &V, gain: &V, eps: f64) -> Result<V> {
    let (_, width) = matrix(OP, "x", x.tensor())?;
    argument(OP, "gain", gain.tensor(), width)?;
    alike(OP, ("x", x.tensor()), &[("gain", gain.tensor())])?;
    x.apply2(gain, Fused(RmsNorm { eps }))
}

struct RmsNorm {
    eps: f64,
}

impl Op<2> for RmsNorm {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, [x, gain]: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 1]> {
        Ok([(forward(x.data, gain.data, self.eps), x.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, gain]: [View<'_>; 2]) -> Result<[(Memory, Shape); 1]> {
        Ok([(norm(x, gain, self.eps).forward(gpu)?, x.dims.into())])
    }
}

fn norm<'a>(x: View<'a>, gain: View<'a>, eps: f64) -> Norm<'a> {
    Norm { op: OP, x, residual: None, params: gain, eps, dropout: None }
}

impl Differentiable<2> for RmsNorm {
    fn gradients(&self, [x, gain]: [&Tensor; 2], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        Ok(evaluate(&Gradient { eps: self.eps }, [x, gain, dy])?.map(Some))
    }
}

/// (x, gain, dy) -> dx (T, D), dgain (D).
struct Gradient {
    eps: f64,
}

impl Op<3, 2> for Gradient {
    const NAME: &'static str = "rms_norm_gradient";

    fn cpu<T: Real>(&self, [x, gain, dy]: [Input<'_, T>; 3]) -> Result<[(Vec<T>, Shape); 2]> {
        let (dx, dgain) = backward(x.data, gain.data, dy.data, self.eps);
        Ok([(dx, x.dims.into()), (dgain, gain.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, gain, dy]: [View<'_>; 3]) -> Result<[(Memory, Shape); 2]> {
        let of = norm(x, gain, self.eps).gradient(gpu, dy)?;
        Ok([(of.dh, x.dims.into()), (of.dparams, gain.dims.into())])
    }
}

pub(super) fn forward<T: Real>(x: &[T], gain: &[T], eps: f64) -> Vec<T> {
    let (width, eps) = (gain.len(), T::of(eps));
    let mut y = vec![T::zero(); x.len()];
    for_rows(
        &mut y,
        width,
        #[inline(always)]
        |t, y| {
            let x = &x[t * width..][..width];
            let per_rms = per_rms(x, eps);
            for ((y, &x), &gain) in y.iter_mut().zip(x).zip(gain) {
                *y = x * per_rms * gain;
            }
        },
    );
    y
}

/// With r = 1 / sqrt(mean(x²) + eps), n = x r and g = dy * gain: `dx = r (g - n * mean(g * n))`.
pub(super) fn backward<T: Real>(x: &[T], gain: &[T], dy: &[T], eps: f64) -> (Vec<T>, Vec<T>) {
    let (width, eps) = (gain.len(), T::of(eps));
    let (mut dx, mut dgain) = (vec![T::zero(); x.len()], vec![T::zero(); width]);
    fold_rows(
        &mut dx,
        width,
        &mut dgain,
        #[inline(always)]
        |t, dx, dgain| {
            let (x, dy) = (&x[t * width..][..width], &dy[t * width..][..width]);
            let r = per_rms(x, eps);
            let mean_gn = sum([dy, gain, x], |[dy, gain, x]| dy * gain * x) * r * T::of(1.0 / width as f64);
            for ((((dx, dgain), &x), &dy), &gain) in dx.iter_mut().zip(dgain).zip(x).zip(dy).zip(gain) {
                let n = x * r;
                *dx = r * (dy * gain - n * mean_gn);
                *dgain += dy * n;
            }
        },
    );
    (dx, dgain)
}

#[inline(always)]
fn per_rms<T: Real>(x: &[T], eps: T) -> T {
    T::one() / (sum([x], |[x]| x * x) * T::of(1.0 / x.len() as f64) + eps).sqrt()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::testing::{assert_close, check_gpu, check_gradients, one_to_three_threads, tensor};
    use super::*;

    /// By hand: the mean square of 3 and 4 is 12.5.
    #[test]
    fn a_row_by_hand() {
        let x = Tensor::new(&[[3_f64, 4.0]], &Device::Cpu).unwrap();
        let gain = Tensor::new(&[1_f64, 2.0], &Device::Cpu).unwrap();
        let expected = Tensor::new(&[[3.0 / 12.5_f64.sqrt(), 8.0 / 12.5_f64.sqrt()]], &Device::Cpu).unwrap();
        assert_close(&rms_norm(&x, &gain, 0.0).unwrap(), &expected, 1e-15);
    }

    #[test]
    fn is_that_of_candle_nn() {
        let (x, gain) = (tensor((66, 37), 1), tensor(37, 2));
        let exact = candle_nn::ops::rms_norm_slow(&x, &gain, 1e-6).unwrap();
        assert_close(&rms_norm(&x, &gain, 1e-6).unwrap(), &exact, 1e-13);
        let (x, gain) = (x.to_dtype(DType::F32).unwrap(), gain.to_dtype(DType::F32).unwrap());
        assert_close(&rms_norm(&x, &gain, 1e-6).unwrap(), &exact, 1e-6);
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (rows, width) in [(1, 1), (3, 17), (67, 5)] {
            let inputs = [tensor((rows, width), 1), tensor(width, 2)];
            check_gradients(|i| rms_norm(&i[0], &i[1], 1e-2), &inputs, 1e-7);
        }
    }

    #[test]
    fn threads_do_not_show() {
        one_to_three_threads(&[tensor((700, 65), 1), tensor(65, 2)], |i| rms_norm(&i[0], &i[1], 1e-6));
    }

    #[test]
    fn a_gpu_computes_the_same() {
        // Widths without whole packs, and too wide for a team; then of one thread, of part of a warp, and of teams of 3
        // warps, and of 5 with two teams and three rows a block.
        let plain = [(1, 1), (3, 31), (67, 33), (1, 4104)];
        for (rows, width) in plain.into_iter().chain([(9, 8), (130, 32), (20, 768), (530, 1032)]) {
            let inputs = [tensor((rows, width), 1), tensor(width, 2)];
            check_gpu(|i| rms_norm(&i[0], &i[1], 1e-6), &inputs, width + rows);
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let e = rms_norm(&tensor((3, 5), 1), &tensor(4, 2), 1e-6).unwrap_err().to_string();
        assert!(e.contains("`gain` must have shape [5], found [4]"), "{e}");
    }
}
