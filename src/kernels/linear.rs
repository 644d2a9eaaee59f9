//! `linear`: y = x wᵀ, with gradients that are dense.
//!
//! The product is candle's (the `gemm` crate on the CPU, which splits the output and never a sum, so that threads do
//! not show; cuBLAS on CUDA). Candle's own `x.matmul(&w.t()?)` computes the gradient of the transposed view and hands
//! back a transposed view of that, which every later use of it copies or strides through. A bias is the business of
//! the op that comes next.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::check::{alike, matrix};
use super::tape::Operand;

const OP: &str = "linear";

/// x: (T, K), w: (N, K) -> (T, N), y = x wᵀ.
///
/// # Errors
/// When shapes or types do not fit, or a tensor is not contiguous.
///
/// ```
/// use candle_core::{Device, Tensor};
///
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[1_f32, 2.0]], &Device::Cpu)?;
/// let w = Tensor::new(&[[1_f32, 0.0], [0.0, 1.0], [1.0, 1.0]], &Device::Cpu)?;
/// assert_eq!(prep::kernels::linear(&x, &w)?.to_vec2::<f32>()?, [[1.0, 2.0, 3.0]]);
/// # Ok(())
/// # }
/// ```
pub fn linear<V: Operand>(x: &V, w: &V) -> Result<V> {
    let (_, inner) = matrix(OP, "x", x.tensor())?;
    let (_, columns) = matrix(OP, "w", w.tensor())?;
    if inner != columns {
        bail!("{OP}: `x` has {inner} columns and `w` has {columns}");
    }
    alike(OP, ("x", x.tensor()), &[("w", w.tensor())])?;
    x.apply2(w, Linear)
}

struct Linear;

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, inner) = x_layout.shape().dims2()?;
        let (columns, _) = w_layout.shape().dims2()?;
        let y = x.matmul(w, (1, rows, columns, inner), x_layout, &w_layout.transpose(0, 1)?)?;
        Ok((y, (rows, columns).into()))
    }

    /// dx = dy w, dw = dyᵀ x.
    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dx = dy.matmul(&w.detach())?;
        let dw = dy.t()?.matmul(&x.detach())?;
        Ok((Some(dx), Some(dw)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, check_gradients, one_to_three_threads, tensor};
    use super::*;

    #[test]
    fn gradients_are_finite_differences() {
        for (rows, inner, columns) in [(1, 1, 1), (3, 5, 2), (7, 4, 11)] {
            let inputs = [tensor((rows, inner), 1), tensor((columns, inner), 2)];
            check_gradients(|i| linear(&i[0], &i[1]), &inputs, 1e-8);
        }
    }

    #[test]
    fn gradients_are_contiguous() {
        let x = candle_core::Var::from_tensor(&tensor((3, 5), 1)).unwrap();
        let w = candle_core::Var::from_tensor(&tensor((2, 5), 2)).unwrap();
        let y = linear(x.as_tensor(), w.as_tensor()).unwrap();
        let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&x).unwrap().is_contiguous());
        assert!(gradients.get(&w).unwrap().is_contiguous());
    }

    #[test]
    fn is_the_product_with_the_transposed_matrix_for_any_number_of_threads() {
        let (x, w) = (tensor((130, 67), 1), tensor((129, 67), 2));
        let expected = x.matmul(&w.t().unwrap()).unwrap();
        assert_close(&linear(&x, &w).unwrap(), &expected, 1e-13);
        one_to_three_threads(&[x, w], |i| linear(&i[0], &i[1]));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let x = tensor((3, 5), 1);
        let e = linear(&x, &tensor((2, 4), 2)).unwrap_err().to_string();
        assert!(e.contains("`x` has 5 columns and `w` has 4"), "{e}");
        let e = linear(&x, &tensor((5, 2), 2).t().unwrap()).unwrap_err().to_string();
        assert!(e.contains("`w` must be contiguous"), "{e}");
    }
}
