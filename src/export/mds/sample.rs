//! A row as a sample of MDS: the sizes of the columns that have no fixed one, and the columns, in the order of their
//! names. Numbers are little-endian.

use std::collections::BTreeMap;

use super::super::columns::{COLUMNS, Cells, Column, signed};
use super::super::json_lines::put_json;
use super::super::row::{Row, Text};
use super::{U32, u32_of};

/// As Streaming calls it.
pub(super) fn encoding(column: &Column) -> &'static str {
    match column {
        Column::Integer(_) => "int",
        Column::Text(_) => "str",
        Column::Texts(_) | Column::Lists(_) => "json",
    }
}

/// Bytes of a value, where all have as many.
pub(super) fn fixed_bytes(column: &Column) -> Option<usize> {
    match column {
        Column::Integer(_) => Some(size_of::<i64>()),
        Column::Text(_) | Column::Texts(_) | Column::Lists(_) => None,
    }
}

/// Appends the sample of a row.
pub(super) fn put(row: &Row, bytes: &mut Vec<u8>) -> Result<(), String> {
    let mut size_at = bytes.len();
    let n_sizes = COLUMNS.iter().filter(|(_, column)| fixed_bytes(column).is_none()).count();
    bytes.resize(size_at + n_sizes * U32, 0);
    for (name, column) in &COLUMNS {
        let start = bytes.len();
        match column {
            Column::Integer(of) => bytes.extend(signed(name, of(row))?.to_le_bytes()),
            Column::Text(of) => bytes.extend(of(row).as_bytes()),
            Column::Texts(of) => put_json(&of(row), bytes),
            Column::Lists(of) => put_json(&of(row), bytes),
        }
        if fixed_bytes(column).is_none() {
            let size = u32_of(bytes.len() - start)?;
            bytes[size_at..size_at + U32].copy_from_slice(&size.to_le_bytes());
            size_at += U32;
        }
    }
    Ok(())
}

/// The columns of a sample, by name.
pub(super) struct Sample<'a>(BTreeMap<&'static str, &'a [u8]>);

/// Nothing where the sizes do not add up to the sample.
pub(super) fn parse(mut bytes: &[u8]) -> Option<Sample<'_>> {
    let mut sizes = Vec::with_capacity(COLUMNS.len());
    for (_, column) in &COLUMNS {
        sizes.push(match fixed_bytes(column) {
            Some(size) => size,
            None => u32::from_le_bytes(*bytes.split_off(..U32)?.first_chunk()?) as usize,
        });
    }
    let columns = COLUMNS.iter().zip(sizes).map(|((name, _), size)| Some((*name, bytes.split_off(..size)?)));
    let columns = columns.collect::<Option<_>>()?;
    bytes.is_empty().then_some(Sample(columns))
}

impl Cells for Sample<'_> {
    fn integer(&self, name: &str) -> Result<u64, String> {
        let value = self.0[name].first_chunk().map(|bytes| i64::from_le_bytes(*bytes));
        value.and_then(|value| u64::try_from(value).ok()).ok_or_else(|| format!("`{name}` is negative"))
    }

    fn text(&self, name: &str) -> Result<Text<'static>, String> {
        match std::str::from_utf8(self.0[name]) {
            Ok(text) => Ok(Text::Owned(text.to_owned())),
            Err(_) => Err(format!("`{name}` is not utf8")),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<Text<'static>>, String> {
        serde_json::from_slice(self.0[name]).map_err(|e| format!("`{name}`: {e}"))
    }

    fn lists(&self, name: &str) -> Result<Vec<Vec<Text<'static>>>, String> {
        serde_json::from_slice(self.0[name]).map_err(|e| format!("`{name}`: {e}"))
    }
}
