//! An export, read back: batch for batch what the dataset has.

use std::ops::{ControlFlow, Range};
use std::path::Path;

use arrow::array::RecordBatch;

use super::row::{Row, digest};
use super::tokens::Tokens;
use super::{Content, ReadBack};
use crate::error::{Error, Result};
use crate::progress::Observer;
use crate::shards::{Dataset, Origin, digest_of, stream_batches};

/// Takes a batch at a time and holds it against the dataset's.
pub(super) fn verify(
    dataset: &Dataset,
    origin: Origin,
    steps: Range<u64>,
    mut content: Content,
    path: &Path,
    observer: &dyn Observer,
) -> Result<()> {
    stream_batches(dataset, origin, steps, |step, batch| {
        let wrong = match &mut content {
            Content::Rows(rows) => compare_rows(step, batch, rows)?,
            Content::Tokens(batches) => compare_tokens(batch, batches.next().transpose()?),
        };
        if let Some(wrong) = wrong {
            return Err(Error::export(path, format!("read back, the batch at step {step} has {wrong}")));
        }
        observer.advance(1);
        Ok(ControlFlow::Continue(()))
    })?;
    let more = match content {
        Content::Rows(mut rows) => rows.next().transpose()?.is_some(),
        Content::Tokens(mut batches) => batches.next().transpose()?.is_some(),
    };
    match more {
        false => Ok(()),
        true => Err(Error::export(path, "read back, there are rows after the last batch")),
    }
}

/// What is wrong with the next rows, by the digest of the batch.
fn compare_rows(step: u64, batch: &RecordBatch, rows: &mut ReadBack) -> Result<Option<String>> {
    let found: Vec<Row> = rows.by_ref().take(batch.num_rows()).collect::<Result<_>>()?;
    let is_in_order = found.iter().zip(0..).all(|(row, n)| (row.step, row.row) == (step, n));
    Ok(if found.len() != batch.num_rows() {
        Some(format!("{} rows of {}", found.len(), batch.num_rows()))
    } else if !is_in_order {
        Some("rows of another batch, or in another order".to_owned())
    } else if digest(&found) != digest_of(batch) {
        Some("rows with another digest".to_owned())
    } else {
        None
    })
}

/// What is wrong with the next tokens; no digest covers them, so they are compared themselves.
fn compare_tokens(batch: &RecordBatch, found: Option<Tokens>) -> Option<String> {
    match found {
        None => Some("no tokens".to_owned()),
        Some(found) if found != Tokens::of(batch) => Some("other tokens".to_owned()),
        Some(_) => None,
    }
}
