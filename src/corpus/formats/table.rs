//! Generic tables: one row a (question, passage) pair, in JSON lines, CSV, TSV or Parquet.
//!
//! The pipeline says which column holds what. A question may stand in several rows, one for each passage that
//! answers it; a row that says something else under an id that is taken is refused.

use std::collections::HashMap;

use serde_json::Value;

use super::parquet_rows;
use crate::corpus::records::{Ids, Passage, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{SourceFile, Unit};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::pipeline::{Columns, language};

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    let columns = unit.corpus.columns.as_ref().expect("checked with the pipeline");
    let mut reader = Reader {
        ids: Ids::of(unit.corpus),
        lang: None,
        passage_lang: None,
        languages: &unit.corpus.languages,
        columns,
        queries: HashMap::new(),
        passages: HashMap::new(),
        judged: HashMap::new(),
        records,
    };
    for file in &unit.files {
        let n_before = reader.records.n_records();
        reader.lang = file.lang.as_deref();
        reader.passage_lang = file.passage_lang.as_deref();
        let n_of_language = unit.files.iter().filter(|other| other.languages() == file.languages()).count();
        let prefix = if 1 < n_of_language { format!("{}-", file.stem()) } else { String::new() };
        match file.extension() {
            "jsonl" | "ndjson" => reader.json_lines(file, &prefix)?,
            "csv" => reader.separated(file, &prefix, b',')?,
            "tsv" => reader.separated(file, &prefix, b'\t')?,
            "parquet" => reader.parquet(file, &prefix)?,
            other => {
                let found = format!("`{other}` is no kind of table that can be read");
                return Err(file
                    .error(None, found)
                    .with_hint("the kinds are .jsonl, .csv, .tsv and .parquet"));
            }
        }
        if reader.records.n_records() == n_before {
            return Err(super::empty(std::slice::from_ref(file)));
        }
    }
    Ok(())
}

/// One row: what the named columns hold.
#[derive(Default)]
struct Row {
    query: String,
    passage: String,
    query_id: Option<String>,
    passage_id: Option<String>,
    query_lang: Option<String>,
    passage_lang: Option<String>,
    title: Option<String>,
    relevance: Option<String>,
}

impl Row {
    /// Fills a row from a function from column name to value.
    fn from(columns: &Columns, value: impl Fn(&str) -> Option<String>) -> Result<Self, (Reason, String)> {
        let required = |name: &str| {
            value(name).ok_or_else(|| (Reason::Malformed, format!("column `{name}` is missing or null")))
        };
        let optional = |name: &Option<String>| name.as_deref().and_then(&value);
        Ok(Self {
            query: required(&columns.query)?,
            passage: required(&columns.passage)?,
            query_id: optional(&columns.query_id),
            passage_id: optional(&columns.passage_id),
            query_lang: optional(&columns.query_lang),
            passage_lang: optional(&columns.passage_lang),
            title: optional(&columns.title),
            relevance: optional(&columns.relevance),
        })
    }
}

struct Reader<'a> {
    ids: Ids<'a>,
    lang: Option<&'a str>,
    passage_lang: Option<&'a str>,
    languages: &'a [String],
    columns: &'a Columns,
    /// Query id to the digest of its text and its row, to tell a second row of one question from a second question.
    queries: HashMap<String, (Digest, u32)>,
    passages: HashMap<String, (Digest, u32)>,
    judged: HashMap<(String, String), i32>,
    records: &'a mut Records,
}

