//! Texts with words in other languages: what the plan draws, with the words and the lexicon of `corpus/`.
//!
//! `schemas/SAMPLING.md`, section 9. Nothing here knows what a word is: `corpus/words` has their bytes, and
//! `corpus/lexicon` what they may become. Both may come from anywhere, so what does not fit is an error and no panic.

mod case;
mod joint;
mod order;
#[cfg(feature = "pipeline")]
mod reach;
mod tally;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, ListArray, RecordBatch, StringViewArray, UInt32Array,
};
use arrow::datatypes::{Int32Type, UInt32Type};

use self::case::in_case_of;
pub(super) use self::order::out_of_order;
#[cfg(feature = "pipeline")]
pub(super) use self::reach::check_reach;
pub use self::tally::{LanguageSwitches, Switches};
pub(super) use self::tally::{Tally, add};
use super::rows::{Picked, PickedRow, RowMap};
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::pairs::PoolName;
use crate::pipeline::SwitchKind;
use crate::plan::{Plan, Side, Switching, WordDraw};
use crate::schema::Table;

/// The texts that a plan switches, and where they stand in [`Table::Words`]: passages before questions.
pub(super) struct Texts {
    switching: Switching,
    n_passages: u32,
}

impl Texts {
    /// `n_passages` is the number of all passages of the corpus. Nothing for a plan without code switching.
    ///
    /// # Errors
    /// [`Error::Dataset`] when that is beyond what a corpus may have.
    pub(super) fn new(plan: &Plan, n_passages: u64) -> Result<Option<Self>> {
        let Some(switching) = Switching::new(plan) else { return Ok(None) };
        let n_passages = if switching.setting().sides.has_passages() { n_passages } else { 0 };
        let n_passages = u32::try_from(n_passages).map_err(|_| broken("more than 2^32 passages"))?;
        Ok(Some(Self { switching, n_passages }))
    }

    /// The row of a text, by its row among the questions or the passages; nothing where its side stays as it is.
    fn row_of(&self, side: Side, text: u32) -> Option<u32> {
        let sides = self.switching.setting().sides;
        match side {
            Side::Query => sides.has_queries().then(|| self.n_passages.saturating_add(text)),
            Side::Positive | Side::Negative(_) => sides.has_passages().then_some(text),
        }
    }

    /// The rows of the texts of a batch; none of a batch that is not switched.
    pub(super) fn rows_of(&self, batch: &Picked) -> Vec<u32> {
        let is_switched = self.switching.is_switched(batch.step);
        let all = texts(batch).filter(|_| is_switched);
        all.filter_map(|(_, side, text)| self.row_of(side, text)).collect()
    }
}

/// The words that a plan switches, before anybody asks what they become.
pub(super) struct Words<'a> {
    texts: Texts,
    /// Languages of the questions and passages of each pool.
    langs: Vec<(String, String)>,
    rows: RowMap,
    counts: &'a UInt32Array,
    positions: &'a ListArray,
    starts: &'a ListArray,
    ends: &'a ListArray,
    entries: &'a ListArray,
}

/// A word that is switched.
struct Hit {
    /// Its bytes in the text.
    place: Range<usize>,
    /// Its row in the lexicon.
    entry: u32,
    draw: WordDraw,
}

impl<'a> Words<'a> {
    /// From columns of [`Table::Words`], at least those behind `text_id`.
    ///
    /// # Errors
    /// [`Error::Plan`] for a pool that is not called as pools are.
    pub(super) fn new(plan: &Plan, texts: Texts, rows: RowMap, columns: &'a RecordBatch) -> Result<Self> {
        let langs = plan.pools().into_iter().map(|(name, _)| {
            let pool: PoolName = name.parse().map_err(|found| Error::Plan { found })?;
            Ok((pool.query_lang, pool.passage_lang))
        });
        let column = |name| columns.column_by_name(name).expect("a column of words").as_ref();
        Ok(Self {
            texts,
            langs: langs.collect::<Result<_>>()?,
            rows,
            counts: column("words").as_primitive::<UInt32Type>(),
            positions: column("positions").as_list(),
            starts: column("starts").as_list(),
            ends: column("ends").as_list(),
            entries: column("entries").as_list(),
        })
    }

    /// The number of words of a text.
    fn count(&self, row: u32) -> Result<u32> {
        Ok(self.counts.value(self.place_of(row)?))
    }

    /// Where a row stands in the columns that are here.
    fn place_of(&self, row: u32) -> Result<usize> {
        Some(self.rows.position(row))
            .filter(|&place| place < self.counts.len())
            .ok_or_else(|| broken(&format!("no row {row}")))
    }

