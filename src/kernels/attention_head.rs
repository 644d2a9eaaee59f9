//! Attention of one head within one sequence: what a thread does at a time.
//!
//! Queries are taken in blocks, so that a long sequence's matrix of probabilities never exists whole. The gradient
//! computes them again (as Dao et al. 2022 do on a GPU) and draws the same dropout.

use std::ops::Range;

use super::dropout::Dropout;
use super::lanes::{add, dot, maximum, sum, vectorised};
use super::product::{Left, Padded, TILE_COLUMNS, add_product};
use super::real::Real;

/// Queries of a block: with 512 keys, 132 KiB of f32 probabilities, which stay in the second cache.
const BLOCK_QUERIES: usize = 64;

/// What all heads of all sequences read.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a, T> {
    /// (T, 3 H d).
    pub qkv: &'a [T],
    /// (3 H d).
    pub bias: Option<&'a [T]>,
    /// (H, 2 L - 1).
    pub rel: Option<&'a [T]>,
    pub n_heads: usize,
    /// d, the width of a head.
    pub dim: usize,
    pub scale: f64,
    pub dropout: Option<Dropout>,
    /// Number in the whole batch of the first token here.
    pub first_token: u64,
}

/// One head of one sequence, loaded.
pub(super) struct Head<'a, T> {
    inputs: Inputs<'a, T>,
    tokens: Range<usize>,
    head: usize,
    /// Times the scale.
    queries: Matrix<T>,
    keys: Matrix<T>,
    values: Matrix<T>,
}

impl<'a, T: Real> Head<'a, T> {
    pub(super) fn load(inputs: Inputs<'a, T>, tokens: Range<usize>, head: usize) -> Self {
        let dim = inputs.dim;
        let [mut queries, keys, values] = [0, 1, 2].map(|part| {
            let column = (part * inputs.n_heads + head) * dim;
            let mut matrix =
                Matrix::of(inputs.qkv, 3 * inputs.n_heads * dim, tokens.clone(), column..column + dim);
            if let Some(bias) = inputs.bias {
                matrix.rows_mut().for_each(|row| add(row, &bias[column..column + dim]));
            }
            matrix
        });
        let scale = T::of(inputs.scale);
        queries.data.iter_mut().for_each(|q| *q *= scale);
        Self { inputs, tokens, head, queries, keys, values }
    }

    /// Writes the output of each token to its slice of d elements.
    pub(super) fn forward(&self, out: &mut [&mut [T]]) {
        let keys_across = self.keys.transposed();
        for block in self.blocks() {
            let mut probabilities = self.attend(&keys_across, &block);
            for (row, i) in probabilities.rows_mut().zip(block.clone()) {
                if let Some(draws) = self.draws(i) {
                    drop_some(draws, row);
                }
            }
            let mut outputs = Matrix::zeros(block.len(), self.inputs.dim);
            outputs.add_product(probabilities.left(&(0..block.len())), &self.values.data);
            for (out, row) in out[block].iter_mut().zip(outputs.rows()) {
                out.copy_from_slice(row);
            }
        }
    }

