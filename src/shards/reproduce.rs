//! One batch, derived anew: from `plan.json` and `corpus/` alone, or from the original sources.
//!
//! With `corpus/lookup.bin` the cost depends neither on the step nor on the size of the corpus: a few hundred numbers
//! and the pages that a few hundred texts lie in. Without it the corpus is read and indexed first.

use std::ops::Range;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};

use super::cells::Cells;
use super::dataset::{Dataset, IndexRow};
use super::lookup::{LOOKUP, Lookup};
use super::rows::{
    Assembler, GroupColumn, PassageColumns, Picked, Picker, QueryColumns, RowMap, batch_digest, masked_pairs,
};
use super::switch::{Switcher, Texts, Words};
use super::tables::read_rows;
use crate::corpus::Corpus;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::pairs::{Index, PoolName};
use crate::plan::Plan;
use crate::progress::Observer;
use crate::schema::Table;

/// A batch that was derived, beside what the index says of it.
#[derive(Clone, Debug)]
pub struct Batch {
    pub step: u64,
    pub source: String,
    /// Of [`Table::Batches`]: without tokens, which no digest of a batch covers.
    pub rows: RecordBatch,
    pub masked_pairs: u32,
    pub digest: Digest,
    /// Nothing where train/ is gone, or the step is beyond its end.
    pub index: Option<IndexRow>,
}

impl Batch {
    /// The rows as JSON objects, by column name.
    #[must_use]
    pub fn rows_json(&self) -> Vec<serde_json::Value> {
        let cells = Cells::all(&self.rows);
        let schema = self.rows.schema();
        let row = |row: usize| {
            let fields = schema.fields().iter().zip(&cells);
            serde_json::Value::Object(fields.map(|(f, cell)| (f.name().clone(), cell.to_json(row))).collect())
        };
        (0..self.rows.num_rows()).map(row).collect()
    }

    /// Whether the index says something else; `None` where it says nothing.
    #[must_use]
    pub fn agrees(&self) -> Option<bool> {
        self.index.as_ref().map(|index| {
            index.digest == self.digest
                && index.masked_pairs == self.masked_pairs
                && index.source == self.source
        })
    }
}

/// Derives the batches of `steps`. Any step is defined, whatever the number of steps of the plan.
///
/// # Errors
/// [`Error::Dataset`] when corpus/ is incomplete or is not what the plan was made for.
pub fn reproduce(dataset: &Dataset, steps: Range<u64>, observer: &dyn Observer) -> Result<Vec<Batch>> {
    if !dataset.root().join(LOOKUP).is_file() {
        observer.begin("indexing the corpus", None);
        let corpus = dataset.corpus("corpus")?;
        return from_corpus(dataset, &corpus, steps);
    }
    let lookup = Lookup::open(dataset.root())?;
    if lookup.index.draws_from() != dataset.plan().hard_negatives().candidates() {
        return Err(Error::dataset(&dataset.root().join(LOOKUP), "has not the hard negatives of the plan")
            .with_hint("delete the file: it is a cache of the corpus, and does not fit it"));
    }
    let mut picker = Picker::new(dataset.plan(), &lookup.index)?;
    steps
        .map(|step| {
            let picked = picker.pick(step)?;
            let rows = fetch(dataset, &lookup, &picked)?;
            finish(dataset, &lookup.index, &picked, rows)
        })
        .collect()
}

fn from_corpus(dataset: &Dataset, corpus: &Corpus, steps: Range<u64>) -> Result<Vec<Batch>> {
    let plan = dataset.plan();
    let (index, groups) = Index::build(corpus, plan.hard_negatives().candidates())?;
    let assembler = Assembler::of_corpus(plan, corpus, &groups, None)?;
    let mut picker = Picker::new(plan, &index)?;
    steps
        .map(|step| {
            let picked = picker.pick(step)?;
            let rows = assembler.assemble(std::slice::from_ref(&picked), &index)?;
            finish(dataset, &index, &picked, rows)
        })
        .collect()
}

fn finish(dataset: &Dataset, index: &Index, picked: &Picked, rows: RecordBatch) -> Result<Batch> {
    Ok(Batch {
        step: picked.step,
        source: dataset.plan().sources()[picked.source].name.clone(),
        masked_pairs: masked_pairs(picked, index)?,
        digest: batch_digest(&Cells::all(&rows), 0..rows.num_rows(), &mut Vec::new()),
        rows,
        index: dataset.index_of(picked.step..picked.step + 1)?.and_then(|mut rows| rows.pop()),
    })
}

