//! `layer_norm`, and the passes over rows that it shares with `add_norm`.
//!
//! One pass in, one pass out, where the composed form reads and writes the activations about ten times. The gradient
//! recomputes the mean and the deviation of each row, which are cheaper than a load.

use candle_core::{Result, Shape, Tensor};

use super::check::{alike, argument, matrix};
use super::dropout::DropoutOp;
use super::gpu::{Gpu, Memory, View};
use super::lanes::{add, dot, sum};
use super::norm_rows::Norm;
use super::op::{Differentiable, Fused, Input, Op, evaluate};
use super::real::Real;
use super::rows::{fold_rows, for_rows};
use super::tape::Operand;

const OP: &str = "layer_norm";

/// x: (T, D), params: (2, D) of gain and shift -> (T, D), `norm(x) * gain + shift`.
///
/// `norm(h) = (h - mean(h)) / sqrt(var(h) + eps)` over a row, with the variance that divides by D (Ba, Kiros and
/// Hinton 2016), as PyTorch's `LayerNorm`.
///
/// # Errors
/// When shapes or types do not fit, or a tensor is not contiguous.
pub fn layer_norm<V: Operand>(x: &V, params: &V, eps: f64) -> Result<V> {
    let (_, width) = matrix(OP, "x", x.tensor())?;
    argument(OP, "params", params.tensor(), (2, width))?;
    alike(OP, ("x", x.tensor()), &[("params", params.tensor())])?;
    x.apply2(params, Fused(LayerNorm { eps }))
}

struct LayerNorm {
    eps: f64,
}

