//! What every query scores in every pool that it searches: the numbers that all means, intervals and tests are of.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::Device;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::benchmark::Benchmark;
use super::bias::rank_distance;
use super::embeddings::Embeddings;
use super::measures::{Measure, Ranking};
use super::rank::{self, Place};
use super::trec::Run;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::Observer;

/// Retrieval within a language, into another, or among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Setting {
    /// Monolingual: passages of the query's language.
    Mo,
    /// Cross-lingual: passages of one other language.
    Cr,
    /// Multilingual: passages of all languages, pooled.
    Mul,
}

impl Setting {
    pub const ALL: [Self; 3] = [Self::Mo, Self::Cr, Self::Mul];
}

/// Passages that a query searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pool {
    /// Those of a language, by its number.
    Language(usize),
    All,
}

impl Pool {
    pub(super) fn setting(self, query_language: usize) -> Setting {
        match self {
            Self::All => Setting::Mul,
            Self::Language(language) if language == query_language => Setting::Mo,
            Self::Language(_) => Setting::Cr,
        }
    }

    pub(super) fn language(self, benchmark: &Benchmark) -> Option<&str> {
        match self {
            Self::Language(language) => Some(&benchmark.languages()[language]),
            Self::All => None,
        }
    }
}

/// The scores of every query of a benchmark, in its order.
#[derive(Clone, Debug)]
pub struct Scores {
    pub(super) measures: Vec<Measure>,
    pub(super) queries: Vec<QueryScores>,
    /// Whether every relevant passage has a rank; else there are no rank distances.
    pub(super) is_complete: bool,
}

#[derive(Clone, Debug)]
pub(super) struct QueryScores {
    /// Pools with a relevant passage, by language and then all; a value a measure.
    pub(super) pools: Vec<(Pool, Vec<f64>)>,
    pub(super) rank_distance: Option<u32>,
}

