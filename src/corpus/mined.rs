//! Mined hard negatives: what `prep mine` wrote ([`Table::Mined`]), held against the corpus.
//!
//! Kept are the lists of questions that may be trained on, with the passages that may be, in the order of the file:
//! best first. That a passage answers its question is no fault here. Such a passage is left out where negatives are
//! drawn, by the same rule as everywhere (`schemas/SAMPLING.md`, section 5).

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayAccessor, ArrayRef, AsArray, ListArray, RecordBatch, StringViewArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use super::source::Input;
use super::{Corpus, Names, Reason, Reject, Rows};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::schema::Table;

/// What a file of mined negatives gave.
pub(super) struct Mined {
    /// Of [`Table::Negatives`].
    pub(super) negatives: RecordBatch,
    pub(super) rejects: Vec<Reject>,
    /// Ids of questions and passages in the file.
    pub(super) n_ids: u64,
    pub(super) input: Input,
}

/// Reads the file at `path` below `data`; where nothing is there, at `path` as it stands.
///
/// # Errors
/// [`Error::Source`] when it is not there, is no such file, or has nothing for a question of the corpus.
pub(super) fn read(path: &str, data: &Path, corpus: &Corpus) -> Result<Mined> {
    let file = find(path, data)?;
    let (digest, bytes) = Digest::of_file(&file)?;
    let input = Input { name: path.to_owned(), bytes, digest: digest.to_string() };
    let bad = |e: &dyn std::fmt::Display| Error::source(path, format!("bad Parquet: {e}"));

    let open = File::open(&file).map_err(Error::io("open source", &file))?;
    let metadata = ArrowReaderMetadata::load(&open, ArrowReaderOptions::default()).map_err(|e| bad(&e))?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(open, metadata.clone());
    let mut lists = Lists::new(path, corpus);
    for batch in builder.build().map_err(|e| bad(&e))? {
        let batch = batch.map_err(|e| bad(&e))?;
        let queries = column(&batch, path, "query_id", &DataType::Utf8View)?;
        let item = Field::new("item", DataType::Utf8View, true);
        let passages = column(&batch, path, "passage_ids", &DataType::List(Arc::new(item)))?;
        lists.take(queries.as_string_view(), passages.as_list());
    }
    if lists.kept.is_empty() {
        let pairs = metadata.metadata().file_metadata().key_value_metadata();
        let made_from = pairs
            .and_then(|pairs| pairs.iter().find(|pair| pair.key == "prep.dataset_id")?.value.as_deref())
            .map_or_else(String::new, |id| format!("; it was mined from dataset {id}"));
        let found = format!("no list of its {} is of a question to train on{made_from}", lists.n_lists);
        return Err(Error::source(path, found)
            .with_hint("mine from a dataset that was built from the same corpora, under the same names"));
    }
    Ok(Mined { negatives: lists.table(), n_ids: lists.n_ids, rejects: lists.rejects, input })
}

/// Where the file is.
pub(super) fn find(path: &str, data: &Path) -> Result<PathBuf> {
    let places = [data.join(path), PathBuf::from(path)];
    places.into_iter().find(|place| place.is_file()).ok_or_else(|| {
        Error::source(path, "no such file").with_hint(format!(
            "looked in `{}` and in the working directory; `prep mine` writes such a file",
            data.display()
        ))
    })
}

fn column(batch: &RecordBatch, path: &str, name: &str, wanted: &DataType) -> Result<ArrayRef> {
    let hint = "`prep mine` writes such a file; `prep schema mined` says what is in it";
    let missing = || Error::source(path, format!("no column `{name}`")).with_hint(hint);
    let column = batch.column_by_name(name).ok_or_else(missing)?;
    cast(column, wanted).map_err(|_| {
        Error::source(path, format!("column `{name}` is {}, not {wanted}", column.data_type()))
            .with_hint(hint)
    })
}

/// Lists, as far as they were read.
struct Lists<'a> {
    file: &'a str,
    corpus: &'a Corpus,
    queries: Side<'a>,
    passages: Side<'a>,
    seen: HashSet<u32>,
    /// Row of the question, rows of its passages, best first.
    kept: Vec<(u32, Vec<u32>)>,
    rejects: Vec<Reject>,
    n_lists: u64,
    n_ids: u64,
}

