//! A row of a batch as formats take it: with names, and of plain texts, numbers and lists.

use std::borrow::Cow;

use arrow::array::{AsArray, ListArray, RecordBatch, StringViewArray, UInt32Array, UInt64Array};
use arrow::datatypes::{Int32Type, UInt32Type, UInt64Type};
use serde::{Deserialize, Serialize};

use crate::corpus::Names;
use crate::digest::{Digest, put_bytes, put_count, put_unsigned};

/// A text: of the batch where it is written, its own where it was read back.
pub(super) type Text<'a> = Cow<'a, str>;

/// Columns of `train/batches`, by their names (`schemas/SHARDS.md`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row<'a> {
    pub(super) step: u64,
    pub(super) row: u32,
    pub(super) source: Text<'a>,
    pub(super) pool: Text<'a>,
    pub(super) example: u64,
    pub(super) group_id: Text<'a>,
    pub(super) query_id: Text<'a>,
    pub(super) query_lang: Text<'a>,
    pub(super) query: Text<'a>,
    pub(super) positive_id: Text<'a>,
    pub(super) positive_lang: Text<'a>,
    pub(super) positive: Text<'a>,
    pub(super) positive_group_ids: Vec<Text<'a>>,
    pub(super) negative_ids: Vec<Text<'a>>,
    pub(super) negatives: Vec<Text<'a>>,
    pub(super) negative_group_ids: Vec<Vec<Text<'a>>>,
}

/// The rows of a batch.
pub(super) struct Rows<'a> {
    step: &'a UInt64Array,
    row: &'a UInt32Array,
    source: Names<'a>,
    pool: Names<'a>,
    example: &'a UInt64Array,
    group_id: &'a StringViewArray,
    query_id: &'a StringViewArray,
    query_lang: Names<'a>,
    query: &'a StringViewArray,
    positive_id: &'a StringViewArray,
    positive_lang: Names<'a>,
    positive: &'a StringViewArray,
    positive_group_ids: &'a ListArray,
    negative_ids: &'a ListArray,
    negatives: &'a ListArray,
    negative_group_ids: &'a ListArray,
}

impl<'a> Rows<'a> {
    /// The columns of a table of [`Table::Batches`](crate::schema::Table::Batches), or of a tokenised one.
    pub(super) fn of(batch: &'a RecordBatch) -> Self {
        let column = |name: &str| batch.column_by_name(name).expect("a column of the table of batches");
        let text = |name| column(name).as_string_view();
        let list = |name| column(name).as_list::<i32>();
        let names = |name| {
            column(name)
                .as_dictionary::<Int32Type>()
                .downcast_dict()
                .expect("names are dictionaries of texts")
        };
        Self {
            step: column("step").as_primitive::<UInt64Type>(),
            row: column("row").as_primitive::<UInt32Type>(),
            source: names("source"),
            pool: names("pool"),
            example: column("example").as_primitive::<UInt64Type>(),
            group_id: text("group_id"),
            query_id: text("query_id"),
            query_lang: names("query_lang"),
            query: text("query"),
            positive_id: text("positive_id"),
            positive_lang: names("positive_lang"),
            positive: text("positive"),
            positive_group_ids: list("positive_group_ids"),
            negative_ids: list("negative_ids"),
            negatives: list("negatives"),
            negative_group_ids: list("negative_group_ids"),
        }
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = Row<'a>> {
        (0..self.step.len()).map(|i| self.get(i))
    }

    fn get(&self, i: usize) -> Row<'a> {
        let name = |names: Names<'a>| {
            let key = names.keys().value(i) as usize;
            Text::Borrowed(names.values().value(key))
        };
        let text = |texts: &'a StringViewArray| Text::Borrowed(texts.value(i));
        Row {
            step: self.step.value(i),
            row: self.row.value(i),
            source: name(self.source),
            pool: name(self.pool),
            example: self.example.value(i),
            group_id: text(self.group_id),
            query_id: text(self.query_id),
            query_lang: name(self.query_lang),
            query: text(self.query),
            positive_id: text(self.positive_id),
            positive_lang: name(self.positive_lang),
            positive: text(self.positive),
            positive_group_ids: texts(self.positive_group_ids, i),
            negative_ids: texts(self.negative_ids, i),
            negatives: texts(self.negatives, i),
            negative_group_ids: {
                let inner = self.negative_group_ids.values().as_list::<i32>();
                range(self.negative_group_ids, i).map(|j| texts(inner, j)).collect()
            },
        }
    }
}

fn range(list: &ListArray, i: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[i] as usize..offsets[i + 1] as usize
}

fn texts(list: &ListArray, i: usize) -> Vec<Text<'_>> {
    let values = list.values().as_string_view();
    range(list, i).map(|at| Text::Borrowed(values.value(at))).collect()
}

impl Row<'_> {
    /// With texts of its own.
    pub(super) fn into_owned(self) -> Row<'static> {
        let own = |text: Text| Text::Owned(text.into_owned());
        let all = |texts: Vec<Text>| texts.into_iter().map(own).collect::<Vec<_>>();
        Row {
            step: self.step,
            row: self.row,
            source: own(self.source),
            pool: own(self.pool),
            example: self.example,
            group_id: own(self.group_id),
            query_id: own(self.query_id),
            query_lang: own(self.query_lang),
            query: own(self.query),
            positive_id: own(self.positive_id),
            positive_lang: own(self.positive_lang),
            positive: own(self.positive),
            positive_group_ids: all(self.positive_group_ids),
            negative_ids: all(self.negative_ids),
            negatives: all(self.negatives),
            negative_group_ids: self.negative_group_ids.into_iter().map(all).collect(),
        }
    }

    /// Appends what the digest of a batch takes of a row.
    fn put(&self, into: &mut Vec<u8>) {
        let text = |into: &mut Vec<u8>, text: &str| put_bytes(into, text.as_bytes());
        let texts = |into: &mut Vec<u8>, items: &[Text]| {
            put_count(into, items.len());
            items.iter().for_each(|item| put_bytes(into, item.as_bytes()));
        };
        text(into, &self.source);
        text(into, &self.pool);
        put_unsigned(into, self.example);
        for field in [
            &self.group_id,
            &self.query_id,
            &self.query_lang,
            &self.query,
            &self.positive_id,
            &self.positive_lang,
            &self.positive,
        ] {
            text(into, field);
        }
        texts(into, &self.positive_group_ids);
        texts(into, &self.negative_ids);
        texts(into, &self.negatives);
        put_count(into, self.negative_group_ids.len());
        self.negative_group_ids.iter().for_each(|ids| texts(into, ids));
    }
}

/// The digest of the rows of a batch, in their order.
pub(super) fn digest(rows: &[Row]) -> Digest {
    let mut bytes = Vec::new();
    rows.iter().for_each(|row| row.put(&mut bytes));
    Digest::of(&bytes)
}