impl Op<2> for LayerNorm {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, [x, params]: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 1]> {
        Ok([(NormRows::of_one(x.data, params.data).forward(self.eps), x.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, params]: [View<'_>; 2]) -> Result<[(Memory, Shape); 1]> {
        Ok([(norm(x, params, self.eps).forward(gpu)?, x.dims.into())])
    }
}

fn norm<'a>(x: View<'a>, params: View<'a>, eps: f64) -> Norm<'a> {
    Norm { op: OP, x, residual: None, params, eps, dropout: None }
}

impl Differentiable<2> for LayerNorm {
    fn gradients(&self, [x, params]: [&Tensor; 2], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        Ok(evaluate(&Gradient { eps: self.eps }, [x, params, dy])?.map(Some))
    }
}

/// (x, params, dy) -> dx (T, D), dparams (2, D).
struct Gradient {
    eps: f64,
}

impl Op<3, 2> for Gradient {
    const NAME: &'static str = "layer_norm_gradient";

    fn cpu<T: Real>(&self, [x, params, dy]: [Input<'_, T>; 3]) -> Result<[(Vec<T>, Shape); 2]> {
        let (dx, dparams) = NormRows::of_one(x.data, params.data).backward(dy.data, self.eps);
        Ok([(dx, x.dims.into()), (dparams, params.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, params, dy]: [View<'_>; 3]) -> Result<[(Memory, Shape); 2]> {
        let of = norm(x, params, self.eps).gradient(gpu, dy)?;
        Ok([(of.dh, x.dims.into()), (of.dparams, params.dims.into())])
    }
}

/// The rows h that are normalised: x, or x + bias + residual, with dropout of x + bias if wanted.
pub(super) struct NormRows<'a, T> {
    x: &'a [T],
    bias_and_residual: Option<(&'a [T], &'a [T])>,
    dropout: Option<DropoutOp>,
    gain: &'a [T],
    shift: &'a [T],
}

impl<'a, T: Real> NormRows<'a, T> {
    /// `params`: gain and shift.
    pub(super) fn of_one(x: &'a [T], params: &'a [T]) -> Self {
        let (gain, shift) = params.split_at(params.len() / 2);
        Self { x, bias_and_residual: None, dropout: None, gain, shift }
    }

    /// `params`: bias, gain and shift.
    pub(super) fn of_two(x: &'a [T], residual: &'a [T], params: &'a [T], dropout: Option<DropoutOp>) -> Self {
        let (bias, gain_and_shift) = params.split_at(params.len() / 3);
        Self { bias_and_residual: Some((bias, residual)), dropout, ..Self::of_one(x, gain_and_shift) }
    }

    pub(super) fn forward(&self, eps: f64) -> Vec<T> {
        let eps = T::of(eps);
        let mut y = vec![T::zero(); self.x.len()];
        for_rows(
            &mut y,
            self.gain.len(),
            #[inline(always)]
            |t, y| {
                self.normalise(t, y, eps);
                for ((y, &gain), &shift) in y.iter_mut().zip(self.gain).zip(self.shift) {
                    *y = *y * gain + shift;
                }
            },
        );
        y
    }

    /// The gradient of h, then those of the bias if there is one, of gain and of shift. With n = norm(h), s the
    /// divisor in it and g = dy * gain: `dh = (g - mean(g) - n * mean(g * n)) / s`.
    pub(super) fn backward(&self, dy: &[T], eps: f64) -> (Vec<T>, Vec<T>) {
        let (width, eps) = (self.gain.len(), T::of(eps));
        let per_width = T::of(1.0 / width as f64);
        let n_params = if self.bias_and_residual.is_some() { 3 } else { 2 };
        let (mut dh, mut dparams) = (vec![T::zero(); self.x.len()], vec![T::zero(); n_params * width]);
        fold_rows(
            &mut dh,
            width,
            &mut dparams,
            #[inline(always)]
            |t, dh, dparams| {
                let dy = &dy[t * width..][..width];
                let (dbias, dgain_and_dshift) = dparams.split_at_mut((n_params - 2) * width);
                let (dgain, dshift) = dgain_and_dshift.split_at_mut(width);
                let per_s = self.normalise(t, dh, eps);
                for ((dgain, &dy), &n) in dgain.iter_mut().zip(dy).zip(&*dh) {
                    *dgain += dy * n;
                }
                add(dshift, dy);
                let mean_g = dot(dy, self.gain) * per_width;
                let mean_gn = sum([dy, self.gain, dh], |[dy, gain, n]| dy * gain * n) * per_width;
                for ((dh, &dy), &gain) in dh.iter_mut().zip(dy).zip(self.gain) {
                    *dh = (dy * gain - mean_g - *dh * mean_gn) * per_s;
                }
                match self.dropout {
                    Some(dropout) => {
                        dropout.for_columns(t, width, |c, factor: T| dbias[c] += dh[c] * factor);
                    }
                    // Nothing to add where there is no bias: its part has no elements.
                    None => add(dbias, dh),
                }
            },
        );
        (dh, dparams)
    }

    /// Writes norm(h) of row t to `out`; returns 1 / sqrt(var(h) + eps).
    #[inline(always)]
    fn normalise(&self, t: usize, out: &mut [T], eps: T) -> T {
        let width = self.gain.len();
        let per_width = T::of(1.0 / width as f64);
        let x = &self.x[t * width..][..width];
        match self.bias_and_residual {
            None => out.copy_from_slice(x),
            Some((bias, residual)) => {
                let residual = &residual[t * width..][..width];
                if let Some(dropout) = self.dropout {
                    dropout.for_columns(t, width, |c, factor: T| {
                        out[c] = (x[c] + bias[c]) * factor + residual[c];
                    });
                } else {
                    for (((out, &x), &bias), &residual) in out.iter_mut().zip(x).zip(bias).zip(residual) {
                        *out = x + bias + residual;
                    }
                }
            }
        }
        let mean = sum([&*out], |[h]| h) * per_width;
        let variance = sum([&*out], |[h]| (h - mean) * (h - mean)) * per_width;
        let per_s = T::one() / (variance + eps).sqrt();
        for out in out {
            *out = (*out - mean) * per_s;
        }
        per_s
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::emulated::on_gpu;
    use super::super::testing::{assert_close, check_gpu, check_gradients, one_to_three_threads, tensor};
    use super::*;

    const EPS: f64 = 1e-5;

    /// By hand: mean 2, variance 2/3; `(h - 2) / sqrt(2/3)` is -1.224745, 0, 1.224745.
    #[test]
    fn a_row_by_hand() {
        let x = Tensor::new(&[[1_f64, 2.0, 3.0]], &Device::Cpu).unwrap();
        let params = Tensor::new(&[[2_f64, 2.0, 2.0], [1.0, 1.0, 1.0]], &Device::Cpu).unwrap();
        let expected = Tensor::new(&[[1.0 - 6_f64.sqrt(), 1.0, 1.0 + 6_f64.sqrt()]], &Device::Cpu).unwrap();
        assert_close(&layer_norm(&x, &params, 0.0).unwrap(), &expected, 1e-15);
    }

    #[test]
    fn is_that_of_candle_nn() {
        for (rows, width) in [(1, 1), (3, 7), (65, 16), (130, 37)] {
            let (x, params) = (tensor((rows, width), 1), tensor((2, width), 2));
            let [gain, shift] = [0, 1].map(|row| params.get(row).unwrap());
            let exact = candle_nn::ops::layer_norm_slow(&x, &gain, &shift, EPS as f32).unwrap();
            assert_close(&layer_norm(&x, &params, EPS).unwrap(), &exact, 1e-12);
            // Rows of one element are 0 / sqrt(eps), and rounding of x cannot show; others keep six digits.
            let (x, params) = (x.to_dtype(DType::F32).unwrap(), params.to_dtype(DType::F32).unwrap());
            assert_close(&layer_norm(&x, &params, EPS).unwrap(), &exact, 1e-5);
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (rows, width) in [(1, 2), (3, 7), (67, 3)] {
            let inputs = [tensor((rows, width), 1), tensor((2, width), 2)];
            check_gradients(|i| layer_norm(&i[0], &i[1], 1e-2), &inputs, 1e-6);
        }
    }

    #[test]
    fn threads_do_not_show() {
        let inputs = [tensor((700, 65), 1), tensor((2, 65), 2)];
        one_to_three_threads(&inputs, |i| layer_norm(&i[0], &i[1], EPS));
    }

    #[test]
    fn a_gpu_computes_the_same() {
        for (rows, width) in [(3, 31), (67, 33), (1, 4104), (9, 8), (130, 32), (20, 768), (540, 264)] {
            let inputs = [tensor((rows, width), 1), tensor((2, width), 2)];
            check_gpu(|i| layer_norm(&i[0], &i[1], 1e-5), &inputs, width + rows);
        }
        // A row of one element is its own mean: n and the gradient of x are exactly 0.
        check_gpu(|i| layer_norm(&i[0], &i[1], 1e-5), &[tensor((5, 1), 1), tensor((2, 1), 2)], 1);
    }

    /// Of (1000 + x) to 6e-5 of x, which a variance as the mean square less the square of the mean would lose.
    #[test]
    fn a_gpu_keeps_a_small_deviation_from_a_large_mean() {
        let inputs = [(tensor((3, 768), 1).affine(0.5, 0.0).unwrap() + 1000.0).unwrap(), tensor((2, 768), 2)];
        let exact = layer_norm(
            &inputs[0].to_dtype(DType::F32).unwrap().to_dtype(DType::F64).unwrap(),
            &inputs[1],
            EPS,
        );
        let single = inputs.map(|input| input.to_dtype(DType::F32).unwrap());
        let found = on_gpu(|_| vec![layer_norm(&single[0], &single[1], EPS).unwrap()]);
        assert_close(&found[0], &exact.unwrap(), 1e-3);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let e = layer_norm(&tensor((3, 5), 1), &tensor((3, 5), 2), EPS).unwrap_err().to_string();
        assert!(e.contains("`params` must have shape [2, 5], found [3, 5]"), "{e}");
    }
}
