//! `tfrecord`: files of records with checksums, each record a `tf.train.Example` of one row.
//!
//! The messages of protobuf that this needs are few, and are written and read here by hand:
//!
//! ```text
//! Example   { features: Features = 1 }
//! Features  { feature: map<string, Feature> = 1 }
//! Feature   { oneof: BytesList = 1, Int64List = 3 }
//! BytesList { value: repeated bytes = 1 }
//! Int64List { value: repeated int64 = 1, packed }
//! ```

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::Path;

use super::columns::{COLUMNS, Cells, Column, signed};
use super::numbered::{self, Input, Numbered, invalid};
use super::row::{Row, Text};
use super::{Encoded, ReadBack, Target};
use crate::error::{Error, Result};

const EXTENSION: &str = "tfrecord";

/// Lists of lists are flattened; a feature of this name says how long each is.
const LENGTHS: &str = ".lengths";

pub(super) fn create(folder: &Path) -> Target {
    let path = folder.to_owned();
    Target {
        encode: Box::new(move |batch| {
            let (mut features, mut example) = (Vec::new(), Vec::new());
            Encoded::records(batch, |row, bytes| {
                features.clear();
                put_features(&row, &mut features).map_err(|found| Error::export(&path, found))?;
                example.clear();
                put_field(1, &features, &mut example);
                put_record(&example, bytes);
                Ok(())
            })
        }),
        writer: Box::new(Numbered::create(folder, EXTENSION, &[])),
    }
}

/// Length, checksum of the length, data, checksum of the data.
fn put_record(data: &[u8], bytes: &mut Vec<u8>) {
    let length = (data.len() as u64).to_le_bytes();
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked_crc(data).to_le_bytes());
}

/// CRC-32C, rotated and moved, as records that hold checksums themselves need it.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// What a feature is.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Bytes(Vec<&'a [u8]>),
    Integers(Vec<i64>),
}

impl<'a> Value<'a> {
    fn of_texts(texts: impl IntoIterator<Item = &'a Text<'a>>) -> Self {
        Self::Bytes(texts.into_iter().map(|text| text.as_bytes()).collect())
    }
}

fn put_features(row: &Row, features: &mut Vec<u8>) -> Result<(), String> {
    for (name, column) in &COLUMNS {
        match column {
            Column::Integer(of) => {
                put_feature(name, &Value::Integers(vec![signed(name, of(row))?]), features);
            }
            Column::Text(of) => put_feature(name, &Value::Bytes(vec![of(row).as_bytes()]), features),
            Column::Texts(of) => put_feature(name, &Value::of_texts(of(row)), features),
            Column::Lists(of) => {
                let lists = of(row);
                put_feature(name, &Value::of_texts(lists.iter().flatten()), features);
                let lengths = lists.iter().map(|list| list.len() as i64).collect();
                put_feature(&format!("{name}{LENGTHS}"), &Value::Integers(lengths), features);
            }
        }
    }
    Ok(())
}

/// Appends an entry of the map.
fn put_feature(name: &str, value: &Value, bytes: &mut Vec<u8>) {
    let (number, list_bytes) = match value {
        Value::Bytes(texts) => (1, texts.iter().map(|text| field_bytes(text.len())).sum()),
        Value::Integers(values) => {
            // The field of packed integers is left out when there are none.
            (3, if values.is_empty() { 0 } else { field_bytes(packed_bytes(values)) })
        }
    };
    let feature_bytes = field_bytes(list_bytes);
    put_tag(1, field_bytes(name.len()) + field_bytes(feature_bytes), bytes);
    put_field(1, name.as_bytes(), bytes);
    put_tag(2, feature_bytes, bytes);
    put_tag(number, list_bytes, bytes);
    match value {
        Value::Bytes(texts) => texts.iter().for_each(|text| put_field(1, text, bytes)),
        Value::Integers(values) if values.is_empty() => {}
        Value::Integers(values) => {
            put_tag(1, packed_bytes(values), bytes);
            values.iter().for_each(|&value| put_varint(value as u64, bytes));
        }
    }
}

