//! Batches in their order: from `train/`, or derived from plan and corpus as it goes. One after another, as a trainer
//! takes them, or worked on by many threads, as an export does.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;

use super::cells::Cells;
use super::dataset::{Dataset, Part};
use super::manifest::FileEntry;
use super::ordered::in_order;
use super::rows::{Assembler, Picker, batch_digest};
use super::tables::TableFile;
use crate::digest::Digest;
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
    for group in row_groups(dataset, &steps)? {
        let mut flow = ControlFlow::Continue(());
        group.read(dataset, |step, batch| {
            if flow.is_continue() {
                flow = consume(step, batch)?;
            }
            Ok(())
        })?;
        if flow.is_break() {
            break;
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
    let (index, groups) = Index::build(&corpus, plan.hard_negatives().candidates())?;
    let assembler = Assembler::of_corpus(plan, &corpus, &groups, None)?;
    let mut picker = Picker::new(plan, &index)?;
    for step in steps {
        if consume(step, &assembler.assemble(&[picker.pick(step)?], &index)?)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Steps that a thread derives at a time.
const DERIVED_AT_ONCE: u64 = 16;

/// Calls `work` with each step and the rows of its batch on `threads` threads, and `consume` on this one with what that
/// gave, in the order of the steps. Batches are those of [`stream_batches`]; memory does not grow with their number.
///
/// # Errors
/// Those of [`stream_batches`], of `work` and of `consume`.
pub fn map_batches<T: Send>(
    dataset: &Dataset,
    origin: Origin,
    steps: Range<u64>,
    threads: usize,
    work: impl Fn(u64, &RecordBatch) -> Result<T> + Sync,
    mut consume: impl FnMut(u64, T) -> Result<()>,
) -> Result<()> {
    let mut consume_all =
        |_, done: Vec<(u64, T)>| done.into_iter().try_for_each(|(step, t)| consume(step, t));
    match origin {
        Origin::Shards => {
            let groups = row_groups(dataset, &steps)?;
            let read = |(): &mut (), i: usize| {
                let mut done = Vec::new();
                groups[i].read(dataset, |step, batch| {
                    done.push((step, work(step, batch)?));
                    Ok(())
                })?;
                Ok(done)
            };
            in_order(groups.len(), threads, || (), read, consume_all)
        }
        Origin::Derived => {
            let plan = dataset.plan();
            let corpus = dataset.part(Part::All)?;
            let (index, groups) = Index::build(&corpus, plan.hard_negatives().candidates())?;
            let assembler = Assembler::of_corpus(plan, &corpus, &groups, None)?;
            let picker = Picker::new(plan, &index)?;
            let n = (steps.end - steps.start).div_ceil(DERIVED_AT_ONCE);
            let n = usize::try_from(n).map_err(|_| Error::setting("--steps", "more than 2^64 steps"))?;
            let derive = |picker: &mut Picker<'_>, i: usize| {
                let first = steps.start + i as u64 * DERIVED_AT_ONCE;
                (first..steps.end.min(first.saturating_add(DERIVED_AT_ONCE)))
                    .map(|step| Ok((step, work(step, &assembler.assemble(&[picker.pick(step)?], &index)?)?)))
                    .collect()
            };
            in_order(n, threads, || picker.clone(), derive, &mut consume_all)
        }
    }
}

/// The digest of the rows of a batch: that of the index, of every column from `source` to `negative_group_ids`.
#[must_use]
pub fn digest_of(batch: &RecordBatch) -> Digest {
    batch_digest(&Cells::all(batch), 0..batch.num_rows(), &mut Vec::new())
}

/// A row group of `train/`, which holds whole batches, and of them the steps that are wanted.
struct RowGroup<'a> {
    entry: &'a FileEntry,
    table: Table,
    number: usize,
    /// Of its first batch.
    first_step: u64,
    steps: Range<u64>,
}

/// The row groups that hold `steps`, in order.
fn row_groups<'a>(dataset: &'a Dataset, steps: &Range<u64>) -> Result<Vec<RowGroup<'a>>> {
    let there = dataset.plan().steps();
    if there < steps.end {
        let found = format!("has {there} batches, {} are asked for", steps.end);
        return Err(Error::dataset(dataset.root(), found)
            .with_hint("`--virtual` derives the batches of any step from plan and corpus"));
    }
    let batch_size = u64::from(dataset.plan().batch_size());
    let table = dataset.batches();
    let mut groups = Vec::new();
    for entry in dataset.files("train", Table::Batches) {
        let (Some(first), Some(n_steps)) = (entry.first_step, entry.steps) else { continue };
        if first + n_steps <= steps.start || steps.end <= first {
            continue;
        }
        let file = TableFile::open(&dataset.root().join(&entry.path), table)?;
        let mut first_step = first;
        for number in 0..file.n_row_groups() {
            let end = first_step + file.n_rows(number) / batch_size;
            let wanted = first_step.max(steps.start)..end.min(steps.end);
            if !wanted.is_empty() {
                groups.push(RowGroup { entry, table, number, first_step, steps: wanted });
            }
            first_step = end;
        }
    }
    Ok(groups)
}

