//! Held-out texts that training sees all the same: in another corpus, under another id, or a few words apart.
//!
//! The split keeps translations and paragraphs together, and ids that are equal; texts that merely are the same it does
//! not know. A held-out text counts as seen when a training text of its language and table is equal to it after
//! normalisation, or has 13 words in a row in common with it (the test of Brown et al. 2020, arXiv 2005.14165, appendix C).

use std::collections::{HashMap, HashSet};

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

/// What is looked for, by language: texts and grams as hashes, each with the held-out rows that have it.
#[derive(Default)]
struct Wanted {
    texts: HashMap<u64, Vec<u32>>,
    grams: HashMap<u64, Vec<u32>>,
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
        of_lang.texts.entry(hash(&[&text])).or_default().push(row);
        each_gram(&text, lang, |gram| {
            let rows = of_lang.grams.entry(gram).or_default();
            if rows.last() != Some(&row) {
                rows.push(row);
            }
        });
    }
    let seen: Vec<(Vec<u32>, Vec<u32>)> = rows
        .par_iter()
        .filter(|row| !row.3)
        .filter_map(|(_, text, lang, _)| {
            let of_lang = wanted.get(primary(lang))?;
            let text = normalise(text);
            let equal = of_lang.texts.get(&hash(&[&text])).cloned().unwrap_or_default();
            let mut grams = Vec::new();
            each_gram(&text, lang, |gram| grams.extend(of_lang.grams.get(&gram).into_iter().flatten()));
            (!equal.is_empty() || !grams.is_empty()).then_some((equal, grams))
        })
        .collect();
    let equal: HashSet<u32> = seen.iter().flat_map(|(equal, _)| equal).copied().collect();
    let grams: HashSet<u32> = seen.iter().flat_map(|(_, grams)| grams).copied().collect();
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
