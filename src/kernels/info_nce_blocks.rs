//! The scores of a batch, block by block, with what the loss and its gradient take from each block.
//!
//! The products are candle's, on all threads. Blocks come in a fixed order and have a fixed size, which decide the
//! rounding of the sums over them.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result};
use rayon::prelude::*;

use super::group_mask::MaskedPairs;
use super::info_nce::Direction;
use super::lanes::{add, maximum, sum, vectorised};
use super::real::Real;

/// A block of scores is half a MiB of f32, and stays in the second cache.
const BLOCK_QUERIES: usize = 256;
const BLOCK_PASSAGES: usize = 512;

/// Rows of a block under which a fork costs more than it saves.
const TASK_ROWS: usize = 16;

pub(super) struct Blocks<'a> {
    /// (B, D), contiguous.
    pub queries: (&'a CpuStorage, &'a Layout),
    /// (M, D), contiguous.
    pub passages: (&'a CpuStorage, &'a Layout),
    pub temperature: f64,
    pub direction: Direction,
    pub masked: &'a MaskedPairs,
}

/// Some rows and columns of the scores.
struct Block {
    queries: Range<usize>,
    passages: Range<usize>,
}

impl Blocks<'_> {
    /// The loss, then the log-sum-exp of each query's candidates, then, if symmetric, of each positive's.
    pub(super) fn forward<T: Real>(&self) -> Result<Vec<T>> {
        let n_queries = self.n_queries();
        let mut rows = vec![LogSum::EMPTY; n_queries];
        let mut columns = vec![LogSum::EMPTY; if self.is_symmetric() { n_queries } else { 0 }];
        let mut positives = vec![0.0; n_queries];
        for block in self.all() {
            let scores = self.scores::<T>(&block)?;
            let width = block.passages.len();
            rows[block.queries.clone()]
                .par_iter_mut()
                .zip(scores.par_chunks_exact(width))
                .with_min_len(TASK_ROWS)
                .for_each(|(sum, row)| sum.add(row));
            for i in block.positives() {
                positives[i] = scores[block.at(i, i)].to_f64();
            }
            let n_columns = columns.len();
            columns[block.passages.start.min(n_columns)..block.passages.end.min(n_columns)]
                .par_iter_mut()
                .enumerate()
                .with_min_len(TASK_ROWS)
                .for_each(|(j, sum)| {
                    let column: Vec<T> = scores[j..].iter().step_by(width).copied().collect();
                    sum.add(&column);
                });
        }
        let sums: Vec<f64> = rows.iter().chain(&columns).map(LogSum::value).collect();
        let losses = sums.iter().zip(positives.iter().cycle()).map(|(sum, positive)| sum - positive);
        let loss = losses.sum::<f64>() / sums.len() as f64;
        Ok([loss].into_iter().chain(sums).map(T::of).collect())
    }

    /// The gradient of the queries (B, D), then that of the passages (M, D). `statistics` is what [`Self::forward`]
    /// returned, with the gradient of the loss in the place of the loss.
    pub(super) fn backward<T: Real>(&self, statistics: &[T]) -> Result<Vec<T>> {
        let (n_queries, _) = self.queries.1.shape().dims2()?;
        let (n_passages, width) = self.passages.1.shape().dims2()?;
        let (&gradient, sums) = statistics.split_first().expect("the loss stands first");
        let (rows, columns) = sums.split_at(n_queries);
        let weight = gradient * T::of(1.0 / (self.temperature * sums.len() as f64));
        let mut flat = vec![T::zero(); (n_queries + n_passages) * width];
        let (dqueries, dpassages) = flat.split_at_mut(n_queries * width);
        for block in self.all() {
            let mut slopes = self.scores::<T>(&block)?;
            let (height, length) = (block.queries.len(), block.passages.len());
            let columns =
                &columns[block.passages.start.min(columns.len())..block.passages.end.min(columns.len())];
            slopes
                .par_chunks_exact_mut(length)
                .zip(&rows[block.queries.clone()])
                .with_min_len(TASK_ROWS)
                .for_each(|(row, &row_sum)| {
                    vectorised(
                        #[inline(always)]
                        || probabilities(row, row_sum, columns),
                    );
                });
            for i in block.positives() {
                slopes[block.at(i, i)] -= if self.is_symmetric() { T::of(2.0) } else { T::one() };
            }
            slopes.iter_mut().for_each(|slope| *slope *= weight);
            let slopes = T::to_cpu_storage_owned(slopes);
            let layout = Layout::contiguous((height, length));
            let (passages, passages_layout) = self.passages;
            let passages_layout = passages_layout.narrow(0, block.passages.start, length)?;
            let part = slopes.matmul(passages, (1, height, width, length), &layout, &passages_layout)?;
            add(&mut dqueries[block.queries.start * width..], T::cpu_storage_as_slice(&part)?);
            let (queries, queries_layout) = self.queries;
            let queries_layout = queries_layout.narrow(0, block.queries.start, height)?;
            let layout = layout.transpose(0, 1)?;
            let part = slopes.matmul(queries, (1, length, width, height), &layout, &queries_layout)?;
            add(&mut dpassages[block.passages.start * width..], T::cpu_storage_as_slice(&part)?);
        }
        Ok(flat)
    }

    /// `queries passagesᵀ / temperature` of a block, row by row, and minus infinity for what is no candidate.
    fn scores<T: Real>(&self, block: &Block) -> Result<Vec<T>> {
        let ((queries, queries_layout), (passages, passages_layout)) = (self.queries, self.passages);
        let (height, length) = (block.queries.len(), block.passages.len());
        let product = queries.matmul(
            passages,
            (1, height, length, queries_layout.dims()[1]),
            &queries_layout.narrow(0, block.queries.start, height)?,
            &passages_layout.narrow(0, block.passages.start, length)?.transpose(0, 1)?,
        )?;
        let mut scores = T::cpu_storage_data(product)?;
        let per_temperature = T::of(1.0 / self.temperature);
        let excluded = T::of(f64::NEG_INFINITY);
        scores.par_chunks_exact_mut(length).zip(block.queries.clone()).with_min_len(TASK_ROWS).for_each(
            |(row, query)| {
                row.iter_mut().for_each(|score| *score *= per_temperature);
                for passage in self.masked.within(query, &block.passages) {
                    row[passage - block.passages.start] = excluded;
                }
                if self.direction == Direction::OwnPositivePlusAllNegatives {
                    for passage in block.passages.start..block.passages.end.min(self.n_queries()) {
                        if passage != query {
                            row[passage - block.passages.start] = excluded;
                        }
                    }
                }
            },
        );
        Ok(scores)
    }

    fn all(&self) -> impl Iterator<Item = Block> {
        let (n_queries, n_passages) = (self.n_queries(), self.passages.1.dims()[0]);
        (0..n_queries).step_by(BLOCK_QUERIES).flat_map(move |query| {
            (0..n_passages).step_by(BLOCK_PASSAGES).map(move |passage| Block {
                queries: query..n_queries.min(query + BLOCK_QUERIES),
                passages: passage..n_passages.min(passage + BLOCK_PASSAGES),
            })
        })
    }

    fn n_queries(&self) -> usize {
        self.queries.1.dims()[0]
    }

    fn is_symmetric(&self) -> bool {
        self.direction == Direction::Symmetric
    }
}

