//! Wordnets of Open Multilingual Wordnet (Bond and Foster 2013): lines `synset TAB lang:lemma TAB word`, `#` before a comment.
//!
//! A synset is the group, and so the link between languages; its words are numbered in the order of the file, because
//! nothing else tells two words of one language apart. Words stand as they are, outer white space included.

use std::collections::HashMap;

use crate::corpus::records::{Ids, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{SourceFile, Unit};
use crate::error::Result;

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    let mut reader =
        Reader { ids: Ids::of(unit.corpus), lang: unit.lang(), code: None, words: HashMap::new(), records };
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
    /// The pipeline's tag of the language, and what the lines call it: `de` and `deu`.
    lang: &'a str,
    code: Option<String>,
    /// The words of each synset so far.
    words: HashMap<String, Vec<String>>,
    records: &'a mut Records,
}

impl Reader<'_> {
    fn line(&mut self, file: &SourceFile, number: u64, line: &str) {
        if line.starts_with('#') {
            return;
        }
        let fields: Vec<&str> = line.split('\t').collect();
        // Definitions and examples (`deu:def`, `deu:exe`) are no words, and have columns of their own.
        if let [_, kind, _, ..] = fields[..]
            && kind.split_once(':').is_some_and(|(_, kind)| kind != "lemma")
        {
            return;
        }
        self.records.count();
        if let Err((reason, detail)) = self.word(&fields) {
            if let Some(synset) = fields.first() {
                self.records.refuse_id((*synset).to_owned());
            }
            let place = format!("line {number}");
            self.records.reject(Reject {
                source: file.name.clone(),
                place,
                reason,
                detail,
                raw: line.to_owned(),
            });
        }
    }

    fn word(&mut self, fields: &[&str]) -> Result<(), (Reason, String)> {
        let &[synset, kind, word] = fields else {
            return Err((Reason::Malformed, format!("{} columns instead of 3", fields.len())));
        };
        let Some((code, _)) = kind.split_once(':') else {
            return Err((Reason::Malformed, format!("`{kind}` is not a language and `lemma`")));
        };
        if synset.trim().is_empty() {
            return Err((Reason::Malformed, "a word without a synset".to_owned()));
        }
        let of_file = self.code.get_or_insert_with(|| code.to_owned());
        if of_file != code {
            return Err((Reason::Malformed, format!("a word of `{code}` among those of `{of_file}`")));
        }
        if word.trim().is_empty() {
            return Err((Reason::QueryEmpty, "a word without text".to_owned()));
        }
        let words = self.words.entry(synset.to_owned()).or_default();
        if words.iter().any(|known| known == word) {
            return Err((Reason::DuplicateId, format!("`{word}` stood in an earlier line of the synset")));
        }
        let text = Query {
            query_id: &self.ids.in_language(self.lang, &format!("{synset}/w{}", words.len())),
            group_id: &self.ids.group(self.lang, synset),
            dataset: self.ids.dataset,
            lang: self.lang,
            text: word,
        };
        self.records.text(&text, None);
        words.push(word.to_owned());
        Ok(())
    }
}
