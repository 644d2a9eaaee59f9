//! The SQuAD family: SQuAD v1.1, XQuAD, and with `sentence_breaks` XQuAD-R and MLQA-R (Roy et al. 2020).
//!
//! All offsets are Unicode code points of the context *as it stands*: nothing is trimmed or normalised before they are
//! applied. The answer's sentence is the one that holds `answer_start`; its text is never searched for, because it
//! also occurs elsewhere in one paragraph out of ten. A sentence's text is the slice of its context that its break
//! names, not the entry in `sentences`.

use std::collections::HashSet;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use unicode_segmentation::UnicodeSegmentation;

use crate::corpus::records::{Ids, Passage, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{SourceFile, Unit};
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

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    answer_start: Option<i64>,
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Number(serde_json::Number),
    }
    Ok(match Id::deserialize(deserializer)? {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
    })
}

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    let lang = unit.lang();
    let mut reader =
        Reader { ids: Ids::of(unit.corpus), lang, passages: unit.corpus.unit, seen: HashSet::new(), records };
    for file in &unit.files {
        let prefix = if 1 < unit.files.len() { format!("{}/", file.stem()) } else { String::new() };
        reader.file(file, &prefix)?;
    }
    Ok(())
}

struct Reader<'a> {
    ids: Ids<'a>,
    lang: &'a str,
    passages: PassageUnit,
    /// Question ids of this language.
    seen: HashSet<String>,
    records: &'a mut Records,
}

impl Reader<'_> {
    fn file(&mut self, file: &SourceFile, prefix: &str) -> Result<()> {
        let text = file.text()?;
        let document: Document = serde_json::from_str(&text).map_err(|e| {
            let place = format!("byte {}", byte_of(&text, &e));
            file.error(Some(place), format!("bad JSON of the SQuAD family: {e}"))
        })?;
        let mut number = 0;
        for (a, article) in document.data.iter().enumerate() {
            for (p, raw) in article.paragraphs.iter().enumerate() {
                let pointer = format!("/data/{a}/paragraphs/{p}");
                self.paragraph(file, &pointer, &format!("{prefix}p{number}"), article.title.as_deref(), raw);
                number += 1;
            }
        }
        Ok(())
    }

    fn paragraph(&mut self, file: &SourceFile, pointer: &str, id: &str, title: Option<&str>, raw: &RawValue) {
        let paragraph: Paragraph = match serde_json::from_str(raw.get()) {
            Ok(paragraph) => paragraph,
            Err(e) => {
                self.records.count();
                return self.reject(file, pointer, Reason::Malformed, e.to_string(), raw);
            }
        };
        let context = Context::new(&paragraph.context);
        let sentences = match (self.passages, paragraph.sentence_breaks) {
            (PassageUnit::Paragraph | PassageUnit::Question, _) => {
                vec![Sentence { holds: (0, context.len()), text: (0, context.len()) }]
            }
            (PassageUnit::Sentence, None) => context.sentences(),
            (PassageUnit::Sentence, Some(breaks)) => match context.check(&breaks) {
                Ok(()) => breaks.into_iter().map(|span| Sentence { holds: span, text: span }).collect(),
                Err(detail) => {
                    self.records.count();
                    return self.reject(file, pointer, Reason::SentenceBreaksInvalid, detail, raw);
                }
            },
        };
        let context_id = self.ids.in_language(self.lang, id);
        let mut rows = Vec::with_capacity(sentences.len());
        for (s, sentence) in sentences.iter().enumerate() {
            let passage_id = match self.passages {
                PassageUnit::Sentence => format!("{context_id}/s{s}"),
                PassageUnit::Paragraph => context_id.clone(),
                PassageUnit::Question => break,
            };
            rows.push(self.records.passage(&Passage {
                passage_id: &passage_id,
                dataset: self.ids.dataset,
                lang: self.lang,
                text: context.slice(sentence.text),
                context_id: &context_id,
                title,
            }));
        }
        for (q, raw) in paragraph.qas.iter().enumerate() {
            self.records.count();
            let found = serde_json::from_str(raw.get())
                .map_err(|e| (Reason::Malformed, e.to_string()))
                .and_then(|question: Question| {
                    let id = question.id.clone();
                    self.question(&context, &sentences, question).inspect_err(|_| self.records.refuse_id(id))
                });
            match found {
                Ok((question, s)) => {
                    let query = Query {
                        query_id: &self.ids.in_language(self.lang, &question.id),
                        group_id: &self.ids.group(self.lang, &question.id),
                        dataset: self.ids.dataset,
                        lang: self.lang,
                        text: &question.question,
                    };
                    if self.passages == PassageUnit::Question {
                        self.records.text(&query, Some((&context_id, title)));
                    } else {
                        let query = self.records.query(&query);
                        self.records.qrel(query, rows[s], 1);
                    }
                }
                Err((reason, detail)) => {
                    self.reject(file, &format!("{pointer}/qas/{q}"), reason, detail, raw);
                }
            }
        }
    }

    /// The question, and the sentence that answers it; or why not.
    fn question(
        &mut self,
        context: &Context,
        sentences: &[Sentence],
        question: Question,
    ) -> Result<(Question, usize), (Reason, String)> {
        if question.is_impossible {
            return Err((Reason::FilterUnanswerable, "is_impossible".to_owned()));
        }
        if question.question.trim().is_empty() {
            return Err((Reason::QueryEmpty, "a question without text".to_owned()));
        }
        let start = answer_start(context, &question.answers)?;
        let mut holding =
            (0..sentences.len()).filter(|&s| sentences[s].holds.0 <= start && start < sentences[s].holds.1);
        let (Some(sentence), None) = (holding.next(), holding.next()) else {
            return Err((Reason::AnswerNotInOneSentence, format!("no sentence holds character {start}")));
        };
        if !self.seen.insert(question.id.clone()) {
            return Err((
                Reason::DuplicateId,
                format!("`{}` was the id of an earlier question", question.id),
            ));
        }
        Ok((question, sentence))
    }

    fn reject(&mut self, file: &SourceFile, pointer: &str, reason: Reason, detail: String, raw: &RawValue) {
        self.records.reject(Reject {
            source: file.name.clone(),
            place: pointer.to_owned(),
            reason,
            detail,
            raw: raw.get().to_owned(),
        });
    }
}