/// The wire type of fields that say how long they are; all fields of these messages are such.
const DELIMITED: u8 = 2;

/// Appends field `number`, of these bytes.
fn put_field(number: u8, field: &[u8], bytes: &mut Vec<u8>) {
    put_tag(number, field.len(), bytes);
    bytes.extend(field);
}

/// Appends what stands before the bytes of a field.
fn put_tag(number: u8, n_bytes: usize, bytes: &mut Vec<u8>) {
    bytes.push(number << 3 | DELIMITED);
    put_varint(n_bytes as u64, bytes);
}

fn put_varint(mut value: u64, bytes: &mut Vec<u8>) {
    while 0x80 <= value {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Bytes of a field of so many, with what stands before them.
fn field_bytes(n_bytes: usize) -> usize {
    1 + varint_bytes(n_bytes as u64) + n_bytes
}

fn packed_bytes(values: &[i64]) -> usize {
    values.iter().map(|&value| varint_bytes(value as u64)).sum()
}

fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(super) fn read(folder: &Path) -> ReadBack {
    numbered::read(folder, EXTENSION, |file| {
        let Some(example) = record(file)? else { return Ok(None) };
        features(&example).and_then(|features| features.row()).map(Some).map_err(invalid)
    })
}

fn record(file: &mut Input) -> io::Result<Option<Vec<u8>>> {
    if file.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let length: [u8; 8] = array(file)?;
    if masked_crc(&length) != u32::from_le_bytes(array(file)?) {
        return Err(invalid("the length of the record has another checksum"));
    }
    let length = u64::from_le_bytes(length);
    let mut data = Vec::new();
    if file.take(length).read_to_end(&mut data)? as u64 != length {
        return Err(invalid("the file ends in the record"));
    }
    if masked_crc(&data) != u32::from_le_bytes(array(file)?) {
        return Err(invalid("the record has another checksum"));
    }
    Ok(Some(data))
}

fn array<const N: usize>(file: &mut Input) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

type Features<'a> = BTreeMap<&'a str, Value<'a>>;

fn features(example: &[u8]) -> Result<Features<'_>, String> {
    parse(example).ok_or_else(|| "no `tf.train.Example`".to_owned())
}

fn parse(example: &[u8]) -> Option<Features<'_>> {
    let [(1, map)] = fields(example)?[..] else { return None };
    let feature = |(_, entry)| {
        let [(1, name), (2, feature)] = fields(entry)?[..] else { return None };
        let value = match fields(feature)?[..] {
            [(1, list)] => Value::Bytes(fields(list)?.into_iter().map(|(_, text)| text).collect()),
            [(3, list)] => match fields(list)?[..] {
                [] => Value::Integers(Vec::new()),
                [(1, packed)] => Value::Integers(integers(packed)?),
                _ => return None,
            },
            _ => return None,
        };
        Some((std::str::from_utf8(name).ok()?, value))
    };
    fields(map)?.into_iter().map(feature).collect()
}

/// The fields of a message: the number and the bytes of each.
fn fields(mut message: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        if tag & 7 != u64::from(DELIMITED) {
            return None;
        }
        let n_bytes = usize::try_from(varint(&mut message)?).ok()?;
        found.push((tag >> 3, message.split_off(..n_bytes)?));
    }
    Some(found)
}

