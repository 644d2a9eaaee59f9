//! Held-out texts that training sees all the same: in another corpus, under another id, or a few words apart.
//!
//! The split keeps translations and paragraphs together, and ids that are equal; texts that merely are the same it does
//! not know. A held-out text counts as seen when a training text of its language and table is equal to it after
//! normalisation, or has 13 words in a row in common with it (the test of Brown et al. 2020, arXiv 2005.14165, appendix C).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arrow::array::{AsArray, RecordBatch, StringArray, StringViewArray};
use arrow::datatypes::Int32Type;
use rayon::prelude::*;
use twox_hash::XxHash64;
use unicode_segmentation::UnicodeSegmentation;

use super::Corpus;
use super::overlap::{Overlap, Overlaps};
use crate::engine::normalise;
use crate::error::{Error, Result};
use crate::pipeline::Ratio;
use crate::schema::Table;

/// Words in a row.
const GRAM: usize = 13;
/// Where no spaces stand between words, a word of UAX #29 is a letter; three make about a word.
const GRAM_OF_LETTERS: usize = 39;
/// Languages that are written so, by the first part of their tag.
const WITHOUT_SPACES: [&str; 8] = ["ja", "km", "lo", "my", "th", "yue", "zh", "cmn"];

/// Texts of the corpora in `split.exclude_ids_from`: what is evaluated on elsewhere.
#[derive(Default)]
pub(super) struct Elsewhere {
    pub(super) queries: Vec<RecordBatch>,
    pub(super) passages: Vec<RecordBatch>,
}

/// What is evaluated on, here (`eval`) or elsewhere, and has something in common with `train`.
#[must_use]
pub(super) fn overlaps(corpus: &Corpus, elsewhere: &Elsewhere) -> Overlaps {
    Overlaps {
        queries: overlap(corpus, Table::Queries, &elsewhere.queries),
        passages: overlap(corpus, Table::Passages, &elsewhere.passages),
    }
}

/// Refuses more than the pipeline allows, of questions or of passages.
///
/// # Errors
/// [`Error::Setting`].
pub(super) fn check(found: &Overlaps, allowed: Ratio) -> Result<()> {
    for (what, overlap) in [("questions", &found.queries), ("passages", &found.passages)] {
        let (seen, texts) = (u128::from(overlap.seen()), u128::from(overlap.texts));
        if texts * u128::from(allowed.numerator()) < seen * u128::from(allowed.denominator()) {
            let languages: Vec<String> =
                overlap.languages.iter().map(|(lang, n)| format!("{lang} {n}")).collect();
            let said = format!(
                "{seen} of {texts} held-out {what} stand in training texts, too, more than `max_overlap` = {allowed} allows ({})",
                languages.join(", ")
            );
            return Err(Error::setting("split", said).with_hint(
                "`deduplicate`, `split.exclude_ids_from` or another split keeps them apart; a greater \
                 `split.max_overlap` accepts them",
            ));
        }
    }
    Ok(())
}

/// What is looked for, by language: texts and grams as hashes.
#[derive(Default)]
struct Wanted {
    texts: HashMap<u64, Held>,
    grams: HashMap<u64, Held>,
}

/// The held-out rows that have a text or a gram, and whether a training text has it: what many texts share, such as a line of
/// thanks, weighs no more for each of them.
#[derive(Default)]
struct Held {
    rows: Vec<u32>,
    is_seen: AtomicBool,
}

impl Held {
    fn add(&mut self, row: u32) {
        if self.rows.last() != Some(&row) {
            self.rows.push(row);
        }
    }
}

/// A training text has it.
fn see(held: &HashMap<u64, Held>, hash: u64) {
    if let Some(held) = held.get(&hash) {
        held.is_seen.store(true, Relaxed);
    }
}

fn seen<'a>(held: impl Iterator<Item = &'a HashMap<u64, Held>>) -> HashSet<u32> {
    let seen = held.flat_map(HashMap::values).filter(|held| held.is_seen.load(Relaxed));
    seen.flat_map(|held| &held.rows).copied().collect()
}

/// A language whatever its script and region: a text that is held out as `zh` is seen as `zh-Hant`, too.
fn primary(lang: &str) -> &str {
    lang.split('-').next().unwrap_or(lang)
}

fn overlap(corpus: &Corpus, table: Table, elsewhere: &[RecordBatch]) -> Overlap {
    let texts: &StringViewArray = corpus.texts(table, "text");
    let (langs, splits) = (corpus.names(table, "lang"), corpus.names(table, "split"));
    let own = texts.iter().zip(langs).zip(splits);
    let own = own.map(|((text, lang), split)| (text, lang, split == Some("eval")));
    let others = elsewhere.iter().flat_map(|rows| {
        let column = |name| rows.column_by_name(name).expect("a column of raw texts");
        let langs = column("lang").as_dictionary::<Int32Type>();
        let langs = langs.downcast_dict::<StringArray>().expect("names are dictionaries of texts");
        column("text").as_string_view().iter().zip(langs).map(|(text, lang)| (text, lang, true))
    });
    let rows: Vec<(u32, &str, &str, bool)> = (0..)
        .zip(own.chain(others))
        .map(|(row, (text, lang, held_out))| {
            (row, text.unwrap_or_default(), lang.unwrap_or_default(), held_out)
        })
        .collect();
    let is_held_out = |row: &&(u32, &str, &str, bool)| row.3;
    let mut wanted: HashMap<&str, Wanted> = HashMap::new();
    let mut found = Overlap::default();
    for &(row, text, lang, _) in rows.iter().filter(is_held_out) {
        found.texts += 1;
        let of_lang = wanted.entry(primary(lang)).or_default();
        let text = normalise(text);
        of_lang.texts.entry(hash(&[&text])).or_default().add(row);
        each_gram(&text, lang, |gram| of_lang.grams.entry(gram).or_default().add(row));
    }
    rows.par_iter().filter(|row| !row.3).for_each(|(_, text, lang, _)| {
        let Some(of_lang) = wanted.get(primary(lang)) else { return };
        let text = normalise(text);
        see(&of_lang.texts, hash(&[&text]));
        each_gram(&text, lang, |gram| see(&of_lang.grams, gram));
    });
    let equal = seen(wanted.values().map(|wanted| &wanted.texts));
    let grams = seen(wanted.values().map(|wanted| &wanted.grams));
    found.equal = equal.len() as u64;
    found.grams = grams.difference(&equal).count() as u64;
    for row in equal.union(&grams) {
        *found.languages.entry(rows[*row as usize].2.to_owned()).or_default() += 1;
    }
    found
}

/// Calls `take` with the hash of every run of so many words.
fn each_gram(text: &str, lang: &str, mut take: impl FnMut(u64)) {
    let without_spaces = WITHOUT_SPACES.iter().any(|known| primary(lang).eq_ignore_ascii_case(known));
    let length = if without_spaces { GRAM_OF_LETTERS } else { GRAM };
    let words: Vec<&str> = text.unicode_words().collect();
    words.windows(length).for_each(|gram| take(hash(gram)));
}

/// Of words, with a mark between them that no word has.
fn hash(words: &[&str]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = XxHash64::with_seed(0);
    for word in words {
        hasher.write(word.as_bytes());
        hasher.write(&[0xff]);
    }
    hasher.finish()
}
