//! A context with answers in it: texts that are indexed by characters, cut into sentences, and asked where an answer is.
//!
//! All offsets are Unicode code points of the context *as it stands*: nothing is trimmed or normalised before they are
//! applied. Formats that have contexts differ in what is around them, never in this.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use unicode_segmentation::UnicodeSegmentation;

use crate::corpus::records::{Passage, Records};
use crate::corpus::reject::Reason;
use crate::digest::Digest;
use crate::pipeline::Unit;

/// An answer as SQuAD has it.
#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) answer_start: Option<i64>,
}

/// Ids that are texts in one release and numbers in another.
pub(super) fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Number(serde_json::Number),
    }
    match Id::deserialize(deserializer)? {
        Id::Text(text) if text.trim().is_empty() => Err(D::Error::custom("an id without text")),
        Id::Text(text) => Ok(text),
        Id::Number(number) => Ok(number.to_string()),
    }
}

/// What makes a context the same in several files: the first 16 hex digits of the BLAKE3 of its text.
pub(super) fn id_of_text(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string()[..16].to_owned()
}

/// A context as passages: what each of them holds, and its row.
pub(super) struct Passages {
    sentences: Vec<Sentence>,
    /// Empty where contexts are not read as passages.
    rows: Vec<u32>,
}

impl Passages {
    /// Cuts a context and adds its passages: sentences by `breaks`, else by Unicode's rules, or the whole of it.
    ///
    /// # Errors
    /// What is wrong with the breaks.
    pub(super) fn add(
        context: &Context,
        unit: Unit,
        breaks: Option<Vec<(usize, usize)>>,
        of: &Passage,
        records: &mut Records,
    ) -> Result<Self, String> {
        let sentences = match (unit, breaks) {
            (Unit::Paragraph | Unit::Question, _) => {
                vec![Sentence { holds: (0, context.len()), text: (0, context.len()) }]
            }
            (Unit::Sentence, None) => context.sentences(),
            (Unit::Sentence, Some(breaks)) => {
                context.check(&breaks)?;
                breaks.into_iter().map(|span| Sentence { holds: span, text: span }).collect()
            }
        };
        let mut rows = Vec::with_capacity(sentences.len());
        for (s, sentence) in sentences.iter().enumerate() {
            let passage_id = match unit {
                Unit::Sentence => format!("{}/s{s}", of.context_id),
                Unit::Paragraph => of.context_id.to_owned(),
                Unit::Question => break,
            };
            rows.push(records.passage(&Passage {
                passage_id: &passage_id,
                text: context.slice(sentence.text),
                ..*of
            }));
        }
        Ok(Self { sentences, rows })
    }

    /// Which sentence holds a character.
    pub(super) fn holding(&self, start: usize) -> Result<usize, (Reason, String)> {
        let holds = |s: &usize| {
            let (begin, end) = self.sentences[*s].holds;
            begin <= start && start < end
        };
        let mut holding = (0..self.sentences.len()).filter(holds);
        match (holding.next(), holding.next()) {
            (Some(sentence), None) => Ok(sentence),
            _ => Err((Reason::AnswerNotInOneSentence, format!("no sentence holds character {start}"))),
        }
    }

    /// Its row among the passages.
    pub(super) fn row(&self, sentence: usize) -> u32 {
        self.rows[sentence]
    }
}

/// Where the first good answer starts, in characters; if there is none, what is wrong with the first.
///
/// Translated corpora hold answers that the translation lost (text "", start -1 or 0) beside good ones.
pub(super) fn answer_start(context: &Context, answers: &[Answer]) -> Result<usize, (Reason, String)> {
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
pub(super) struct Context<'a> {
    text: &'a str,
    /// Byte of each character and the end; empty where all are of one byte.
    bytes: Vec<usize>,
}

impl<'a> Context<'a> {
    pub(super) fn new(text: &'a str) -> Self {
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