/// Where the first good answer starts, in characters; if there is none, what is wrong with the first.
///
/// Translated corpora hold answers that the translation lost (text "", start -1 or 0) beside good ones.
fn answer_start(context: &Context, answers: &[Answer]) -> Result<usize, (Reason, String)> {
    let mut first_fault = None;
    for answer in answers {
        match check_answer(context, answer) {
            Ok(start) => return Ok(start),
            Err(fault) => first_fault = first_fault.or(Some(fault)),
        }
    }
    Err(first_fault.unwrap_or((Reason::NoAnswer, "no answers".to_owned())))
}

fn check_answer(context: &Context, answer: &Answer) -> Result<usize, (Reason, String)> {
    let text = answer.text.as_deref().unwrap_or("");
    if text.is_empty() {
        return Err((Reason::AnswerEmpty, "an answer without text".to_owned()));
    }
    let start = answer
        .answer_start
        .and_then(|start| usize::try_from(start).ok())
        .ok_or_else(|| (Reason::AnswerStartInvalid, format!("answer_start {:?}", answer.answer_start)))?;
    if context.len() <= start {
        let detail = format!("answer_start {start}, the context has {} characters", context.len());
        return Err((Reason::AnswerOutsideContext, detail));
    }
    if !context.from(start).starts_with(text) {
        return Err((Reason::AnswerNotAtOffset, format!("`{text}` is not at character {start}")));
    }
    Ok(start)
}

/// A sentence: the characters that belong to it (white space after it included), and those that are its text.
struct Sentence {
    holds: (usize, usize),
    text: (usize, usize),
}

/// A text that is indexed by characters.
struct Context<'a> {
    text: &'a str,
    /// Byte of each character and the end; empty where all are of one byte.
    bytes: Vec<usize>,
}

impl<'a> Context<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect()
        };
        Self { text, bytes }
    }

    /// Length in characters.
    fn len(&self) -> usize {
        if self.bytes.is_empty() { self.text.len() } else { self.bytes.len() - 1 }
    }

    fn byte(&self, character: usize) -> usize {
        if self.bytes.is_empty() { character } else { self.bytes[character] }
    }

    fn slice(&self, (begin, end): (usize, usize)) -> &'a str {
        &self.text[self.byte(begin)..self.byte(end)]
    }

    fn from(&self, begin: usize) -> &'a str {
        self.slice((begin, self.len()))
    }

    /// Sentence breaks of the source run forwards, do not overlap and stay inside.
    fn check(&self, breaks: &[(usize, usize)]) -> Result<(), String> {
        let mut end = 0;
        for (s, span) in breaks.iter().enumerate() {
            if span.0 < end || span.1 <= span.0 || self.len() < span.1 {
                return Err(format!("break {s} is {span:?} after character {end} of {}", self.len()));
            }
            end = span.1;
        }
        Ok(())
    }

    /// Sentences by Unicode's rules (UAX #29), for sources without breaks; white space around them is no text.
    fn sentences(&self) -> Vec<Sentence> {
        let mut sentences = Vec::new();
        let mut begin = 0;
        for bound in self.text.split_sentence_bounds() {
            let end = begin + bound.chars().count();
            let blank_before = bound.chars().take_while(|c| c.is_whitespace()).count();
            let blank_after = bound.chars().rev().take_while(|c| c.is_whitespace()).count();
            if blank_before < end - begin {
                sentences
                    .push(Sentence { holds: (begin, end), text: (begin + blank_before, end - blank_after) });
            }
            begin = end;
        }
        sentences
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_characters_not_bytes() {
        let context = Context::new("Größe 𝄞 zählt. Ja.");
        assert_eq!(context.len(), 18);
        assert_eq!(context.slice((6, 7)), "𝄞");
        assert_eq!(context.from(15), "Ja.");
        let spans: Vec<_> = context.sentences().iter().map(|s| (s.holds, s.text)).collect();
        assert_eq!(spans, [((0, 15), (0, 14)), ((15, 18), (15, 18))]);
    }

    #[test]
    fn breaks_that_overlap_or_leave_the_context_are_refused() {
        let context = Context::new("abcdef");
        assert!(context.check(&[(0, 3), (3, 6)]).is_ok());
        for bad in [[(0, 3), (2, 6)], [(0, 3), (4, 7)], [(0, 3), (5, 5)]] {
            assert!(context.check(&bad).is_err(), "{bad:?}");
        }
    }
}
