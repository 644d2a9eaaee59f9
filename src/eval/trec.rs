//! TREC files: runs and judgements (qrels), as trec_eval reads and writes them.
//!
//! A run's ranking is by score, descending, ties by passage id, descending in byte order; its rank column is not
//! believed. Scores are read as f32, which is what trec_eval keeps of them.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::num::NonZero;
use std::path::Path;

use super::benchmark::Benchmark;
use super::embeddings::Embeddings;
use super::rank::Place;
use super::scorer::Scorer;
use super::top::top;
use crate::error::{Error, Result};
use crate::progress::Observer;

/// What a run says of the queries of a benchmark.
pub struct Run {
    places: Vec<Vec<Place>>,
    n_queries: usize,
}

impl Run {
    /// Reads `query Q0 passage rank score tag` lines, in any order.
    ///
    /// # Errors
    /// [`Error::Evaluate`] when a line is something else, names what the benchmark has not, or a passage of a query
    /// twice.
    pub fn read(benchmark: &Benchmark, path: &Path) -> Result<Self> {
        let query_of: hashbrown::HashMap<&str, usize> = benchmark.query_ids().zip(0..).collect();
        let passage_of: hashbrown::HashMap<&str, usize> = benchmark.passage_ids().zip(0..).collect();
        // (score, passage, line) by query.
        let mut found: Vec<Vec<(f32, usize, usize)>> = vec![Vec::new(); benchmark.n_queries()];
        let wrong = |line: usize, found: String| Error::Evaluate {
            path: path.to_owned(),
            place: Some(format!("line {line}")),
            found,
            hint: None,
        };
        let file = BufReader::new(File::open(path).map_err(Error::io("open", path))?);
        for (number, line) in (1..).zip(file.lines()) {
            let line = line.map_err(Error::io("read", path))?;
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let &[query, _, passage, _, score, _] = fields.as_slice() else {
                if fields.is_empty() {
                    continue;
                }
                return Err(wrong(
                    number,
                    format!("{} fields: expected query, Q0, passage, rank, score, tag", fields.len()),
                ));
            };
            let &query = query_of
                .get(query)
                .ok_or_else(|| wrong(number, format!("query `{query}` is not in the dataset")))?;
            let &passage = passage_of
                .get(passage)
                .ok_or_else(|| wrong(number, format!("passage `{passage}` is not in the dataset")))?;
            let parsed: Option<f32> = score.parse().ok().filter(|score: &f32| score.is_finite());
            let score =
                parsed.ok_or_else(|| wrong(number, format!("score `{score}` is not a finite number")))?;
            // 0 and -0 tie, but are not one to `total_cmp`.
            found[query].push((score + 0.0, passage, number));
        }
        let ids = benchmark.id_ranks();
        for hits in &mut found {
            hits.sort_unstable_by_key(|&(_, passage, line)| (passage, line));
            if let Some(twice) = hits.windows(2).find(|pair| pair[0].1 == pair[1].1) {
                let found =
                    format!("passage `{}` a second time for its query", benchmark.passage_id(twice[0].1));
                return Err(wrong(twice[1].2, found));
            }
            hits.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| ids[b.1].cmp(&ids[a.1])));
        }
        let n_queries = found.iter().filter(|hits| !hits.is_empty()).count();
        let places = found
            .iter()
            .enumerate()
            .map(|(query, hits)| {
                let passages: Vec<usize> = hits.iter().map(|(_, passage, _)| *passage).collect();
                places(benchmark, query, &passages)
            })
            .collect();
        Ok(Self { places, n_queries })
    }

    /// How many queries it has passages for. Of the others nothing is found.
    #[must_use]
    pub fn n_queries(&self) -> usize {
        self.n_queries
    }

    pub(super) fn places(&self) -> &[Vec<Place>] {
        &self.places
    }
}

/// Where a ranking has what is relevant for a query.
fn places(benchmark: &Benchmark, query: usize, ranking: &[usize]) -> Vec<Place> {
    let relevant = benchmark.relevant(query);
    let mut places = vec![Place { in_language: None, pooled: None }; relevant.len()];
    let mut n_before = vec![0_u32; benchmark.languages().len()];
    for (rank, &passage) in (1..).zip(ranking) {
        let n_before = &mut n_before[benchmark.language_of(passage)];
        *n_before += 1;
        if let Ok(i) = relevant.binary_search_by_key(&passage, |r| r.passage) {
            places[i] = Place { in_language: NonZero::new(*n_before), pooled: NonZero::new(rank) };
        }
    }
    places
}

/// Writes the first `depth` passages of each query as a run. Scores are as many digits as it takes to read the same
/// f32 again, so ties stay ties.
///
/// # Errors
/// [`Error::Evaluate`] when an id has white space; [`Error::Io`] when the file cannot be written.
pub fn write_run(
    benchmark: &Benchmark,
    embeddings: &Embeddings,
    path: &Path,
    depth: usize,
    observer: &dyn Observer,
) -> Result<()> {
    /// Blocks of queries whose hits are in memory at once, a thread.
    const BLOCKS_A_THREAD: usize = 2;

    check_ids(benchmark, path)?;
    let scorer = Scorer::new(embeddings);
    observer.begin("writing the run", Some(benchmark.n_queries() as u64));
    write(path, |file| {
        for blocks in scorer.query_blocks().chunks(BLOCKS_A_THREAD * rayon::current_num_threads()) {
            let first = blocks[0].start;
            for (query, hits) in (first..).zip(top(benchmark, &scorer, blocks, depth)) {
                let id = benchmark.query_id(query);
                for (rank, hit) in (1..).zip(hits) {
                    writeln!(
                        file,
                        "{id} Q0 {} {rank} {} prep",
                        benchmark.passage_id(hit.passage),
                        hit.score
                    )?;
                }
                observer.advance(1);
            }
        }
        Ok(())
    })
}

/// Writes `query 0 passage relevance` lines: the group's judgements for each of its queries.
///
/// # Errors
/// [`Error::Evaluate`] when an id has white space; [`Error::Io`] when the file cannot be written.
pub fn write_qrels(benchmark: &Benchmark, path: &Path) -> Result<()> {
    check_ids(benchmark, path)?;
    write(path, |file| {
        for (query, passage, relevance) in benchmark.judgements() {
            writeln!(file, "{query} 0 {passage} {relevance}")?;
        }
        Ok(())
    })
}

fn write(path: &Path, lines: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<()> {
    let mut file = BufWriter::new(File::create(path).map_err(Error::io("create", path))?);
    lines(&mut file).and_then(|()| file.flush()).map_err(Error::io("write", path))
}

/// What readers split lines at: white space, and what only some take for it (Python's U+001C to U+001F).
fn ends_field(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// The fields of TREC files end at white space, so an id with some in it would be read as two.
fn check_ids(benchmark: &Benchmark, path: &Path) -> Result<()> {
    match benchmark.query_ids().chain(benchmark.passage_ids()).find(|id| id.contains(ends_field)) {
        None => Ok(()),
        Some(id) => {
            let found = format!(
                "id `{id}` has white space or a control character, which ends a field of a TREC file"
            );
            Err(Error::evaluate(path, found))
        }
    }
}