    /// Writes the gradients of query, key and value of each token to its three slices of d elements, and adds that of
    /// the head's row of `rel` to `drel`, (2 L - 1) or empty. `dy`: (T, H d).
    ///
    /// With P the probabilities, M what dropout multiplies them by, Y = (P M) V, and products of matrices of one shape
    /// element by element: `dV = (P M)ᵀ dY`, `dP = (dY Vᵀ) M`, `dS = P (dP - sum over keys of P dP)`,
    /// `dQ = scale dS K`, `dK = scale dSᵀ Q`.
    pub(super) fn backward(&self, dy: &[T], out: &mut [&mut [T]], drel: &mut [T]) {
        let Inputs { n_heads, dim, .. } = self.inputs;
        let n_tokens = self.tokens.len();
        let dy = Matrix::of(dy, n_heads * dim, self.tokens.clone(), self.head * dim..(self.head + 1) * dim);
        let keys_across = self.keys.transposed();
        let values_across = self.values.transposed();
        let [mut dqueries, mut dkeys, mut dvalues] = [(); 3].map(|()| Matrix::zeros(n_tokens, dim));
        for block in self.blocks() {
            let mut probabilities = self.attend(&keys_across, &block);
            let dy_block = dy.block(&block);
            let mut dscores = Matrix::zeros(block.len(), n_tokens);
            dscores.add_product(dy.left(&block), &values_across.data);
            vectorised(
                #[inline(always)]
                || {
                    for ((p, ds), i) in probabilities.rows_mut().zip(dscores.rows_mut()).zip(block.clone()) {
                        through_softmax(self.draws(i), p, ds);
                        if !drel.is_empty() {
                            let distances = self.relative(i, drel.len());
                            add(&mut drel[distances], ds);
                        }
                    }
                },
            );
            dvalues.add_product(probabilities.left_transposed(), dy_block);
            dkeys.add_product(dscores.left_transposed(), self.queries.block(&block));
            let stride = dqueries.stride;
            let rows = &mut dqueries.data[block.start * stride..block.end * stride];
            add_product(
                rows,
                dscores.left(&(0..block.len())),
                &self.keys.data,
                Padded { columns: dim, stride },
            );
        }
        let scale = T::of(self.inputs.scale);
        dqueries.data.iter_mut().for_each(|dq| *dq *= scale);
        for (part, gradient) in [dqueries, dkeys, dvalues].iter().enumerate() {
            for (out, row) in out.iter_mut().skip(part).step_by(3).zip(gradient.rows()) {
                out.copy_from_slice(row);
            }
        }
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<T> {
        let n_tokens = self.tokens.len();
        (0..n_tokens).step_by(BLOCK_QUERIES).map(move |first| first..n_tokens.min(first + BLOCK_QUERIES))
    }

    /// The probabilities of a block of queries over all keys, before dropout.
    fn attend(&self, keys_across: &Matrix<T>, block: &Range<usize>) -> Matrix<T> {
        let mut scores = Matrix::zeros(block.len(), self.tokens.len());
        scores.add_product(self.queries.left(block), &keys_across.data);
        vectorised(
            #[inline(always)]
            || {
                for (row, i) in scores.rows_mut().zip(block.clone()) {
                    if let Some(rel) = self.inputs.rel {
                        let width = rel.len() / self.inputs.n_heads;
                        add(row, &rel[self.head * width..][self.relative(i, width)]);
                    }
                    softmax(row);
                }
            },
        );
        scores
    }

    /// Where the distances from token i to all tokens of the sequence stand in a row of `rel` of this width, 2 L - 1.
    fn relative(&self, i: usize, width: usize) -> Range<usize> {
        let first = width / 2 - i;
        first..first + self.tokens.len()
    }

    /// The draws of dropout for token i of the sequence.
    fn draws(&self, i: usize) -> Option<Dropout> {
        let token = self.inputs.first_token.wrapping_add((self.tokens.start + i) as u64);
        let row = token.wrapping_mul(self.inputs.n_heads as u64).wrapping_add(self.head as u64);
        self.inputs.dropout.map(|dropout| dropout.of_row(row))
    }
}

#[inline(always)]
fn softmax<T: Real>(row: &mut [T]) {
    let largest = maximum(row);
    for score in &mut *row {
        *score = (*score - largest).exp();
    }
    let per_total = T::one() / sum([&*row], |[p]| p);
    for p in row {
        *p *= per_total;
    }
}

/// Multiplies by what dropout keeps of a row.
#[inline(always)]
fn drop_some<T: Real>(draws: Dropout, row: &mut [T]) {
    for (p, j) in row.iter_mut().zip(0..) {
        *p *= draws.factor(j);
    }
}

/// Of one query: probabilities P to P M, and the gradient of P M to that of the scores.
#[inline(always)]
fn through_softmax<T: Real>(draws: Option<Dropout>, p: &mut [T], ds: &mut [T]) {
    if let Some(draws) = draws {
        drop_some(draws, ds);
    }
    let along = dot(p, ds);
    for (ds, &p) in ds.iter_mut().zip(&*p) {
        *ds = p * (*ds - along);
    }
    if let Some(draws) = draws {
        drop_some(draws, p);
    }
}

/// Rows padded with zeros to an odd number of tiles: with a power of two, they would all fall into the same few sets of
/// the first cache.
struct Matrix<T> {
    data: Vec<T>,
    columns: usize,
    stride: usize,
}

impl<T: Real> Matrix<T> {
    fn zeros(n_rows: usize, columns: usize) -> Self {
        let stride = (columns.div_ceil(TILE_COLUMNS) | 1) * TILE_COLUMNS;
        Self { data: vec![T::zero(); n_rows * stride], columns, stride }
    }

    /// Some rows and columns of a matrix without gaps.
    fn of(source: &[T], source_width: usize, rows: Range<usize>, columns: Range<usize>) -> Self {
        let mut matrix = Self::zeros(rows.len(), columns.len());
        for (row, i) in matrix.rows_mut().zip(rows) {
            row.copy_from_slice(&source[i * source_width..][columns.clone()]);
        }
        matrix
    }

    fn transposed(&self) -> Self {
        let mut across = Self::zeros(self.columns, self.data.len() / self.stride);
        for (i, row) in self.data.chunks_exact(self.stride).enumerate() {
            for (j, &value) in row[..self.columns].iter().enumerate() {
                across.data[j * across.stride + i] = value;
            }
        }
        across
    }

    fn rows(&self) -> impl Iterator<Item = &[T]> {
        self.data.chunks_exact(self.stride).map(|row| &row[..self.columns])
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        let columns = self.columns;
        self.data.chunks_exact_mut(self.stride).map(move |row| &mut row[..columns])
    }

    /// Some rows with their padding.
    fn block(&self, rows: &Range<usize>) -> &[T] {
        &self.data[rows.start * self.stride..rows.end * self.stride]
    }

    /// Some rows, as a left factor.
    fn left(&self, rows: &Range<usize>) -> Left<'_, T> {
        Left::Plain { data: self.block(rows), stride: self.stride }
    }

    fn left_transposed(&self) -> Left<'_, T> {
        Left::Transposed { data: &self.data, stride: self.stride }
    }

    fn add_product(&mut self, a: Left<'_, T>, b: &[T]) {
        add_product(&mut self.data, a, b, Padded { columns: self.columns, stride: self.stride });
    }
}