impl Reader<'_> {
    fn json_lines(&mut self, file: &SourceFile, prefix: &str) -> Result<()> {
        let mut number = 0;
        file.for_each_line(|line_number, line| {
            number += 1;
            let row = serde_json::from_str::<serde_json::Map<String, Value>>(line)
                .map_err(|e| (Reason::Malformed, e.to_string()))
                .and_then(|object| {
                    Row::from(self.columns, |name| match object.get(name)? {
                        Value::String(text) => Some(text.clone()),
                        other @ (Value::Number(_) | Value::Bool(_)) => Some(other.to_string()),
                        // A list or an object is no text.
                        Value::Null | Value::Array(_) | Value::Object(_) => None,
                    })
                });
            self.row(file, (prefix, number), line_number, || line.to_owned(), row);
            Ok(())
        })
    }

    fn separated(&mut self, file: &SourceFile, prefix: &str, delimiter: u8) -> Result<()> {
        let mut table = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(delimiter == b',')
            .flexible(true)
            .from_reader(file.reader()?);
        let header = table.headers().map_err(|e| csv_error(file, &e))?.clone();
        let names: Vec<String> = header.iter().map(str::to_owned).collect();
        if header.is_empty() {
            return Err(file.error(None, "no header line"));
        }
        check_columns(self.columns, file, &names)?;
        let mut late_lines = 0;
        for (number, record) in (1..).zip(table.records()) {
            let record = record.map_err(|e| csv_error(file, &e))?;
            let line = record.position().map_or(0, csv::Position::line);
            // With CRLF the reader takes a record's line before it has seen the line feed of the line before.
            if number == 1 && line == 1 {
                late_lines = 1;
            }
            let line = line + late_lines;
            let row = if record.len() == header.len() {
                Row::from(self.columns, |name| {
                    let at = header.iter().position(|column| column == name)?;
                    record.get(at).map(str::to_owned).filter(|value| !value.is_empty())
                })
            } else {
                Err((Reason::Malformed, format!("{} columns instead of {}", record.len(), header.len())))
            };
            let raw = || record.iter().collect::<Vec<_>>().join(&char::from(delimiter).to_string());
            self.row(file, (prefix, number), line, raw, row);
        }
        Ok(())
    }

    fn parquet(&mut self, file: &SourceFile, prefix: &str) -> Result<()> {
        let columns = self.columns;
        parquet_rows::for_each(
            file,
            |names| check_columns(columns, file, names),
            |row| {
                let found = Row::from(columns, |name| row.value(name));
                self.row(file, (prefix, row.number), row.number, || row.raw(), found);
            },
        )
    }

    /// `number` counts the rows of the file from 1, `line` its lines.
    fn row(
        &mut self,
        file: &SourceFile,
        (prefix, number): (&str, u64),
        line: u64,
        raw: impl Fn() -> String,
        row: Result<Row, (Reason, String)>,
    ) {
        self.records.count();
        if let Err((reason, detail)) = row.and_then(|row| self.record(prefix, number, row)) {
            let place = format!("line {line}");
            self.records.reject(Reject { source: file.name.clone(), place, reason, detail, raw: raw() });
        }
    }

    fn record(&mut self, prefix: &str, number: u64, row: Row) -> Result<(), (Reason, String)> {
        if row.query.trim().is_empty() {
            return Err((Reason::QueryEmpty, "a question without text".to_owned()));
        }
        if row.passage.trim().is_empty() {
            return Err((Reason::PassageEmpty, "a passage without text".to_owned()));
        }
        let relevance = row.relevance.as_deref().unwrap_or("1");
        let relevance: i32 = relevance
            .trim()
            .parse()
            .map_err(|_| (Reason::Malformed, format!("relevance `{relevance}` is no integer")))?;
        let query_lang = row.query_lang.as_deref().or(self.lang);
        let query_lang =
            query_lang.ok_or((Reason::Malformed, "the language of the question is missing".to_owned()))?;
        let passage_lang = row.passage_lang.as_deref().or(self.passage_lang).unwrap_or(query_lang);
        let tag = |lang: &str| {
            let known = language::among(self.languages, lang);
            known.ok_or_else(|| (Reason::FilterLanguage, format!("`{lang}` is not among `languages`")))
        };
        let (query_lang, passage_lang) = (tag(query_lang)?, tag(passage_lang)?);
        let id = row.query_id.unwrap_or_else(|| format!("{prefix}{number}"));
        let text_digest = Digest::of(row.passage.as_bytes());
        let passage = row.passage_id.unwrap_or_else(|| text_digest.to_string()[..16].to_owned());
        let (query_id, group_id) = (self.ids.in_language(query_lang, &id), self.ids.group(query_lang, &id));
        let passage_id = self.ids.in_language(passage_lang, &passage);

        let query_digest = Digest::of(row.query.as_bytes());
        let known_query = self.queries.get(&query_id).copied();
        if known_query.is_some_and(|(known, _)| known != query_digest) {
            return Err((Reason::DuplicateId, format!("question `{id}` had another text before")));
        }
        let known_passage = self.passages.get(&passage_id).copied();
        if known_passage.is_some_and(|(known, _)| known != text_digest) {
            return Err((Reason::DuplicateId, format!("passage `{passage}` had another text before")));
        }
        let pair = (group_id.clone(), passage_id.clone());
        match self.judged.get(&pair) {
            Some(before) if *before != relevance => {
                return Err((Reason::DuplicateId, format!("judged {before} before, {relevance} here")));
            }
            Some(_) if known_query.is_some() => {
                return Err((Reason::DuplicateId, "the same pair stood in an earlier row".to_owned()));
            }
            _ => {}
        }
        let query_row = known_query.map_or_else(
            || {
                self.records.query(&Query {
                    query_id: &query_id,
                    group_id: &group_id,
                    dataset: self.ids.dataset,
                    lang: query_lang,
                    text: &row.query,
                })
            },
            |(_, row)| row,
        );
        let passage_row = known_passage.map_or_else(
            || {
                self.records.passage(&Passage {
                    passage_id: &passage_id,
                    dataset: self.ids.dataset,
                    lang: passage_lang,
                    text: &row.passage,
                    context_id: &passage_id,
                    title: row.title.as_deref(),
                })
            },
            |(_, row)| row,
        );
        self.records.qrel(query_row, passage_row, relevance);
        self.judged.insert(pair, relevance);
        self.queries.insert(query_id, (query_digest, query_row));
        self.passages.insert(passage_id, (text_digest, passage_row));
        Ok(())
    }
}

/// A column that no row can have is a bad file, not a file of bad rows.
fn check_columns(c: &Columns, file: &SourceFile, names: &[String]) -> Result<()> {
    let optional = [&c.query_id, &c.passage_id, &c.query_lang, &c.passage_lang, &c.title, &c.relevance];
    let wanted = [&c.query, &c.passage].into_iter().chain(optional.into_iter().flatten());
    match wanted.into_iter().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(name) => Err(file
            .error(None, format!("no column `{name}`"))
            .with_hint(format!("the columns are {}; `columns` in the pipeline maps them", names.join(", ")))),
    }
}

fn csv_error(file: &SourceFile, e: &csv::Error) -> Error {
    match e.kind() {
        csv::ErrorKind::Utf8 { pos, err } => {
            let (byte, line) = pos.as_ref().map_or((0, 0), |pos| (pos.byte(), pos.line()));
            let found = format!("invalid UTF-8 in column {} of the row that starts there", err.field() + 1);
            file.error(Some(format!("byte {byte} (line {line})")), found)
        }
        csv::ErrorKind::Io(e) => file.unreadable(e),
        _ => file.error(None, e.to_string()),
    }
}
