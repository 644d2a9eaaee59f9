//! Two corpora side by side: rows that one lacks, and rows that say something else.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayAccessor, AsArray, RecordBatch, StringViewArray};
use serde::Serialize;
use serde_json::Value;

use super::super::cells::Cells;
use super::Pair;
use crate::corpus::Corpus;
use crate::schema::Table;

/// Changed rows of a table that are shown, at most.
const MAX_SHOWN: usize = 20;

/// How two tables differ. Rows are the same when their ids are.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TableChanges {
    pub table: String,
    pub rows: Pair<u64>,
    /// Rows of one that the other lacks.
    pub only: Pair<u64>,
    /// Rows that both have, and that differ.
    pub changed: u64,
    /// Of these, by column.
    pub columns: BTreeMap<String, u64>,
    /// By language; empty for tables without a column of that name.
    pub languages: BTreeMap<String, LanguageChanges>,
    /// The first changed rows, one line a column that differs. Where other words of a text are known, these alone: with them
    /// go their places.
    pub shown: Vec<ChangedRow>,
}

/// The rows of a language that differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LanguageChanges {
    pub only: Pair<u64>,
    pub changed: u64,
}

/// A cell that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedRow {
    pub id: String,
    pub column: String,
    pub a: Value,
    pub b: Value,
}

/// A table with its key: what it is sorted by.
struct Side<'a> {
    keys: Vec<Cells<'a>>,
    lang: Option<Cells<'a>>,
    cells: Vec<Cells<'a>>,
    /// Of [`Table::Words`], whose entries are rows of the lexicon: the column, and the words of these rows.
    entries: Option<(usize, &'a StringViewArray)>,
    n_rows: usize,
}

impl<'a> Side<'a> {
    fn new(corpus: &'a Corpus, table: Table) -> Self {
        let mut tables = corpus.tables();
        let (_, rows) = tables.find(|(known, _)| *known == table).expect("a table that both corpora have");
        let cells = |name: &str| rows.column_by_name(name).map(Cells::of);
        let entries = rows.schema().index_of("entries").ok();
        Self {
            keys: table.sorted_by().iter().filter_map(|column| cells(column)).collect(),
            lang: cells("lang"),
            cells: Cells::all(rows),
            entries: entries.zip(corpus.code_switch().map(|found| words_of(found.lexicon()))),
            n_rows: rows.num_rows(),
        }
    }

    fn key(&self, row: usize) -> impl Iterator<Item = &str> {
        self.keys.iter().map(move |column| text(column, row))
    }

    fn lang(&self, row: usize) -> Option<&str> {
        self.lang.as_ref().map(|lang| text(lang, row))
    }

    /// A cell, with words for numbers of rows: another word in the lexicon moves all that come after it.
    fn value(&self, column: usize, row: usize) -> Value {
        let value = self.cells[column].to_json(row);
        let Some((_, words)) = self.entries.filter(|(entries, _)| *entries == column) else { return value };
        let word = |entry: &Value| {
            let at = entry.as_u64().and_then(|entry| usize::try_from(entry).ok());
            at.filter(|&at| at < words.len()).map_or_else(|| entry.clone(), |at| words.value(at).into())
        };
        value.as_array().into_iter().flatten().map(word).collect()
    }
}

fn words_of(lexicon: &RecordBatch) -> &StringViewArray {
    lexicon.column_by_name("word").expect("a column of a lexicon").as_string_view()
}

fn text<'a>(cells: &Cells<'a>, row: usize) -> &'a str {
    match cells {
        Cells::Text(texts) => texts.value(row),
        Cells::Names(names) => names.value(row),
        _ => unreachable!("keys and languages are texts"),
    }
}

pub(super) fn compare(table: Table, corpora: &Pair<Corpus>) -> TableChanges {
    let (a, b) = (Side::new(&corpora.a, table), Side::new(&corpora.b, table));
    let mut found = TableChanges {
        table: table.name().to_owned(),
        rows: Pair { a: a.n_rows as u64, b: b.n_rows as u64 },
        ..TableChanges::default()
    };
    let (mut at_a, mut at_b) = (0, 0);
    while at_a < a.n_rows || at_b < b.n_rows {
        let order = match (at_a < a.n_rows, at_b < b.n_rows) {
            (true, true) => a.key(at_a).cmp(b.key(at_b)),
            (true, false) => Ordering::Less,
            _ => Ordering::Greater,
        };
        match order {
            Ordering::Less => {
                found.only.a += 1;
                found.count(a.lang(at_a), |language| language.only.a += 1);
            }
            Ordering::Greater => {
                found.only.b += 1;
                found.count(b.lang(at_b), |language| language.only.b += 1);
            }
            Ordering::Equal => found.compare_rows(table, (&a, at_a), (&b, at_b)),
        }
        at_a += usize::from(order.is_le());
        at_b += usize::from(order.is_ge());
    }
    found
}

impl TableChanges {
    /// Those of a table of so many rows and itself.
    pub(super) fn none(table: Table, n_rows: u64) -> Self {
        Self { table: table.name().to_owned(), rows: Pair { a: n_rows, b: n_rows }, ..Self::default() }
    }

    /// Whether the two tables say the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.only == Pair::default() && self.changed == 0
    }

    /// Whether it says nothing of the texts but what their words may become.
    #[must_use]
    pub fn is_of_code_switching(&self) -> bool {
        Table::CODE_SWITCH.iter().any(|table| table.name() == self.table)
    }

    fn count(&mut self, lang: Option<&str>, add: impl Fn(&mut LanguageChanges)) {
        if let Some(lang) = lang {
            add(self.languages.entry(lang.to_owned()).or_default());
        }
    }

    fn compare_rows(&mut self, table: Table, (a, at_a): (&Side, usize), (b, at_b): (&Side, usize)) {
        let mut is_changed = false;
        let are_other_words = |column| a.value(column, at_a) != b.value(column, at_b);
        let shown_alone = a.entries.map(|(column, _)| column).filter(|&column| are_other_words(column));
        for (number, column) in table.columns().iter().enumerate() {
            let (value_a, value_b) = (a.value(number, at_a), b.value(number, at_b));
            if value_a == value_b {
                continue;
            }
            is_changed = true;
            *self.columns.entry(column.name.to_owned()).or_default() += 1;
            if self.shown.len() < MAX_SHOWN && shown_alone.is_none_or(|shown| shown == number) {
                self.shown.push(ChangedRow {
                    id: a.key(at_a).collect::<Vec<_>>().join(" "),
                    column: column.name.to_owned(),
                    a: value_a,
                    b: value_b,
                });
            }
        }
        if is_changed {
            self.changed += 1;
            self.count(b.lang(at_b), |language| language.changed += 1);
        }
    }
}
