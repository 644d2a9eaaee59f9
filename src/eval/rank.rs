//! Ranks at full depth by counting: no sort, and memory of a block.
//!
//! The rank of a relevant passage is one more than the number of passages that beat it: by a greater score, or by an
//! equal score and a greater id (trec_eval's rule). A block of scores is counted while it is in the cache, and never
//! kept. Counts are integers, so no order of adding them shows.
//!
//! One property of the [`Scorer`] carries this: the score of a pair depends on its two rows alone. So the thresholds,
//! computed ahead, are the very numbers that the blocks hold (asserted for each); equal rows tie exactly; and the result
//! is the same for any number of threads. A GPU counts with the same scores ([`rank_on_gpu`]).

use std::num::NonZero;
use std::ops::Range;

use candle_core::Device;
use pulp::Arch;
use rayon::prelude::*;

use super::benchmark::Benchmark;
use super::embeddings::Embeddings;
use super::rank_on_gpu::rank_on_gpu;
use super::scorer::{GATHERED, PASSAGES, QUERIES, Scorer};
use crate::error::Result;
use crate::progress::Observer;

/// Blocks of passages that one task goes through.
const BLOCKS_PER_TASK: usize = 8;

/// Targets that are counted in one pass over scores.
const AT_ONCE: usize = 4;

/// The rank of a passage, from 1; none where a run does not have it.
pub(super) type Rank = Option<NonZero<u32>>;

/// Where a relevant passage stands in the two rankings that it takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Among the passages of its own language.
    pub(super) in_language: Rank,
    /// Among all passages.
    pub(super) pooled: Rank,
}

/// By query, the places of its relevant passages, in the order of [`Benchmark::relevant`].
pub(super) fn rank(
    benchmark: &Benchmark,
    embeddings: &Embeddings,
    device: &Device,
    observer: &dyn Observer,
) -> Result<Vec<Vec<Place>>> {
    observer.begin("ranking", Some(benchmark.n_queries() as u64));
    match device {
        Device::Cpu => Ok(rank_on_cpu(benchmark, embeddings, observer)),
        _ => rank_on_gpu(benchmark, embeddings, device, observer),
    }
}

pub(super) fn rank_on_cpu(
    benchmark: &Benchmark,
    embeddings: &Embeddings,
    observer: &dyn Observer,
) -> Vec<Vec<Place>> {
    let scorer = Scorer::new(embeddings);
    let blocks: Vec<Vec<Vec<Place>>> = scorer
        .query_blocks()
        .into_par_iter()
        .map(|queries| {
            let n_queries = queries.len() as u64;
            let places = rank_block(benchmark, &scorer, queries);
            observer.advance(n_queries);
            places
        })
        .collect();
    blocks.into_iter().flatten().collect()
}

/// A relevant passage of a query of a block.
struct Target {
    /// Its number in the block.
    query: usize,
    passage: usize,
    language: usize,
    /// Its score.
    threshold: f32,
    /// Its row in [`Ties`].
    ties: usize,
}

/// How many passages beat a target.
#[derive(Clone, Copy, Default)]
struct BeatenBy {
    in_language: u32,
    all: u32,
}

fn rank_block(benchmark: &Benchmark, scorer: &Scorer, queries: Range<usize>) -> Vec<Vec<Place>> {
    let query_rows = scorer.query_rows(&queries);
    let (targets, ties) = targets(benchmark, scorer, &queries, &query_rows);
    let blocks = scorer.passage_blocks();
    let beaten_by = blocks
        .par_chunks(BLOCKS_PER_TASK)
        .map(|blocks| count(benchmark, scorer, &query_rows, blocks, &targets, &ties))
        .reduce(
            || vec![BeatenBy::default(); targets.len()],
            |mut sum, more| {
                for (sum, more) in sum.iter_mut().zip(more) {
                    sum.in_language += more.in_language;
                    sum.all += more.all;
                }
                sum
            },
        );
    let mut places = vec![Vec::new(); queries.len()];
    for (target, beaten_by) in targets.iter().zip(beaten_by) {
        places[target.query].push(Place {
            in_language: NonZero::new(beaten_by.in_language + 1),
            pooled: NonZero::new(beaten_by.all + 1),
        });
    }
    places
}

/// For a passage and a language, the first passage of the language with a greater id. From there on equal scores beat
/// it, as ids ascend within a language.
struct Ties {
    n_languages: usize,
    first_greater: Vec<usize>,
}

impl Ties {
    fn new(benchmark: &Benchmark, passages: &[usize]) -> Self {
        let ids = benchmark.id_ranks();
        let n_languages = benchmark.languages().len();
        let mut first_greater = Vec::with_capacity(passages.len() * n_languages);
        for &passage in passages {
            first_greater.extend((0..n_languages).map(|language| {
                let range = benchmark.passages_of(language);
                range.start + ids[range].partition_point(|&id| id <= ids[passage])
            }));
        }
        Self { n_languages, first_greater }
    }

    fn first_greater(&self, target: &Target, language: usize) -> usize {
        self.first_greater[target.ties * self.n_languages + language]
    }
}

