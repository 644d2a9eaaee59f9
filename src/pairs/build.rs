//! A corpus to its [`Index`]: names become numbers, once.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::path::Path;

use arrow::array::{Array, ArrayAccessor, AsArray, StringViewArray, UInt32Array};
use arrow::compute::take;
use hashbrown::{DefaultHashBuilder, HashTable};
use rayon::prelude::*;

use super::{Candidates, Contexts, Index, Lists, Numbers, Side};
use crate::corpus::{Corpus, Names, Ranks, Rows};
use crate::error::{Error, Result};
use crate::pipeline::NegativeSource;
use crate::schema::Table;

/// Group ids in ascending byte order: a group's number is its place here.
#[derive(Clone, Debug)]
pub struct Groups(StringViewArray);

impl Groups {
    /// The ids as a column; texts are shared with the corpus.
    #[must_use]
    pub fn ids(&self) -> &StringViewArray {
        &self.0
    }

    /// How many groups stand before this id.
    fn before(&self, id: &str) -> u32 {
        let (mut low, mut high) = (0, self.0.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.0.value(middle) < id { low = middle + 1 } else { high = middle }
        }
        low as u32
    }
}

/// Rows that say which side of a pool something is on.
struct Entries {
    /// Number of the (dataset, language) of each row; rows of the eval split have none.
    sides: Vec<Option<usize>>,
    names: Vec<(String, String)>,
}

impl Index {
    /// `candidates` where hard negatives are to be drawn.
    ///
    /// # Errors
    /// [`Error::Dataset`] when a judgement, or a list of mined negatives, names what is not there.
    pub fn build(corpus: &Corpus, candidates: Option<NegativeSource>) -> Result<(Self, Groups)> {
        let of_query = corpus.texts(Table::Queries, "group_id");
        let of_qrel = corpus.texts(Table::Qrels, "group_id");
        let (groups, query_groups, qrel_groups) = number_groups(of_query, of_qrel)?;
        let rows = Rows::of(corpus.texts(Table::Passages, "passage_id"));
        let qrel_passages = number_passages(corpus, &rows)?;

        let entries = Entries::of(corpus, Table::Queries);
        let pairs = query_groups.iter().zip(0..).map(|(&group, row)| (group, row));
        let queries = sides(&entries, &groups, pairs);

        let entries = Entries::of(corpus, Table::Passages);
        let relevant: Vec<(u32, u32)> = qrel_groups
            .into_iter()
            .zip(qrel_passages)
            .zip(corpus.relevance())
            .filter_map(|(pair, &relevance)| (0 < relevance).then_some(pair))
            .collect();
        let passages = sides(&entries, &groups, relevant.iter().copied());
        let answers = answers(corpus, relevant);
        let candidates = match candidates {
            None => None,
            Some(NegativeSource::SameContext) => Some(Candidates::Contexts(contexts(corpus))),
            Some(NegativeSource::Mined) => Some(Candidates::Mined(mined(corpus, &rows)?)),
        };
        Ok((Self { queries, passages, answers, candidates }, groups))
    }
}

impl Entries {
    fn of(corpus: &Corpus, table: Table) -> Self {
        let (datasets, langs) = (corpus.names(table, "dataset"), corpus.names(table, "lang"));
        let splits = corpus.names(table, "split");
        let mut numbers = BTreeMap::new();
        let mut names = Vec::new();
        // A side is looked up by dictionary keys first: there are few, and comparing them costs nothing.
        let mut known: BTreeMap<(i32, i32), usize> = BTreeMap::new();
        let sides = (0..datasets.len())
            .map(|row| {
                if is_eval(&splits, row) {
                    return None;
                }
                let key = (datasets.keys().value(row), langs.keys().value(row));
                Some(*known.entry(key).or_insert_with(|| {
                    let name = (datasets.value(row).to_owned(), langs.value(row).to_owned());
                    *numbers.entry(name.clone()).or_insert_with(|| {
                        names.push(name);
                        names.len() - 1
                    })
                }))
            })
            .collect();
        Self { sides, names }
    }
}

fn is_eval(splits: &Names, row: usize) -> bool {
    splits.is_valid(row) && splits.value(row) == "eval"
}

/// (ids in order, number of each question's group, number of each judgement's group).
fn number_groups(
    of_query: &StringViewArray,
    of_qrel: &StringViewArray,
) -> Result<(Groups, Vec<u32>, Vec<u32>)> {
    let ranks = Ranks::of(of_query);
    let qrels = (0..of_qrel.len())
        .map(|at| {
            let id = of_qrel.value(at);
            ranks.find(of_query, id).ok_or_else(|| {
                let found = format!("row {at} judges group `{id}`, which has no question in corpus/queries");
                Error::dataset(Path::new("corpus/qrels"), found)
            })
        })
        .collect::<Result<Vec<u32>>>()?;
    let ids = take(of_query, &UInt32Array::from(ranks.rows), None).expect("rows of this column");
    Ok((Groups(ids.as_string_view().clone()), ranks.of_row, qrels))
}

/// The row of each judgement's passage.
fn number_passages(corpus: &Corpus, passages: &Rows) -> Result<Vec<u32>> {
    let judged = corpus.texts(Table::Qrels, "passage_id");
    (0..judged.len())
        .map(|at| {
            let id = judged.value(at);
            passages.find(id).ok_or_else(|| {
                let found = format!("row {at} judges passage `{id}`, which is not in corpus/passages");
                Error::dataset(Path::new("corpus/qrels"), found)
            })
        })
        .collect()
}

