//! An export, read back: batch for batch the rows that the dataset has.

use std::ops::{ControlFlow, Range};
use std::path::Path;

use super::ReadBack;
use super::row::{Row, digest};
use crate::error::{Error, Result};
use crate::progress::Observer;
use crate::shards::{Dataset, Origin, digest_of, stream_batches};

/// Takes a batch of rows at a time and holds its digest against that of the dataset's batch.
pub(super) fn verify(
    dataset: &Dataset,
    origin: Origin,
    steps: Range<u64>,
    mut rows: ReadBack,
    path: &Path,
    observer: &dyn Observer,
) -> Result<()> {
    stream_batches(dataset, origin, steps, |step, batch| {
        let found: Vec<Row> = rows.by_ref().take(batch.num_rows()).collect::<Result<_>>()?;
        let is_in_order = found.iter().zip(0..).all(|(row, n)| (row.step, row.row) == (step, n));
        let wrong = if found.len() != batch.num_rows() {
            Some(format!("{} rows of {}", found.len(), batch.num_rows()))
        } else if !is_in_order {
            Some("rows of another batch, or in another order".to_owned())
        } else if digest(&found) != digest_of(batch) {
            Some("rows with another digest".to_owned())
        } else {
            None
        };
        if let Some(wrong) = wrong {
            return Err(Error::export(path, format!("read back, the batch at step {step} has {wrong}")));
        }
        observer.advance(1);
        Ok(ControlFlow::Continue(()))
    })?;
    match rows.next() {
        None => Ok(()),
        Some(_) => Err(Error::export(path, "read back, there are rows after the last batch")),
    }
}
