//! `trec-qrels`: the judgements of the part that is evaluated on, `query 0 passage relevance` a line, as trec_eval reads.

use std::path::Path;

use super::beir::compare;
use crate::error::{Error, Result};
use crate::eval::{Benchmark, write_qrels};

/// # Errors
/// [`Error::Export`] when an id has white space, which ends a field.
pub(super) fn write(benchmark: &Benchmark, path: &Path) -> Result<()> {
    write_qrels(benchmark, path).map_err(|e| match e {
        Error::Evaluate { found, .. } => Error::export(path, found).with_hint(
            "`--to beir` takes all ids but those with a tab or a line break, `--to jsonl` takes any",
        ),
        e => e,
    })?;
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    file.sync_all().map_err(Error::io("write", path))
}

/// Holds every line against the dataset.
pub(super) fn verify(benchmark: &Benchmark, path: &Path) -> Result<()> {
    let lines =
        benchmark.judgements().map(|(query, passage, relevance)| format!("{query} 0 {passage} {relevance}"));
    compare(path, lines, |line, expected| line == expected.as_bytes())
}
