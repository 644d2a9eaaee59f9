//! AfriQA (Ogundepo et al. 2023): questions in African languages, translated to English or French, where their answers are.
//!
//! A line is a question, its translation and the gold passage, in files of a pair of languages. Group is the question:
//! both its texts ask, and the passage answers both. Ids count from small numbers in every file, so the group's has the
//! language of the question and the split before it. Contexts come once for every question on them; a context is known by
//! its text. Lines are JSON of Python, which has `NaN`, and in `queries.*` an answer is a Python literal in a string:
//! nothing here looks at those, because nothing needs an answer's text but the place where it stands.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::Fault;
use super::context::{Answer, Context, Passages, answer_start, id_of_text, text_or_number};
use crate::corpus::records::{Ids, Passage, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{SourceFile, Unit};
use crate::error::Result;
use crate::pipeline::Unit as PassageUnit;

/// A line of `gold_span_passages.*`, or with the other names and without a context of `queries.*`.
#[derive(Deserialize)]
struct Row {
    #[serde(deserialize_with = "text_or_number")]
    id: String,
    #[serde(alias = "question")]
    question_lang: Option<String>,
    #[serde(alias = "translated_question")]
    question_translated: Option<String>,
    context: Option<String>,
    title: Option<String>,
    answer_pivot: Option<Pivot>,
}

/// The answer in the language of the passage: starts and texts side by side.
#[derive(Deserialize)]
struct Pivot {
    answer_start: Vec<Option<i64>>,
    text: Vec<Option<String>>,
}

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    let mut reader = Reader {
        ids: Ids::of(unit.corpus),
        unit: unit.corpus.unit,
        seen: HashSet::new(),
        contexts: HashMap::new(),
        records,
    };
    for file in &unit.files {
        let (query, passage) = file.languages();
        let languages = query.zip(passage).expect("checked with the pipeline");
        // `gold_span_passages.afriqa.bem.en.dev.json`
        let split = file.stem().rsplit('.').next().unwrap_or_default();
        let n_before = reader.records.n_records();
        file.for_each_line(|number, line| {
            reader.line(file, languages, split, number, line);
            Ok(())
        })?;
        if reader.records.n_records() == n_before {
            return Err(super::empty(std::slice::from_ref(file)));
        }
    }
    Ok(())
}

struct Reader<'a> {
    ids: Ids<'a>,
    unit: PassageUnit,
    /// Ids of groups.
    seen: HashSet<String>,
    /// By id.
    contexts: HashMap<String, Passages>,
    records: &'a mut Records,
}

impl Reader<'_> {
    fn line(&mut self, file: &SourceFile, languages: (&str, &str), split: &str, number: u64, line: &str) {
        self.records.count();
        let row = serde_json::from_str(&without_nan(line)).map_err(|e| (Reason::Malformed, e.to_string()));
        let found = row.and_then(|row: Row| {
            let key = format!("{}-{split}-{}", languages.0, row.id);
            self.question(languages, &key, &row).inspect_err(|_| self.records.refuse_id(key))
        });
        if let Err((reason, detail)) = found {
            let (source, place) = (file.name.clone(), format!("line {number}"));
            self.records.reject(Reject { source, place, reason, detail, raw: line.to_owned() });
        }
    }

    fn question(&mut self, (asked, pivot): (&str, &str), key: &str, row: &Row) -> Result<(), Fault> {
        let mut texts = Vec::with_capacity(2);
        for (lang, text) in [(asked, &row.question_lang), (pivot, &row.question_translated)] {
            let text = text.as_deref().filter(|text| !text.trim().is_empty());
            let text = text
                .ok_or_else(|| (Reason::QueryEmpty, format!("question `{key}` has no text in `{lang}`")))?;
            texts.push((lang, text));
        }
        if self.seen.contains(key) {
            return Err((Reason::DuplicateId, format!("`{key}` was an earlier question")));
        }
        let passage = match self.unit {
            PassageUnit::Question => None,
            _ => Some(self.passage(pivot, row)?),
        };
        self.seen.insert(key.to_owned());
        for (lang, text) in texts {
            let query = Query {
                query_id: &self.ids.in_language(lang, key),
                group_id: &self.ids.group(lang, key),
                dataset: self.ids.dataset,
                lang,
                text,
            };
            match passage {
                None => {
                    self.records.text(&query, None);
                }
                Some(passage) => {
                    let query = self.records.query(&query);
                    self.records.qrel(query, passage, 1);
                }
            }
        }
        Ok(())
    }

    /// The row of the passage that answers: the whole context, or the sentence where the answer begins. That the context
    /// answers is what its readers said, so a span that went astray costs no whole context.
    fn passage(&mut self, lang: &str, row: &Row) -> Result<u32, Fault> {
        let text = row.context.as_deref().filter(|text| !text.trim().is_empty());
        let text = text.ok_or((Reason::PassageEmpty, "a question without a passage".to_owned()))?;
        let context = Context::new(text);
        let id = self.ids.in_language(lang, &id_of_text(text));
        if !self.contexts.contains_key(&id) {
            let of = Passage {
                passage_id: &id,
                dataset: self.ids.dataset,
                lang,
                text,
                context_id: &id,
                title: row.title.as_deref(),
            };
            let passages = Passages::add(&context, self.unit, None, &of, self.records);
            let passages = passages.expect("without breaks nothing is wrong with them");
            self.contexts.insert(id.clone(), passages);
        }
        let passages = &self.contexts[&id];
        if self.unit == PassageUnit::Paragraph {
            return Ok(passages.row(0));
        }
        let answers: Vec<Answer> = row.answer_pivot.as_ref().map(Pivot::answers).unwrap_or_default();
        Ok(passages.row(passages.holding(answer_start(&context, &answers)?)?))
    }
}

impl Pivot {
    fn answers(&self) -> Vec<Answer> {
        let starts = self.answer_start.iter().copied().chain(std::iter::repeat(None));
        let texts = self.text.iter().cloned().zip(starts);
        texts.map(|(text, answer_start)| Answer { text, answer_start }).collect()
    }
}

/// Python writes `NaN` for what pandas has not: no JSON, but `null` in all but name.
fn without_nan(line: &str) -> Cow<'_, str> {
    if !line.contains("NaN") {
        return Cow::Borrowed(line);
    }
    let (mut kept, mut rest) = (String::with_capacity(line.len() + 8), line);
    let (mut in_text, mut escaped) = (false, false);
    while let Some(c) = rest.chars().next() {
        let taken = match rest.strip_prefix("NaN").filter(|_| !in_text) {
            Some(_) => {
                kept.push_str("null");
                "NaN".len()
            }
            None => {
                kept.push(c);
                c.len_utf8()
            }
        };
        in_text ^= c == '"' && !escaped;
        escaped = in_text && c == '\\' && !escaped;
        rest = &rest[taken..];
    }
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_null_but_in_texts() {
        let line = r#"{"a": NaN, "b": [NaN, "NaN \" NaN", "\\"], "c": NaN}"#;
        let expected = r#"{"a": null, "b": [null, "NaN \" NaN", "\\"], "c": null}"#;
        assert_eq!(without_nan(line), expected);
    }
}
