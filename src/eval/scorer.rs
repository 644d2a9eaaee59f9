//! Scores of pairs of rows, block by block.
//!
//! The invariant: the score of a pair depends on its two rows alone, to the bit, not on where they stand in a block or
//! which block it is. Blocks therefore have fixed sizes, filled up with zero rows where rows are left over, rows have a
//! least width, and terms are summed in the runs of [`runs_of_terms`]. See [`products`].

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::embeddings::Embeddings;
use super::product::{Left, MIN_WIDTH, products};
use crate::kernels::runs_of_terms;

/// Queries of a block. More of them share what is packed of the passages; too many leave cores idle.
pub(super) const QUERIES: usize = 512;
/// Passages of a block. With [`QUERIES`], 1 MiB of scores, so that they are counted in a core's second cache.
pub(super) const PASSAGES: usize = 512;
/// Relevant passages whose scores are computed at once, ahead of the blocks.
pub(super) const GATHERED: usize = 128;

/// The rows of all queries and passages, and their products.
pub(super) struct Scorer<'a> {
    embeddings: &'a Embeddings,
    width: usize,
    queries: Cow<'a, [f32]>,
    /// By block, the columns of its passages.
    passages: Vec<f32>,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(embeddings: &'a Embeddings) -> Self {
        let width = embeddings.width().max(MIN_WIDTH);
        let queries = if width == embeddings.width() {
            Cow::Borrowed(embeddings.queries())
        } else {
            let zeros = vec![0.0; width - embeddings.width()];
            let rows = embeddings.queries().chunks_exact(embeddings.width());
            rows.flat_map(|row| row.iter().chain(&zeros)).copied().collect()
        };
        let rows_of_block = embeddings.passages().par_chunks(PASSAGES * embeddings.width());
        let mut passages = vec![0.0; rows_of_block.len() * PASSAGES * width];
        passages.par_chunks_exact_mut(PASSAGES * width).zip(rows_of_block).for_each(|(columns, rows)| {
            put_columns(rows.chunks_exact(embeddings.width()), PASSAGES, columns);
        });
        Self { embeddings, width, queries, passages }
    }

    pub(super) fn query_blocks(&self) -> Vec<Range<usize>> {
        blocks(self.queries.len() / self.width, QUERIES)
    }

    pub(super) fn passage_blocks(&self) -> Vec<Range<usize>> {
        blocks(self.embeddings.passages().len() / self.embeddings.width(), PASSAGES)
    }

    /// ([`QUERIES`], width).
    pub(super) fn query_rows(&self, block: &Range<usize>) -> Cow<'_, [f32]> {
        padded(&self.queries[block.start * self.width..block.end * self.width], QUERIES * self.width)
    }

    /// (width, [`PASSAGES`]), of one of the blocks.
    pub(super) fn passage_columns(&self, block: &Range<usize>) -> &[f32] {
        let len = PASSAGES * self.width;
        &self.passages[block.start / PASSAGES * len..][..len]
    }

    /// (width, [`GATHERED`]).
    pub(super) fn gathered_columns(&self, passages: &[usize]) -> Vec<f32> {
        let width = self.embeddings.width();
        let rows = passages.iter().map(|passage| &self.embeddings.passages()[passage * width..][..width]);
        let mut columns = vec![0.0; GATHERED * self.width];
        put_columns(rows, GATHERED, &mut columns);
        columns
    }

    /// out[q * n + p] is the score of query q and passage p of n.
    pub(super) fn scores(&self, query_rows: &[f32], passage_columns: &[f32], out: &mut [f32]) {
        products(Left::Columns(passage_columns), query_rows, self.width, runs_of_terms(self.width), out);
    }
}

/// Number k of row i goes to `columns[k * n + i]`.
fn put_columns<'a>(rows: impl Iterator<Item = &'a [f32]>, n: usize, columns: &mut [f32]) {
    for (i, row) in rows.enumerate() {
        for (column, &value) in columns.chunks_exact_mut(n).zip(row) {
            column[i] = value;
        }
    }
}

fn blocks(n: usize, size: usize) -> Vec<Range<usize>> {
    (0..n).step_by(size).map(|first| first..(first + size).min(n)).collect()
}

