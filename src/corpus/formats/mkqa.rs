//! Questions of MKQA (Longpre, Lu and Daiber 2021) in many languages, without passages: JSON lines in two layouts.
//!
//! The MIA 2022 shared task has a file for each language, `{"id": "-42_zh_cn", "lang": "zh_cn", "question": ...}`, where
//! the key shared by all languages is the id without `_` and the language; MKQA itself has all languages in a line,
//! `{"example_id": -42, "queries": {"zh_cn": ...}}`. Keys are signed 64-bit integers, more than a double holds. Answers
//! are not looked at: a question without one has translations all the same.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::Fault;
use crate::corpus::records::{Ids, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{SourceFile, Unit};
use crate::error::Result;
use crate::pipeline::language;

/// A line in either layout.
#[derive(Deserialize)]
struct Line {
    id: Option<String>,
    lang: Option<String>,
    question: Option<String>,
    example_id: Option<i64>,
    queries: Option<BTreeMap<String, Option<String>>>,
}

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    // The language of the file, where its path stands for one; else the records name it.
    let of_file = unit.files.first().and_then(|file| file.lang.as_deref());
    let languages: Vec<&str> = match of_file {
        Some(lang) => vec![lang],
        None => unit.corpus.languages.iter().map(String::as_str).collect(),
    };
    let seen = vec![HashSet::new(); languages.len()];
    let mut reader = Reader { ids: Ids::of(unit.corpus), languages, of_file, seen, records };
    for file in &unit.files {
        file.for_each_line(|number, line| {
            reader.line(file, number, line);
            Ok(())
        })?;
    }
    let missing = reader.seen.iter().position(HashSet::is_empty).filter(|_| of_file.is_none());
    match missing {
        None => Ok(()),
        Some(at) => Err(super::empty_in(&unit.files, reader.languages[at])),
    }
}

struct Reader<'a> {
    ids: Ids<'a>,
    languages: Vec<&'a str>,
    of_file: Option<&'a str>,
    /// Keys of each of these languages.
    seen: Vec<HashSet<String>>,
    records: &'a mut Records,
}

impl Reader<'_> {
    fn line(&mut self, file: &SourceFile, number: u64, line: &str) {
        let found = serde_json::from_str::<Line>(line).map_err(|e| (Reason::Malformed, e.to_string()));
        let faults = match found {
            Ok(Line { id: Some(id), lang: Some(lang), question: Some(question), .. }) => {
                vec![self.of_one_language(&id, &lang, &question)]
            }
            Ok(Line { example_id: Some(id), queries: Some(queries), .. }) => {
                self.of_all_languages(&id.to_string(), &queries)
            }
            Ok(_) => {
                let detail = "neither `id`, `lang` and `question` nor `example_id` and `queries`";
                vec![Err((Reason::Malformed, detail.to_owned()))]
            }
            Err(fault) => vec![Err(fault)],
        };
        for fault in faults {
            self.records.count();
            if let Err((reason, detail)) = fault {
                let (source, place) = (file.name.clone(), format!("line {number}"));
                self.records.reject(Reject { source, place, reason, detail, raw: line.to_owned() });
            }
        }
    }

    fn of_one_language(&mut self, id: &str, lang: &str, question: &str) -> Result<(), Fault> {
        // `zh_cn` holds the mark itself, so the id is not to be split at its last one.
        let key = id.strip_suffix(lang).and_then(|key| key.strip_suffix('_')).filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| (Reason::Malformed, format!("id `{id}` does not end in `_{lang}`")))?;
        let at = match self.of_file {
            Some(_) => 0,
            None => self
                .languages
                .iter()
                .position(|tag| language::means(tag, lang))
                .ok_or_else(|| (Reason::FilterLanguage, format!("`{lang}` is not among `languages`")))?,
        };
        self.question(at, key, question)
    }

    /// A language that a record does not have, or has as null, has no question there.
    fn of_all_languages(
        &mut self,
        key: &str,
        queries: &BTreeMap<String, Option<String>>,
    ) -> Vec<Result<(), Fault>> {
        let mut found = Vec::new();
        for at in 0..self.languages.len() {
            let query = queries.iter().find(|(lang, _)| language::means(self.languages[at], lang));
            if let Some((_, Some(question))) = query {
                found.push(self.question(at, key, question));
            }
        }
        found
    }

    fn question(&mut self, at: usize, key: &str, question: &str) -> Result<(), Fault> {
        let lang = self.languages[at];
        let fault = if question.trim().is_empty() {
            Some((Reason::QueryEmpty, format!("question `{key}` has no text in `{lang}`")))
        } else if !self.seen[at].insert(key.to_owned()) {
            Some((Reason::DuplicateId, format!("`{key}` was the id of an earlier question in `{lang}`")))
        } else {
            None
        };
        if let Some(fault) = fault {
            self.records.refuse_id(key.to_owned());
            return Err(fault);
        }
        let text = Query {
            query_id: &self.ids.in_language(lang, key),
            group_id: &self.ids.group(lang, key),
            dataset: self.ids.dataset,
            lang,
            text: question,
        };
        self.records.text(&text, None);
        Ok(())
    }
}
