//! `linear`: y = x wᵀ, with gradients that are dense.
//!
//! The products are those of the `gemm` crate, dealt to threads by rows of the result: blocks follow from the sizes
//! alone and no sum is split, so that threads do not show. Candle's own product clears its result first, on one thread,
//! which was a tenth of a step, and `x.matmul(&w.t()?)` hands a transposed view back as the gradient of w, which every
//! later use of it copies or strides through. A bias is the business of the op that comes next.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::check::{alike, by_dtype, elements, matrix, output};
use super::real::Real;
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
    x.apply2(w, Linear { constant: [x.is_constant(), w.is_constant()] })
}

struct Linear {
    /// Of x and w, whether no gradient is wanted: that of a frozen weight is a third of the work.
    constant: [bool; 2],
}

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
        Product { transposes: [false, true] }.cpu_fwd(x, x_layout, w, w_layout)
    }

    /// dx = dy w, dw = dyᵀ x.
    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let product = |constant: bool, factor: &Tensor, transposes: [bool; 2]| {
            (!constant).then(|| dy.apply_op2_no_bwd(factor, &Product { transposes })).transpose()
        };
        let [of_x, of_w] = self.constant;
        Ok((product(of_x, w, [false, false])?, product(of_w, x, [true, false])?))
    }
}

/// (a, b) -> a b, each factor transposed first if it says so.
struct Product {
    transposes: [bool; 2],
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = |layout: &Layout, transposed: bool| -> Result<(usize, usize)> {
            let (rows, columns) = layout.shape().dims2()?;
            Ok(if transposed { (columns, rows) } else { (rows, columns) })
        };
        let (rows, inner) = shape(a_layout, self.transposes[0])?;
        let (of_b, columns) = shape(b_layout, self.transposes[1])?;
        assert_eq!(inner, of_b, "factors that fit");
        by_dtype!(a, T => {
            let factors = [elements::<T>(a, a_layout)?, elements(b, b_layout)?];
            Ok(output(self.multiply(factors, [rows, inner, columns]), (rows, columns)))
        })
    }
}

impl Product {
    /// (M, K) times (K, N) -> (M, N).
    fn multiply<T: Real>(&self, [a, b]: [&[T]; 2], [rows, inner, columns]: [usize; 3]) -> Vec<T> {
        assert!(a.len() == rows * inner && b.len() == inner * columns, "factors of these sizes");
        if a.is_empty() || b.is_empty() {
            return vec![T::zero(); rows * columns];
        }
        // To the next element of a row and of a column, in memory.
        let strides = |transposed: bool, rows: usize, columns: usize| {
            if transposed { (rows as isize, 1) } else { (1, columns as isize) }
        };
        let (a_in_row, a_in_column) = strides(self.transposes[0], rows, inner);
        let (b_in_row, b_in_column) = strides(self.transposes[1], inner, columns);
        let (len, block) = (rows * columns, block_rows(rows));
        let mut product: Vec<T> = Vec::with_capacity(len);
        let blocks = product.spare_capacity_mut()[..len].par_chunks_mut(block * columns);
        blocks.enumerate().for_each(|(i, into)| {
            let from = &a[i * block * a_in_column.unsigned_abs()..];
            // SAFETY: the strides are those of factors of these sizes, which the first assertion holds; `from` begins
            // with the first of as many rows of a as `into` has room for; and of `into` nothing is read (`read_dst` is
            // false).
            #[expect(unsafe_code, reason = "gemm has no safe interface")]
            unsafe {
                gemm::gemm(
                    into.len() / columns,
                    columns,
                    inner,
                    into.as_mut_ptr().cast::<T>(),
                    1,
                    columns as isize,
                    false,
                    from.as_ptr(),
                    a_in_row,
                    a_in_column,
                    b.as_ptr(),
                    b_in_row,
                    b_in_column,
                    T::zero(),
                    T::one(),
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        });
        // SAFETY: the blocks cover these elements, and the product has written each.
        #[expect(unsafe_code, reason = "memory is not cleared before it is written")]
        unsafe {
            product.set_len(len);
        }
        product
    }
}

/// Rows of the product that a thread computes at a time: as equal as can be, about 512 of many rows, 128 of few.
fn block_rows(rows: usize) -> usize {
    let most = if rows < 2048 { 128 } else { 512 };
    rows.div_ceil(rows.div_ceil(most))
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
    fn constants_cost_nothing_backward() {
        let (x, w) = (candle_core::Var::from_tensor(&tensor((3, 5), 1)).unwrap(), tensor((2, 5), 2));
        let dy = tensor((3, 2), 3);
        for constant in [[false, true], [true, false], [true, true]] {
            let (dx, dw) = Linear { constant }.bwd(&x, &w, &dy, &dy).unwrap();
            assert_eq!([dx.is_none(), dw.is_none()], constant);
        }
        let y = linear(x.as_tensor(), &w).unwrap();
        let gradients = y.sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&x).is_some() && gradients.get(&w).is_none());
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