fn integers(mut packed: &[u8]) -> Option<Vec<i64>> {
    let mut found = Vec::new();
    while !packed.is_empty() {
        found.push(varint(&mut packed)? as i64);
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

impl Cells for Features<'_> {
    fn integer(&self, name: &str) -> Result<u64, String> {
        match numbers(self, name)? {
            [value] => u64::try_from(*value).map_err(|_| format!("`{name}` is {value}")),
            values => Err(format!("feature `{name}` has {} values", values.len())),
        }
    }

    fn text(&self, name: &str) -> Result<Text<'static>, String> {
        match <[_; 1]>::try_from(self.texts(name)?) {
            Ok([text]) => Ok(text),
            Err(texts) => Err(format!("feature `{name}` has {} values", texts.len())),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<Text<'static>>, String> {
        let Some(Value::Bytes(texts)) = self.get(name) else {
            return Err(format!("no feature `{name}` of bytes"));
        };
        let text = |bytes: &&[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Text::Owned(text.to_owned())),
            Err(_) => Err(format!("feature `{name}` is not utf8")),
        };
        texts.iter().map(text).collect()
    }

    fn lists(&self, name: &str) -> Result<Vec<Vec<Text<'static>>>, String> {
        let mut flat = self.texts(name)?.into_iter();
        let lengths = numbers(self, &format!("{name}{LENGTHS}"))?;
        let lists: Vec<Vec<_>> =
            lengths.iter().map(|&length| flat.by_ref().take(length as usize).collect()).collect();
        let are_all_there = lists.iter().zip(lengths).all(|(list, &length)| list.len() as i64 == length);
        match are_all_there && flat.next().is_none() {
            true => Ok(lists),
            false => Err(format!("`{name}{LENGTHS}` does not add up to `{name}`")),
        }
    }
}

fn numbers<'a>(features: &'a Features, name: &str) -> Result<&'a [i64], String> {
    match features.get(name) {
        Some(Value::Integers(values)) => Ok(values),
        _ => Err(format!("no feature `{name}` of integers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4.
    #[test]
    fn checksums_are_those_of_the_rfc() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c::crc32c(&std::array::from_fn::<u8, 32, _>(|i| i as u8)), 0x46dd_794e);
        assert_eq!(crc32c::crc32c(&std::array::from_fn::<u8, 32, _>(|i| 31 - i as u8)), 0x113f_db5c);
    }

    /// In Python, `struct.pack("<QI", 3, mask(struct.pack("<Q", 3))) + b"abc" + struct.pack("<I",
    /// mask(b"abc"))` with `mask = lambda b: ((c := crc32c.crc32c(b)) >> 15 | c << 17 & 0xffffffff) +
    /// 0xa282ead8 & 0xffffffff`.
    #[test]
    fn a_record_has_masked_checksums() {
        let mut bytes = Vec::new();
        put_record(b"abc", &mut bytes);
        assert_eq!(bytes, b"\x03\0\0\0\0\0\0\0\xb0\x99I\x0eabcnW\xf1!");
    }

    /// `f = example.features.feature`, `f["step"].int64_list.value.append(300)` and so on, and
    /// `f["negatives"].bytes_list.SetInParent()` for an empty list; `SerializeToString(deterministic=True)`
    /// with Python's protobuf 7.36.2.
    #[test]
    fn an_example_is_that_of_protobuf() {
        let values = [
            ("negative_group_ids.lengths", Value::Integers(vec![])),
            ("negatives", Value::Bytes(vec![])),
            ("positive_group_ids", Value::Bytes(vec![b"", b"g"])),
            ("query", Value::Bytes(vec!["a\0\u{e9}".as_bytes()])),
            ("step", Value::Integers(vec![300])),
        ];
        let (mut features, mut example) = (Vec::new(), Vec::new());
        values.iter().for_each(|(name, value)| put_feature(name, value, &mut features));
        put_field(1, &features, &mut example);
        let expected = [
            b"\nu\n \n\x1anegative_group_ids.lengths\x12\x02\x1a\x00".as_slice(),
            b"\n\x0f\n\tnegatives\x12\x02\n\x00",
            b"\n\x1d\n\x12positive_group_ids\x12\x07\n\x05\n\x00\n\x01g",
            b"\n\x11\n\x05query\x12\x08\n\x06\n\x04a\x00\xc3\xa9",
            b"\n\x0e\n\x04step\x12\x06\x1a\x04\n\x02\xac\x02",
        ];
        assert_eq!(example, expected.concat());
        assert_eq!(parse(&example), Some(BTreeMap::from(values)));
    }

    /// Varints take a byte for each seven bits.
    #[test]
    fn lengths_of_varints_are_those_written() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            assert_eq!(bytes.len(), varint_bytes(value), "{value}");
            assert_eq!(varint(&mut bytes.as_slice()), Some(value));
        }
    }
}