/// For each question, the passages of its list, ascending; most may have none.
fn mined(corpus: &Corpus, passages: &Rows) -> Result<Lists> {
    let unknown = |row: usize, what: &str, id: &str| {
        let found = format!("row {row} names {what} `{id}`, which the corpus does not have");
        Error::dataset(Path::new("corpus/negatives"), found)
    };
    let query_ids = corpus.texts(Table::Queries, "query_id");
    let queries = Rows::of(query_ids);
    let rows = corpus.negatives().ok_or_else(|| {
        Error::dataset(Path::new("corpus/negatives"), "is not there, and the plan draws from it")
    })?;
    let (of_query, lists) = (rows.column(0).as_string_view(), rows.column(1).as_list::<i32>());
    let ids = lists.values().as_string_view();
    let mut pairs = Vec::with_capacity(ids.len());
    for row in 0..rows.num_rows() {
        let id = of_query.value(row);
        let query = queries.find(id).ok_or_else(|| unknown(row, "question", id))?;
        for at in lists.value_offsets()[row]..lists.value_offsets()[row + 1] {
            let id = ids.value(at as usize);
            pairs.push((query, passages.find(id).ok_or_else(|| unknown(row, "passage", id))?));
        }
    }
    pairs.par_sort_unstable();
    Ok(Lists::from_sorted(query_ids.len(), &pairs))
}

/// The sides of the pools, from (group, row) pairs in any order; row numbers are those of `entries`.
fn sides(
    entries: &Entries,
    groups: &Groups,
    pairs: impl Iterator<Item = (u32, u32)>,
) -> BTreeMap<(String, String), Side> {
    let mut of_side: Vec<Vec<(u32, u32)>> = vec![Vec::new(); entries.names.len()];
    for (group, row) in pairs {
        if let Some(side) = entries.sides[row as usize] {
            of_side[side].push((group, row));
        }
    }
    entries
        .names
        .par_iter()
        .zip(of_side)
        .map(|((dataset, lang), mut pairs)| {
            pairs.sort_unstable();
            // Only judgements of this dataset's own groups make examples: those that begin with its name and `/`,
            // and `0` is the byte after `/`.
            let (first, end) = (groups.before(&format!("{dataset}/")), groups.before(&format!("{dataset}0")));
            pairs.retain(|&(group, _)| first <= group && group < end);
            ((dataset.clone(), lang.clone()), Side::from_sorted(first, end - first, &pairs))
        })
        .collect()
}

/// For each passage, the groups that it or a passage of equal language and text is relevant to.
fn answers(corpus: &Corpus, mut relevant: Vec<(u32, u32)>) -> Lists {
    let texts = corpus.texts(Table::Passages, "text");
    let langs = corpus.names(Table::Passages, "lang");
    let hasher = DefaultHashBuilder::default();
    let hash = |row: u32| hasher.hash_one((langs.value(row as usize), texts.value(row as usize)));
    let equal = |a: u32, b: u32| {
        texts.value(a as usize) == texts.value(b as usize)
            && langs.value(a as usize) == langs.value(b as usize)
    };
    // (passage, group), by passage; the first passage of a text stands for all of them.
    relevant.iter_mut().for_each(|pair| *pair = (pair.1, pair.0));
    relevant.par_sort_unstable();
    let mut representatives: HashTable<u32> = HashTable::new();
    for pair in &mut relevant {
        let row = pair.0;
        let entry = representatives.entry(hash(row), |&known| equal(known, row), |&known| hash(known));
        pair.0 = *entry.or_insert(row).get();
    }
    relevant.par_sort_unstable();
    relevant.dedup();
    let of_representative = Lists::from_sorted(texts.len(), &relevant);
    drop(relevant);

    let rows: Vec<u32> = (0..texts.len() as u32).collect();
    let lists: Vec<Option<u32>> = rows
        .par_iter()
        .map(|&row| representatives.find(hash(row), |&known| equal(known, row)).copied())
        .collect();
    let (mut starts, mut items) = (vec![0_u32], Vec::new());
    for representative in lists {
        if let Some(representative) = representative {
            let groups = of_representative.get(representative as usize).expect("in memory");
            items.extend_from_slice(&groups);
        }
        starts.push(u32::try_from(items.len()).expect("judgements are numbered in 32 bits"));
    }
    Lists { starts: Numbers::Memory(starts), items: Numbers::Memory(items) }
}

/// Contexts are told apart by id and language.
fn contexts(corpus: &Corpus) -> Contexts {
    let ids = corpus.texts(Table::Passages, "context_id");
    let langs = corpus.names(Table::Passages, "lang");
    let hasher = DefaultHashBuilder::default();
    let key = |row: u32| (ids.value(row as usize), langs.value(row as usize));
    let mut first_rows: Vec<u32> = Vec::new();
    let mut table: HashTable<u32> = HashTable::new();
    let of_passage: Vec<u32> = (0..ids.len() as u32)
        .map(|row| {
            let entry = table.entry(
                hasher.hash_one(key(row)),
                |&n| key(first_rows[n as usize]) == key(row),
                |&n| hasher.hash_one(key(first_rows[n as usize])),
            );
            *entry
                .or_insert_with(|| {
                    first_rows.push(row);
                    first_rows.len() as u32 - 1
                })
                .get()
        })
        .collect();
    let mut pairs: Vec<(u32, u32)> = of_passage.iter().copied().zip(0..).collect();
    pairs.par_sort_unstable();
    Contexts {
        of_passage: Numbers::Memory(of_passage),
        passages: Lists::from_sorted(first_rows.len(), &pairs),
    }
}
