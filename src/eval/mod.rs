//! Evaluation: how well embeddings find what answers a question, within a language, across, and among all.
//!
//! ```text
//! Benchmark ──────> Scores ─────────────> Evaluation
//! a part of a       AP, recall, ... of    means of cells (query language x passage language),
//! dataset, sorted   every query in        of settings, intervals, rank distance
//!                   every pool
//! ```
//!
//! [`Scores`] come from [`Embeddings`], at full depth, or from a TREC [`Run`]. [`evaluate`] sums them up and
//! [`compare`] tests two of them. What the numbers mean is specified in `schemas/EVAL.md`. [`encode`] makes embeddings
//! with an encoder of this crate; those of any other program come from files.

mod array_file;
mod benchmark;
mod bias;
mod compare;
mod embeddings;
mod encode;
mod intervals;
mod measures;
mod product;
mod rank;
mod rank_on_gpu;
mod scorer;
mod scores;
mod top;
mod trec;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

pub use self::benchmark::Benchmark;
pub use self::compare::{Comparison, Difference, compare};
pub use self::embeddings::Embeddings;
pub use self::encode::encode;
use self::intervals::{GroupedMean, Sample, bootstrap};
pub use self::intervals::{LEVEL, RESAMPLES};
pub use self::measures::Measure;
use self::scores::Pool;
pub use self::scores::{Scores, Setting};
pub(crate) use self::trec::{Retrieved, check_once, for_each_line};
pub use self::trec::{Run, write_qrels, write_run};
use crate::digest::Digest;

/// Cut-offs of recall, where nothing else is asked for.
pub const RECALL_AT: [u32; 3] = [1, 10, 100];

/// AP, recall at these cut-offs, nDCG@10 and RR@10.
#[must_use]
pub fn standard_measures(recall_at: &[u32]) -> Vec<Measure> {
    let recall = recall_at.iter().map(|&k| Measure::Recall(k));
    [Measure::Ap].into_iter().chain(recall).chain([Measure::Ndcg(10), Measure::Rr(10)]).collect()
}

/// Means of scores, with intervals.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Of what was evaluated: numbers of one benchmark can be compared.
    pub benchmark: Digest,
    pub queries: usize,
    pub groups: usize,
    pub passages: usize,
    /// Of queries or passages.
    pub languages: Vec<String>,
    /// Judgements of relevance whose passage is not there; they count nowhere.
    pub relevant_outside_pool: u64,
    pub settings: BTreeMap<Setting, Means>,
    /// None where some query's relevant passages are not all ranked, or no query has two.
    pub rank_distance: Option<RankDistance>,
    /// By setting, query language and passage language.
    pub cells: Vec<CellMeans>,
    pub bootstrap: Bootstrap,
}

/// Of a setting.
#[derive(Clone, Debug, Serialize)]
pub struct Means {
    /// With a query that has a relevant passage.
    pub cells: usize,
    /// Scored: with a relevant passage in the pool. In Cr a query counts once a pool.
    pub queries: u64,
    /// Not scored.
    pub queries_without_relevant: u64,
    #[serde(serialize_with = "as_map")]
    pub means: Vec<(String, Mean)>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Mean {
    /// Over cells of the mean over queries.
    #[serde(rename = "macro")]
    pub over_cells: Option<f64>,
    /// Over queries, all cells together.
    #[serde(rename = "micro")]
    pub over_queries: Option<f64>,
    /// Of the macro mean.
    pub interval: Option<[f64; 2]>,
}

/// Of the queries of a language in the passages of a language, or of all.
#[derive(Clone, Debug, Serialize)]
pub struct CellMeans {
    pub setting: Setting,
    pub query_lang: String,
    /// None: all.
    pub passage_lang: Option<String>,
    pub queries: u64,
    pub queries_without_relevant: u64,
    #[serde(serialize_with = "as_map")]
    pub means: Vec<(String, Option<f64>)>,
}

#[derive(Clone, Debug, Serialize)]
pub struct RankDistance {
    /// With two relevant passages or more.
    pub queries: u64,
    #[serde(flatten)]
    pub mean: Mean,
    pub by_query_lang: BTreeMap<String, f64>,
}

/// How intervals were made.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bootstrap {
    pub level: f64,
    pub resamples: u32,
    pub seed: u64,
}

