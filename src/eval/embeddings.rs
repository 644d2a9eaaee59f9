//! Embeddings: one row of numbers for every query and every passage of a benchmark, wherever they come from.
//!
//! The dot product of two rows is their score; rows are not normalised here. Everything that could make a score
//! other than a finite number is refused before anything is ranked.

use std::path::{Path, PathBuf};

use super::array_file::{ArrayFile, Ids, Matrix, write_safetensors};
use super::benchmark::Benchmark;
use crate::error::{Error, Result};

/// The tensors of a file with both, and where the ids of their rows stand.
const QUERIES: [&str; 2] = ["queries", "query_ids"];
const PASSAGES: [&str; 2] = ["passages", "passage_ids"];

/// A row for every query and every passage of a benchmark, in its order.
#[derive(Clone, Debug)]
pub struct Embeddings {
    width: usize,
    queries: Vec<f32>,
    passages: Vec<f32>,
}

impl Embeddings {
    /// `queries`: (`n_queries`, width) f32, `passages`: (`n_passages`, width) f32, row after row in the order of
    /// [`Benchmark::query_ids`] and [`Benchmark::passage_ids`]. `path` is where they come from, for messages.
    ///
    /// # Errors
    /// [`Error::Evaluate`] when a number is not finite, or so large that a score might not be.
    ///
    /// # Panics
    /// When there are not as many rows as queries and passages.
    pub fn new(
        benchmark: &Benchmark,
        path: &Path,
        width: usize,
        queries: Vec<f32>,
        passages: Vec<f32>,
    ) -> Result<Self> {
        assert_eq!(queries.len(), benchmark.n_queries() * width, "a row a query");
        assert_eq!(passages.len(), benchmark.n_passages() * width, "a row a passage");
        if width == 0 {
            return Err(Error::evaluate(path, "embeddings of width 0"));
        }
        let queries_norm = greatest_norm(&queries, width)
            .map_err(|bad| bad.describe(path, "query", benchmark.query_id(bad.row)))?;
        let passages_norm = greatest_norm(&passages, width)
            .map_err(|bad| bad.describe(path, "passage", benchmark.passage_id(bad.row)))?;
        // No partial sum of a product is greater than the product of the norms (Cauchy and Schwarz).
        if f64::from(f32::MAX) / 2.0 <= queries_norm * passages_norm {
            let found = format!(
                "norms up to {queries_norm:.1e} (queries) and {passages_norm:.1e} (passages): their products leave \
                 f32"
            );
            return Err(Error::evaluate(path, found));
        }
        Ok(Self { width, queries, passages })
    }

