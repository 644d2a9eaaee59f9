//! Small matrix products on one thread, for attention within one sequence.
//!
//! Candle's product writes a fresh tensor for every call, and `gemm`'s function is unsafe. These add up in registers,
//! [`TILE_ROWS`] x [`TILE_COLUMNS`] elements at a time, over operands that the caller has padded.

use pulp::{Simd, WithSimd};

use super::lanes::LANES;
use super::real::Real;

/// The columns of a right factor and of a result are a multiple of this.
pub(super) const TILE_COLUMNS: usize = LANES;

/// Two registers of eight f32 a row: the twelve accumulators of a tile leave four of sixteen for the operands.
const TILE_ROWS: usize = 6;

/// A left factor as it stands in memory: from one row to the next, and from one column to the next. Swapped, they give
/// the transposed matrix.
#[derive(Clone, Copy)]
pub(super) struct Left<'a, T> {
    pub data: &'a [T],
    pub row_stride: usize,
    pub column_stride: usize,
}

/// `c += a b`. a: (m, k), b: (k, n), c: (m, n), of which b and c have no gaps and n is a multiple of [`TILE_COLUMNS`];
/// m and k follow from their lengths. Every element adds up its k products in their order.
pub(super) fn add_product<T: Real>(c: &mut [T], n: usize, a: Left<'_, T>, b: &[T]) {
    assert!(n.is_multiple_of(TILE_COLUMNS), "columns are padded to whole tiles");
    pulp::Arch::new().dispatch(Product { c, n, a, b });
}

struct Product<'a, T> {
    c: &'a mut [T],
    n: usize,
    a: Left<'a, T>,
    b: &'a [T],
}

impl<T: Real> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // Without an instruction for it, a multiplication and addition in one is a call.
        if S::IS_SCALAR { self.run::<false>() } else { self.run::<true>() }
    }
}

impl<T: Real> Product<'_, T> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { c, n, a: Left { data, row_stride, column_stride }, b } = self;
        let mut panel = Vec::with_capacity(TILE_ROWS * b.len() / n);
        for (i, c) in c.chunks_mut(TILE_ROWS * n).enumerate() {
            let n_rows = c.len() / n;
            panel.clear();
            for p in 0..b.len() / n {
                let first = i * TILE_ROWS * row_stride + p * column_stride;
                panel.extend((0..n_rows).map(|row| data[first + row * row_stride]));
            }
            match n_rows {
                TILE_ROWS => tiles::<T, FUSED, TILE_ROWS>(&panel, b, c, n),
                5 => tiles::<T, FUSED, 5>(&panel, b, c, n),
                4 => tiles::<T, FUSED, 4>(&panel, b, c, n),
                3 => tiles::<T, FUSED, 3>(&panel, b, c, n),
                2 => tiles::<T, FUSED, 2>(&panel, b, c, n),
                _ => tiles::<T, FUSED, 1>(&panel, b, c, n),
            }
        }
    }
}

/// `ROWS` rows of c. `panel` holds those of a, column by column.
#[inline(always)]
fn tiles<T: Real, const FUSED: bool, const ROWS: usize>(panel: &[T], b: &[T], c: &mut [T], n: usize) {
    let (columns_of_a, _) = panel.as_chunks::<ROWS>();
    for first in (0..n).step_by(TILE_COLUMNS) {
        let mut tile = [[T::zero(); TILE_COLUMNS]; ROWS];
        for (a, b) in columns_of_a.iter().zip(b.chunks_exact(n)) {
            let b: &[T; TILE_COLUMNS] =
                b[first..].first_chunk().expect("n is a multiple of the tile's columns");
            for (row, &a) in tile.iter_mut().zip(a) {
                for (sum, &b) in row.iter_mut().zip(b) {
                    *sum = if FUSED { a.mul_add(b, *sum) } else { *sum + a * b };
                }
            }
        }
        for (row, c) in tile.iter().zip(c.chunks_exact_mut(n)) {
            for (&sum, c) in row.iter().zip(&mut c[first..]) {
                *c += sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{tensor, values};
    use super::*;

    proptest! {
        #[test]
        fn is_the_product_by_definition(m in 0..20_usize, k in 0..9_usize, tiles in 1..4_usize, transposed: bool) {
            let n = tiles * TILE_COLUMNS;
            let (a, b, start) = (values(&tensor(m * k, 1)), values(&tensor(k * n, 2)), values(&tensor(m * n, 3)));
            let (row_stride, column_stride) = if transposed { (1, m) } else { (k, 1) };
            let mut c = start.clone();
            add_product(&mut c, n, Left { data: &a, row_stride, column_stride }, &b);
            for (i, found) in c.iter().enumerate() {
                let (row, column) = (i / n, i % n);
                let terms = (0..k).map(|p| a[row * row_stride + p * column_stride] * b[p * n + column]);
                prop_assert!((start[i] + terms.sum::<f64>() - found).abs() < 1e-13);
            }
        }
    }
}
