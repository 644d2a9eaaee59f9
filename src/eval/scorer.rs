//! Scores of pairs of rows, block by block.
//!
//! The invariant: the score of a pair depends on its two rows alone, to the bit, not on where they stand in a block or
//! which block it is. Blocks therefore have fixed sizes, filled up with zero rows where rows are left over, and rows
//! have a least width. See [`products`].

use std::borrow::Cow;
use std::ops::Range;

use super::embeddings::Embeddings;
use super::product::{MIN_WIDTH, products};

/// Queries of a block. More of them share what is packed of the passages: on one core with AVX-512, XQuAD-R's products
/// take 1.5 times the time of one large product with 128, 1.2 with 256 and 1.0 with 512, which leave many cores idle.
pub(super) const QUERIES: usize = 512;
/// Passages of a block. With [`QUERIES`], 512 KiB of scores, so that they are counted in a core's second cache.
pub(super) const PASSAGES: usize = 512;
/// Relevant passages whose scores are computed at once, ahead of the blocks.
pub(super) const GATHERED: usize = 128;

/// The rows of all queries and passages, and their products.
pub(super) struct Scorer<'a> {
    width: usize,
    queries: Cow<'a, [f32]>,
    passages: Cow<'a, [f32]>,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(embeddings: &'a Embeddings) -> Self {
        let width = embeddings.width().max(MIN_WIDTH);
        let widened = |rows: &'a [f32]| -> Cow<'a, [f32]> {
            if width == embeddings.width() {
                return Cow::Borrowed(rows);
            }
            let zeros = vec![0.0; width - embeddings.width()];
            let rows = rows.chunks_exact(embeddings.width());
            rows.flat_map(|row| row.iter().chain(&zeros)).copied().collect()
        };
        Self { width, queries: widened(embeddings.queries()), passages: widened(embeddings.passages()) }
    }

    pub(super) fn query_blocks(&self) -> Vec<Range<usize>> {
        blocks(self.queries.len() / self.width, QUERIES)
    }

    pub(super) fn passage_blocks(&self) -> Vec<Range<usize>> {
        blocks(self.passages.len() / self.width, PASSAGES)
    }

    /// ([`QUERIES`], width).
    pub(super) fn query_rows(&self, block: &Range<usize>) -> Cow<'_, [f32]> {
        padded(&self.queries[block.start * self.width..block.end * self.width], QUERIES * self.width)
    }

    /// ([`PASSAGES`], width).
    pub(super) fn passage_rows(&self, block: &Range<usize>) -> Cow<'_, [f32]> {
        padded(&self.passages[block.start * self.width..block.end * self.width], PASSAGES * self.width)
    }

    /// ([`GATHERED`], width).
    pub(super) fn gathered_rows(&self, passages: &[usize]) -> Vec<f32> {
        let mut rows = Vec::with_capacity(GATHERED * self.width);
        for passage in passages {
            rows.extend_from_slice(&self.passages[passage * self.width..][..self.width]);
        }
        rows.resize(GATHERED * self.width, 0.0);
        rows
    }

    /// out[q * n + p] is the score of query q and passage p of n.
    pub(super) fn scores(&self, query_rows: &[f32], passage_rows: &[f32], out: &mut [f32]) {
        products(passage_rows, query_rows, self.width, out);
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
                    scorer.scores(&query_rows, &scorer.passage_rows(&block), &mut scores);
                    keep(&block.collect::<Vec<_>>(), PASSAGES, &scores);
                }
                let some = [PASSAGES + 1, 4, 3, 8, 77];
                let mut scores = vec![0.0; QUERIES * GATHERED];
                scorer.scores(&query_rows, &scorer.gathered_rows(&some), &mut scores);
                keep(&some, GATHERED, &scores);
            }
            for of_pair in seen {
                assert!(of_pair.iter().all(|bits| *bits == of_pair[0]), "width {width}");
            }
        }
    }
}