    /// The words of a text that are switched in this row of a batch.
    fn hits(&self, step: u64, (row, side, text): RowText) -> Result<Vec<Hit>> {
        let switching = &self.texts.switching;
        let key = switching.text(row.draw(), side).filter(|_| switching.is_switched(step));
        let Some((key, row)) = key.zip(self.texts.row_of(side, text)) else { return Ok(Vec::new()) };
        let place = self.place_of(row)?;
        let lists = [self.positions, self.starts, self.ends, self.entries].map(|list| numbers(list, place));
        let [positions, starts, ends, entries] = lists;
        if lists.iter().any(|list| list.len() != positions.len()) {
            return Err(broken(&format!("row {row}: lists of different lengths")));
        }
        let number = |n: i32| u32::try_from(n).map_err(|_| broken(&format!("row {row}: {n}")));
        let mut hits = Vec::new();
        for (at, &position) in positions.iter().enumerate() {
            let Some(draw) = switching.word(key, number(position)?.into()) else { continue };
            let place = number(starts[at])? as usize..number(ends[at])? as usize;
            hits.push(Hit { place, entry: number(entries[at])?, draw });
        }
        Ok(hits)
    }

    /// The rows of the lexicon that a batch asks for, in any order.
    pub(super) fn entries(&self, batch: &Picked) -> Result<Vec<u32>> {
        let mut entries = Vec::new();
        for text in texts(batch) {
            entries.extend(self.hits(batch.step, text)?.into_iter().map(|hit| hit.entry));
        }
        Ok(entries)
    }
}

/// A text of a batch: the row that it stands in, its side, and its own row in the corpus.
type RowText<'a> = (&'a PickedRow, Side, u32);

/// Every text of a batch: its questions, its positives, the hard negatives of all rows.
fn texts(batch: &Picked) -> impl Iterator<Item = RowText<'_>> {
    let queries = batch.rows.iter().map(|row| (row, Side::Query, row.query));
    let positives = batch.rows.iter().map(|row| (row, Side::Positive, row.positive));
    let negatives = batch.rows.iter().flat_map(|row| {
        let of_row = batch.negatives[row.negatives.clone()].iter();
        of_row.zip(0..).map(move |(&text, number)| (row, Side::Negative(number), text))
    });
    queries.chain(positives).chain(negatives)
}

/// Switches words.
pub(super) struct Switcher<'a> {
    words: Words<'a>,
    rows: RowMap,
    target_langs: &'a ListArray,
    translations: &'a ListArray,
    lexicons: &'a ListArray,
}

/// What a word becomes.
struct Chosen<'a> {
    lang: &'a str,
    translation: &'a str,
    lexicon: &'a str,
}

impl<'a> Switcher<'a> {
    /// With columns of [`Table::Lexicon`], at least its lists.
    pub(super) fn new(words: Words<'a>, rows: RowMap, lexicon: &'a RecordBatch) -> Self {
        let list = |name| lexicon.column_by_name(name).expect("a column of a lexicon").as_list();
        Self {
            words,
            rows,
            target_langs: list("target_langs"),
            translations: list("translations"),
            lexicons: list("lexicons"),
        }
    }

    /// That of a whole corpus; nothing for a plan without code switching.
    ///
    /// # Errors
    /// [`Error::Dataset`] when the tables do not go with the corpus, or are not there.
    pub(super) fn of_corpus(plan: &Plan, corpus: &'a Corpus) -> Result<Option<Self>> {
        let Some(setting) = plan.code_switch() else { return Ok(None) };
        let tables = corpus.code_switch().ok_or_else(|| broken("not there, and the plan switches words"))?;
        let rows = |table| corpus.table(table).num_rows();
        let of_passages = if setting.sides.has_passages() { rows(Table::Passages) } else { 0 };
        let of_queries = if setting.sides.has_queries() { rows(Table::Queries) } else { 0 };
        if tables.words().num_rows() != of_passages + of_queries {
            let found = format!("{} rows for {} texts", tables.words().num_rows(), of_passages + of_queries);
            return Err(broken(&found));
        }
        let Some(texts) = Texts::new(plan, rows(Table::Passages) as u64)? else { return Ok(None) };
        let words = Words::new(plan, texts, RowMap::Whole, tables.words())?;
        Ok(Some(Self::new(words, RowMap::Whole, tables.lexicon())))
    }