    /// Reads one file with both (`.safetensors`, tensors `queries` and `passages`), or two, queries first (`.npy`, or
    /// `.safetensors` with one tensor). `schemas/EVAL.md`, section 5, says how the rows are named.
    ///
    /// # Errors
    /// [`Error::Evaluate`] when a file is not what it should be, or its ids are not those of the benchmark.
    pub fn read(benchmark: &Benchmark, files: &[PathBuf]) -> Result<Self> {
        let (queries, passages) = match files {
            [both] => {
                let open = |[name, ids_key]: [&'static str; 2]| ArrayFile::open(both, Some(name), ids_key);
                (open(QUERIES)?, open(PASSAGES)?)
            }
            [queries, passages] => {
                (ArrayFile::open(queries, None, "ids")?, ArrayFile::open(passages, None, "ids")?)
            }
            _ => {
                let found = format!("{} files: expected one, or queries and passages", files.len());
                return Err(Error::setting("--embeddings", found));
            }
        };
        if queries.width() != passages.width() {
            let found = format!(
                "embeddings of passages are {} wide, those of queries {}",
                passages.width(),
                queries.width()
            );
            return Err(Error::evaluate(passages.path(), found));
        }
        let query_rows = places(&queries, "queries", benchmark.query_ids())?;
        let passage_rows = places(&passages, "passages", benchmark.passage_ids())?;
        Self::new(
            benchmark,
            queries.path(),
            queries.width(),
            queries.read(&query_rows)?,
            passages.read(&passage_rows)?,
        )
    }

    /// Writes one file that [`Embeddings::read`] reads: tensors `queries` and `passages`, their ids in its metadata.
    ///
    /// # Errors
    /// [`Error::Evaluate`] when an id has a line break, [`Error::Io`] when the file cannot be written.
    pub fn write(&self, benchmark: &Benchmark, path: &Path) -> Result<()> {
        let mut ids = benchmark.query_ids().chain(benchmark.passage_ids());
        if let Some(id) = ids.find(|id| id.contains(['\n', '\r'])) {
            let found = format!("id {id:?} has a line break, and ids are written one a line");
            return Err(Error::evaluate(path, found));
        }
        let matrix = |[name, ids_key]: [&'static str; 2], rows, ids: Vec<&str>| Matrix {
            name,
            width: self.width,
            rows,
            ids_key,
            ids: ids.join("\n"),
        };
        let queries = matrix(QUERIES, &self.queries, benchmark.query_ids().collect());
        let passages = matrix(PASSAGES, &self.passages, benchmark.passage_ids().collect());
        write_safetensors(path, &[queries, passages])
    }

    /// Without a benchmark.
    #[cfg(test)]
    pub(super) fn unchecked(width: usize, queries: Vec<f32>, passages: Vec<f32>) -> Self {
        Self { width, queries, passages }
    }

    /// Numbers of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// (Q, `width`), in the order of the benchmark.
    pub(super) fn queries(&self) -> &[f32] {
        &self.queries
    }

    /// (P, `width`), in the order of the benchmark.
    pub(super) fn passages(&self) -> &[f32] {
        &self.passages
    }
}

/// A row that holds something else than finite numbers.
struct NotFinite {
    row: usize,
    column: usize,
    value: f32,
}

impl NotFinite {
    fn describe(&self, path: &Path, what: &str, id: &str) -> Error {
        let Self { column, value, .. } = self;
        Error::evaluate(path, format!("{what} `{id}`: number {column} of its embedding is {value}"))
    }
}

fn greatest_norm(rows: &[f32], width: usize) -> Result<f64, NotFinite> {
    let mut greatest = 0.0_f64;
    for (row, numbers) in rows.chunks_exact(width).enumerate() {
        let squares: f64 = numbers.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        if !squares.is_finite() {
            // f64 holds the square of every finite f32, so one of them is not.
            let column = numbers.iter().position(|x| !x.is_finite()).expect("the sum is not finite");
            return Err(NotFinite { row, column, value: numbers[column] });
        }
        greatest = greatest.max(squares);
    }
    Ok(greatest.sqrt())
}

/// The place of each row of a file among `wanted`, which must be its ids, each once, in any order.
fn places<'a>(
    file: &ArrayFile,
    what: &str,
    wanted: impl ExactSizeIterator<Item = &'a str>,
) -> Result<Vec<usize>> {
    let Ids { path, ids } = file.ids()?;
    if ids.len() != file.n_rows() {
        let found =
            format!("{} ids for the {} rows of `{}`", ids.len(), file.n_rows(), file.path().display());
        return Err(Error::evaluate(&path, found));
    }
    let wanted: Vec<&str> = wanted.collect();
    let place_of: hashbrown::HashMap<&str, usize> = wanted.iter().copied().zip(0..).collect();
    let mut taken = vec![false; wanted.len()];
    let mut places = Vec::with_capacity(ids.len());
    let mut unknown = Vec::new();
    for id in &ids {
        match place_of.get(id.as_str()) {
            Some(&place) if taken[place] => {
                return Err(Error::evaluate(&path, format!("`{id}` stands there twice")));
            }
            Some(&place) => {
                taken[place] = true;
                places.push(place);
            }
            None => unknown.push(id.as_str()),
        }
    }
    let missing: Vec<&str> =
        wanted.iter().zip(&taken).filter(|&(_, taken)| !taken).map(|(id, _)| *id).collect();
    let hint =
        "the rows must be those of the part that is evaluated, in any order: `--splits` says which part";
    if !missing.is_empty() {
        let found =
            format!("no embedding of {} of {} {what}: {}", missing.len(), wanted.len(), some(&missing));
        return Err(Error::evaluate(&path, found).with_hint(hint));
    }
    if !unknown.is_empty() {
        let found = format!("{} ids that are none of the {what}: {}", unknown.len(), some(&unknown));
        return Err(Error::evaluate(&path, found).with_hint(hint));
    }
    Ok(places)
}

/// The first few of them.
fn some(ids: &[&str]) -> String {
    let shown: Vec<String> = ids.iter().take(3).map(|id| format!("`{id}`")).collect();
    format!("{}{}", shown.join(", "), if shown.len() < ids.len() { ", ..." } else { "" })
}
