//! The words of the training texts that a lexicon translates, found once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int32Array, ListArray, ListBuilder, RecordBatch, StringDictionaryBuilder,
    StringViewBuilder, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Int32Type};
use rayon::prelude::*;

use super::CodeSwitch;
use super::lexicon::Lexicon;
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::pipeline::SwitchSides;
use crate::schema::Table;
use crate::words::words;

/// What was found in one text.
#[derive(Default)]
struct Found {
    n_words: u32,
    known: Vec<Known>,
}

/// A word that has a translation.
struct Known {
    position: i32,
    start: i32,
    end: i32,
    /// Its number in the lexicon; then its row in the table.
    entry: usize,
}

/// The words of the texts that may be switched, on `sides`.
///
/// # Errors
/// [`Error::Setting`] when there is none.
pub(in crate::corpus) fn find(sides: SwitchSides, corpus: &Corpus, lexicon: &Lexicon) -> Result<CodeSwitch> {
    // In byte order of the kind, which is that of the table.
    let kinds = [
        (Table::Passages, "passage", "passage_id", sides.has_passages()),
        (Table::Queries, "query", "query_id", sides.has_queries()),
    ];
    let (mut names, mut ids, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for (table, name, id, _) in kinds.into_iter().filter(|(.., is_wanted)| *is_wanted) {
        names.extend(std::iter::repeat_n(name, corpus.table(table).num_rows()));
        ids.push(corpus.texts(table, id) as &dyn Array);
        found.extend(find_in(corpus, table, lexicon)?);
    }
    let n_known: usize = found.iter().map(|text| text.known.len()).sum();
    if n_known == 0 {
        return Err(nothing_known(corpus, lexicon));
    }
    if i32::try_from(n_known).is_err() || u32::try_from(found.len()).is_err() {
        let found = format!("{n_known} words in {} texts, more than 2^31 or 2^32", found.len());
        return Err(Error::setting("code_switch", found));
    }
    let mut entries: BTreeMap<usize, usize> =
        found.iter().flat_map(|text| &text.known).map(|word| (word.entry, 0)).collect();
    entries.values_mut().zip(0..).for_each(|(row, at)| *row = at);
    found.iter_mut().flat_map(|text| &mut text.known).for_each(|word| word.entry = entries[&word.entry]);

    let mut kind = StringDictionaryBuilder::<Int32Type>::new();
    names.iter().for_each(|name| kind.append_value(name));
    let column = |value: fn(&Known) -> i32| -> ArrayRef {
        let field = Arc::new(Field::new("item", DataType::Int32, true));
        let offsets = OffsetBuffer::from_lengths(found.iter().map(|text| text.known.len()));
        let values = Int32Array::from_iter_values(found.iter().flat_map(|text| &text.known).map(value));
        Arc::new(ListArray::new(field, offsets, Arc::new(values), None))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(kind.finish()),
        concat(&ids).expect("columns of one type"),
        Arc::new(UInt32Array::from_iter_values(found.iter().map(|text| text.n_words))),
        column(|word| word.position),
        column(|word| word.start),
        column(|word| word.end),
        column(|word| word.entry as i32),
    ];
    let words = RecordBatch::try_new(Table::Words.loaded_schema(), columns).expect("the columns of words");
    Ok(CodeSwitch::new(words, lexicon_table(lexicon, entries.into_keys())))
}

/// Of each text of a table, in its order; nothing of those that are held out.
fn find_in(corpus: &Corpus, table: Table, lexicon: &Lexicon) -> Result<Vec<Found>> {
    let texts = corpus.texts(table, "text");
    let (langs, splits) = (corpus.names(table, "lang"), corpus.names(table, "split"));
    // A language is looked up by its key in the dictionary first: there are few.
    let lang_names = langs.values();
    let numbers: Vec<Option<usize>> =
        (0..lang_names.len()).map(|key| lexicon.number_of(lang_names.value(key))).collect();
    let is_held_out = |row: usize| {
        let name = splits.is_valid(row).then(|| splits.values().value(splits.keys().value(row) as usize));
        name == Some("eval")
    };
    (0..texts.len())
        .into_par_iter()
        .map(|row| match is_held_out(row) {
            true => Ok(Found::default()),
            false => find_in_text(texts.value(row), numbers[langs.keys().value(row) as usize], lexicon),
        })
        .collect()
}

fn find_in_text(text: &str, lang: Option<usize>, lexicon: &Lexicon) -> Result<Found> {
    let place = |n: usize| {
        i32::try_from(n).map_err(|_| {
            Error::setting("code_switch", format!("a text of {} bytes, more than 2^31", text.len()))
        })
    };
    let mut found = Found::default();
    for (position, word) in words(text).enumerate() {
        found.n_words += 1;
        let entry = lang.and_then(|lang| lexicon.find(lang, &text[word.clone()]));
        if let Some(entry) = entry {
            let (start, end) = (place(word.start)?, place(word.end)?);
            found.known.push(Known { position: place(position)?, start, end, entry });
        }
    }
    Ok(found)
}

fn nothing_known(corpus: &Corpus, lexicon: &Lexicon) -> Error {
    let mut langs: Vec<String> = Vec::new();
    for table in [Table::Queries, Table::Passages] {
        let names = corpus.names(table, "lang");
        langs.extend(names.values().iter().flatten().map(str::to_owned));
    }
    langs.sort();
    langs.dedup();
    Error::setting("code_switch.lexicons", "have a translation for no word of the training texts").with_hint(
        format!(
            "their languages are {}, those of the corpora {}: tags must be equal, and each file of its language",
            lexicon.languages().join(", "),
            langs.join(", "),
        ),
    )
}

/// The words of these numbers, with all that they may become.
fn lexicon_table(lexicon: &Lexicon, numbers: impl Iterator<Item = usize>) -> RecordBatch {
    let mut lang = StringDictionaryBuilder::<Int32Type>::new();
    let mut word = StringViewBuilder::new();
    let mut target_langs = ListBuilder::new(StringViewBuilder::new());
    let list_of_lists = || ListBuilder::new(ListBuilder::new(StringViewBuilder::new()));
    let (mut translations, mut lexicons) = (list_of_lists(), list_of_lists());
    for number in numbers {
        let (tag, form) = lexicon.word(number);
        lang.append_value(tag);
        word.append_value(form);
        for (target, words) in lexicon.translations(number) {
            target_langs.values().append_value(target);
            for (text, name) in words {
                translations.values().values().append_value(text);
                lexicons.values().values().append_value(name);
            }
            translations.values().append(true);
            lexicons.values().append(true);
        }
        target_langs.append(true);
        translations.append(true);
        lexicons.append(true);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(lang.finish()),
        Arc::new(word.finish()),
        Arc::new(target_langs.finish()),
        Arc::new(translations.finish()),
        Arc::new(lexicons.finish()),
    ];
    RecordBatch::try_new(Table::Lexicon.loaded_schema(), columns).expect("the columns of a lexicon")
}
