//! How many words there are to switch, and how many are switched.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::case::in_case_of;
use super::{Switcher, items, string_at, texts};
use crate::corpus::{Corpus, Names};
use crate::error::Result;
use crate::plan::Side;
use crate::schema::Table;
use crate::shards::rows::Picked;

/// By language of the text.
pub type Switches = BTreeMap<String, LanguageSwitches>;

/// Words of one language, of the sides that are switched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LanguageSwitches {
    /// Of the texts that are trained on, each text once.
    pub words: u64,
    /// Of these, those that a lexicon translates.
    pub translated: u64,
    /// The same by lexicon; of a translation that several have, the first by name counts.
    pub translated_by: BTreeMap<String, u64>,
    /// Words of the rows of all batches.
    pub drawn: u64,
    /// Of these, those of the batches that are switched at all: a `share` of them.
    pub in_switched_batches: u64,
    /// Of these, those that another word took the place of: `Hotel`, whose translation is `Hotel`, is not among them.
    pub switched: u64,
    /// The same by the lexicon of the translation.
    pub switched_by: BTreeMap<String, u64>,
}

impl LanguageSwitches {
    fn add(&mut self, other: Self) {
        self.words += other.words;
        self.translated += other.translated;
        self.drawn += other.drawn;
        self.in_switched_batches += other.in_switched_batches;
        self.switched += other.switched;
        for (mine, theirs) in
            [(&mut self.translated_by, other.translated_by), (&mut self.switched_by, other.switched_by)]
        {
            theirs.into_iter().for_each(|(name, n)| *mine.entry(name).or_default() += n);
        }
    }
}

/// Sums up.
pub(in crate::shards) fn add(sum: &mut Switches, other: Switches) {
    for (lang, counts) in other {
        sum.entry(lang).or_default().add(counts);
    }
}

/// Counts what a switcher does; nothing where there is none.
pub(in crate::shards) struct Tally<'a> {
    switcher: Option<&'a Switcher<'a>>,
    corpus: &'a Corpus,
    query_langs: Names<'a>,
    passage_langs: Names<'a>,
}

impl<'a> Tally<'a> {
    pub(in crate::shards) fn new(switcher: Option<&'a Switcher<'a>>, corpus: &'a Corpus) -> Self {
        Self {
            switcher,
            corpus,
            query_langs: corpus.names(Table::Queries, "lang"),
            passage_langs: corpus.names(Table::Passages, "lang"),
        }
    }

    fn lang(&self, side: Side, text: u32) -> &str {
        let langs = if side == Side::Query { &self.query_langs } else { &self.passage_langs };
        langs.values().value(langs.keys().value(text as usize) as usize)
    }

    fn text(&self, side: Side, number: u32) -> &str {
        let table = if side == Side::Query { Table::Queries } else { Table::Passages };
        self.corpus.texts(table, "text").value(number as usize)
    }

    /// What all batches switch, with what there is to switch in the corpus.
    pub(in crate::shards) fn with_corpus(&self, mut switches: Switches) -> Result<Option<Switches>> {
        let Some(switcher) = self.switcher else { return Ok(None) };
        let words = &switcher.words;
        let lexicons = lexicons_of_entries(switcher);
        for (side, langs) in [(Side::Query, &self.query_langs), (Side::Positive, &self.passage_langs)] {
            for text in 0..langs.len() as u32 {
                let Some(row) = words.texts.row_of(side, text) else { continue };
                let n_words = words.count(row)?;
                if n_words == 0 {
                    continue;
                }
                let counts = of_language(&mut switches, self.lang(side, text));
                counts.words += u64::from(n_words);
                for &entry in super::numbers(words.entries, row as usize) {
                    counts.translated += 1;
                    let names = usize::try_from(entry).ok().and_then(|entry| lexicons.get(entry));
                    for name in names.into_iter().flatten() {
                        count(&mut counts.translated_by, name);
                    }
                }
            }
        }
        Ok(Some(switches))
    }

    /// The words of some batches.
    pub(in crate::shards) fn batches(&self, batches: &[Picked]) -> Result<Switches> {
        let mut switches = Switches::new();
        let Some(switcher) = self.switcher else { return Ok(switches) };
        for batch in batches {
            let is_switched = switcher.words.texts.switching.is_switched(batch.step);
            for text in texts(batch) {
                let (_, side, number) = text;
                let Some(row) = switcher.words.texts.row_of(side, number) else { continue };
                let counts = of_language(&mut switches, self.lang(side, number));
                let n_words = u64::from(switcher.words.count(row)?);
                counts.drawn += n_words;
                counts.in_switched_batches += if is_switched { n_words } else { 0 };
                let original = self.text(side, number);
                switcher.for_each_switch(batch.step, text, |place, chosen| {
                    let word = original.get(place).unwrap_or_default();
                    if in_case_of(word, chosen.translation, chosen.lang) != word {
                        counts.switched += 1;
                        count(&mut counts.switched_by, chosen.lexicon);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(switches)
    }
}

/// The names of the lexicons that translate each word.
fn lexicons_of_entries<'a>(switcher: &Switcher<'a>) -> Vec<BTreeSet<&'a str>> {
    let of_entries = switcher.lexicons;
    let of_langs = of_entries.values().as_list::<i32>();
    let names = |entry| {
        let langs = items(of_entries, entry);
        langs.flat_map(|lang| items(of_langs, lang)).map(|at| string_at(of_langs, at)).collect()
    };
    (0..of_entries.len()).map(names).collect()
}

fn of_language<'a>(switches: &'a mut Switches, lang: &str) -> &'a mut LanguageSwitches {
    if !switches.contains_key(lang) {
        switches.insert(lang.to_owned(), LanguageSwitches::default());
    }
    switches.get_mut(lang).expect("it is there now")
}

fn count(by: &mut BTreeMap<String, u64>, name: &str) {
    match by.get_mut(name) {
        Some(n) => *n += 1,
        None => drop(by.insert(name.to_owned(), 1)),
    }
}
