//! TyDi QA's primary task (Clark et al. 2020): a question, a whole article, and its paragraphs as candidates; JSON lines.
//!
//! All languages stand in one file, under their English names. Offsets are **bytes** of UTF-8, unlike SQuAD's. Passages are
//! the candidates; one that any annotator chose is relevant. Where none chose one, the article does not answer: that is
//! what was asked, and no bad record. An article may come with several questions, so it is known by its text, and a
//! candidate by its article and span. (The gold passage task is SQuAD's format, and `squad` reads it.)

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Deserialize;

use super::Fault;
use super::context::{id_of_text, text_or_number};
use crate::corpus::records::{Ids, Passage, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{SourceFile, Unit};
use crate::error::Result;
use crate::pipeline::language;

/// A line. What is not named here is not read: the ids of annotations do not even fit 64 bits with a sign.
#[derive(Deserialize)]
struct Line {
    #[serde(deserialize_with = "text_or_number")]
    example_id: String,
    language: String,
    document_title: Option<String>,
    question_text: String,
    document_plaintext: String,
    passage_answer_candidates: Vec<Span>,
    #[serde(default)]
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Span {
    plaintext_start_byte: i64,
    plaintext_end_byte: i64,
}

#[derive(Deserialize)]
struct Annotation {
    passage_answer: Chosen,
}

#[derive(Deserialize)]
struct Chosen {
    /// -1: no candidate answers.
    candidate_index: i64,
}

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    let mut reader = Reader {
        ids: Ids::of(unit.corpus),
        languages: &unit.corpus.languages,
        met: BTreeSet::new(),
        questions: HashSet::new(),
        passages: HashMap::new(),
        records,
    };
    for file in &unit.files {
        file.for_each_line(|number, line| {
            reader.line(file, number, line);
            Ok(())
        })?;
    }
    let wanted: Vec<&str> = match unit.files.first().and_then(|file| file.lang.as_deref()) {
        Some(lang) => vec![lang],
        None => unit.corpus.languages.iter().map(String::as_str).collect(),
    };
    match wanted.into_iter().find(|lang| !reader.met.contains(lang)) {
        None => Ok(()),
        Some(lang) => Err(super::empty_in(&unit.files, lang)),
    }
}

struct Reader<'a> {
    ids: Ids<'a>,
    languages: &'a [String],
    /// Languages with a record.
    met: BTreeSet<&'a str>,
    /// Ids of questions.
    questions: HashSet<String>,
    /// Rows by id.
    passages: HashMap<String, u32>,
    records: &'a mut Records,
}

impl Reader<'_> {
    fn line(&mut self, file: &SourceFile, number: u64, line: &str) {
        self.records.count();
        let found = serde_json::from_str(line).map_err(|e| (Reason::Malformed, e.to_string()));
        let found = found.and_then(|line: Line| {
            self.example(file, &line).inspect_err(|_| self.records.refuse_id(line.example_id.clone()))
        });
        if let Err((reason, detail)) = found {
            let (source, place) = (file.name.clone(), format!("line {number}"));
            self.records.reject(Reject { source, place, reason, detail, raw: line.to_owned() });
        }
    }

    fn example(&mut self, file: &SourceFile, line: &Line) -> Result<(), Fault> {
        let name = &line.language;
        let lang = language::among(self.languages, name);
        let lang = lang.filter(|lang| file.lang.as_deref().is_none_or(|of_file| of_file == *lang));
        let lang =
            lang.ok_or_else(|| (Reason::FilterLanguage, format!("`{name}` is not among `languages`")))?;
        self.met.insert(lang);
        let (id, document) = (&line.example_id, &line.document_plaintext);
        if line.question_text.trim().is_empty() {
            return Err((Reason::QueryEmpty, format!("question `{id}` has no text")));
        }
        let query_id = self.ids.in_language(lang, id);
        if self.questions.contains(&query_id) {
            return Err((Reason::DuplicateId, format!("`{id}` was the id of an earlier question")));
        }
        let spans = spans(document, &line.passage_answer_candidates)?;
        let rows = self.passages(lang, document, line.document_title.as_deref(), &spans);
        let mut chosen = BTreeSet::new();
        for annotation in &line.annotations {
            match annotation.passage_answer.candidate_index {
                -1 => {}
                index => {
                    let row = usize::try_from(index).ok().and_then(|index| rows.get(index));
                    let row = row.ok_or_else(|| {
                        (Reason::Malformed, format!("candidate {index} of {}", spans.len()))
                    })?;
                    chosen.insert(row.ok_or((Reason::PassageEmpty, "the answer is white space".to_owned()))?);
                }
            }
        }
        if line.annotations.is_empty() {
            return Err((Reason::NoAnswer, "no annotation".to_owned()));
        }
        if chosen.is_empty() {
            return Err((
                Reason::FilterUnanswerable,
                "no annotator found an answer in the article".to_owned(),
            ));
        }
        let query = self.records.query(&Query {
            query_id: &query_id,
            group_id: &self.ids.group(lang, id),
            dataset: self.ids.dataset,
            lang,
            text: &line.question_text,
        });
        self.questions.insert(query_id);
        for passage in chosen {
            self.records.qrel(query, passage, 1);
        }
        Ok(())
    }

    /// The rows of the candidates; none for one that is white space alone.
    fn passages(
        &mut self,
        lang: &str,
        document: &str,
        title: Option<&str>,
        spans: &[(usize, usize)],
    ) -> Vec<Option<u32>> {
        let context_id = self.ids.in_language(lang, &id_of_text(document));
        let mut rows = Vec::with_capacity(spans.len());
        for &(begin, end) in spans {
            let text = &document[begin..end];
            if text.trim().is_empty() {
                rows.push(None);
                continue;
            }
            let passage_id = format!("{context_id}/b{begin}-{end}");
            let row = *self.passages.entry(passage_id).or_insert_with_key(|passage_id| {
                self.records.passage(&Passage {
                    passage_id,
                    dataset: self.ids.dataset,
                    lang,
                    text,
                    context_id: &context_id,
                    title,
                })
            });
            rows.push(Some(row));
        }
        rows
    }
}

/// The candidates in bytes that are there, and begin and end with a character.
fn spans(document: &str, candidates: &[Span]) -> Result<Vec<(usize, usize)>, Fault> {
    let check = |(at, span): (usize, &Span)| {
        let (begin, end) = (span.plaintext_start_byte, span.plaintext_end_byte);
        let bounds = usize::try_from(begin).ok().zip(usize::try_from(end).ok());
        bounds.filter(|&(begin, end)| document.get(begin..end).is_some()).ok_or_else(|| {
            let detail =
                format!("candidate {at} is bytes {begin} to {end}, no span of the {} bytes", document.len());
            (Reason::Malformed, detail)
        })
    };
    candidates.iter().enumerate().map(check).collect()
}