    /// What a word becomes where the other side of its row is in language `other`.
    fn choose(&self, hit: &Hit, other: &str) -> Result<Option<Chosen<'_>>> {
        let entry = self.rows.position(hit.entry);
        let wrong = |found: &str| broken_lexicon(&format!("row {}: {found}", hit.entry));
        if self.target_langs.len() <= entry {
            return Err(wrong("is not there"));
        }
        let langs = items(self.target_langs, entry);
        let lang = match self.words.texts.switching.setting().kind {
            SwitchKind::Bilingual => {
                let at = langs.clone().position(|at| string_at(self.target_langs, at) == other);
                let Some(at) = at else { return Ok(None) };
                at
            }
            SwitchKind::Multilingual if langs.is_empty() => return Err(wrong("has no languages")),
            SwitchKind::Multilingual => hit.draw.language(langs.len()),
        };
        let of_lang = |lists: &'a ListArray| {
            let range = items(lists, entry);
            (range.len() == langs.len()).then(|| (lists.values().as_list::<i32>(), range.start + lang))
        };
        let pair = of_lang(self.translations).zip(of_lang(self.lexicons));
        let ((translations, at), (lexicons, at_lexicons)) =
            pair.ok_or_else(|| wrong("lists of different lengths"))?;
        let (of_word, names) = (items(translations, at), items(lexicons, at_lexicons));
        if of_word.is_empty() || of_word.len() != names.len() {
            return Err(wrong("a language without translations, or with some of no lexicon"));
        }
        let number = hit.draw.translation(of_word.len());
        Ok(Some(Chosen {
            lang: string_at(self.target_langs, langs.start + lang),
            translation: string_at(translations, of_word.start + number),
            lexicon: string_at(lexicons, names.start + number),
        }))
    }

    /// The language of the other side of a row.
    fn other(&self, row: &PickedRow, side: Side) -> &str {
        let (query, passage) = &self.words.langs[row.pool];
        if side == Side::Query { passage } else { query }
    }

    /// Calls `each` with every word of a text that is switched, its bytes, and what it becomes.
    fn for_each_switch(
        &self,
        step: u64,
        text: RowText,
        mut each: impl FnMut(Range<usize>, Chosen) -> Result<()>,
    ) -> Result<()> {
        let (row, side, _) = text;
        let other = self.other(row, side);
        for hit in self.words.hits(step, text)? {
            if let Some(chosen) = self.choose(&hit, other)? {
                each(hit.place, chosen)?;
            }
        }
        Ok(())
    }

    /// A text of a batch with its words switched, where that is another text than `original`.
    fn switched(&self, step: u64, text: RowText, original: &str) -> Result<Option<String>> {
        let (mut switched, mut copied) = (String::new(), 0);
        self.for_each_switch(step, text, |place, chosen| {
            let before = original.get(copied..place.start).zip(original.get(place.clone()));
            let (before, word) = before.ok_or_else(|| {
                broken(&format!("bytes {} to {} are no word of the text", place.start, place.end))
            })?;
            joint::append(&mut switched, before);
            joint::append(&mut switched, &in_case_of(word, chosen.translation, chosen.lang));
            copied = place.end;
            Ok(())
        })?;
        joint::append(&mut switched, &original[copied..]);
        Ok((switched != original).then_some(switched))
    }

    /// All questions, positives and hard negatives of these batches, in their order, with words switched; `originals` are
    /// the same without.
    pub(super) fn texts(&self, batches: &[Picked], originals: &[ArrayRef; 3]) -> Result<Switched> {
        let originals = originals.each_ref().map(AsArray::as_string_view);
        let mut switched = [const { Vec::new() }; 3];
        for batch in batches {
            for text in texts(batch) {
                let column = match text.1 {
                    Side::Query => 0,
                    Side::Positive => 1,
                    Side::Negative(_) => 2,
                };
                let original = originals[column].value(switched[column].len());
                switched[column].push(self.switched(batch.step, text, original)?);
            }
        }
        Ok(Switched::new(originals, &switched))
    }
}

/// Columns of texts: questions, positives, and the hard negatives of all rows.
pub(super) struct Switched {
    /// As they stand in the batches.
    pub(super) texts: [ArrayRef; 3],
    /// As they stand in the corpus; null where that is the same.
    pub(super) originals: [ArrayRef; 3],
}

impl Switched {
    fn new(originals: [&StringViewArray; 3], switched: &[Vec<Option<String>>; 3]) -> Self {
        let both = |column: usize| originals[column].iter().flatten().zip(&switched[column]);
        let texts = |column| -> ArrayRef {
            let texts = both(column).map(|(original, switched)| switched.as_deref().unwrap_or(original));
            Arc::new(StringViewArray::from_iter_values(texts))
        };
        let kept = |column| -> ArrayRef {
            let kept = both(column).map(|(original, switched)| switched.is_some().then_some(original));
            Arc::new(kept.collect::<StringViewArray>())
        };
        Self { texts: [0, 1, 2].map(texts), originals: [0, 1, 2].map(kept) }
    }
}

/// Where the items of a row stand among those of all rows.
fn items(list: &ListArray, row: usize) -> Range<usize> {
    list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize
}

fn string_at(list: &ListArray, at: usize) -> &str {
    list.values().as_string_view().value(at)
}

fn numbers(list: &ListArray, row: usize) -> &[i32] {
    let values: &Int32Array = list.values().as_primitive::<Int32Type>();
    &values.values()[items(list, row)]
}

fn broken(found: &str) -> Error {
    Error::dataset(Path::new("corpus/words"), found)
}

fn broken_lexicon(found: &str) -> Error {
    Error::dataset(Path::new("corpus/lexicon"), found)
}
