//! `scale_rows`: each token's row times a weight of its own, as in the mean of a static encoder.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::check::{alike, argument, by_dtype, elements, matrix, output, parts};
use super::lanes::dot;
use super::real::Real;
use super::rows::for_rows;
use super::tape::Operand;

const OP: &str = "scale_rows";

/// x: (T, D), weights: (T) -> (T, D), row t times `weights[t]`.
///
/// # Errors
/// When shapes or types do not fit, or a tensor is not contiguous.
pub fn scale_rows<V: Operand>(x: &V, weights: &V) -> Result<V> {
    let (rows, _) = matrix(OP, "x", x.tensor())?;
    argument(OP, "weights", weights.tensor(), rows)?;
    alike(OP, ("x", x.tensor()), &[("weights", weights.tensor())])?;
    x.apply2(weights, ScaleRows)
}

struct ScaleRows;

impl CustomOp2 for ScaleRows {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = x_layout.shape().dims2()?;
        by_dtype!(x, T => {
            let y = scaled::<T>(elements(x, x_layout)?, elements(weights, weights_layout)?, width);
            Ok(output(y, x_layout.shape()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weights: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let flat = x.apply_op3_no_bwd(weights, &dy.contiguous()?, &Gradient)?;
        let [dx, dweights] = parts(&flat, [x.shape().clone(), weights.shape().clone()])?;
        Ok((Some(dx), Some(dweights)))
    }
}

/// (x, weights, dy) -> dx (T, D), then the gradient of the weights (T), x · dy of each row.
struct Gradient;

impl CustomOp3 for Gradient {
    fn name(&self) -> &'static str {
        "scale_rows_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = x_layout.shape().dims2()?;
        by_dtype!(x, T => {
            let (x, dy) = (elements::<T>(x, x_layout)?, elements::<T>(dy, dy_layout)?);
            let mut flat = scaled(dy, elements(weights, weights_layout)?, width);
            flat.resize(flat.len() + rows, 0.0);
            for_rows(
                &mut flat[rows * width..],
                1,
                #[inline(always)]
                |t, dweight| dweight[0] = dot(&x[t * width..][..width], &dy[t * width..][..width]),
            );
            let len = flat.len();
            Ok(output(flat, len))
        })
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
    use super::super::testing::{assert_close, check_gradients, one_to_three_threads, tensor};
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
    fn refuses_what_does_not_fit() {
        let e = scale_rows(&tensor((3, 5), 1), &tensor(5, 2)).unwrap_err().to_string();
        assert!(e.contains("`weights` must have shape [3], found [5]"), "{e}");
    }
}
