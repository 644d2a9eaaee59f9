//! What the formats of one JSON object a line share.

use std::io::BufRead;
use std::path::Path;

use arrow::array::RecordBatch;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::output::{Output, open};
use super::row::{Row, Rows};
use super::{Encoded, ExportRequest, ReadBack, Target, Writer, fill};
use crate::error::{Error, Result};

/// Writes a line a row, of what `put` appends for it.
pub(super) fn create(path: &Path, put: fn(Row<'_>, &mut Vec<u8>)) -> Result<Target> {
    let encode = move |batch: &RecordBatch| Encoded::records(batch, line(put));
    Ok(Target { encode: Box::new(encode), writer: Box::new(Lines(Output::create(path)?)) })
}

/// The same for a trainer, with as many hard negatives in every row as the request asks for, or more.
pub(super) fn create_filled(
    path: &Path,
    request: &ExportRequest,
    put: fn(Row<'_>, &mut Vec<u8>),
) -> Result<Target> {
    let (negatives, out) = (request.negatives.unwrap_or(0), request.out.to_owned());
    let encode = move |batch: &RecordBatch| {
        let rows: Vec<Row> = Rows::of(batch).iter().collect();
        let filled = fill::fill(&rows, negatives, &out)?;
        let with_filled = rows.iter().zip(&filled).map(|(row, filled)| {
            let mut row = row.clone();
            fill::append(&mut row, &rows, filled);
            row
        });
        Encoded::of_rows(with_filled, line(put))
    };
    Ok(Target { encode: Box::new(encode), writer: Box::new(Lines(Output::create(path)?)) })
}

fn line(put: fn(Row<'_>, &mut Vec<u8>)) -> impl FnMut(Row<'_>, &mut Vec<u8>) -> Result<()> {
    move |row, bytes| {
        put(row, bytes);
        bytes.push(b'\n');
        Ok(())
    }
}

/// Appends a value as JSON.
pub(super) fn put_json(value: &impl Serialize, bytes: &mut Vec<u8>) {
    serde_json::to_writer(bytes, value).expect("rows are plain data");
}

struct Lines(Output);

impl Writer for Lines {
    fn append(&mut self, batch: Encoded) -> Result<()> {
        match batch {
            Encoded::Records { bytes, .. } => self.0.write(&bytes),
            _ => unreachable!("lines are records"),
        }
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.0.finish()
    }
}

/// The rows that `row` makes of each line.
pub(super) fn read<L: DeserializeOwned>(
    path: &Path,
    row: impl Fn(L) -> std::result::Result<Row<'static>, String> + 'static,
) -> Result<ReadBack> {
    let path = path.to_owned();
    let lines = open(&path)?.split(b'\n').enumerate();
    Ok(Box::new(lines.map(move |(number, line)| {
        let line = line.map_err(Error::io("read", &path))?;
        let wrong = |found: String| Error::export(&path, format!("line {}: {found}", number + 1));
        row(serde_json::from_slice(&line).map_err(|e| wrong(e.to_string()))?).map_err(wrong)
    })))
}
