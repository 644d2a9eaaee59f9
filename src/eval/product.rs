//! Products of blocks of rows, by the crate `gemm`, on the calling thread and into memory that is used again. (Those of
//! the encoder are in `kernels::linear`.)

use std::ops::Range;

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
/// `runs` are the terms in parts: the sum of each is added to that of those before.
///
/// The sum of a pair of rows depends on these two rows alone, not on where they stand, if both blocks have more than 64
/// rows and a run has at least [`MIN_WIDTH`] terms and at most 512: every kernel then adds the terms of a run in the
/// order of k, in one lane, with fused multiply-adds where the machine has them. (For single rows and tiny blocks
/// `gemm` has other ways, and longer runs it cuts itself, as its guess at the caches says.)
///
/// # Panics
/// When the slices are not whole rows, `out` has another size, or a run is empty or ends beyond a row.
pub(super) fn products<T: Number>(
    left: Left<T>,
    right: &[T],
    width: usize,
    runs: impl Iterator<Item = Range<usize>>,
    out: &mut [T],
) {
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
    if out.is_empty() {
        return;
    }
    for (number, run) in runs.enumerate() {
        assert!(run.start < run.end && run.end <= width, "a run is of terms of a row");
        let has_sums = number != 0;
        let first_of_left = match left {
            Left::Rows(_) => run.start,
            Left::Columns(_) => run.start * n_left,
        };
        // SAFETY: `left` is n_left x width and `right` n_right x width by the first assertion, the one with the strides
        // of its layout, the other with rows `width` apart and columns 1 apart; of both, columns from run.start to
        // run.end are taken, which are there by the last assertion; `out` is n_left x n_right by the second, with
        // columns n_left apart and rows 1 apart. None of them is empty. All three are initialised, and `out`, borrowed
        // mutably, overlaps neither. f32 and f64, which alone are Numbers, are types that gemm knows.
        #[expect(unsafe_code, reason = "gemm takes pointers and strides")]
        unsafe {
            gemm::gemm(
                n_left,
                n_right,
                run.len(),
                out.as_mut_ptr(),
                stride(n_left),
                1,
                has_sums,
                numbers.as_ptr().add(first_of_left),
                column_stride,
                row_stride,
                right.as_ptr().add(run.start),
                stride(width),
                1,
                if has_sums { T::ONE } else { T::ZERO },
                T::ONE,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// The least width whose products do not depend on alignment: below, `gemm` adds two terms with or without a fused
/// multiply, by the place of the row.
pub(super) const MIN_WIDTH: usize = 3;