/// The rows of a picked batch, by fetching just those questions, passages and group ids.
fn fetch(dataset: &Dataset, lookup: &Lookup, picked: &Picked) -> Result<RecordBatch> {
    let passage_numbers =
        || picked.rows.iter().map(|row| row.positive).chain(picked.negatives.iter().copied());
    let queries = distinct(picked.rows.iter().map(|row| row.query));
    let passages = distinct(passage_numbers());
    let mut answered = Vec::new();
    for passage in &passages {
        answered.extend_from_slice(&lookup.index.groups_answered(*passage)?);
    }
    let groups = distinct(answered.into_iter());

    let read = |table, columns: &[&str], rows: &[u32]| {
        read_rows(dataset.root(), table, columns, &dataset.files("corpus", table), rows)
    };
    let (query_rows, passage_rows) = rayon::join(
        || read(Table::Queries, &["query_id", "group_id", "lang", "text"], &queries),
        || read(Table::Passages, &["passage_id", "lang", "text"], &passages),
    );
    let (query_rows, passage_rows) = (query_rows?, passage_rows?);
    let group_ids = lookup.group_ids(&groups)?;
    let checked =
        check(dataset.plan(), picked, (&queries, &query_rows), (&groups, &group_ids)).and_then(|()| {
            check_languages(dataset.plan(), picked, (&queries, &query_rows), (&passages, &passage_rows))
        });
    let answered = picked.rows.iter().map(|row| {
        let groups = lookup.index.groups_answered(row.positive)?;
        Ok(groups.binary_search(&row.group).is_ok())
    });
    let all_answered = answered.collect::<Result<Vec<bool>>>()?.into_iter().all(|answers| answers);
    let checked = checked.and_then(|()| {
        if all_answered { Ok(()) } else { Err("a positive does not answer its row's group".to_owned()) }
    });
    checked.map_err(|found| {
        Error::dataset(&dataset.root().join(LOOKUP), found)
            .with_hint("delete the file: it is a cache of the corpus, and does not fit it")
    })?;

    let n_passages = dataset.files("corpus", Table::Passages).iter().filter_map(|file| file.rows).sum();
    let (word_rows, lexicon_rows);
    let switcher = match Texts::new(dataset.plan(), n_passages)? {
        None => None,
        Some(texts) => {
            let rows = distinct(texts.rows_of(picked).into_iter());
            word_rows = read(Table::Words, &["words", "positions", "starts", "ends", "entries"], &rows)?;
            let words = Words::new(dataset.plan(), texts, RowMap::Only(rows), &word_rows)?;
            let entries = distinct(words.entries(picked)?.into_iter());
            lexicon_rows = read(Table::Lexicon, &["target_langs", "translations", "lexicons"], &entries)?;
            Some(Switcher::new(words, RowMap::Only(entries), &lexicon_rows))
        }
    };

    let assembler = Assembler::new(
        dataset.plan(),
        QueryColumns {
            rows: RowMap::Only(queries),
            query_id: query_rows.column(0).as_string_view(),
            group_id: query_rows.column(1).as_string_view(),
            lang: query_rows.column(2).as_dictionary(),
            text: query_rows.column(3).as_string_view(),
        },
        PassageColumns {
            rows: RowMap::Only(passages),
            passage_id: passage_rows.column(0).as_string_view(),
            lang: passage_rows.column(1).as_dictionary(),
            text: passage_rows.column(2).as_string_view(),
        },
        GroupColumn { rows: RowMap::Only(groups), ids: &group_ids },
    )
    .switching(switcher);
    assembler.assemble(std::slice::from_ref(picked), &lookup.index)
}

/// A lookup file of another corpus would give rows that look right: compare what both sides know.
fn check(
    plan: &Plan,
    picked: &Picked,
    (queries, query_rows): (&[u32], &RecordBatch),
    (groups, group_ids): (&[u32], &arrow::array::StringViewArray),
) -> Result<(), String> {
    let pools = plan.pools();
    let of_row = query_rows.column(1).as_string_view();
    for row in &picked.rows {
        let group_id = of_row.value(queries.binary_search(&row.query).expect("it was fetched"));
        let expected = groups.binary_search(&row.group).map(|at| group_ids.value(at));
        if expected != Ok(group_id) {
            return Err(format!(
                "a question of pool `{}` is of group `{group_id}` in the corpus",
                pools[row.pool].0
            ));
        }
    }
    Ok(())
}

/// Questions and positives are of the languages that their pools say.
fn check_languages(
    plan: &Plan,
    picked: &Picked,
    (queries, query_rows): (&[u32], &RecordBatch),
    (passages, passage_rows): (&[u32], &RecordBatch),
) -> Result<(), String> {
    let pools =
        plan.pools().into_iter().map(|(name, _)| name.parse::<PoolName>()).collect::<Result<Vec<_>, _>>()?;
    let query_langs = Cells::of(query_rows.column(2));
    let passage_langs = Cells::of(passage_rows.column(1));
    for row in &picked.rows {
        let pool = &pools[row.pool];
        let query = query_langs.to_json(queries.binary_search(&row.query).expect("it was fetched"));
        let passage = passage_langs.to_json(passages.binary_search(&row.positive).expect("it was fetched"));
        if query != pool.query_lang.as_str() || passage != pool.passage_lang.as_str() {
            return Err(format!("a row of pool `{pool}` has languages {query} and {passage} in the corpus"));
        }
    }
    Ok(())
}

fn distinct(numbers: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Derives the batches of `steps` from the original sources, through the pipeline of the manifest.
///
/// # Errors
/// [`Error::Dataset`], naming what differs, when the sources or what becomes of them are not those that the dataset
/// was built from.
#[cfg(feature = "pipeline")]
pub fn reproduce_from_sources(
    dataset: &Dataset,
    data: &Path,
    steps: Range<u64>,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Vec<Batch>> {
    use super::build::prepare;
    use crate::corpus::IngestRequest;
    use crate::pipeline::Pipeline;

    let pipeline = Pipeline::from_manifest(&dataset.manifest().pipeline)?;
    let request = IngestRequest { pipeline: &pipeline, data, strict: false, threads };
    let prepared = prepare(request, observer)?;
    let known = &dataset.manifest().inputs;
    if let Some(input) = prepared.inputs.iter().find(|input| !known.contains(input)) {
        let found = format!("source `{}` is not the file that the dataset was built from", input.name);
        return Err(
            Error::dataset(dataset.root(), found).with_hint("the manifest lists the digest of every source")
        );
    }
    if prepared.plan != *dataset.plan() {
        return Err(Error::dataset(dataset.root(), "the sources give another plan than plan.json"));
    }
    from_corpus(dataset, &prepared.corpus, steps)
}
