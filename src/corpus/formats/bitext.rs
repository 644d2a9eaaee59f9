//! Translations by line: bitext of WMT and OPUS, pairs of words, and word lists of PanLex (Kamholz et al. 2014).
//!
//! Either a line has a text and its translation, in columns (files of pairs of languages), or a text in each of several
//! columns that the first line names by their languages, or each language has a file, and equal lines are translations (Moses). In a word list a line is a concept, and its columns are synonyms. What a line says
//! is the group, and each of its texts a question and a passage at once. Nothing but their number ties lines together, so
//! blank ones count, and files of different length are refused: behind a lost line, every pair would be wrong.

use crate::corpus::records::{Ids, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{SourceFile, Unit};
use crate::error::Result;
use crate::pipeline::{Format, language};

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    let ids = Ids::of(unit.corpus);
    match unit.files.first() {
        _ if unit.corpus.is_of_pairs() => columns(unit, ids, records),
        Some(file) if file.lang.is_none() => named_columns(unit, ids, records),
        _ => lines(unit, ids, records),
    }
}

/// One more text of a group.
fn add(ids: Ids, lang: &str, (id, group): (&str, &str), text: &str, records: &mut Records) {
    let text = Query {
        query_id: &ids.in_language(lang, id),
        group_id: &ids.group(lang, group),
        dataset: ids.dataset,
        lang,
        text,
    };
    records.text(&text, None);
}

fn columns(unit: &Unit, ids: Ids, records: &mut Records) -> Result<()> {
    for file in &unit.files {
        let (first, second) = file.languages();
        let (first, second) = first.zip(second).expect("checked with the pipeline");
        let n_of_pair = unit.files.iter().filter(|other| other.languages() == file.languages()).count();
        let stem = if 1 < n_of_pair { format!("{}-", file.stem()) } else { String::new() };
        let n_before = records.n_records();
        file.for_each_line(|number, line| {
            records.count();
            let mut texts = line.split('\t');
            let fault = match (texts.next(), texts.next()) {
                (Some(a), Some(b)) if !a.trim().is_empty() && !b.trim().is_empty() => {
                    let key = format!("{first}-{second}-{stem}{number}");
                    add(ids, first, (&key, &key), a, records);
                    add(ids, second, (&key, &key), b, records);
                    return Ok(());
                }
                (Some(_), Some(_)) => (Reason::QueryEmpty, "a text without its translation"),
                _ => (Reason::Malformed, "1 column instead of 2"),
            };
            records.reject(Reject {
                source: file.name.clone(),
                place: format!("line {number}"),
                reason: fault.0,
                detail: fault.1.to_owned(),
                raw: line.to_owned(),
            });
            Ok(())
        })?;
        if records.n_records() == n_before {
            return Err(super::empty(std::slice::from_ref(file)));
        }
    }
    Ok(())
}

/// Of all languages in one file. Columns of other languages are passed over, and so is a cell without text.
fn named_columns(unit: &Unit, ids: Ids, records: &mut Records) -> Result<()> {
    for file in &unit.files {
        let stem = if 1 < unit.files.len() { format!("{}-", file.stem()) } else { String::new() };
        let mut columns: Option<Vec<Option<&str>>> = None;
        let n_before = records.n_records();
        file.for_each_line(|number, line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let Some(columns) = &columns else {
                let named: Vec<_> =
                    cells.iter().map(|cell| language::among(&unit.corpus.languages, cell.trim())).collect();
                check_columns(file, &unit.corpus.languages, &named)?;
                columns = Some(named);
                return Ok(());
            };
            records.count();
            if cells.len() != columns.len() {
                records.reject(Reject {
                    source: file.name.clone(),
                    place: format!("line {number}"),
                    reason: Reason::Malformed,
                    detail: format!("{} columns instead of {}", cells.len(), columns.len()),
                    raw: line.to_owned(),
                });
                return Ok(());
            }
            let id = format!("{stem}{number}");
            for (lang, text) in columns.iter().zip(cells) {
                if let Some(lang) = lang.filter(|_| !text.trim().is_empty()) {
                    add(ids, lang, (&id, &id), text, records);
                }
            }
            Ok(())
        })?;
        if records.n_records() == n_before {
            return Err(super::empty(std::slice::from_ref(file)));
        }
    }
    Ok(())
}

/// Each language has one column.
fn check_columns(file: &SourceFile, languages: &[String], named: &[Option<&str>]) -> Result<()> {
    for lang in languages {
        let n = named.iter().filter(|name| **name == Some(lang)).count();
        if n != 1 {
            return Err(file
                .error(Some("line 1".to_owned()), format!("{n} columns are called `{lang}`, not 1"))
                .with_hint(
                    "the first line names the languages of the columns; files of a language have `{lang}` in \
                     `path`, files of pairs `{query_lang}` and `{passage_lang}`",
                ));
        }
    }
    Ok(())
}

fn lines(unit: &Unit, ids: Ids, records: &mut Records) -> Result<()> {
    let has_synonyms = unit.corpus.format == Format::WordLists;
    let mut first: Option<(&SourceFile, u64)> = None;
    let mut last_lang = None;
    for file in &unit.files {
        let lang = file.lang.as_deref().expect("its path stands for a language");
        if last_lang.replace(lang) == Some(lang) {
            let found = format!("a second file in language `{lang}`");
            return Err(file.error(None, found).with_hint("name one file for each language"));
        }
        let n_before = records.n_records();
        let n_lines = file.for_every_line(|number, line| {
            if !has_synonyms {
                if !line.trim().is_empty() {
                    records.count();
                    let id = number.to_string();
                    add(ids, lang, (&id, &id), line, records);
                }
                return Ok(());
            }
            let words: Vec<&str> = line.split('\t').filter(|word| !word.trim().is_empty()).collect();
            for (at, word) in words.iter().enumerate() {
                records.count();
                if words[..at].contains(word) {
                    records.reject(Reject {
                        source: file.name.clone(),
                        place: format!("line {number}"),
                        reason: Reason::DuplicateId,
                        detail: format!("`{word}` stood earlier in the line"),
                        raw: line.to_owned(),
                    });
                    continue;
                }
                add(ids, lang, (&format!("{number}/w{at}"), &number.to_string()), word, records);
            }
            Ok(())
        })?;
        if records.n_records() == n_before {
            return Err(super::empty(std::slice::from_ref(file)));
        }
        match first {
            Some((other, n)) if n != n_lines => {
                let found = format!("{n_lines} lines, where `{}` has {n}", other.name);
                return Err(file.error(None, found).with_hint(
                    "equal lines are translations: take files that were aligned, and keep their blank lines",
                ));
            }
            _ => first = Some((file, n_lines)),
        }
    }
    Ok(())
}
