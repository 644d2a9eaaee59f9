//! The batches of two datasets side by side: which steps differ, and whether another pair stands in a row or the same
//! pair with another text.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::RecordBatch;
use rayon::prelude::*;
use serde::Serialize;

use super::super::cells::Cells;
use super::super::dataset::Dataset;
use super::super::rows::{Assembler, Picker, batch_digest};
use super::Pair;
use crate::corpus::Corpus;
use crate::digest::Digest;
use crate::error::Result;
use crate::pairs::{Groups, Index, PoolName};
use crate::plan::{Plan, Sampler};
use crate::progress::Observer;
use crate::schema::{DIGESTED_COLUMNS, Table};

/// Differing batches whose rows are looked at, at most.
const MAX_COMPARED: usize = 1_000;

/// How the batches of two datasets differ.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Batches {
    pub steps: Pair<u64>,
    /// Steps that both have, with the same batch.
    pub equal: u64,
    /// Steps that both have, with different batches: first and end of each run of such steps.
    pub differing: Vec<Range<u64>>,
    /// The rows of the first differing batches, a thousand at most. Empty where batches are not of one size.
    pub compared: Vec<ChangedBatch>,
    /// Rows by language, over all batches: of questions and of passages.
    pub languages: BTreeMap<String, Pair<LanguageRows>>,
}

/// Rows of a language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LanguageRows {
    pub queries: u64,
    pub positives: u64,
}

/// Two batches of one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedBatch {
    pub step: u64,
    pub source: Pair<String>,
    #[serde(flatten)]
    pub rows: ChangedRows,
}

/// Rows that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChangedRows {
    /// With another question or another passage.
    pub other_pairs: u64,
    /// With the same question and passage, of which something else differs.
    pub same_pairs: u64,
    /// Of `same_pairs`, by column.
    pub columns: BTreeMap<String, u64>,
}

impl Batches {
    /// Those of a dataset and itself.
    pub(super) fn equal(plan: &Plan) -> Self {
        let steps = plan.steps();
        Self { steps: Pair { a: steps, b: steps }, equal: steps, ..Self::default() }
    }

    /// Steps that both have and that differ.
    #[must_use]
    pub fn n_differing(&self) -> u64 {
        self.differing.iter().map(|steps| steps.end - steps.start).sum()
    }

    /// Over all that were compared row by row.
    #[must_use]
    pub fn changed_rows(&self) -> ChangedRows {
        let mut sum = ChangedRows::default();
        for batch in &self.compared {
            sum.other_pairs += batch.rows.other_pairs;
            sum.same_pairs += batch.rows.same_pairs;
            for (column, n) in &batch.rows.columns {
                *sum.columns.entry(column.clone()).or_default() += n;
            }
        }
        sum
    }
}

/// All that the batches of a dataset follow from, numbered.
struct Side<'a> {
    dataset: &'a Dataset,
    corpus: &'a Corpus,
    index: Index,
    groups: Groups,
}

impl<'a> Side<'a> {
    fn new(dataset: &'a Dataset, corpus: &'a Corpus) -> Result<Self> {
        let (index, groups) = Index::build(corpus, dataset.plan().hard_negatives().candidates())?;
        Ok(Self { dataset, corpus, index, groups })
    }

    /// Derives batches, and keeps of each what `take` makes of it.
    fn derive<T: Send>(
        &self,
        steps: impl IndexedParallelIterator<Item = u64>,
        observer: &dyn Observer,
        take: impl Fn(&RecordBatch) -> T + Sync,
    ) -> Result<Vec<T>> {
        let plan = self.dataset.plan();
        let assembler = Assembler::of_corpus(plan, self.corpus, &self.groups, None)?;
        let picker = Picker::new(plan, &self.index)?;
        let derived = steps.map_init(
            || picker.clone(),
            |picker, step| {
                let picked = picker.pick(step)?;
                observer.advance(1);
                Ok(take(&assembler.assemble(&[picked], &self.index)?))
            },
        );
        derived.collect()
    }

    /// As the index has them, or derived where it is gone.
    fn digests(&self, observer: &dyn Observer) -> Result<Vec<Digest>> {
        if let Some(index) = self.dataset.index()? {
            return Ok(index.into_iter().map(|row| row.digest).collect());
        }
        let n = self.dataset.plan().steps();
        observer.begin("deriving batches", Some(n));
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        self.derive((0..n).into_par_iter().map(|step| step as u64), observer, |batch| {
            batch_digest(&Cells::all(batch), 0..batch.num_rows(), &mut Vec::new())
        })
    }
}