fn padded(rows: &[f32], n: usize) -> Cow<'_, [f32]> {
    if rows.len() == n {
        return Cow::Borrowed(rows);
    }
    let mut padded = rows.to_vec();
    padded.resize(n, 0.0);
    Cow::Owned(padded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::mix64;

    /// What [`runs_of_terms`] says: the order in which a GPU adds as well.
    #[test]
    fn a_score_is_runs_of_fused_multiply_adds() {
        #[cfg(target_arch = "x86_64")]
        if !std::arch::is_x86_feature_detected!("fma") {
            eprintln!("skipped: this CPU has no fused multiply-add");
            return;
        }
        for width in [1, 2, 3, 17, 384, 513, 768, 1000, 1025] {
            let numbers = |n: usize, seed: u64| -> Vec<f32> {
                (0..n * width).map(|i| (mix64(seed ^ mix64(i as u64)) >> 40) as f32 / 1e7 - 0.8).collect()
            };
            let (queries, passages) = (numbers(3, 1), numbers(70, 2));
            let embeddings = Embeddings::unchecked(width, queries.clone(), passages.clone());
            let scorer = Scorer::new(&embeddings);
            let mut scores = vec![0.0; QUERIES * PASSAGES];
            scorer.scores(&scorer.query_rows(&(0..3)), scorer.passage_columns(&(0..70)), &mut scores);
            for (q, query) in queries.chunks(width).enumerate() {
                for (p, passage) in passages.chunks(width).enumerate() {
                    let run = |run: Range<usize>| -> f32 {
                        let pairs = query[run.clone()].iter().zip(&passage[run]);
                        pairs.fold(0.0, |sum, (&q, &p)| q.mul_add(p, sum))
                    };
                    let score = runs_of_terms(width).map(run).reduce(|sum, run| sum + run).unwrap();
                    let found = scores[q * PASSAGES + p];
                    assert!(found.to_bits() == score.to_bits(), "width {width}: {found}, expected {score}");
                }
            }
        }
    }

    /// The invariant. 523 and 1031 are primes, and longer than a run of terms that `gemm` sums at once.
    #[test]
    fn the_score_of_a_pair_does_not_depend_on_its_place() {
        for width in [1, 2, 3, 7, 384, 523, 1031] {
            let numbers = |n: usize, seed: u64| -> Vec<f32> {
                (0..n * width).map(|i| (mix64(seed ^ mix64(i as u64)) >> 40) as f32 / 1e7 - 0.8).collect()
            };
            // Every passage is one of two, and every query one of two.
            let repeat = |rows: Vec<f32>, n: usize| -> Vec<f32> {
                rows.iter().copied().cycle().take(n * width).collect()
            };
            let (n_queries, n_passages) = (QUERIES + 1, PASSAGES + 77);
            let embeddings = Embeddings::unchecked(
                width,
                repeat(numbers(2, 1), n_queries),
                repeat(numbers(2, 2), n_passages),
            );
            let scorer = Scorer::new(&embeddings);
            let mut seen: [Vec<u32>; 4] = Default::default();
            for queries in scorer.query_blocks() {
                let query_rows = scorer.query_rows(&queries);
                let mut keep = |passages: &[usize], n: usize, scores: &[f32]| {
                    for (query, of_query) in queries.clone().zip(scores.chunks(n)) {
                        for (passage, score) in passages.iter().zip(of_query) {
                            seen[query % 2 * 2 + passage % 2].push(score.to_bits());
                        }
                    }
                };
                for block in scorer.passage_blocks() {
                    let mut scores = vec![0.0; QUERIES * PASSAGES];
                    scorer.scores(&query_rows, scorer.passage_columns(&block), &mut scores);
                    keep(&block.collect::<Vec<_>>(), PASSAGES, &scores);
                }
                let some = [PASSAGES + 1, 4, 3, 8, 77];
                let mut scores = vec![0.0; QUERIES * GATHERED];
                scorer.scores(&query_rows, &scorer.gathered_columns(&some), &mut scores);
                keep(&some, GATHERED, &scores);
            }
            for of_pair in seen {
                assert!(of_pair.iter().all(|bits| *bits == of_pair[0]), "width {width}");
            }
        }
    }
}