impl Block {
    /// The queries whose own positive stands in the block.
    fn positives(&self) -> Range<usize> {
        self.queries.start.max(self.passages.start)..self.queries.end.min(self.passages.end)
    }

    fn at(&self, query: usize, passage: usize) -> usize {
        (query - self.queries.start) * self.passages.len() + passage - self.passages.start
    }
}

/// Scores to the share of each in the sum of its row, plus that in the sum of its column for the first columns.
#[inline(always)]
fn probabilities<T: Real>(row: &mut [T], row_sum: T, column_sums: &[T]) {
    let (first, rest) = row.split_at_mut(column_sums.len());
    for (score, &column_sum) in first.iter_mut().zip(column_sums) {
        *score = (*score - row_sum).exp() + (*score - column_sum).exp();
    }
    for score in rest {
        *score = (*score - row_sum).exp();
    }
}

/// The logarithm of a sum of powers of e that come in parts: `e^largest * sum`.
#[derive(Clone, Copy)]
struct LogSum {
    largest: f64,
    sum: f64,
}

impl LogSum {
    const EMPTY: Self = Self { largest: f64::NEG_INFINITY, sum: 0.0 };

    fn add<T: Real>(&mut self, exponents: &[T]) {
        let (largest, total) = vectorised(
            #[inline(always)]
            || {
                let largest = maximum(exponents);
                (largest.to_f64(), sum([exponents], |[exponent]| (exponent - largest).exp()).to_f64())
            },
        );
        // Everything in this part is masked.
        if largest == f64::NEG_INFINITY {
            return;
        }
        let together = self.largest.max(largest);
        self.sum = self.sum * (self.largest - together).exp() + total * (largest - together).exp();
        self.largest = together;
    }

    fn value(&self) -> f64 {
        self.largest + self.sum.ln()
    }
}
