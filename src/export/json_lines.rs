//! What the formats of one JSON object a line share.

use std::io::BufRead;
use std::path::Path;

use arrow::array::RecordBatch;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::output::{Output, open};
use super::row::Row;
use super::{Encoded, ReadBack, Target, Writer};
use crate::error::{Error, Result};

/// Writes a line a row, of what `put` appends for it.
pub(super) fn create(path: &Path, put: fn(Row<'_>, &mut Vec<u8>)) -> Result<Target> {
    let encode = move |batch: &RecordBatch| {
        Encoded::records(batch, |row, bytes| {
            put(row, bytes);
            bytes.push(b'\n');
            Ok(())
        })
    };
    Ok(Target { encode: Box::new(encode), writer: Box::new(Lines(Output::create(path)?)) })
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
