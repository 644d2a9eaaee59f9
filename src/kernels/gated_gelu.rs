//! `gated_gelu`: gelu(a) * b, the feed-forward of T5 v1.1 and mT5 (Shazeer 2020, "GLU variants").
//!
//! Both halves come from one product with the two weight matrices stacked, `wi_0` over `wi_1`.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::bias_activation::{gelu_tanh, gelu_tanh_slope};
use super::check::{by_dtype, elements, matrix, output};
use super::real::Real;
use super::rows::for_rows;
use super::tape::Operand;

const OP: &str = "gated_gelu";

/// x: (T, 2N) -> (T, N), the tanh variant of GELU on the first half of each row times the second half.
///
/// # Errors
/// When x is not a contiguous matrix of floats with an even number of columns.
pub fn gated_gelu<V: Operand>(x: &V) -> Result<V> {
    let (_, columns) = matrix(OP, "x", x.tensor())?;
    if columns % 2 != 0 {
        bail!("{OP}: `x` must have an even number of columns, found {columns}");
    }
    x.apply1(GatedGelu)
}

struct GatedGelu;

impl CustomOp1 for GatedGelu {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, columns) = layout.shape().dims2()?;
        by_dtype!(x, T => Ok(output(forward::<T>(elements(x, layout)?, columns / 2), (rows, columns / 2))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.apply_op2_no_bwd(&dy.contiguous()?, &Gradient)?))
    }
}

/// (x, dy) -> dx (T, 2N).
struct Gradient;

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        "gated_gelu_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, columns) = x_layout.shape().dims2()?;
        by_dtype!(x, T => {
            let dx = backward::<T>(elements(x, x_layout)?, elements(dy, dy_layout)?, columns / 2);
            Ok(output(dx, (rows, columns)))
        })
    }
}

fn forward<T: Real>(x: &[T], width: usize) -> Vec<T> {
    let mut y = vec![T::zero(); x.len() / 2];
    for_rows(
        &mut y,
        width,
        #[inline(always)]
        |t, y| {
            let (a, b) = x[2 * t * width..][..2 * width].split_at(width);
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = gelu_tanh(a) * b;
            }
        },
    );
    y
}

fn backward<T: Real>(x: &[T], dy: &[T], width: usize) -> Vec<T> {
    let mut dx = vec![T::zero(); x.len()];
    for_rows(
        &mut dx,
        2 * width,
        #[inline(always)]
        |t, dx| {
            let (a, b) = x[2 * t * width..][..2 * width].split_at(width);
            let (da, db) = dx.split_at_mut(width);
            let dy = &dy[t * width..][..width];
            for ((((da, db), &a), &b), &dy) in da.iter_mut().zip(db).zip(a).zip(b).zip(dy) {
                *da = dy * b * gelu_tanh_slope(a);
                *db = dy * gelu_tanh(a);
            }
        },
    );
    dx
}

#[cfg(test)]
mod tests {
    use super::super::bias_activation::{Activation, bias_activation};
    use super::super::testing::{assert_close, check_gradients, one_to_three_threads, tensor};
    use super::*;

    #[test]
    fn is_the_activation_of_the_first_half_times_the_second() {
        let x = (tensor((9, 14), 1) * 3.0).unwrap();
        let (a, b) = (x.narrow(1, 0, 7).unwrap(), x.narrow(1, 7, 7).unwrap());
        let none = Tensor::zeros(7, a.dtype(), a.device()).unwrap();
        let activated = bias_activation(&a.contiguous().unwrap(), &none, Activation::GeluTanh).unwrap();
        assert_close(&gated_gelu(&x).unwrap(), &(activated * b).unwrap(), 1e-15);
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (rows, columns) in [(1, 2), (5, 34)] {
            check_gradients(|i| gated_gelu(&(&i[0] * 3.0)?), &[tensor((rows, columns), 1)], 1e-7);
        }
    }

    #[test]
    fn threads_do_not_show() {
        one_to_three_threads(&[tensor((700, 66), 1)], |i| gated_gelu(&i[0]));
    }

    #[test]
    fn refuses_an_odd_number_of_columns() {
        let e = gated_gelu(&tensor((2, 3), 1)).unwrap_err().to_string();
        assert!(e.contains("even number of columns, found 3"), "{e}");
    }
}