/// What may be found of a table.
struct Side<'a> {
    rows: Rows<'a>,
    splits: Names<'a>,
    unknown: Reason,
}

impl Side<'_> {
    /// The row of an id that may be trained on, or why there is none.
    fn find(&self, id: &str) -> Result<u32, Reason> {
        let row = self.rows.find(id).ok_or(self.unknown)?;
        let at = row as usize;
        let is_held_out = self.splits.is_valid(at) && self.splits.value(at) == "eval";
        if is_held_out { Err(Reason::HeldOut) } else { Ok(row) }
    }
}

impl<'a> Lists<'a> {
    fn new(file: &'a str, corpus: &'a Corpus) -> Self {
        let side = |table, id, unknown| Side {
            rows: Rows::of(corpus.texts(table, id)),
            splits: corpus.names(table, "split"),
            unknown,
        };
        Self {
            file,
            corpus,
            queries: side(Table::Queries, "query_id", Reason::UnknownQuery),
            passages: side(Table::Passages, "passage_id", Reason::UnknownPassage),
            seen: HashSet::new(),
            kept: Vec::new(),
            rejects: Vec::new(),
            n_lists: 0,
            n_ids: 0,
        }
    }

    fn take(&mut self, queries: &StringViewArray, lists: &ListArray) {
        let ids = lists.values().as_string_view();
        for at in 0..queries.len() {
            self.n_lists += 1;
            self.n_ids += 1 + lists.value_length(at) as u64;
            let id = if queries.is_valid(at) { queries.value(at) } else { "" };
            let found = self.queries.find(id).and_then(|query| match self.seen.insert(query) {
                true => Ok(query),
                false => Err(Reason::DuplicateId),
            });
            let query = match found {
                Ok(query) => query,
                Err(reason) => {
                    self.reject(reason, None, id);
                    continue;
                }
            };
            let mut passages: Vec<u32> = Vec::new();
            let mut known = HashSet::new();
            let items = lists.value_offsets()[at] as usize..lists.value_offsets()[at + 1] as usize;
            for (place, item) in (1..).zip(items) {
                let id = if ids.is_valid(item) { ids.value(item) } else { "" };
                let found = self.passages.find(id).and_then(|passage| match known.insert(passage) {
                    true => Ok(passage),
                    false => Err(Reason::DuplicateId),
                });
                match found {
                    Ok(passage) => passages.push(passage),
                    Err(reason) => self.reject(reason, Some(place), id),
                }
            }
            if !passages.is_empty() {
                self.kept.push((query, passages));
            }
        }
    }

    /// `passage` is its place in the list, from 1.
    fn reject(&mut self, reason: Reason, passage: Option<u64>, id: &str) {
        let row = self.n_lists;
        let (place, what) = match passage {
            None => (format!("row {row}"), "question"),
            Some(passage) => (format!("row {row} passage {passage}"), "passage"),
        };
        let detail = match reason {
            Reason::HeldOut => format!("{what} `{id}` is held out"),
            Reason::DuplicateId => format!("{what} `{id}` a second time"),
            _ => format!("{what} `{id}` is not in the corpus"),
        };
        self.rejects.push(Reject { source: self.file.to_owned(), place, reason, detail, raw: id.to_owned() });
    }

    /// The rows that are kept, by question.
    fn table(&mut self) -> RecordBatch {
        self.kept.sort_unstable();
        let ids = |table, column: &str, rows: UInt32Array| {
            take(self.corpus.texts(table, column), &rows, None).expect("rows of this column")
        };
        let queries = UInt32Array::from_iter_values(self.kept.iter().map(|(query, _)| *query));
        let passages =
            UInt32Array::from_iter_values(self.kept.iter().flat_map(|(_, list)| list.iter().copied()));
        let items = ids(Table::Passages, "passage_id", passages);
        let offsets = OffsetBuffer::from_lengths(self.kept.iter().map(|(_, list)| list.len()));
        let field = Arc::new(Field::new("item", items.data_type().clone(), true));
        let lists = ListArray::new(field, offsets, items, None);
        let columns = vec![ids(Table::Queries, "query_id", queries), Arc::new(lists) as ArrayRef];
        RecordBatch::try_new(Table::Negatives.loaded_schema(), columns).expect("the columns of negatives")
    }
}
