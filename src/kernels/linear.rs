//! `linear`: y = x wᵀ, with gradients that are dense.
//!
//! The products are those of the `gemm` crate, dealt to threads by rows of the result: blocks follow from the sizes
//! alone and no sum is split, so that threads do not show. Candle's own product clears its result first, on one thread,
//! which was a tenth of a step, and `x.matmul(&w.t()?)` hands a transposed view back as the gradient of w, which every
//! later use of it copies or strides through. A bias is the business of the op that comes next.
//!
//! On a GPU they are cuBLAS's.

use candle_core::{DType, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::check::{alike, matrix};
use super::gpu::{Gpu, Memory, View};
use super::op::{Differentiable, Fused, Input, Op, evaluate};
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
    let op = Linear { constant: [x.is_constant(), w.is_constant()] };
    x.apply2(w, Fused(op))
}

struct Linear {
    /// Of x and w, whether no gradient is wanted: that of a frozen weight is a third of the work.
    constant: [bool; 2],
}

impl Op<2> for Linear {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, inputs: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 1]> {
        Product { transposes: [false, true], to_f32: false }.cpu(inputs)
    }

    fn gpu(&self, gpu: &dyn Gpu, inputs: [View<'_>; 2]) -> Result<[(Memory, Shape); 1]> {
        Product { transposes: [false, true], to_f32: false }.gpu(gpu, inputs)
    }
}

impl Differentiable<2> for Linear {
    /// dx = dy w, dw = dyᵀ x.
    fn gradients(&self, [x, w]: [&Tensor; 2], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let product = |factor: &Tensor, how: Product| -> Result<Tensor> {
            let [product] = evaluate(&how, [dy, factor])?;
            Ok(product)
        };
        let [of_x, of_w] = self.constant.map(|constant| !constant);
        let dx = of_x.then(|| product(w, Product { transposes: [false, false], to_f32: false }));
        let dw = of_w.then(|| product(x, Product { transposes: [true, false], to_f32: true }));
        Ok([dx.transpose()?, dw.transpose()?])
    }
}

/// (a, b) -> a b, each factor transposed first if it says so.
struct Product {
    transposes: [bool; 2],
    /// On a GPU, not rounded to the factors' type: a gradient of weights is added up and scaled before it is used.
    to_f32: bool,
}

impl Product {
    /// (M, K) and (K, N) -> M, K, N.
    fn sizes(&self, a: &[usize], b: &[usize]) -> [usize; 3] {
        let sizes = |dims: &[usize], transposed: bool| match (dims, transposed) {
            (&[rows, columns], false) | (&[columns, rows], true) => (rows, columns),
            _ => unreachable!("factors are matrices"),
        };
        let (rows, inner) = sizes(a, self.transposes[0]);
        let (of_b, columns) = sizes(b, self.transposes[1]);
        assert_eq!(inner, of_b, "factors that fit");
        [rows, inner, columns]
    }
}

impl Op<2> for Product {
    const NAME: &'static str = "product";

    fn cpu<T: Real>(&self, [a, b]: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 1]> {
        let sizes = self.sizes(a.dims, b.dims);
        Ok([(self.multiply([a.data, b.data], sizes), (sizes[0], sizes[2]).into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [a, b]: [View<'_>; 2]) -> Result<[(Memory, Shape); 1]> {
        let [rows, inner, columns] = self.sizes(a.dims, b.dims);
        let dtype = if self.to_f32 { DType::F32 } else { a.dtype };
        let c = gpu.allocate(dtype, rows * columns)?;
        gpu.multiply(&super::gpu::Product {
            a: a.factor(self.transposes[0]),
            b: b.factor(self.transposes[1]),
            c: (c.address, dtype),
            rows,
            inner,
            columns,
            alpha: 1.0,
            beta: 0.0,
        })?;
        Ok([(c, (rows, columns).into())])
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
    use super::super::emulated::is_real;
    use super::super::testing::{assert_close, check_gpu, check_gradients, one_to_three_threads, tensor};
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
            let [dx, dw] = Linear { constant }.gradients([x.as_tensor(), &w], &dy, &dy).unwrap();
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
    fn a_gpu_computes_the_same() {
        let real = if is_real() { (1030, 768, 3072) } else { (64, 768, 32) };
        for (rows, inner, columns) in [(1, 1, 1), (3, 5, 2), (67, 33, 31), real] {
            let inputs = [tensor((rows, inner), 1), tensor((columns, inner), 2)];
            check_gpu(|i| linear(&i[0], &i[1]), &inputs, inner.max(rows));
        }
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