/// The relevant passages of a block's queries, by query, with their scores.
fn targets(
    benchmark: &Benchmark,
    scorer: &Scorer,
    queries: &Range<usize>,
    query_rows: &[f32],
) -> (Vec<Target>, Ties) {
    let mut passages: Vec<usize> =
        queries.clone().flat_map(|query| benchmark.relevant(query)).map(|r| r.passage).collect();
    passages.sort_unstable();
    passages.dedup();
    // Of pair (query, passages[i]) at query * passages.len() + i.
    let mut scores = vec![0.0; QUERIES * passages.len()];
    let mut block = vec![0.0; QUERIES * GATHERED];
    for (i, some) in passages.chunks(GATHERED).enumerate() {
        scorer.scores(query_rows, &scorer.gathered_columns(some), &mut block);
        for query in 0..queries.len() {
            scores[query * passages.len() + i * GATHERED..][..some.len()]
                .copy_from_slice(&block[query * GATHERED..][..some.len()]);
        }
    }
    let targets = queries.clone().enumerate().flat_map(|(number, query)| {
        let (passages, scores) = (&passages, &scores);
        benchmark.relevant(query).iter().map(move |relevant| {
            let i = passages.binary_search(&relevant.passage).expect("collected from these queries");
            Target {
                query: number,
                passage: relevant.passage,
                language: relevant.language,
                threshold: scores[number * passages.len() + i],
                ties: i,
            }
        })
    });
    (targets.collect(), Ties::new(benchmark, &passages))
}

/// How many passages of these blocks beat each target.
fn count(
    benchmark: &Benchmark,
    scorer: &Scorer,
    query_rows: &[f32],
    blocks: &[Range<usize>],
    targets: &[Target],
    ties: &Ties,
) -> Vec<BeatenBy> {
    let mut beaten_by = vec![BeatenBy::default(); targets.len()];
    let mut scores = vec![0.0; QUERIES * PASSAGES];
    let arch = Arch::new();
    for block in blocks {
        scorer.scores(query_rows, scorer.passage_columns(block), &mut scores);
        let pieces = by_language(benchmark, block);
        let mut rest = beaten_by.as_mut_slice();
        for targets in targets.chunk_by(|a, b| a.query == b.query) {
            let (beaten_by, behind) = rest.split_at_mut(targets.len());
            rest = behind;
            let of_query = &scores[targets[0].query * PASSAGES..][..block.len()];
            for target in targets.iter().filter(|target| block.contains(&target.passage)) {
                assert!(
                    of_query[target.passage - block.start].to_bits() == target.threshold.to_bits(),
                    "the score of a pair is the same wherever it is computed"
                );
            }
            for (language, piece) in &pieces {
                let of_piece = &of_query[piece.start - block.start..piece.end - block.start];
                for (targets, beaten_by) in targets.chunks(AT_ONCE).zip(beaten_by.chunks_mut(AT_ONCE)) {
                    let above = count_above(arch, of_piece, targets, |target| {
                        ties.first_greater(target, *language).clamp(piece.start, piece.end) - piece.start
                    });
                    for ((target, beaten_by), n) in targets.iter().zip(beaten_by).zip(above) {
                        beaten_by.all += n;
                        if *language == target.language {
                            beaten_by.in_language += n;
                        }
                    }
                }
            }
        }
    }
    beaten_by
}

/// How many of these scores beat each target: those above its own and, from `ties_from` on, those that equal it.
fn count_above(
    arch: Arch,
    scores: &[f32],
    targets: &[Target],
    ties_from: impl Fn(&Target) -> usize,
) -> [u32; AT_ONCE] {
    let mut thresholds = [f32::INFINITY; AT_ONCE];
    let mut equal = [0; AT_ONCE];
    for ((threshold, equal), target) in thresholds.iter_mut().zip(&mut equal).zip(targets) {
        *threshold = target.threshold;
        match ties_from(target) {
            // What is greater than the next smaller f32 is greater or equal: ties cost no second comparison.
            0 => *threshold = target.threshold.next_down(),
            some => *equal = n_equal(arch, &scores[some..], target.threshold),
        }
    }
    let mut n = n_above(arch, scores, thresholds);
    n.iter_mut().zip(equal).for_each(|(n, equal)| *n += equal);
    n
}

/// A block cut where the language changes.
fn by_language(benchmark: &Benchmark, block: &Range<usize>) -> Vec<(usize, Range<usize>)> {
    (0..benchmark.languages().len())
        .map(|language| {
            let range = benchmark.passages_of(language);
            (language, range.start.max(block.start)..range.end.min(block.end))
        })
        .filter(|(_, piece)| !piece.is_empty())
        .collect()
}

/// Left to the compiler, in vectors as wide as the machine has. Several thresholds share the reading of a score.
fn n_above(arch: Arch, scores: &[f32], thresholds: [f32; AT_ONCE]) -> [u32; AT_ONCE] {
    arch.dispatch(
        #[inline(always)]
        || {
            let mut counts = [0; AT_ONCE];
            for &score in scores {
                for (count, threshold) in counts.iter_mut().zip(thresholds) {
                    *count += u32::from(threshold < score);
                }
            }
            counts
        },
    )
}

