//! The beginning of the pooled ranking of each query, to be written as a run.

use std::cmp::Ordering;
use std::ops::Range;

use rayon::prelude::*;

use super::benchmark::Benchmark;
use super::scorer::{PASSAGES, QUERIES, Scorer};

/// A passage that was found, with its score.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) passage: usize,
    pub(super) score: f32,
}

impl Hit {
    /// Best first: by score, then by id, greater first.
    fn order(self, other: Self, id_ranks: &[u32]) -> Ordering {
        let by_score = other.score.partial_cmp(&self.score).expect("scores are finite");
        by_score.then_with(|| id_ranks[other.passage].cmp(&id_ranks[self.passage]))
    }
}

/// Of each query of these blocks, the first `depth` passages of the ranking over all.
pub(super) fn top(
    benchmark: &Benchmark,
    scorer: &Scorer,
    blocks: &[Range<usize>],
    depth: usize,
) -> Vec<Vec<Hit>> {
    blocks.par_iter().flat_map_iter(|block| top_of_block(benchmark, scorer, block, depth)).collect()
}

fn top_of_block(
    benchmark: &Benchmark,
    scorer: &Scorer,
    queries: &Range<usize>,
    depth: usize,
) -> Vec<Vec<Hit>> {
    let query_rows = scorer.query_rows(queries);
    let order = |a: &Hit, b: &Hit| a.order(*b, benchmark.id_ranks());
    let mut best: Vec<Vec<Hit>> = vec![Vec::new(); queries.len()];
    let mut scores = vec![0.0; QUERIES * PASSAGES];
    for block in scorer.passage_blocks() {
        scorer.scores(&query_rows, scorer.passage_columns(&block), &mut scores);
        for (hits, of_query) in best.iter_mut().zip(scores.chunks_exact(PASSAGES)) {
            hits.extend(block.clone().zip(of_query).map(|(passage, &score)| Hit { passage, score }));
            if depth < hits.len() {
                hits.select_nth_unstable_by(depth, order);
                hits.truncate(depth);
            }
        }
    }
    best.iter_mut().for_each(|hits| hits.sort_unstable_by(order));
    best
}
