//! Products of blocks of rows, by the crate `gemm`, on the calling thread and into memory that is used again. (Those of
//! the encoder are in `kernels::linear`.)

/// What is multiplied.
pub(super) trait Number: Copy + 'static {
    const ZERO: Self;
    const ONE: Self;
}

impl Number for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

impl Number for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

/// A matrix of `n` rows of `width` numbers: its rows one after another, or its columns. `gemm` takes the left operand by
/// columns, so whoever multiplies it often lays it out so: bringing rows there was 13 % of the time of ranking, and is 5 %.
#[derive(Clone, Copy)]
pub(super) enum Left<'a, T> {
    Rows(&'a [T]),
    Columns(&'a [T]),
}

/// Every row of `left` with every row of `right`: `out[j * n_left + i] = sum over k of left[i][k] * right[j][k]`.
/// Rows of `right` are contiguous, `width` numbers each. On the calling thread.
///
/// On one machine the sum of a pair of rows depends on these two rows alone, not on where they stand, if both blocks
/// have more than 64 rows of at least [`MIN_WIDTH`] numbers: every kernel then adds the terms of a sum in the order of
/// k, in one lane, in runs of a length that follows from the width. (For single rows and tiny blocks `gemm` has other
/// ways.)
///
/// # Panics
/// When the slices are not whole rows, or `out` has another size.
pub(super) fn products<T: Number>(left: Left<T>, right: &[T], width: usize, out: &mut [T]) {
    let (Left::Rows(numbers) | Left::Columns(numbers)) = left;
    assert!(
        width != 0 && numbers.len().is_multiple_of(width) && right.len().is_multiple_of(width),
        "the operands are whole rows"
    );
    let (n_left, n_right) = (numbers.len() / width, right.len() / width);
    assert_eq!(out.len(), n_left * n_right, "one number a pair of rows");
    let stride = |n: usize| isize::try_from(n).expect("no slice is longer than isize::MAX");
    let (column_stride, row_stride) = match left {
        Left::Rows(_) => (1, stride(width)),
        Left::Columns(_) => (stride(n_left), 1),
    };
    // SAFETY: `left` is n_left x width and `right` n_right x width by the first assertion, the one with the strides of
    // its layout, the other with rows `width` apart and columns 1 apart; `out` is n_left x n_right by the second, with
    // columns n_left apart and rows 1 apart. All three are initialised, and `out`, borrowed mutably, overlaps neither.
    // With read_dst false nothing of it is read. f32 and f64, which alone are Numbers, are types that gemm knows.
    #[expect(unsafe_code, reason = "gemm takes pointers and strides")]
    unsafe {
        gemm::gemm(
            n_left,
            n_right,
            width,
            out.as_mut_ptr(),
            stride(n_left),
            1,
            false,
            numbers.as_ptr(),
            column_stride,
            row_stride,
            right.as_ptr(),
            stride(width),
            1,
            T::ZERO,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The least width whose products do not depend on alignment: below, `gemm` adds two terms with or without a fused
/// multiply, by the place of the row.
pub(super) const MIN_WIDTH: usize = 3;