fn as_map<S: Serializer, T: Serialize>(pairs: &[(String, T)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

/// By setting the macro mean of each measure, in the order of the scores', without intervals. A setting in which no query
/// has a relevant passage is left out.
#[must_use]
pub fn macro_means(benchmark: &Benchmark, scores: &Scores) -> BTreeMap<Setting, Vec<f64>> {
    let cells = tally(benchmark, scores);
    let of_setting = |setting| {
        let cells = of_setting(&cells, setting);
        let means =
            (0..scores.measures.len()).map(|measure| Mean::of(sums(&cells, measure), None).over_cells);
        Some((setting, means.collect::<Option<_>>()?))
    };
    Setting::ALL.into_iter().filter_map(of_setting).collect()
}

/// Sums up.
#[must_use]
pub fn evaluate(benchmark: &Benchmark, scores: &Scores, seed: u64) -> Evaluation {
    let cells = tally(benchmark, scores);
    let names: Vec<String> = scores.measures.iter().map(|measure| measure.mean_name()).collect();

    let n_groups = benchmark.n_groups();
    let grouped: Vec<GroupedMean> = Setting::ALL
        .into_iter()
        .flat_map(|setting| (0..names.len()).map(move |measure| (setting, measure)))
        .map(|(setting, measure)| GroupedMean::new(n_groups, samples(benchmark, scores, setting, measure)))
        .chain([GroupedMean::new(n_groups, distances(benchmark, scores))])
        .collect();
    let intervals = bootstrap(&grouped.iter().collect::<Vec<_>>(), n_groups, seed);

    let mut settings = BTreeMap::new();
    for (setting, intervals) in Setting::ALL.into_iter().zip(intervals.chunks(names.len())) {
        let cells = of_setting(&cells, setting);
        let means =
            names.iter().zip(intervals).enumerate().map(|(measure, (name, interval))| {
                (name.clone(), Mean::of(sums(&cells, measure), *interval))
            });
        let means = Means {
            cells: cells.iter().filter(|cell| cell.queries != 0).count(),
            queries: cells.iter().map(|cell| cell.queries).sum(),
            queries_without_relevant: cells.iter().map(|cell| cell.without_relevant).sum(),
            means: means.collect(),
        };
        settings.insert(setting, means);
    }

    Evaluation {
        benchmark: benchmark.digest(),
        queries: benchmark.n_queries(),
        groups: n_groups,
        passages: benchmark.n_passages(),
        languages: benchmark.languages().to_vec(),
        relevant_outside_pool: benchmark.relevant_outside_pool(),
        settings,
        rank_distance: rank_distance(benchmark, scores, intervals.last().copied().flatten()),
        cells: describe(benchmark, &cells, &names),
        bootstrap: Bootstrap { level: LEVEL, resamples: RESAMPLES, seed },
    }
}

/// The queries of a language in a pool.
struct Cell {
    queries: u64,
    without_relevant: u64,
    /// By measure.
    sums: Vec<f64>,
}

/// By query language and pool: every pool that has passages.
fn tally(benchmark: &Benchmark, scores: &Scores) -> BTreeMap<(usize, Pool), Cell> {
    let pools: Vec<Pool> = (0..benchmark.languages().len())
        .filter(|language| !benchmark.passages_of(*language).is_empty())
        .map(Pool::Language)
        .chain([Pool::All])
        .collect();
    let mut cells = BTreeMap::new();
    for (query, scores_of_query) in benchmark.queries().iter().zip(&scores.queries) {
        let mut scored = scores_of_query.pools.iter().peekable();
        for &pool in &pools {
            let cell = cells.entry((query.language, pool)).or_insert_with(|| Cell {
                queries: 0,
                without_relevant: 0,
                sums: vec![0.0; scores.measures.len()],
            });
            match scored.next_if(|(of, _)| *of == pool) {
                Some((_, values)) => {
                    cell.queries += 1;
                    cell.sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
                None => cell.without_relevant += 1,
            }
        }
    }
    cells
}

fn of_setting(cells: &BTreeMap<(usize, Pool), Cell>, setting: Setting) -> Vec<&Cell> {
    cells.iter().filter(|((query, pool), _)| pool.setting(*query) == setting).map(|(_, cell)| cell).collect()
}

/// Of a measure (sum, number of queries) of each cell.
fn sums(cells: &[&Cell], measure: usize) -> impl Iterator<Item = (f64, u64)> {
    cells.iter().map(move |cell| (cell.sums[measure], cell.queries))
}

impl Mean {
    /// Of (sum, number of queries) of each cell.
    fn of(cells: impl Iterator<Item = (f64, u64)>, interval: Option<[f64; 2]>) -> Self {
        let cells: Vec<(f64, u64)> = cells.filter(|(_, queries)| *queries != 0).collect();
        let queries: u64 = cells.iter().map(|(_, queries)| queries).sum();
        let means: f64 = cells.iter().map(|(sum, queries)| sum / *queries as f64).sum();
        let sum: f64 = cells.iter().map(|(sum, _)| sum).sum();
        Self {
            over_cells: (!cells.is_empty()).then(|| means / cells.len() as f64),
            over_queries: (queries != 0).then(|| sum / queries as f64),
            interval,
        }
    }
}

fn describe(
    benchmark: &Benchmark,
    cells: &BTreeMap<(usize, Pool), Cell>,
    names: &[String],
) -> Vec<CellMeans> {
    let mut described: Vec<CellMeans> = cells
        .iter()
        .map(|(&(query, pool), cell)| CellMeans {
            setting: pool.setting(query),
            query_lang: benchmark.languages()[query].clone(),
            passage_lang: pool.language(benchmark).map(str::to_owned),
            queries: cell.queries,
            queries_without_relevant: cell.without_relevant,
            means: names
                .iter()
                .zip(&cell.sums)
                .map(|(name, sum)| (name.clone(), (cell.queries != 0).then(|| sum / cell.queries as f64)))
                .collect(),
        })
        .collect();
    described.sort_by_key(|cell| cell.setting);
    described
}

/// What a measure gave in the cells of a setting.
fn samples(
    benchmark: &Benchmark,
    scores: &Scores,
    setting: Setting,
    measure: usize,
) -> Vec<Sample<(usize, Pool)>> {
    let mut samples = Vec::new();
    for (query, scores) in benchmark.queries().iter().zip(&scores.queries) {
        for (pool, values) in scores.pools.iter().filter(|(pool, _)| pool.setting(query.language) == setting)
        {
            samples.push(Sample {
                cell: (query.language, *pool),
                group: query.group,
                value: values[measure],
            });
        }
    }
    samples
}

/// The rank distances, by query language; none where they are not all known.
fn distances(benchmark: &Benchmark, scores: &Scores) -> Vec<Sample<usize>> {
    if !scores.is_complete {
        return Vec::new();
    }
    let queries = benchmark.queries().iter().zip(&scores.queries);
    queries
        .filter_map(|(query, scores)| {
            let value = f64::from(scores.rank_distance?);
            Some(Sample { cell: query.language, group: query.group, value })
        })
        .collect()
}

fn rank_distance(benchmark: &Benchmark, scores: &Scores, interval: Option<[f64; 2]>) -> Option<RankDistance> {
    let cells = sums_by_cell(&distances(benchmark, scores));
    let language = |number: usize| benchmark.languages()[number].clone();
    (!cells.is_empty()).then(|| RankDistance {
        queries: cells.values().map(|(_, queries)| queries).sum(),
        mean: Mean::of(cells.values().copied(), interval),
        by_query_lang: cells.iter().map(|(&number, (sum, n))| (language(number), sum / *n as f64)).collect(),
    })
}

/// By cell (sum, number of samples).
fn sums_by_cell<C: Copy + Ord>(samples: &[Sample<C>]) -> BTreeMap<C, (f64, u64)> {
    let mut cells: BTreeMap<C, (f64, u64)> = BTreeMap::new();
    for sample in samples {
        let (sum, queries) = cells.entry(sample.cell).or_default();
        *sum += sample.value;
        *queries += 1;
    }
    cells
}
