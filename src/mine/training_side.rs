//! What is mined from: questions and passages of a dataset that may be trained on, by their rows in `corpus/`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayAccessor, AsArray, RecordBatch, StringArray, StringViewArray};
use arrow::datatypes::Int32Type;
use rayon::prelude::*;

use crate::corpus::{Names, Ranks};
use crate::digest::Digest;
use crate::error::Result;
use crate::pairs::Lists;
use crate::progress::Observer;
use crate::schema::Table;
use crate::shards::Dataset;

/// The training side of a dataset, without the texts of its passages.
pub(super) struct TrainingSide<'a> {
    dataset: &'a Dataset,
    queries: RecordBatch,
    passages: RecordBatch,
    /// The group of each question.
    groups: Vec<u32>,
    /// The passages that answer each group, and those with the text of one in whatever language; ascending.
    answers: Lists,
}

impl<'a> TrainingSide<'a> {
    pub(super) fn read(dataset: &'a Dataset, observer: &dyn Observer) -> Result<Self> {
        observer.begin("reading the corpus", None);
        dataset.check_files("corpus")?;
        let queries = dataset.columns(Table::Queries, &["query_id", "group_id", "lang", "text", "split"])?;
        let passages = dataset.columns(Table::Passages, &["passage_id", "lang", "split"])?;
        // Both number groups by the rank of their id among those of the questions.
        let Ranks { of_row: groups, rows, .. } = Ranks::of(texts(&queries, "group_id"));
        let answers = dataset.answers(observer)?.inverted(rows.len())?;
        let answers = with_equal_texts(dataset, passages.num_rows(), &answers, rows.len())?;
        Ok(Self { dataset, queries, passages, groups, answers })
    }

    pub(super) fn query_ids(&self) -> &StringViewArray {
        texts(&self.queries, "query_id")
    }

    pub(super) fn query_text(&self, query: u32) -> &str {
        texts(&self.queries, "text").value(query as usize)
    }

    pub(super) fn group_id(&self, query: u32) -> &str {
        texts(&self.queries, "group_id").value(query as usize)
    }

    /// All judgements, of both sides.
    pub(super) fn judgements(&self) -> Result<RecordBatch> {
        self.dataset.columns(Table::Qrels, &["group_id", "passage_id", "relevance"])
    }

    pub(super) fn passage_ids(&self) -> &StringViewArray {
        texts(&self.passages, "passage_id")
    }

    pub(super) fn may_train_on_query(&self, query: u32) -> bool {
        is_trained_on(&names(&self.queries, "split"), query as usize)
    }

    pub(super) fn may_train_on_passage(&self, passage: u32) -> bool {
        is_trained_on(&names(&self.passages, "split"), passage as usize)
    }

    /// The passages that answer a question, in any language and on either side, or have the text of one that does; ascending.
    pub(super) fn answers_of(&self, query: u32) -> Result<Cow<'_, [u32]>> {
        self.answers.get(self.groups[query as usize] as usize)
    }

    /// Questions by language, ascending.
    pub(super) fn queries(&self) -> BTreeMap<&str, Vec<u32>> {
        let (langs, splits) = (names(&self.queries, "lang"), names(&self.queries, "split"));
        let mut rows: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for row in (0..langs.len()).filter(|&row| is_trained_on(&splits, row)) {
            rows.entry(langs.value(row)).or_default().push(row as u32);
        }
        rows
    }

    /// The passages of a language, ascending.
    pub(super) fn passages(&self, lang: &str) -> Vec<u32> {
        let (langs, splits) = (names(&self.passages, "lang"), names(&self.passages, "split"));
        let is_wanted = |&row: &usize| langs.value(row) == lang && is_trained_on(&splits, row);
        (0..langs.len()).filter(is_wanted).map(|row| row as u32).collect()
    }

    /// Calls `each` with some of these passages and their texts at a time, until all were there. They are ascending.
    pub(super) fn for_each_text(
        &self,
        passages: &[u32],
        mut each: impl FnMut(&[u32], &[&str]),
    ) -> Result<()> {
        let within = |rows: &std::ops::Range<usize>| {
            let before = |row: usize| passages.partition_point(|&passage| (passage as usize) < row);
            &passages[before(rows.start)..before(rows.end)]
        };
        let wanted = |rows| !within(&rows).is_empty();
        self.dataset.scan(Table::Passages, &["text"], wanted, |first, batch| {
            let here = within(&(first..first + batch.num_rows()));
            let column = texts(&batch, "text");
            let of_here: Vec<&str> = here.iter().map(|&row| column.value(row as usize - first)).collect();
            each(here, &of_here);
            Ok(())
        })
    }
}

/// A name, a number or a loan word is spelt alike in several languages: the same text can be no answer in one of them and
/// the answer in another, and who learns that it is none learns to tell languages apart.
fn with_equal_texts(dataset: &Dataset, n_passages: usize, answers: &Lists, n_groups: usize) -> Result<Lists> {
    let mut texts_of_passages: Vec<(u64, u32)> = Vec::with_capacity(n_passages);
    dataset.scan(
        Table::Passages,
        &["text"],
        |_| true,
        |first, batch| {
            let digest = |text: &str| {
                let digest = Digest::of(text.as_bytes());
                u64::from_le_bytes(*digest.as_bytes().first_chunk().expect("32 bytes"))
            };
            let texts = texts(&batch, "text").iter().flatten();
            texts_of_passages.extend((first as u32..).zip(texts).map(|(row, text)| (digest(text), row)));
            Ok(())
        },
    )?;
    texts_of_passages.par_sort_unstable();
    let mut of_passage = vec![0_u32; n_passages];
    let mut equal: Vec<(u32, u32)> = Vec::with_capacity(n_passages);
    for (number, same) in (0..).zip(texts_of_passages.chunk_by(|a, b| a.0 == b.0)) {
        for &(_, row) in same {
            of_passage[row as usize] = number;
            equal.push((number, row));
        }
    }
    let equal = Lists::from_sorted(n_passages, &equal);
    let mut all: Vec<(u32, u32)> = Vec::new();
    for group in 0..n_groups {
        let first = all.len();
        let mut numbers: Vec<u32> =
            answers.get(group)?.iter().map(|&passage| of_passage[passage as usize]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let same = equal.get(number as usize)?;
            all.extend(same.iter().map(|&passage| (group as u32, passage)));
        }
        all[first..].sort_unstable();
    }
    Ok(Lists::from_sorted(n_groups, &all))
}

pub(super) fn texts<'a>(rows: &'a RecordBatch, column: &str) -> &'a StringViewArray {
    rows.column_by_name(column).expect("it was read").as_string_view()
}

fn names<'a>(rows: &'a RecordBatch, column: &str) -> Names<'a> {
    let column = rows.column_by_name(column).expect("it was read").as_dictionary::<Int32Type>();
    column.downcast_dict::<StringArray>().expect("names are dictionaries of texts")
}

fn is_trained_on(splits: &Names, row: usize) -> bool {
    splits.is_null(row) || splits.value(row) != "eval"
}
