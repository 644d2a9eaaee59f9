//! A row as a sample of MDS: the sizes of the columns that have no fixed one, and the columns, in the order
//! of their names. Numbers are little-endian.

use std::collections::BTreeMap;

use super::{U32, u32_of};
use crate::export::columns::{COLUMNS, Cells, Column, signed};
use crate::export::json_lines::put_json;
use crate::export::row::{Row, Text};

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

#[cfg(test)]
mod tests {
    use super::*;

    /// `MDSWriter.encode_sample` of mosaicml-streaming 0.13 for the same columns.
    #[test]
    fn a_sample_is_that_of_mds_writer() {
        let row = Row {
            step: 258,
            row: 3,
            source: "s".into(),
            pool: "p".into(),
            example: 7,
            group_id: "g".into(),
            query_id: "q".into(),
            query_lang: "de".into(),
            query: "a\0\u{e9}".into(),
            positive_id: "i".into(),
            positive_lang: "en".into(),
            positive: "".into(),
            positive_group_ids: vec!["g".into()],
            negative_ids: Vec::new(),
            negatives: Vec::new(),
            negative_group_ids: vec![vec!["h".into()]],
        };
        let mut expected = Vec::new();
        for size in [1_u32, 7, 2, 2, 1, 0, 5, 1, 2, 4, 1, 2, 1] {
            expected.extend(size.to_le_bytes());
        }
        expected.extend(b"\x07\0\0\0\0\0\0\0g[[\"h\"]][][]p[\"g\"]iena\0\xc3\xa9qde");
        expected.extend(b"\x03\0\0\0\0\0\0\0s\x02\x01\0\0\0\0\0\0");
        let mut bytes = Vec::new();
        put(&row, &mut bytes).unwrap();
        assert_eq!(bytes, expected);
        assert_eq!(parse(&bytes).unwrap().row().unwrap(), row);
        assert!(parse(&bytes[..bytes.len() - 1]).is_none());

        let beyond = Row { step: 1 << 63, ..row };
        let found = put(&beyond, &mut bytes).unwrap_err();
        assert_eq!(found, "`step` is 9223372036854775808; integers of this format end at 2^63 - 1");
    }
}
