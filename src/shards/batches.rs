//! Batches one after another, as a trainer takes them: from `train/`, or derived from plan and corpus as it goes.

use std::ops::{ControlFlow, Range};

use arrow::array::RecordBatch;

use super::cells::Cells;
use super::dataset::{Dataset, Part};
use super::rows::{Assembler, Picker, batch_digest};
use super::tables::TableFile;
use crate::error::{Error, Result};
use crate::pairs::Index;
use crate::schema::Table;

/// Where batches come from. What they hold is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The shards of `train/`. Each batch is held against the digest of the index before it is given out.
    Shards,
    /// `plan.json` and `corpus/`, whose files are held against their digests, for any step; `train/` may be missing.
    Derived,
}

/// Calls `consume` with each step and the rows of its batch, in order, until it breaks. The rows are a table of
/// [`Table::Batches`], or of [`Table::TokenisedBatches`] where the shards hold tokens.
///
/// # Errors
/// [`Error::Dataset`] when a batch is not there or is not what the index says, and whatever `consume` gives.
pub fn stream_batches(
    dataset: &Dataset,
    origin: Origin,
    steps: Range<u64>,
    consume: impl FnMut(u64, &RecordBatch) -> Result<ControlFlow<()>>,
) -> Result<()> {
    match origin {
        Origin::Shards => from_shards(dataset, steps, consume),
        Origin::Derived => derived(dataset, steps, consume),
    }
}

fn from_shards(
    dataset: &Dataset,
    steps: Range<u64>,
    mut consume: impl FnMut(u64, &RecordBatch) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let there = dataset.plan().steps();
    if there < steps.end {
        let found = format!("has {there} batches, {} are asked for", steps.end);
        return Err(Error::dataset(dataset.root(), found)
            .with_hint("`--virtual` derives the batches of any step from plan and corpus"));
    }
    let index = dataset.index()?.ok_or_else(|| {
        Error::dataset(&dataset.root().join("train/index.parquet"), "is not there")
            .with_hint("`--virtual` derives the batches from plan and corpus")
    })?;
    let batch_size = dataset.plan().batch_size() as usize;
    let table = match dataset.manifest().tokenizer {
        Some(_) => Table::TokenisedBatches,
        None => Table::Batches,
    };
    let mut buffer = Vec::new();
    for entry in dataset.files("train", Table::Batches) {
        let (Some(first), Some(n_steps)) = (entry.first_step, entry.steps) else { continue };
        if first + n_steps <= steps.start || steps.end <= first {
            continue;
        }
        let path = dataset.root().join(&entry.path);
        let file = TableFile::open(&path, table)?;
        let mut step = first;
        for group in 0..file.n_row_groups() {
            let n_steps = file.n_rows(group) / batch_size as u64;
            let here = step..step + n_steps;
            step = here.end;
            if here.end <= steps.start || steps.end <= here.start {
                continue;
            }
            let rows = file.row_group(group)?;
            for step in here.start.max(steps.start)..here.end.min(steps.end) {
                let batch = rows.slice((step - here.start) as usize * batch_size, batch_size);
                let digest = batch_digest(&Cells::all(&batch), 0..batch_size, &mut buffer);
                let known = index.get(step as usize).map(|row| row.digest);
                if known != Some(digest) {
                    let found = format!("the batch at step {step} is not the one that the index names");
                    return Err(Error::dataset(&path, found).with_hint(
                        "`prep verify` says which rows differ; `--virtual` trains from plan and corpus",
                    ));
                }
                if consume(step, &batch)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn derived(
    dataset: &Dataset,
    steps: Range<u64>,
    mut consume: impl FnMut(u64, &RecordBatch) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let plan = dataset.plan();
    let corpus = dataset.part(Part::All)?;
    let (index, groups) = Index::build(&corpus, plan.hard_negatives().k != 0)?;
    let assembler = Assembler::of_corpus(plan, &corpus, &groups, None);
    let mut picker = Picker::new(plan, &index)?;
    for step in steps {
        if consume(step, &assembler.assemble(&[picker.pick(step)?], &index)?)?.is_break() {
            break;
        }
    }
    Ok(())
}
