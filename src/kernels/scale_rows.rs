//! `scale_rows`: each token's row times a weight of its own, as in the mean of a static encoder.

use candle_core::{Result, Shape, Tensor};

use super::check::{alike, argument, matrix};
use super::gpu::{Dims, Gpu, Memory, View, args};
use super::lanes::dot;
use super::op::{Differentiable, Fused, Input, Op, evaluate};
use super::real::Real;
use super::rows::for_rows;
use super::tape::Operand;
use super::tiles::Tiles;

const OP: &str = "scale_rows";

/// x: (T, D), weights: (T) -> (T, D), row t times `weights[t]`.
///
/// # Errors
/// When shapes or types do not fit, or a tensor is not contiguous.
pub fn scale_rows<V: Operand>(x: &V, weights: &V) -> Result<V> {
    let (rows, _) = matrix(OP, "x", x.tensor())?;
    argument(OP, "weights", weights.tensor(), rows)?;
    alike(OP, ("x", x.tensor()), &[("weights", weights.tensor())])?;
    x.apply2(weights, Fused(ScaleRows))
}

struct ScaleRows;

impl Op<2> for ScaleRows {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, [x, weights]: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 1]> {
        Ok([(scaled(x.data, weights.data, x.dims[1]), x.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, weights]: [View<'_>; 2]) -> Result<[(Memory, Shape); 1]> {
        let (rows, width) = x.matrix();
        let y = gpu.allocate(x.dtype, x.len())?;
        let tiles = Tiles::of(rows, width, &[x]);
        gpu.launch(&tiles.kernel(OP, OP)?, tiles.dims(), &args![x, weights, y, rows, width])?;
        Ok([(y, x.dims.into())])
    }
}

impl Differentiable<2> for ScaleRows {
    fn gradients(&self, [x, weights]: [&Tensor; 2], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        Ok(evaluate(&Gradient, [x, weights, dy])?.map(Some))
    }
}

/// (x, weights, dy) -> dx (T, D), the gradient of the weights (T), x · dy of each row. Weights are no parameters but
/// activations, one for each token, so theirs has their type.
struct Gradient;

impl Op<3, 2> for Gradient {
    const NAME: &'static str = "scale_rows_gradient";

    fn cpu<T: Real>(&self, [x, weights, dy]: [Input<'_, T>; 3]) -> Result<[(Vec<T>, Shape); 2]> {
        let width = x.dims[1];
        let mut dweights = vec![T::zero(); weights.data.len()];
        for_rows(
            &mut dweights,
            1,
            #[inline(always)]
            |t, dweight| dweight[0] = dot(&x.data[t * width..][..width], &dy.data[t * width..][..width]),
        );
        Ok([(scaled(dy.data, weights.data, width), x.dims.into()), (dweights, weights.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, weights, dy]: [View<'_>; 3]) -> Result<[(Memory, Shape); 2]> {
        let (rows, width) = x.matrix();
        let (dx, dweights) = (gpu.allocate(x.dtype, x.len())?, gpu.allocate(x.dtype, rows)?);
        let kernel = Tiles::of(rows, width, &[x, dy]).kernel(OP, Self::NAME)?;
        gpu.launch(&kernel, Dims::warp_each(rows), &args![x, weights, dy, dx, dweights, rows, width])?;
        Ok([(dx, x.dims.into()), (dweights, weights.dims.into())])
    }
}

fn scaled<T: Real>(x: &[T], weights: &[T], width: usize) -> Vec<T> {
    let mut y = vec![T::zero(); x.len()];
    for_rows(
        &mut y,
        width,
        #[inline(always)]
        |t, y| {
            for (y, &x) in y.iter_mut().zip(&x[t * width..][..width]) {
                *y = x * weights[t];
            }
        },
    );
    y
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, check_gpu, check_gradients, one_to_three_threads, tensor};
    use super::*;

    #[test]
    fn is_a_product_with_a_column() {
        let (x, weights) = (tensor((67, 5), 1), tensor(67, 2));
        let expected = x.broadcast_mul(&weights.unsqueeze(1).unwrap()).unwrap();
        assert_close(&scale_rows(&x, &weights).unwrap(), &expected, 0.0);
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (rows, width) in [(1, 1), (7, 19)] {
            check_gradients(|i| scale_rows(&i[0], &i[1]), &[tensor((rows, width), 1), tensor(rows, 2)], 1e-8);
        }
    }

    #[test]
    fn threads_do_not_show() {
        one_to_three_threads(&[tensor((700, 65), 1), tensor(700, 2)], |i| scale_rows(&i[0], &i[1]));
    }

    #[test]
    fn a_gpu_computes_the_same() {
        for (rows, width) in [(1, 1), (3, 31), (67, 33), (1, 8), (130, 264), (45, 768), (3, 2056)] {
            check_gpu(|i| scale_rows(&i[0], &i[1]), &[tensor((rows, width), 1), tensor(rows, 2)], width);
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let e = scale_rows(&tensor((3, 5), 1), &tensor(5, 2)).unwrap_err().to_string();
        assert!(e.contains("`weights` must have shape [3], found [5]"), "{e}");
    }
}
