//! `add`: the sum of two tensors, as where two edges of a tape meet.

use candle_core::{Result, Shape, Tensor};

use super::check::{alike, argument};
use super::gpu::{Gpu, Memory, View, args};
use super::op::{Differentiable, Fused, Input, Op};
use super::real::Real;
use super::rows::for_rows;
use super::tape::Operand;
use super::tiles::Flat;

const OP: &str = "add";

/// x + y of one shape.
///
/// # Errors
/// When shapes or types do not fit, or a tensor is not contiguous.
pub fn add<V: Operand>(x: &V, y: &V) -> Result<V> {
    argument(OP, "x", x.tensor(), x.tensor().shape())?;
    argument(OP, "y", y.tensor(), x.tensor().shape())?;
    alike(OP, ("x", x.tensor()), &[("y", y.tensor())])?;
    x.apply2(y, Fused(Add))
}

struct Add;

impl Op<2> for Add {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, [x, y]: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 1]> {
        let width = x.dims.last().copied().unwrap_or(1);
        let mut sum = vec![T::zero(); x.data.len()];
        for_rows(
            &mut sum,
            width,
            #[inline(always)]
            |n, sum| {
                let (x, y) = (&x.data[n * width..][..width], &y.data[n * width..][..width]);
                for ((sum, &x), &y) in sum.iter_mut().zip(x).zip(y) {
                    *sum = x + y;
                }
            },
        );
        Ok([(sum, x.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, y]: [View<'_>; 2]) -> Result<[(Memory, Shape); 1]> {
        let sum = gpu.allocate(x.dtype, x.len())?;
        let flat = Flat::of(&[x, y]);
        gpu.launch(&flat.kernel(OP, OP)?, flat.dims(), &args![x, y, sum, x.len()])?;
        Ok([(sum, x.dims.into())])
    }
}

impl Differentiable<2> for Add {
    fn gradients(&self, _: [&Tensor; 2], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        Ok([Some(dy.clone()), Some(dy.clone())])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gpu, check_gradients, one_to_three_threads, tensor};
    use super::*;

    #[test]
    fn gradients_are_finite_differences() {
        check_gradients(|i| add(&i[0], &i[1]), &[tensor((3, 4), 1), tensor((3, 4), 2)], 1e-8);
    }

    #[test]
    fn threads_do_not_show() {
        one_to_three_threads(&[tensor((700, 65), 1), tensor((700, 65), 2)], |i| add(&i[0], &i[1]));
    }

    #[test]
    fn a_gpu_computes_the_same() {
        for shape in [vec![], vec![1], vec![67, 33], vec![11, 3, 8], vec![45, 768]] {
            check_gpu(|i| add(&i[0], &i[1]), &[tensor(shape.clone(), 1), tensor(shape, 2)], 1);
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let e = add(&tensor((3, 5), 1), &tensor((5, 3), 2)).unwrap_err().to_string();
        assert!(e.contains("`y` must have shape [3, 5], found [5, 3]"), "{e}");
    }
}
