//! `gated_gelu`: gelu(a) * b, the feed-forward of T5 v1.1 and mT5 (Shazeer 2020, "GLU variants").
//!
//! Both halves come from one product with the two weight matrices stacked, `wi_0` over `wi_1`.

use candle_core::{Result, Shape, Tensor, bail};

use super::bias_activation::{gelu_tanh, gelu_tanh_slope};
use super::check::matrix;
use super::gpu::{Gpu, Memory, View, args};
use super::op::{Differentiable, Fused, Input, Op, evaluate};
use super::real::Real;
use super::rows::for_rows;
use super::tape::Operand;
use super::tiles::Tiles;

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
    x.apply1(Fused(GatedGelu))
}

struct GatedGelu;

impl Op<1> for GatedGelu {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, [x]: [Input<'_, T>; 1]) -> Result<[(Vec<T>, Shape); 1]> {
        let (rows, width) = (x.dims[0], x.dims[1] / 2);
        Ok([(forward(x.data, width), (rows, width).into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x]: [View<'_>; 1]) -> Result<[(Memory, Shape); 1]> {
        let (rows, columns) = x.matrix();
        let width = columns / 2;
        let y = gpu.allocate(x.dtype, rows * width)?;
        let tiles = Tiles::of(rows, width, &[x]);
        gpu.launch(&tiles.kernel(OP, OP)?, tiles.dims(), &args![x, y, rows, width])?;
        Ok([(y, (rows, width).into())])
    }
}

impl Differentiable<1> for GatedGelu {
    fn gradients(&self, [x]: [&Tensor; 1], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok(evaluate(&Gradient, [x, dy])?.map(Some))
    }
}

/// (x, dy) -> dx (T, 2N).
struct Gradient;

impl Op<2> for Gradient {
    const NAME: &'static str = "gated_gelu_gradient";

    fn cpu<T: Real>(&self, [x, dy]: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 1]> {
        Ok([(backward(x.data, dy.data, dy.dims[1]), x.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, dy]: [View<'_>; 2]) -> Result<[(Memory, Shape); 1]> {
        let (rows, width) = dy.matrix();
        let dx = gpu.allocate(x.dtype, x.len())?;
        let tiles = Tiles::of(rows, width, &[x, dy]);
        let kernel = tiles.kernel(OP, Self::NAME)?;
        gpu.launch(&kernel, tiles.dims(), &args![x, dy, dx, rows, width])?;
        Ok([(dx, x.dims.into())])
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
    use super::super::testing::{assert_close, check_gpu, check_gradients, one_to_three_threads, tensor};
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
    fn a_gpu_computes_the_same() {
        for (rows, width) in [(1, 1), (3, 31), (67, 33), (1, 8), (130, 264), (45, 768)] {
            check_gpu(|i| gated_gelu(&i[0]), &[(tensor((rows, 2 * width), 1) * 3.0).unwrap()], 1);
        }
    }

    #[test]
    fn refuses_an_odd_number_of_columns() {
        let e = gated_gelu(&tensor((2, 3), 1)).unwrap_err().to_string();
        assert!(e.contains("even number of columns, found 3"), "{e}");
    }
}
