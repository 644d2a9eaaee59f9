//! `beir`: the part of the dataset that is evaluated on, as BEIR and MTEB lay it out: corpus.jsonl, queries.jsonl and
//! qrels/test.tsv.
//!
//! BEIR has judgements for each query, so those of a group are written for each of its questions.

use std::io::BufRead;
use std::path::Path;

use arrow::array::Array;
use serde::{Deserialize, Serialize};

use super::json_lines::put_json;
use super::output::{Output, open};
use super::row::Text;
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::eval::Benchmark;
use crate::schema::Table;

const HEADER: &str = "query-id\tcorpus-id\tscore";

/// A line of corpus.jsonl or queries.jsonl.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Record<'a> {
    _id: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    title: Option<Text<'a>>,
    text: Text<'a>,
    metadata: Metadata<'a>,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Metadata<'a> {
    lang: Text<'a>,
    dataset: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    group_id: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    context_id: Option<Text<'a>>,
}

/// Writes into a folder that has `qrels`.
///
/// # Errors
/// [`Error::Export`] when an id has a tab or a line break, which ends a field of qrels.
pub(super) fn write(corpus: &Corpus, benchmark: &Benchmark, folder: &Path) -> Result<()> {
    let ids = benchmark.query_ids().chain(benchmark.passage_ids());
    if let Some(id) = ids.into_iter().find(|id| id.contains(['\t', '\n', '\r'])) {
        let found = format!("id {id:?} has a tab or a line break, which ends a field of qrels/test.tsv");
        return Err(Error::export(folder, found));
    }
    for (name, table) in [("corpus.jsonl", Table::Passages), ("queries.jsonl", Table::Queries)] {
        let mut file = Output::create(&folder.join(name))?;
        let mut bytes = Vec::new();
        for record in records(corpus, table) {
            bytes.clear();
            put_json(&record, &mut bytes);
            bytes.push(b'\n');
            file.write(&bytes)?;
        }
        file.finish()?;
    }
    let mut file = Output::create(&folder.join("qrels/test.tsv"))?;
    file.write(format!("{HEADER}\n").as_bytes())?;
    for (query, passage, relevance) in benchmark.judgements() {
        file.write(format!("{query}\t{passage}\t{relevance}\n").as_bytes())?;
    }
    file.finish()
}

/// Holds every line of the folder against the dataset.
pub(super) fn verify(corpus: &Corpus, benchmark: &Benchmark, folder: &Path) -> Result<()> {
    for (name, table) in [("corpus.jsonl", Table::Passages), ("queries.jsonl", Table::Queries)] {
        let parse = |line: &[u8]| serde_json::from_slice::<Record<'static>>(line).ok();
        compare(&folder.join(name), records(corpus, table), |line, record| {
            parse(line).as_ref() == Some(record)
        })?;
    }
    let lines = std::iter::once(HEADER.to_owned()).chain(
        benchmark.judgements().map(|(query, passage, relevance)| format!("{query}\t{passage}\t{relevance}")),
    );
    compare(&folder.join("qrels/test.tsv"), lines, |line, expected| line == expected.as_bytes())
}

/// Holds each line of a file against what is expected of it.
pub(super) fn compare<E>(
    path: &Path,
    expected: impl Iterator<Item = E>,
    is_equal: impl Fn(&[u8], &E) -> bool,
) -> Result<()> {
    let mut lines = open(path)?.split(b'\n');
    for (number, expected) in expected.enumerate() {
        let line = lines.next().transpose().map_err(Error::io("read", path))?.unwrap_or_default();
        if !is_equal(&line, &expected) {
            return Err(Error::export(
                path,
                format!("read back, line {} is not what was written", number + 1),
            ));
        }
    }
    match lines.next() {
        None => Ok(()),
        Some(_) => Err(Error::export(path, "read back, there are lines after the last")),
    }
}

fn records(corpus: &Corpus, table: Table) -> impl Iterator<Item = Record<'_>> {
    let is_query = table == Table::Queries;
    let text = move |column: &'static str| {
        let texts = corpus.texts(table, column);
        move |row: usize| (!texts.is_null(row)).then(|| Text::Borrowed(texts.value(row)))
    };
    let name = move |column: &'static str| {
        let names = corpus.names(table, column);
        let value = move |key: usize| Text::Borrowed(names.values().value(key));
        move |row: usize| (!names.is_null(row)).then(|| value(names.keys().value(row) as usize))
    };
    let id = text(if is_query { "query_id" } else { "passage_id" });
    let (texts, lang, dataset) = (text("text"), name("lang"), name("dataset"));
    let group = is_query.then(|| text("group_id"));
    let context_and_title = (!is_query).then(|| (text("context_id"), name("title")));
    (0..corpus.table(table).num_rows()).map(move |row| Record {
        _id: id(row).unwrap_or_default(),
        // BEIR's loaders want a title of every document.
        title: context_and_title.as_ref().map(|(_, title)| title(row).unwrap_or_default()),
        text: texts(row).unwrap_or_default(),
        metadata: Metadata {
            lang: lang(row).unwrap_or_default(),
            dataset: dataset(row).unwrap_or_default(),
            group_id: group.as_ref().and_then(|group| group(row)),
            context_id: context_and_title.as_ref().and_then(|(context, _)| context(row)),
        },
    })
}
