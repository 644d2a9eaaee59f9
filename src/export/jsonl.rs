//! `jsonl`: the columns of `train/batches`, an object a row.

use std::path::Path;

use super::json_lines::{self, put_json};
use super::row::Row;
use super::{ReadBack, Target};
use crate::error::Result;

pub(super) fn create(path: &Path) -> Result<Target> {
    json_lines::create(path, |row, bytes| put_json(&row, bytes))
}

pub(super) fn read(path: &Path) -> Result<ReadBack> {
    json_lines::read(path, |row: Row<'static>| Ok(row))
}
