//! The SQuAD family: SQuAD v1.1, XQuAD, and with `sentence_breaks` XQuAD-R and MLQA-R (Roy et al. 2020).
//!
//! The answer's sentence is the one that holds `answer_start`; its text is never searched for, because it also occurs
//! elsewhere in one paragraph out of ten. A sentence's text is the slice of its context that its break names, not the
//! entry in `sentences`. MLQA (Lewis et al. 2020) has a file for each *pair* of languages, and asks one question of
//! contexts in several: there a context is known by its text, and a question by its id and text.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Fault;
use super::context::{Answer, Context, Passages, answer_start, id_of_text, text_or_number};
use crate::corpus::records::{Ids, Passage, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{SourceFile, Unit};
use crate::digest::Digest;
use crate::error::Result;
use crate::pipeline::Unit as PassageUnit;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    data: Vec<Article<'a>>,
}

#[derive(Deserialize)]
struct Article<'a> {
    title: Option<String>,
    #[serde(borrow)]
    paragraphs: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Paragraph<'a> {
    context: String,
    #[serde(borrow)]
    qas: Vec<&'a RawValue>,
    sentence_breaks: Option<Vec<(usize, usize)>>,
}

#[derive(Deserialize)]
struct Question {
    #[serde(deserialize_with = "text_or_number")]
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<Answer>,
    #[serde(default)]
    is_impossible: bool,
}

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    let mut reader = Reader {
        ids: Ids::of(unit.corpus),
        unit: unit.corpus.unit,
        questions: HashMap::new(),
        contexts: HashMap::new(),
        judged: HashSet::new(),
        records,
    };
    for file in &unit.files {
        let file = Languages {
            query: file.lang.as_deref().expect("a path of the SQuAD family stands for a language"),
            passage: file.passage_lang.as_deref(),
            prefix: if 1 < unit.files.len() { format!("{}/", file.stem()) } else { String::new() },
            file,
        };
        reader.file(&file)?;
    }
    Ok(())
}

/// A file, and the languages in it.
struct Languages<'a> {
    file: &'a SourceFile,
    query: &'a str,
    /// Where the file is of a pair of languages: that of its contexts. Then other files may have the same questions,
    /// and others the same contexts.
    passage: Option<&'a str>,
    /// Of the ids of its contexts.
    prefix: String,
}

struct Reader<'a> {
    ids: Ids<'a>,
    unit: PassageUnit,
    /// Ids of the questions so far, with their texts and rows.
    questions: HashMap<String, (Digest, u32)>,
    /// Of files of pairs: contexts so far.
    contexts: HashMap<String, Passages>,
    /// Likewise: judgements so far.
    judged: HashSet<(u32, u32)>,
    records: &'a mut Records,
}