impl RowGroup<'_> {
    /// Calls `f` with each wanted batch, which is held against the digest of the index before.
    fn read(&self, dataset: &Dataset, mut f: impl FnMut(u64, &RecordBatch) -> Result<()>) -> Result<()> {
        let path = dataset.root().join(&self.entry.path);
        let batch_size = dataset.plan().batch_size() as usize;
        let index = dataset.index_of(self.steps.clone())?.ok_or_else(|| {
            Error::dataset(&dataset.root().join("train/index.parquet"), "is not there")
                .with_hint("`--virtual` derives the batches from plan and corpus")
        })?;
        let rows = TableFile::open(&path, self.table)?.row_group(self.number)?;
        let mut buffer = Vec::new();
        for (step, known) in self.steps.clone().zip(index) {
            let batch = cut(&rows, (step - self.first_step) as usize * batch_size, batch_size);
            if batch_digest(&Cells::all(&batch), 0..batch_size, &mut buffer) != known.digest {
                let found = format!("the batch at step {step} is not the one that the index names");
                return Err(Error::dataset(&path, found).with_hint(
                    "`prep verify` says which rows differ; `--virtual` takes them from plan and corpus",
                ));
            }
            f(step, &batch)?;
        }
        Ok(())
    }
}

/// So many rows, with the items of their own lists only. A mere slice of a list column keeps the items of the whole, and
/// whoever casts or copies it takes all of them along: for each batch those of its row group.
fn cut(rows: &RecordBatch, first: usize, n: usize) -> RecordBatch {
    let slice = rows.slice(first, n);
    let columns = slice.columns().iter().map(own_items).collect();
    RecordBatch::try_new(slice.schema(), columns).expect("the columns of the slice")
}

fn own_items(column: &ArrayRef) -> ArrayRef {
    let DataType::List(field) = column.data_type() else { return Arc::clone(column) };
    let list = column.as_list::<i32>();
    let (first, end) = (list.offsets()[0] as usize, list.offsets()[list.len()] as usize);
    let items = own_items(&list.values().slice(first, end - first));
    let offsets = OffsetBuffer::from_lengths(list.offsets().lengths());
    Arc::new(ListArray::new(Arc::clone(field), offsets, items, list.nulls().cloned()))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn a_cut_has_the_items_of_its_own_lists_only() {
        let lists = [vec![Some(1), Some(2)], vec![], vec![Some(3)], vec![Some(4), Some(5)]];
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists.into_iter().map(Some));
        let rows = RecordBatch::try_from_iter([("lists", Arc::new(lists) as ArrayRef)]).unwrap();
        let own = cut(&rows, 1, 2);
        assert_eq!(own.column(0).as_list::<i32>().values().len(), 1);
        assert_eq!(own, rows.slice(1, 2));
    }
}