fn n_equal(arch: Arch, scores: &[f32], value: f32) -> u32 {
    arch.dispatch(
        #[inline(always)]
        #[expect(clippy::float_cmp, reason = "a tie is an equal score")]
        || scores.iter().map(|&score| u32::from(score == value)).sum(),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::benchmark::made::{Row, benchmark};
    use super::*;
    use crate::keys::mix64;
    use crate::progress::Silent;

    /// A benchmark of so many queries and passages in a few languages, and integer embeddings between -2 and 2, so
    /// that many scores tie. Ids say nothing of the language.
    fn made(n_queries: usize, n_passages: usize, width: usize, seed: u64) -> (Benchmark, Embeddings) {
        let draw = |what: u64, i: usize| mix64(seed ^ mix64(what << 32 | i as u64));
        let languages = ["a", "b", "c", "d"];
        let language = |what: u64, i: usize| languages[(draw(what, i) % 4) as usize];
        let query_ids: Vec<String> = (0..n_queries).map(|i| format!("q{:x}", draw(1, i))).collect();
        let group_ids: Vec<String> = (0..n_queries).map(|i| format!("g{}", draw(2, i) % 50)).collect();
        let passage_ids: Vec<String> = (0..n_passages).map(|i| format!("p{:x}", draw(3, i))).collect();
        let queries: Vec<Row> =
            (0..n_queries).map(|i| (&*query_ids[i], &*group_ids[i], language(4, i))).collect();
        let passages: Vec<Row> = (0..n_passages).map(|i| (&*passage_ids[i], "", language(5, i))).collect();
        let mut judgements: Vec<(&str, &str, i32)> = (0..n_queries)
            .map(|i| {
                (&*group_ids[i], &*passage_ids[draw(6, i) as usize % n_passages], (draw(7, i) % 3) as i32)
            })
            .collect();
        judgements.sort_unstable();
        judgements.dedup_by_key(|j| (j.0, j.1));
        let benchmark = benchmark(&queries, &passages, &judgements);
        let numbers = |what: u64, n: usize| -> Vec<f32> {
            (0..n * width).map(|i| (draw(what, i) % 5) as f32 - 2.0).collect()
        };
        let (queries, passages) = (numbers(8, n_queries), numbers(9, n_passages));
        let embeddings = Embeddings::new(&benchmark, Path::new("made"), width, queries, passages).unwrap();
        (benchmark, embeddings)
    }

    /// The definition: all passages sorted by score, then id, both descending.
    fn by_sorting(benchmark: &Benchmark, embeddings: &Embeddings, width: usize) -> Vec<Vec<Place>> {
        let rows =
            |numbers: &[f32]| -> Vec<Vec<f32>> { numbers.chunks(width).map(<[f32]>::to_vec).collect() };
        let (queries, passages) = (rows(embeddings.queries()), rows(embeddings.passages()));
        let rank = |ranking: &[usize], passage: usize| {
            NonZero::new(ranking.iter().position(|&p| p == passage).unwrap() as u32 + 1)
        };
        (0..benchmark.n_queries())
            .map(|query| {
                // Sums of small integers are exact in f32, in any order.
                let score =
                    |p: usize| -> f32 { queries[query].iter().zip(&passages[p]).map(|(a, b)| a * b).sum() };
                let mut all: Vec<usize> = (0..benchmark.n_passages()).collect();
                all.sort_by(|&a, &b| {
                    // 0 and -0 are equal, as in IEEE 754.
                    let by_score = score(b).partial_cmp(&score(a)).unwrap();
                    by_score.then_with(|| benchmark.passage_id(b).cmp(benchmark.passage_id(a)))
                });
                benchmark
                    .relevant(query)
                    .iter()
                    .map(|relevant| {
                        let range = benchmark.passages_of(relevant.language);
                        let own: Vec<usize> = all.iter().copied().filter(|p| range.contains(p)).collect();
                        Place {
                            in_language: rank(&own, relevant.passage),
                            pooled: rank(&all, relevant.passage),
                        }
                    })
                    .collect()
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn counting_is_sorting(n_queries in 1..20_usize, n_passages in 1..300_usize, width in 1..20_usize, seed: u64) {
            let (benchmark, embeddings) = made(n_queries, n_passages, width, seed);
            prop_assert_eq!(
                rank_on_cpu(&benchmark, &embeddings, &Silent),
                by_sorting(&benchmark, &embeddings, width)
            );
        }
    }

    /// More than a block of either, and a last one that is not full.
    #[test]
    fn blocks_are_put_together() {
        let (benchmark, embeddings) = made(QUERIES + 3, 2 * PASSAGES + 5, 2, 7);
        assert!(rank_on_cpu(&benchmark, &embeddings, &Silent) == by_sorting(&benchmark, &embeddings, 2));
    }
}