impl Reader<'_> {
    fn file(&mut self, file: &Languages) -> Result<()> {
        let text = file.file.text()?;
        let document: Document = serde_json::from_str(&text).map_err(|e| {
            let place = format!("byte {}", byte_of(&text, &e));
            file.file.error(Some(place), format!("bad JSON of the SQuAD family: {e}"))
        })?;
        let mut number = 0;
        for (a, article) in document.data.iter().enumerate() {
            for (p, raw) in article.paragraphs.iter().enumerate() {
                let pointer = format!("/data/{a}/paragraphs/{p}");
                self.paragraph(file, &pointer, number, article.title.as_deref(), raw);
                number += 1;
            }
        }
        Ok(())
    }

    fn paragraph(
        &mut self,
        file: &Languages,
        pointer: &str,
        number: usize,
        title: Option<&str>,
        raw: &RawValue,
    ) {
        let paragraph: Paragraph = match serde_json::from_str(raw.get()) {
            Ok(paragraph) => paragraph,
            Err(e) => {
                self.records.count();
                return self.reject(file, pointer, (Reason::Malformed, e.to_string()), raw);
            }
        };
        let context = Context::new(&paragraph.context);
        let lang = file.passage.unwrap_or(file.query);
        let id = match file.passage {
            None => format!("{}p{number}", file.prefix),
            Some(_) => id_of_text(&paragraph.context),
        };
        let context_id = self.ids.in_language(lang, &id);
        let passages = match self.contexts.remove(&context_id) {
            Some(passages) => passages,
            None => {
                let of = Passage {
                    passage_id: &context_id,
                    dataset: self.ids.dataset,
                    lang,
                    text: &paragraph.context,
                    context_id: &context_id,
                    title,
                };
                match Passages::add(&context, self.unit, paragraph.sentence_breaks, &of, self.records) {
                    Ok(passages) => passages,
                    Err(detail) => {
                        self.records.count();
                        return self.reject(file, pointer, (Reason::SentenceBreaksInvalid, detail), raw);
                    }
                }
            }
        };
        for (q, raw) in paragraph.qas.iter().enumerate() {
            self.records.count();
            let found = serde_json::from_str(raw.get())
                .map_err(|e| (Reason::Malformed, e.to_string()))
                .and_then(|question: Question| {
                    let id = question.id.clone();
                    let found = check(&context, &passages, question);
                    found
                        .and_then(|(question, s)| {
                            let row = (self.unit != PassageUnit::Question).then(|| passages.row(s));
                            self.question(file, &question, row, (&context_id, title))
                        })
                        .inspect_err(|_| self.records.refuse_id(id))
                });
            if let Err(fault) = found {
                self.reject(file, &format!("{pointer}/qas/{q}"), fault, raw);
            }
        }
        if file.passage.is_some() {
            self.contexts.insert(context_id, passages);
        }
    }

    /// Adds a question with the passage that answers it, or as a text of its own. In files of pairs, a question is met
    /// once for every language of its contexts.
    fn question(
        &mut self,
        file: &Languages,
        question: &Question,
        passage: Option<u32>,
        (context_id, title): (&str, Option<&str>),
    ) -> Result<(), Fault> {
        let text = Digest::of(question.question.as_bytes());
        let query_id = self.ids.in_language(file.query, &question.id);
        let known = self.questions.get(&query_id).copied();
        if known.is_some_and(|(known, _)| file.passage.is_none() || known != text) {
            let detail = format!("`{}` was the id of an earlier question", question.id);
            return Err((Reason::DuplicateId, detail));
        }
        let query = Query {
            query_id: &query_id,
            group_id: &self.ids.group(file.query, &question.id),
            dataset: self.ids.dataset,
            lang: file.query,
            text: &question.question,
        };
        let row = match (known, passage) {
            (Some((_, row)), _) => row,
            (None, Some(_)) => self.records.query(&query),
            (None, None) => self.records.text(&query, Some((context_id, title))),
        };
        self.questions.insert(query_id, (text, row));
        let Some(passage) = passage else { return Ok(()) };
        if file.passage.is_some() && !self.judged.insert((row, passage)) {
            let detail = format!("`{}` had this context in an earlier place", question.id);
            return Err((Reason::DuplicateId, detail));
        }
        self.records.qrel(row, passage, 1);
        Ok(())
    }

    fn reject(&mut self, file: &Languages, pointer: &str, (reason, detail): Fault, raw: &RawValue) {
        self.records.reject(Reject {
            source: file.file.name.clone(),
            place: pointer.to_owned(),
            reason,
            detail,
            raw: raw.get().to_owned(),
        });
    }
}

/// The question, and the sentence that answers it; or why not.
fn check(context: &Context, passages: &Passages, question: Question) -> Result<(Question, usize), Fault> {
    if question.is_impossible {
        return Err((Reason::FilterUnanswerable, "is_impossible".to_owned()));
    }
    if question.question.trim().is_empty() {
        return Err((Reason::QueryEmpty, "a question without text".to_owned()));
    }
    let start = answer_start(context, &question.answers)?;
    let sentence = passages.holding(start)?;
    Ok((question, sentence))
}

/// The byte that a JSON error speaks of: its line and column, which are those of the last byte that was read. After a
/// line feed that is column 0 of the next line. Of a raw control character the parser may be one byte short.
fn byte_of(text: &str, e: &serde_json::Error) -> usize {
    let line_start: usize = text.split_inclusive('\n').take(e.line().saturating_sub(1)).map(str::len).sum();
    let byte = match e.column() {
        0 => line_start.saturating_sub(1),
        column => line_start + column - 1,
    };
    let bytes = text.as_bytes();
    let is_control = |at: usize| bytes.get(at).is_some_and(|byte| *byte < 0x20);
    if e.to_string().starts_with("control character") && !is_control(byte) && is_control(byte + 1) {
        return byte + 1;
    }
    byte.min(text.len())
}
