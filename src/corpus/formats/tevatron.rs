//! Questions with their passages in one line, as Tevatron takes them (Gao et al. 2022) and Mr. TyDi's and MIRACL's training
//! files are published: `{"query_id", "query", "positive_passages": [{"docid", "title", "text"}], "negative_passages": [...]}`.
//!
//! A negative passage was judged not relevant, or ranked high and taken for it: either way its relevance is 0. A passage
//! comes again with other questions, and must have the same text there.

use std::collections::HashMap;

use serde::Deserialize;

use super::Fault;
use super::context::text_or_number;
use crate::corpus::records::{Ids, Passage, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{SourceFile, Unit};
use crate::digest::Digest;
use crate::error::Result;

#[derive(Deserialize)]
struct Line {
    #[serde(deserialize_with = "text_or_number")]
    query_id: String,
    query: String,
    #[serde(default)]
    positive_passages: Vec<Document>,
    #[serde(default)]
    negative_passages: Vec<Document>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(deserialize_with = "text_or_number")]
    docid: String,
    #[serde(default)]
    title: Option<String>,
    text: String,
}

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    let mut reader = Reader {
        ids: Ids::of(unit.corpus),
        lang: unit.lang(),
        queries: HashMap::new(),
        passages: HashMap::new(),
        records,
    };
    for file in &unit.files {
        file.for_each_line(|number, line| {
            reader.line(file, number, line);
            Ok(())
        })?;
    }
    Ok(())
}

struct Reader<'a> {
    ids: Ids<'a>,
    lang: &'a str,
    /// Rows by id.
    queries: HashMap<String, u32>,
    /// Texts and rows by id.
    passages: HashMap<String, (Digest, u32)>,
    records: &'a mut Records,
}

impl Reader<'_> {
    fn line(&mut self, file: &SourceFile, number: u64, line: &str) {
        self.records.count();
        let found = serde_json::from_str(line).map_err(|e| (Reason::Malformed, e.to_string()));
        let found = found.and_then(|line: Line| {
            self.question(&line).inspect_err(|_| self.records.refuse_id(line.query_id.clone()))
        });
        if let Err((reason, detail)) = found {
            let (source, place) = (file.name.clone(), format!("line {number}"));
            self.records.reject(Reject { source, place, reason, detail, raw: line.to_owned() });
        }
    }

    fn question(&mut self, line: &Line) -> Result<(), Fault> {
        let id = &line.query_id;
        if line.query.trim().is_empty() {
            return Err((Reason::QueryEmpty, format!("query `{id}` has no text")));
        }
        if self.queries.contains_key(id) {
            return Err((Reason::DuplicateId, format!("`{id}` was the id of an earlier query")));
        }
        if line.positive_passages.is_empty() {
            return Err((Reason::NoAnswer, format!("query `{id}` has no positive passage")));
        }
        // Whole or not at all: what is wrong with one passage is found before any is added.
        let all = || {
            let positive = line.positive_passages.iter().map(|document| (document, 1));
            positive.chain(line.negative_passages.iter().map(|document| (document, 0)))
        };
        let mut judged: HashMap<&str, (&str, i32)> = HashMap::new();
        for (document, relevance) in all() {
            let text = document.text.as_str();
            if text.trim().is_empty() {
                return Err((Reason::PassageEmpty, format!("passage `{}` has no text", document.docid)));
            }
            let known = self.passages.get(&document.docid).map(|(digest, _)| *digest);
            let here = judged.insert(&document.docid, (text, relevance));
            if known.is_some_and(|known| known != Digest::of(text.as_bytes()))
                || here.is_some_and(|(other, _)| other != text)
            {
                let detail = format!("passage `{}` had another text before", document.docid);
                return Err((Reason::DuplicateId, detail));
            }
            if here.is_some_and(|(_, other)| other != relevance) {
                let detail = format!("passage `{}` is positive and negative", document.docid);
                return Err((Reason::DuplicateId, detail));
            }
        }
        let query = self.records.query(&Query {
            query_id: &self.ids.in_language(self.lang, id),
            group_id: &self.ids.group(self.lang, id),
            dataset: self.ids.dataset,
            lang: self.lang,
            text: &line.query,
        });
        self.queries.insert(id.clone(), query);
        for (document, relevance) in all() {
            let passage = self.passage(document);
            self.records.qrel(query, passage, relevance);
        }
        Ok(())
    }

    fn passage(&mut self, document: &Document) -> u32 {
        if let Some(&(_, row)) = self.passages.get(&document.docid) {
            return row;
        }
        let passage_id = self.ids.in_language(self.lang, &document.docid);
        let row = self.records.passage(&Passage {
            passage_id: &passage_id,
            dataset: self.ids.dataset,
            lang: self.lang,
            text: &document.text,
            context_id: &passage_id,
            title: document.title.as_deref(),
        });
        self.passages.insert(document.docid.clone(), (Digest::of(document.text.as_bytes()), row));
        row
    }
}
