//! Collections for retrieval, in files of passages, questions and judgements: MIRACL (Zhang et al. 2023), Mr. TyDi (Zhang et
//! al. 2021), mMARCO (Bonifacio et al. 2021), MTEB's datasets, BEIR as Parquet.
//!
//! They agree on the three parts and differ in what these are called and how they are written, so the pipeline names the
//! files, their extension says how to read them, and columns go by the names that the field has for them. Ids are unique in
//! a language. A passage that was judged and is not there is refused as such; none is ever made up.

use std::collections::HashMap;

use serde_json::Value;

use super::{Fault, parquet_rows};
use crate::corpus::records::{Ids, Passage, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{Part, SourceFile, Unit};
use crate::error::Result;

/// What columns are called, each by the first name that a record has.
const PASSAGE_ID: [&str; 5] = ["docid", "_id", "id", "pid", "corpus-id"];
const PASSAGE_TEXT: [&str; 3] = ["text", "contents", "passage"];
const QUERY_ID: [&str; 5] = ["query_id", "_id", "id", "qid", "query-id"];
const QUERY_TEXT: [&str; 3] = ["text", "query", "question"];
const JUDGED_QUERY: [&str; 3] = ["query-id", "query_id", "qid"];
const JUDGED_PASSAGE: [&str; 4] = ["corpus-id", "docid", "corpus_id", "pid"];
const RELEVANCE: [&str; 2] = ["score", "relevance"];

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    let mut reader = Reader {
        ids: Ids::of(unit.corpus),
        lang: unit.lang(),
        passages: HashMap::new(),
        queries: HashMap::new(),
        judged: HashMap::new(),
        records,
    };
    // Judgements are by the rows of the others.
    for part in [Part::Corpus, Part::Queries, Part::Qrels, Part::Triples] {
        for file in unit.files.iter().filter(|file| file.part == part) {
            reader.file(file)?;
        }
        let is_empty = match part {
            Part::Corpus => reader.passages.is_empty(),
            Part::Queries => reader.queries.is_empty(),
            _ => false,
        };
        if is_empty {
            let files: Vec<_> = unit.files.iter().filter(|file| file.part == part).cloned().collect();
            return Err(super::without(if part == Part::Corpus { "passage" } else { "question" }, &files));
        }
    }
    Ok(())
}

/// An integer; Parquet may have it as a float.
fn relevance_of(text: &str) -> Option<i32> {
    let text = text.trim();
    text.strip_suffix(".0").unwrap_or(text).parse().ok()
}

struct Reader<'a> {
    ids: Ids<'a>,
    lang: &'a str,
    /// Rows by the collection's own ids.
    passages: HashMap<String, u32>,
    queries: HashMap<String, u32>,
    judged: HashMap<(u32, u32), i32>,
    records: &'a mut Records,
}

/// A record, whatever it is written in.
struct Fields<'a> {
    /// In their order, where they have no names.
    columns: &'a [&'a str],
    named: &'a dyn Fn(&str) -> Option<String>,
}

impl Fields<'_> {
    /// The value of the first of these names, or of this column.
    fn value(&self, names: &[&str], column: usize) -> Option<String> {
        match self.columns.get(column) {
            Some(value) => Some((*value).to_owned()),
            None => names.iter().find_map(|name| (self.named)(name)),
        }
    }

    fn required(&self, names: &[&str], column: usize) -> Result<String, Fault> {
        let missing = || (Reason::Malformed, format!("none of `{}` is there", names.join("`, `")));
        self.value(names, column).ok_or_else(missing)
    }
}

