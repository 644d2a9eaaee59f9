//! Ids to numbers: an id's rank is its place among the distinct ids in byte order; its row is where it stands.

use arrow::array::{Array, StringViewArray};
use hashbrown::{DefaultHashBuilder, HashTable};
use rayon::prelude::*;
use std::hash::BuildHasher;

/// Distinct ids of a column, numbered in ascending byte order.
pub(crate) struct Ranks {
    /// The number of the id in each row.
    pub(crate) of_row: Vec<u32>,
    /// A row that bears each id, by number.
    pub(crate) rows: Vec<u32>,
    hasher: DefaultHashBuilder,
    /// Places in `rows`.
    table: HashTable<u32>,
}

impl Ranks {
    pub(crate) fn of(ids: &StringViewArray) -> Self {
        let hasher = DefaultHashBuilder::default();
        // A row of each id, in order of appearance.
        let mut rows: Vec<u32> = Vec::new();
        let id_of = |rows: &[u32], n: u32| ids.value(rows[n as usize] as usize);
        let mut table: HashTable<u32> = HashTable::new();
        let mut of_row: Vec<u32> = Vec::with_capacity(ids.len());
        for row in 0..ids.len() as u32 {
            let id = ids.value(row as usize);
            let entry = table.entry(
                hasher.hash_one(id),
                |&n| id_of(&rows, n) == id,
                |&n| hasher.hash_one(id_of(&rows, n)),
            );
            let number = *entry.or_insert(rows.len() as u32).get();
            if number as usize == rows.len() {
                rows.push(row);
            }
            of_row.push(number);
        }
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        order.par_sort_unstable_by_key(|&n| id_of(&rows, n));
        let mut ranks = vec![0; rows.len()];
        for (rank, &n) in (0..).zip(&order) {
            ranks[n as usize] = rank;
        }
        of_row.iter_mut().for_each(|n| *n = ranks[*n as usize]);
        table.iter_mut().for_each(|n| *n = ranks[*n as usize]);
        let rows = order.iter().map(|&n| rows[n as usize]).collect();
        Self { of_row, rows, hasher, table }
    }

    /// The number of an id, looked up in the column that was numbered.
    pub(crate) fn find(&self, ids: &StringViewArray, id: &str) -> Option<u32> {
        let found =
            self.table.find(self.hasher.hash_one(id), |&n| ids.value(self.rows[n as usize] as usize) == id);
        found.copied()
    }
}

/// The rows of a column of ids, each of which stands there once.
pub(crate) struct Rows<'a> {
    ids: &'a StringViewArray,
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
}

impl<'a> Rows<'a> {
    pub(crate) fn of(ids: &'a StringViewArray) -> Self {
        let hasher = DefaultHashBuilder::default();
        let mut table: HashTable<u32> = HashTable::with_capacity(ids.len());
        for row in 0..ids.len() as u32 {
            let hash = hasher.hash_one(ids.value(row as usize));
            table.insert_unique(hash, row, |&n| hasher.hash_one(ids.value(n as usize)));
        }
        Self { ids, hasher, table }
    }

    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.table.find(self.hasher.hash_one(id), |&n| self.ids.value(n as usize) == id).copied()
    }
}
