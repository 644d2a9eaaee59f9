//! Two corpora side by side: rows that one lacks, and rows that say something else.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::StringViewArray;
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
    /// By language; empty for judgements and mined negatives, which have none.
    pub languages: BTreeMap<String, LanguageChanges>,
    /// The first changed rows, one line a column that differs.
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
    corpus: &'a Corpus,
    keys: Vec<&'a StringViewArray>,
    cells: Vec<Cells<'a>>,
    n_rows: usize,
}

impl<'a> Side<'a> {
    fn new(corpus: &'a Corpus, table: Table) -> Self {
        let rows = corpus.table(table);
        Self {
            corpus,
            keys: table.sorted_by().iter().map(|column| corpus.texts(table, column)).collect(),
            cells: Cells::all(rows),
            n_rows: rows.num_rows(),
        }
    }

    fn key(&self, row: usize) -> impl Iterator<Item = &str> {
        self.keys.iter().map(move |column| column.value(row))
    }

    fn lang(&self, table: Table, row: usize) -> Option<&str> {
        let has_lang = !matches!(table, Table::Qrels | Table::Negatives);
        has_lang.then(|| self.corpus.names(table, "lang")).map(|names| {
            // The values outlive this view of them: they belong to the corpus.
            let key = names.keys().value(row) as usize;
            names.values().value(key)
        })
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
                found.count(a.lang(table, at_a), |language| language.only.a += 1);
            }
            Ordering::Greater => {
                found.only.b += 1;
                found.count(b.lang(table, at_b), |language| language.only.b += 1);
            }
            Ordering::Equal => found.compare_rows(table, (&a, at_a), (&b, at_b)),
        }
        at_a += usize::from(order.is_le());
        at_b += usize::from(order.is_ge());
    }
    found
}

impl TableChanges {
    /// Whether the two tables say the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.only == Pair::default() && self.changed == 0
    }

    fn count(&mut self, lang: Option<&str>, add: impl Fn(&mut LanguageChanges)) {
        if let Some(lang) = lang {
            add(self.languages.entry(lang.to_owned()).or_default());
        }
    }

    fn compare_rows(&mut self, table: Table, (a, at_a): (&Side, usize), (b, at_b): (&Side, usize)) {
        let mut is_changed = false;
        for ((column, of_a), of_b) in table.columns().iter().zip(&a.cells).zip(&b.cells) {
            let (value_a, value_b) = (of_a.to_json(at_a), of_b.to_json(at_b));
            if value_a == value_b {
                continue;
            }
            is_changed = true;
            *self.columns.entry(column.name.to_owned()).or_default() += 1;
            if self.shown.len() < MAX_SHOWN {
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
            self.count(b.lang(table, at_b), |language| language.changed += 1);
        }
    }
}