impl Scores {
    /// Ranks all passages for all queries, at full depth, on this device. Ranks are the same on all, but on a CPU
    /// without fused multiply-add.
    ///
    /// # Errors
    /// [`Error::Compute`] when the device cannot; the CPU always can.
    pub fn of_embeddings(
        benchmark: &Benchmark,
        embeddings: &Embeddings,
        measures: &[Measure],
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<Self> {
        Ok(Self::of_places(benchmark, &rank::rank(benchmark, embeddings, device, observer)?, measures))
    }

    /// Scores what a run has. What it does not have is not found.
    #[must_use]
    pub fn of_run(benchmark: &Benchmark, run: &Run, measures: &[Measure]) -> Self {
        Self::of_places(benchmark, run.places(), measures)
    }

    fn of_places(benchmark: &Benchmark, places: &[Vec<Place>], measures: &[Measure]) -> Self {
        let queries = places
            .par_iter()
            .enumerate()
            .map(|(query, places)| QueryScores {
                pools: pools(benchmark, query, places, measures),
                rank_distance: rank_distance(places),
            })
            .collect();
        let is_complete = places.iter().flatten().all(|place| place.pooled.is_some());
        Self { measures: measures.to_vec(), queries, is_complete }
    }

    /// Writes a line of JSON for each query and pool with a relevant passage (`schemas/EVAL.md`, section 4).
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn write(&self, benchmark: &Benchmark, path: &Path) -> Result<()> {
        let failed = || Error::io("write", path);
        let mut file = BufWriter::new(File::create(path).map_err(failed())?);
        let digest = benchmark.digest().to_string();
        for (query, scores) in self.queries.iter().enumerate() {
            let language = benchmark.queries()[query].language;
            for (pool, values) in &scores.pools {
                let mut line = serde_json::json!({
                    "setting": pool.setting(language),
                    "query_id": benchmark.query_id(query),
                    "group_id": benchmark.group_id(query),
                    "query_lang": benchmark.languages()[language],
                    "passage_lang": pool.language(benchmark),
                    "benchmark": digest,
                });
                for (measure, value) in self.measures.iter().zip(values) {
                    line[measure.to_string()] = (*value).into();
                }
                if let (Pool::All, Some(distance)) = (pool, scores.rank_distance) {
                    line["rank_distance"] = distance.into();
                }
                writeln!(file, "{line}").map_err(failed())?;
            }
        }
        file.flush().map_err(failed())
    }

    /// Reads AP and rank distance from what [`Scores::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Evaluate`] when a line is something else, or of another benchmark.
    pub fn read(benchmark: &Benchmark, path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let queries: hashbrown::HashMap<&str, usize> = benchmark.query_ids().zip(0..).collect();
        let mut scores = vec![QueryScores { pools: Vec::new(), rank_distance: None }; queries.len()];
        let mut is_complete = true;
        for (number, line) in text.lines().enumerate() {
            let wrong = |found: String| {
                Error::Evaluate {
                path: path.to_owned(),
                place: Some(format!("line {}", number + 1)),
                found,
                hint: Some(
                    "`--against` takes what `--per-query` wrote for the same questions, passages and judgements"
                        .to_owned(),
                ),
            }
            };
            let line: Line = serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
            if line.benchmark != benchmark.digest() {
                let (there, here) = (line.benchmark, benchmark.digest());
                return Err(wrong(format!("it is of benchmark {there}, and {here} is evaluated")));
            }
            let &query = queries
                .get(&*line.query_id)
                .ok_or_else(|| wrong(format!("query `{}` is not in the dataset", line.query_id)))?;
            let pool = match &line.passage_lang {
                None => Pool::All,
                Some(name) => {
                    let language = benchmark.languages().iter().position(|known| known == name);
                    Pool::Language(language.ok_or_else(|| wrong(format!("no passages in `{name}`")))?)
                }
            };
            // The parser of this very text, not the JSON library's, which may be off by the last bit.
            let ap = line.ap.get().parse().ok().filter(|ap| (0.0..=1.0).contains(ap));
            let ap: f64 = ap.ok_or_else(|| wrong(format!("AP is `{}`", line.ap.get())))?;
            if scores[query].pools.iter().any(|(known, _)| *known == pool) {
                return Err(wrong(format!("query `{}` stands there twice with this pool", line.query_id)));
            }
            scores[query].pools.push((pool, vec![ap]));
            if pool == Pool::All {
                scores[query].rank_distance = line.rank_distance;
                is_complete &= line.rank_distance.is_some() || benchmark.relevant(query).len() < 2;
            }
        }
        scores.iter_mut().for_each(|query| query.pools.sort_by_key(|(pool, _)| *pool));
        Ok(Self { measures: vec![Measure::Ap], queries: scores, is_complete })
    }
}

/// What is read again of a line.
#[derive(Deserialize)]
struct Line {
    benchmark: Digest,
    query_id: String,
    passage_lang: Option<String>,
    #[serde(rename = "AP")]
    ap: Box<RawValue>,
    rank_distance: Option<u32>,
}

fn pools(
    benchmark: &Benchmark,
    query: usize,
    places: &[Place],
    measures: &[Measure],
) -> Vec<(Pool, Vec<f64>)> {
    let relevant = benchmark.relevant(query);
    if relevant.is_empty() {
        return Vec::new();
    }
    let values = |ranking: &Ranking| measures.iter().map(|measure| measure.of(ranking)).collect();
    let judged = || relevant.iter().zip(places);
    // Relevant passages are sorted by language.
    let of_languages = relevant.chunk_by(|a, b| a.language == b.language).map(|of_language| {
        let language = of_language[0].language;
        let here = judged().filter(|(relevant, _)| relevant.language == language);
        let ranking = Ranking::new(here.map(|(relevant, place)| (place.in_language, relevant.relevance)));
        (Pool::Language(language), values(&ranking))
    });
    let pooled = Ranking::new(judged().map(|(relevant, place)| (place.pooled, relevant.relevance)));
    of_languages.chain([(Pool::All, values(&pooled))]).collect()
}