impl Reader<'_> {
    fn file(&mut self, file: &SourceFile) -> Result<()> {
        match file.extension() {
            "parquet" => parquet_rows::for_each(
                file,
                |_| Ok(()),
                |row| {
                    let fields = Fields { columns: &[], named: &|name| row.value(name) };
                    self.record(file, row.number, || row.raw(), &fields);
                },
            ),
            "jsonl" | "ndjson" | "json" => file.for_each_line(|number, line| {
                let found = serde_json::from_str::<serde_json::Map<String, Value>>(line);
                let object = match found {
                    Ok(object) => object,
                    Err(e) => {
                        self.records.count();
                        self.reject(file, number, line.to_owned(), (Reason::Malformed, e.to_string()));
                        return Ok(());
                    }
                };
                let named = |name: &str| match object.get(name)? {
                    Value::String(text) => Some(text.clone()),
                    other @ (Value::Number(_) | Value::Bool(_)) => Some(other.to_string()),
                    // A list or an object is no text.
                    Value::Null | Value::Array(_) | Value::Object(_) => None,
                };
                let fields = Fields { columns: &[], named: &named };
                self.record(file, number, || line.to_owned(), &fields);
                Ok(())
            }),
            "tsv" | "txt" => file.for_each_line(|number, line| {
                self.line(file, number, line);
                Ok(())
            }),
            other => Err(file
                .error(None, format!("`{other}` is no kind of file that a collection has"))
                .with_hint("the kinds are .tsv, .txt, .jsonl and .parquet")),
        }
    }

    /// Columns without names: id and text; or query, document and relevance, behind a header or not; or TREC's four; or
    /// query, relevant and irrelevant document.
    fn line(&mut self, file: &SourceFile, number: u64, line: &str) {
        // TREC's files have blanks where others have tabs.
        let by_blanks = file.part == Part::Qrels && !line.contains('\t');
        let columns: Vec<&str> =
            if by_blanks { line.split_whitespace().collect() } else { line.split('\t').collect() };
        let columns = match (file.part, &columns[..]) {
            (Part::Corpus | Part::Queries, [_, _]) | (Part::Triples, [_, _, _]) => columns,
            (Part::Qrels, [_, _, relevance]) => {
                if number == 1 && relevance_of(relevance).is_none() {
                    return;
                }
                columns
            }
            (Part::Qrels, &[query, _, document, relevance]) => vec![query, document, relevance],
            (part, _) => {
                self.records.count();
                let wanted = match part {
                    Part::Qrels => "3 or 4",
                    Part::Triples => "3",
                    _ => "2",
                };
                let detail = format!("{} columns instead of {wanted}", columns.len());
                return self.reject(file, number, line.to_owned(), (Reason::Malformed, detail));
            }
        };
        let fields = Fields { columns: &columns, named: &|_| None };
        self.record(file, number, || line.to_owned(), &fields);
    }

    fn record(&mut self, file: &SourceFile, number: u64, raw: impl Fn() -> String, fields: &Fields) {
        let found = match file.part {
            Part::Corpus => self.passage(fields),
            Part::Queries => self.query(fields),
            Part::Triples => self.triple(fields),
            Part::Qrels | Part::Whole => self.judgement(fields),
        };
        // Millions of good passages would hide that nothing of them was judged.
        if file.part != Part::Corpus || found.is_err() {
            self.records.count();
        }
        if let Err(fault) = found {
            self.reject(file, number, raw(), fault);
        }
    }

    fn passage(&mut self, fields: &Fields) -> Result<(), Fault> {
        let id = fields.required(&PASSAGE_ID, 0)?;
        let text = fields.required(&PASSAGE_TEXT, 1)?;
        let title = (fields.named)("title");
        // A document may be its title alone.
        let text = if text.trim().is_empty() { title.clone().unwrap_or_default() } else { text };
        if text.trim().is_empty() {
            return Err((Reason::PassageEmpty, format!("passage `{id}` has no text")));
        }
        if self.passages.contains_key(&id) {
            return Err((Reason::DuplicateId, format!("`{id}` was the id of an earlier passage")));
        }
        let passage_id = self.ids.in_language(self.lang, &id);
        let row = self.records.passage(&Passage {
            passage_id: &passage_id,
            dataset: self.ids.dataset,
            lang: self.lang,
            text: &text,
            context_id: &passage_id,
            title: title.as_deref(),
        });
        self.passages.insert(id, row);
        Ok(())
    }

    fn query(&mut self, fields: &Fields) -> Result<(), Fault> {
        let id = fields.required(&QUERY_ID, 0)?;
        let text = fields.required(&QUERY_TEXT, 1)?;
        let fault = if text.trim().is_empty() {
            (Reason::QueryEmpty, format!("query `{id}` has no text"))
        } else if self.queries.contains_key(&id) {
            (Reason::DuplicateId, format!("`{id}` was the id of an earlier query"))
        } else {
            let row = self.records.query(&Query {
                query_id: &self.ids.in_language(self.lang, &id),
                group_id: &self.ids.group(self.lang, &id),
                dataset: self.ids.dataset,
                lang: self.lang,
                text: &text,
            });
            self.queries.insert(id, row);
            return Ok(());
        };
        self.records.refuse_id(id);
        Err(fault)
    }

    fn judgement(&mut self, fields: &Fields) -> Result<(), Fault> {
        let query = fields.required(&JUDGED_QUERY, 0)?;
        let passage = fields.required(&JUDGED_PASSAGE, 1)?;
        let relevance = fields.value(&RELEVANCE, 2).unwrap_or_else(|| "1".to_owned());
        let relevance = relevance_of(&relevance)
            .ok_or_else(|| (Reason::Malformed, format!("relevance `{relevance}` is no integer")))?;
        self.judge(&query, &passage, relevance)
    }

    fn triple(&mut self, fields: &Fields) -> Result<(), Fault> {
        let query = fields.required(&JUDGED_QUERY, 0)?;
        self.judge(&query, &fields.required(&["positive"], 1)?, 1)?;
        self.judge(&query, &fields.required(&["negative"], 2)?, 0)
    }

    fn judge(&mut self, query: &str, passage: &str, relevance: i32) -> Result<(), Fault> {
        let unknown = |reason, what: &str, id: &str| (reason, format!("no {what} `{id}`"));
        let query = *self.queries.get(query).ok_or_else(|| unknown(Reason::UnknownQuery, "query", query))?;
        let passage =
            *self.passages.get(passage).ok_or_else(|| unknown(Reason::UnknownPassage, "passage", passage))?;
        match self.judged.insert((query, passage), relevance) {
            None => self.records.qrel(query, passage, relevance),
            Some(before) if before == relevance => {}
            Some(before) => {
                self.judged.insert((query, passage), before);
                return Err((Reason::DuplicateId, format!("judged {before} before, {relevance} here")));
            }
        }
        Ok(())
    }

    fn reject(&mut self, file: &SourceFile, number: u64, raw: String, (reason, detail): Fault) {
        let (source, place) = (file.name.clone(), format!("line {number}"));
        self.records.reject(Reject { source, place, reason, detail, raw });
    }
}
