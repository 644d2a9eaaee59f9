//! Small matrix products on one thread, for attention within one sequence.
//!
//! Candle's product writes a fresh tensor for every call, and `gemm`'s function is unsafe to call. These add up in
//! registers, [`TILE_ROWS`] x [`TILE_COLUMNS`] elements at a time, over operands that the caller has padded. Vectors
//! are spelt out here: left to the compiler, the same loops became scalar instructions as soon as there were two of
//! them in one function, at a tenth of the speed.

use pulp::{Simd, WithSimd};

use super::real::Real;

/// Columns that are computed together: two registers of eight f32.
pub(super) const TILE_COLUMNS: usize = 16;

/// Rows that are computed together. With two registers each, their sums leave four of sixteen for the factors.
const TILE_ROWS: usize = 6;

/// A left factor, whose rows begin every `stride` elements.
#[derive(Clone, Copy)]
pub(super) enum Left<'a, T> {
    Plain {
        data: &'a [T],
        stride: usize,
    },
    /// The transposed matrix is what stands in memory.
    Transposed {
        data: &'a [T],
        stride: usize,
    },
}

/// The right factor and the result: rows begin every `stride` elements, a multiple of [`TILE_COLUMNS`], and what
/// follows `columns` in a row may be written to.
#[derive(Clone, Copy)]
pub(super) struct Padded {
    pub columns: usize,
    pub stride: usize,
}

/// `c += a b`. a: (m, k), b: (k, n), c: (m, n); m and k follow from the lengths. Every element adds up its k products
/// in their order.
pub(super) fn add_product<T: Real>(c: &mut [T], a: Left<'_, T>, b: &[T], right: Padded) {
    assert!(
        right.stride.is_multiple_of(TILE_COLUMNS) && right.columns <= right.stride,
        "columns are padded to whole tiles"
    );
    pulp::Arch::new().dispatch(Product { c, a, b, right });
}

struct Product<'a, T> {
    c: &'a mut [T],
    a: Left<'a, T>,
    b: &'a [T],
    right: Padded,
}

impl<T: Real> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { c, a, b, right } = self;
        let (b, c) = (T::vectors::<S>(b), T::vectors_mut::<S>(c));
        let lanes = TILE_COLUMNS / T::vectors::<S>(&[T::zero(); TILE_COLUMNS]).len();
        let columns = right.columns.next_multiple_of(TILE_COLUMNS) / lanes;
        let factors = Factors { simd, a, b, stride: right.stride / lanes };
        for (i, c) in c.chunks_mut(TILE_ROWS * factors.stride).enumerate() {
            let first = i * TILE_ROWS;
            match c.len() / factors.stride {
                TILE_ROWS => factors.add_rows::<TILE_ROWS>(c, first, columns),
                5 => factors.add_rows::<5>(c, first, columns),
                4 => factors.add_rows::<4>(c, first, columns),
                3 => factors.add_rows::<3>(c, first, columns),
                2 => factors.add_rows::<2>(c, first, columns),
                _ => factors.add_rows::<1>(c, first, columns),
            }
        }
    }
}

/// The factors of a product; b and its stride in vectors.
#[derive(Clone, Copy)]
struct Factors<'a, T: Real, S: Simd> {
    simd: S,
    a: Left<'a, T>,
    b: &'a [T::Vector<S>],
    stride: usize,
}

impl<T: Real, S: Simd> Factors<'_, T, S> {
    /// `ROWS` rows of c, from row `first` of a on.
    #[inline(always)]
    fn add_rows<const ROWS: usize>(self, c: &mut [T::Vector<S>], first: usize, columns: usize) {
        let mut column = 0;
        while column + 2 <= columns {
            self.add_tile::<ROWS, 2>(c, first, column);
            column += 2;
        }
        // A row is an even number of vectors, unless they are of sixteen elements.
        if column < columns {
            self.add_tile::<ROWS, 1>(c, first, column);
        }
    }

    /// `ROWS` rows of c in `VECTORS` vectors from `column` on.
    #[inline(always)]
    fn add_tile<const ROWS: usize, const VECTORS: usize>(
        self,
        c: &mut [T::Vector<S>],
        first: usize,
        column: usize,
    ) {
        let tile = match self.a {
            Left::Plain { data, stride } => {
                let k = self.b.len() / self.stride;
                let mut rows = [data; ROWS];
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = &data[(first + i) * stride..][..k];
                }
                self.tile::<ROWS, VECTORS>(column, k, |p, a| {
                    for (a, row) in a.iter_mut().zip(&rows) {
                        *a = row[p];
                    }
                })
            }
            Left::Transposed { data, stride } => {
                let k = data.len() / stride;
                self.tile::<ROWS, VECTORS>(column, k, |p, a| {
                    a.copy_from_slice(&data[p * stride + first..][..ROWS]);
                })
            }
        };
        let one = T::splat(self.simd, T::one());
        for (row, c) in tile.iter().zip(c.chunks_exact_mut(self.stride)) {
            for (&sum, c) in row.iter().zip(&mut c[column..]) {
                *c = T::multiply_add(self.simd, sum, one, *c);
            }
        }
    }

    /// The product of `ROWS` rows of a, whose column p is what `load(p, ..)` writes, and `VECTORS` columns of b.
    #[inline(always)]
    fn tile<const ROWS: usize, const VECTORS: usize>(
        self,
        column: usize,
        k: usize,
        load: impl Fn(usize, &mut [T; ROWS]),
    ) -> [[T::Vector<S>; VECTORS]; ROWS] {
        let mut tile = [[T::splat(self.simd, T::zero()); VECTORS]; ROWS];
        for p in 0..k {
            let mut a = [T::zero(); ROWS];
            load(p, &mut a);
            let b = &self.b[p * self.stride + column..][..VECTORS];
            for (row, &a) in tile.iter_mut().zip(&a) {
                let a = T::splat(self.simd, a);
                for (sum, &b) in row.iter_mut().zip(b) {
                    *sum = T::multiply_add(self.simd, a, b, *sum);
                }
            }
        }
        tile
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{tensor, values};
    use super::*;

    proptest! {
        #[test]
        fn is_the_product_by_definition(
            (m, k, columns) in (0..20_usize, 0..9_usize, 1..40_usize),
            gap in 0..2_usize,
            transposed: bool,
        ) {
            let stride = columns.next_multiple_of(TILE_COLUMNS) + gap * TILE_COLUMNS;
            let [a, b, start] = [(m * k, 1), (k * stride, 2), (m * stride, 3)]
                .map(|(len, seed)| values(&tensor(len, seed)));
            let left = match transposed {
                true => Left::Transposed { data: &a, stride: m.max(1) },
                false => Left::Plain { data: &a, stride: k },
            };
            let mut c = start.clone();
            add_product(&mut c, left, &b, Padded { columns, stride });
            for (i, found) in c.iter().enumerate().filter(|(i, _)| i % stride < columns) {
                let (row, column) = (i / stride, i % stride);
                let a = |p| if transposed { a[p * m + row] } else { a[row * k + p] };
                let expected = start[i] + (0..k).map(|p| a(p) * b[p * stride + column]).sum::<f64>();
                prop_assert!((expected - found).abs() < 1e-13);
            }
        }
    }
}