pub(super) fn compare(
    datasets: Pair<&Dataset>,
    corpora: &Pair<Corpus>,
    observer: &dyn Observer,
) -> Result<Batches> {
    observer.begin("indexing the corpora", None);
    let sides = Pair { a: Side::new(datasets.a, &corpora.a)?, b: Side::new(datasets.b, &corpora.b)? };
    let digests = sides.try_map(|side| side.digests(observer))?;
    let plans = Pair { a: datasets.a.plan(), b: datasets.b.plan() };
    let differs = |(a, b): (&Digest, &Digest)| a != b;
    let is_differing: Vec<bool> = digests.a.iter().zip(&digests.b).map(differs).collect();
    let steps: Vec<u64> = (0..).zip(&is_differing).filter(|(_, differs)| **differs).map(|(n, _)| n).collect();
    let compared = match plans.a.batch_size() == plans.b.batch_size() {
        true => compare_rows(&sides, &steps[..steps.len().min(MAX_COMPARED)], observer)?,
        false => Vec::new(),
    };
    Ok(Batches {
        steps: Pair { a: plans.a.steps(), b: plans.b.steps() },
        equal: (is_differing.len() - steps.len()) as u64,
        differing: runs(&steps),
        compared,
        languages: languages(plans, observer)?,
    })
}

/// Steps that follow one another, as one range.
fn runs(steps: &[u64]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for &step in steps {
        match runs.last_mut() {
            Some(run) if run.end == step => run.end += 1,
            _ => runs.push(step..step + 1),
        }
    }
    runs
}

fn compare_rows(sides: &Pair<Side>, steps: &[u64], observer: &dyn Observer) -> Result<Vec<ChangedBatch>> {
    observer.begin("comparing batches", Some(2 * steps.len() as u64));
    let batches =
        sides.try_map(|side| side.derive(steps.par_iter().copied(), observer, RecordBatch::clone))?;
    let compared = steps.iter().zip(&batches.a).zip(&batches.b);
    Ok(compared.map(|((&step, a), b)| compare_batch(step, a, b)).collect())
}

fn compare_batch(step: u64, a: &RecordBatch, b: &RecordBatch) -> ChangedBatch {
    let (of_a, of_b) = (Cells::all(a), Cells::all(b));
    let names: Vec<&str> = Table::Batches.columns().iter().map(|column| column.name).collect();
    let column = |name: &str| names.iter().position(|known| *known == name).expect("a column of batches");
    let (query_id, positive_id, source) = (column("query_id"), column("positive_id"), column("source"));
    let mut rows = ChangedRows::default();
    for row in 0..a.num_rows() {
        let differs = |column: usize| of_a[column].to_json(row) != of_b[column].to_json(row);
        if differs(query_id) || differs(positive_id) {
            rows.other_pairs += 1;
            continue;
        }
        let mut is_changed = false;
        for column in DIGESTED_COLUMNS.filter(|&column| differs(column)) {
            is_changed = true;
            *rows.columns.entry(names[column].to_owned()).or_default() += 1;
        }
        rows.same_pairs += u64::from(is_changed);
    }
    let source = |cells: &[Cells]| cells[source].to_json(0).as_str().unwrap_or_default().to_owned();
    ChangedBatch { step, source: Pair { a: source(&of_a), b: source(&of_b) }, rows }
}

fn languages(plans: Pair<&Plan>, observer: &dyn Observer) -> Result<BTreeMap<String, Pair<LanguageRows>>> {
    let mut languages: BTreeMap<String, Pair<LanguageRows>> = BTreeMap::new();
    let of = plans.try_map(|plan| rows_by_pool(plan, observer))?;
    for (pool, n) in of.a {
        languages.entry(pool.query_lang).or_default().a.queries += n;
        languages.entry(pool.passage_lang).or_default().a.positives += n;
    }
    for (pool, n) in of.b {
        languages.entry(pool.query_lang).or_default().b.queries += n;
        languages.entry(pool.passage_lang).or_default().b.positives += n;
    }
    Ok(languages)
}

/// Rows of all batches of a plan, by pool.
fn rows_by_pool(plan: &Plan, observer: &dyn Observer) -> Result<Vec<(PoolName, u64)>> {
    observer.begin("counting rows", None);
    let pools = plan.pools();
    let sampler = Sampler::new(plan);
    let count = |(mut sampler, mut counts): (Sampler, Vec<u64>), step| {
        sampler.batch(step).rows.iter().for_each(|row| counts[row.pool] += 1);
        (sampler, counts)
    };
    let none = || vec![0; pools.len()];
    let counts = (0..plan.steps())
        .into_par_iter()
        .fold(|| (sampler.clone(), none()), count)
        .map(|(_, counts)| counts)
        .reduce(none, |a, b| a.iter().zip(b).map(|(a, b)| a + b).collect());
    let named = pools.iter().zip(counts).map(|((name, _), n)| {
        let pool = name.parse().map_err(|found| crate::error::Error::Plan { found })?;
        Ok((pool, n))
    });
    named.collect()
}
