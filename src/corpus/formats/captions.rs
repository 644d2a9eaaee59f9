//! Captions of images in many languages: Crossmodal-3600 (Thapliyal et al. 2022), JSON lines, an image with all languages a line:
//! `{"image/key": "000411001ff7dd4f", "de": {"caption": ["...", "..."], ...}, "fil": {...}, ...}`.
//!
//! An image is the group, and each caption of it a question and a passage at once: what describes one picture in another
//! language. Captions are numbered in their order, because nothing else tells two of one language apart.

use std::collections::{BTreeSet, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Fault;
use crate::corpus::records::{Ids, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{SourceFile, Unit};
use crate::error::Result;
use crate::pipeline::language;

/// What a language holds, of which the forms for measures (`caption/tokenized` and so on) are no use here.
#[derive(Deserialize)]
struct Captions {
    caption: Vec<String>,
}

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    let mut reader = Reader {
        ids: Ids::of(unit.corpus),
        languages: &unit.corpus.languages,
        met: BTreeSet::new(),
        images: HashSet::new(),
        records,
    };
    for file in &unit.files {
        file.for_each_line(|number, line| {
            reader.line(file, number, line);
            Ok(())
        })?;
    }
    match unit.corpus.languages.iter().find(|lang| !reader.met.contains(lang.as_str())) {
        None => Ok(()),
        Some(lang) => Err(super::empty_in(&unit.files, lang)),
    }
}

struct Reader<'a> {
    ids: Ids<'a>,
    languages: &'a [String],
    /// Languages with a caption.
    met: BTreeSet<&'a str>,
    images: HashSet<String>,
    records: &'a mut Records,
}

impl Reader<'_> {
    fn line(&mut self, file: &SourceFile, number: u64, line: &str) {
        let found = serde_json::from_str(line).map_err(|e| (Reason::Malformed, e.to_string()));
        let found = found.and_then(|image: Map<String, Value>| self.image(&image));
        let faults = found.unwrap_or_else(|fault| {
            self.records.count();
            vec![fault]
        });
        for (reason, detail) in faults {
            let (source, place) = (file.name.clone(), format!("line {number}"));
            self.records.reject(Reject { source, place, reason, detail, raw: line.to_owned() });
        }
    }

    /// What is wrong with single captions.
    fn image(&mut self, image: &Map<String, Value>) -> Result<Vec<Fault>, Fault> {
        let key = image.get("image/key").and_then(Value::as_str);
        let key = key.ok_or_else(|| (Reason::Malformed, "no text `image/key`".to_owned()))?;
        if !self.images.insert(key.to_owned()) {
            return Err((Reason::DuplicateId, format!("`{key}` was the key of an earlier image")));
        }
        let mut faults = Vec::new();
        for (name, value) in image {
            // Keys such as `image/locale` are no languages, and those that were not asked for are passed over.
            let Some(lang) = language::among(self.languages, name) else { continue };
            let captions = match Captions::deserialize(value) {
                Ok(captions) => captions.caption,
                Err(e) => {
                    self.records.count();
                    faults.push((Reason::Malformed, format!("`{name}`: {e}")));
                    continue;
                }
            };
            for (number, text) in captions.iter().enumerate() {
                self.records.count();
                if text.trim().is_empty() {
                    let detail = format!("caption {number} of `{key}` in `{lang}` has no text");
                    faults.push((Reason::QueryEmpty, detail));
                    continue;
                }
                self.met.insert(lang);
                let caption = Query {
                    query_id: &self.ids.in_language(lang, &format!("{key}/c{number}")),
                    group_id: &self.ids.group(lang, key),
                    dataset: self.ids.dataset,
                    lang,
                    text,
                };
                self.records.text(&caption, None);
            }
        }
        Ok(faults)
    }
}
