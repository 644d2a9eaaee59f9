//! Two datasets side by side: what was asked for, what was read, what was planned, and which texts and batches differ
//! for it.
//!
//! Causes come before effects: the pipeline and the inputs are all that a dataset follows from, the plan and the corpus
//! all that its batches follow from. So whoever reads a [`Diff`] from the top meets the reason first.

mod batches;
mod corpus;
mod values;

use serde::Serialize;
use serde_json::{Value, json};

pub use self::batches::{Batches, ChangedBatch, ChangedRows, LanguageRows};
pub use self::corpus::{ChangedRow, LanguageChanges, TableChanges};
pub use self::values::Change;
use self::values::changes;
use super::dataset::{Dataset, Part};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::Observer;
use crate::schema::Table;

/// How two datasets differ; `a` is the first.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// By the ids that the manifests state: equal plans, batches and corpora.
    pub is_equal: bool,
    pub dataset_ids: Pair<Digest>,
    /// Keys of the resolved pipelines.
    pub pipeline: Vec<Change>,
    /// Source files, by their path; values are digests.
    pub inputs: Vec<Change>,
    /// What made them: `prep_version` and `tokenizer`.
    pub tools: Vec<Change>,
    /// Keys of the plans.
    pub plan: Vec<Change>,
    /// Of `corpus/`: queries, passages, qrels; negatives, words and lexicon where both have them.
    pub corpus: Vec<TableChanges>,
    pub batches: Batches,
    /// Files of the datasets, by path; values are digests. They may differ where the content does not.
    pub files: Vec<Change>,
}

/// The same thing of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pair<T> {
    pub a: T,
    pub b: T,
}

impl<T> Pair<T> {
    pub(super) fn try_map<'a, U>(&'a self, f: impl Fn(&'a T) -> Result<U>) -> Result<Pair<U>> {
        Ok(Pair { a: f(&self.a)?, b: f(&self.b)? })
    }
}

/// Compares two datasets, as their manifests state them: equal ids are believed, and [`super::verify`] proves them.
///
/// # Errors
/// [`Error::Dataset`] and [`Error::Plan`] when what must be read of one cannot be, or is not what its manifest names.
pub fn diff(datasets: Pair<&Dataset>, observer: &dyn Observer) -> Result<Diff> {
    let Pair { a, b } = datasets;
    let (of_a, of_b) = (a.manifest(), b.manifest());
    let plans = datasets.try_map(|dataset| plan_value(dataset))?;
    let inputs = |dataset: &Dataset| {
        let inputs = dataset.manifest().inputs.iter();
        Value::Object(inputs.map(|input| (input.name.clone(), json!(input.digest))).collect())
    };
    let tools = |dataset: &Dataset| {
        let manifest = dataset.manifest();
        let tokenizer = manifest.tokenizer.as_ref().map(|tokenizer| tokenizer.digest);
        json!({ "prep_version": manifest.prep_version, "tokenizer": tokenizer })
    };
    let files = |dataset: &Dataset| {
        let files = dataset.manifest().files.iter();
        Value::Object(files.map(|file| (file.path.clone(), json!(file.digest))).collect())
    };
    let is_equal = of_a.dataset_id == of_b.dataset_id;
    let (corpus, batches) = match is_equal {
        true => (Vec::new(), Batches::equal(a.plan())),
        false => content(datasets, observer)?,
    };
    Ok(Diff {
        is_equal,
        dataset_ids: Pair { a: of_a.dataset_id, b: of_b.dataset_id },
        pipeline: changes(&of_a.pipeline, &of_b.pipeline),
        inputs: changes(&inputs(a), &inputs(b)),
        tools: changes(&tools(a), &tools(b)),
        plan: changes(&plans.a, &plans.b),
        corpus,
        batches,
        files: changes(&files(a), &files(b)),
    })
}

/// Tables of the corpus, then the batches that are made of them.
fn content(datasets: Pair<&Dataset>, observer: &dyn Observer) -> Result<(Vec<TableChanges>, Batches)> {
    observer.begin("reading the corpora", None);
    let corpora = datasets.try_map(|dataset| dataset.part(Part::All))?;
    let in_b: Vec<Table> = corpora.b.tables().map(|(table, _)| table).collect();
    let in_both = corpora.a.tables().filter(|(table, _)| in_b.contains(table));
    let tables = in_both
        .map(|(table, rows)| match have_same_files(datasets, table) {
            true => TableChanges::none(table, rows.num_rows() as u64),
            false => corpus::compare(table, &corpora),
        })
        .collect();
    Ok((tables, batches::compare(datasets, &corpora, observer)?))
}

/// Whether a table is the same by the digests of its files. Words are known by their rows in the lexicon.
fn have_same_files(datasets: Pair<&Dataset>, table: Table) -> bool {
    let digests = |dataset: &Dataset, table| -> Vec<Digest> {
        dataset.files("corpus", table).iter().map(|file| file.digest).collect()
    };
    let is_same = |table| digests(datasets.a, table) == digests(datasets.b, table);
    is_same(table) && (table != Table::Words || is_same(Table::Lexicon))
}

fn plan_value(dataset: &Dataset) -> Result<Value> {
    serde_json::from_slice(dataset.plan_json())
        .map_err(|e| Error::dataset(dataset.root(), format!("plan.json is no JSON: {e}")))
}
