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
        let mut found: Vec<Vec<Retrieved>> = vec![Vec::new(); benchmark.n_queries()];
        let wrong = |line: u64, found: String| Error::Evaluate {
            path: path.to_owned(),
            place: Some(format!("line {line}")),
            found,
            hint: None,
        };
        for_each_line(path, wrong, |line| {
            let query = query_of.get(line.query).ok_or_else(|| line.unknown_query())?;
            let passage = *passage_of.get(line.passage).ok_or_else(|| line.unknown_passage())?;
            found[*query].push(Retrieved { passage, score: line.score, line: line.number });
            Ok(())
        })?;
        let ids = benchmark.id_ranks();
        for hits in &mut found {
            check_once(hits, |passage| benchmark.passage_id(passage))
                .map_err(|(line, found)| wrong(line, found))?;
            hits.sort_unstable_by(|a, b| {
                b.score.total_cmp(&a.score).then_with(|| ids[b.passage].cmp(&ids[a.passage]))
            });
        }
        let n_queries = found.iter().filter(|hits| !hits.is_empty()).count();
        let places = found
            .iter()
            .enumerate()
            .map(|(query, hits)| {
                let passages: Vec<usize> = hits.iter().map(|hit| hit.passage).collect();
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

/// A line of a run.
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: u64,
    pub(crate) query: &'a str,
    pub(crate) passage: &'a str,
    pub(crate) score: f32,
}

impl Line<'_> {
    pub(crate) fn unknown_query(&self) -> String {
        format!("query `{}` is not in the dataset", self.query)
    }

    pub(crate) fn unknown_passage(&self) -> String {
        format!("passage `{}` is not in the dataset", self.passage)
    }
}

/// A passage that a run has for a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retrieved {
    pub(crate) passage: usize,
    pub(crate) score: f32,
    pub(crate) line: u64,
}

/// Calls `each` with every line of a run that is not blank; `wrong` makes an error of a line and what is wrong with it.
pub(crate) fn for_each_line(
    path: &Path,
    wrong: impl Fn(u64, String) -> Error,
    mut each: impl FnMut(&Line) -> Result<(), String>,
) -> Result<()> {
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
        let parsed: Option<f32> = score.parse().ok().filter(|score: &f32| score.is_finite());
        // 0 and -0 tie, but are not one to `total_cmp`.
        let read = parsed.map(|score| Line { number, query, passage, score: score + 0.0 });
        let line = read.ok_or_else(|| wrong(number, format!("score `{score}` is not a finite number")))?;
        each(&line).map_err(|found| wrong(number, found))?;
    }
    Ok(())
}

/// Puts the passages of a query in order; one that is there twice is an error at the second line.
pub(crate) fn check_once<'a>(
    hits: &mut [Retrieved],
    id: impl Fn(usize) -> &'a str,
) -> Result<(), (u64, String)> {
    hits.sort_unstable_by_key(|hit| (hit.passage, hit.line));
    match hits.windows(2).find(|pair| pair[0].passage == pair[1].passage) {
        None => Ok(()),
        Some(twice) => {
            Err((twice[1].line, format!("passage `{}` a second time for its query", id(twice[0].passage))))
        }
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
