//! `webdataset`: tar files with one JSON member a row, `000000000012-00003.json` for row 3 of step 12.
//!
//! Headers are POSIX ustar, with nothing in them that differs from one run to the next.

use std::io::{self, Read};
use std::path::Path;

use super::json_lines::put_json;
use super::numbered::{self, Input, Numbered, invalid};
use super::row::Row;
use super::{Encoded, ReadBack, Target};
use crate::error::{Error, Result};

const EXTENSION: &str = "tar";

/// Headers and contents start at multiples of this, and an archive ends with two of zeros.
const BLOCK: usize = 512;
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Eleven octal digits: what a header has room for.
const MEMBER_BYTES: u64 = 8_u64.pow(11) - 1;

pub(super) fn create(folder: &Path) -> Target {
    let path = folder.to_owned();
    Target {
        encode: Box::new(move |batch| {
            Encoded::records(batch, |row, bytes| {
                put_member(&row, bytes).map_err(|found| Error::export(&path, found))
            })
        }),
        writer: Box::new(Numbered::create(folder, EXTENSION, &END)),
    }
}

fn put_member(row: &Row, bytes: &mut Vec<u8>) -> Result<(), String> {
    let start = bytes.len();
    bytes.resize(start + BLOCK, 0);
    put_json(row, bytes);
    let size = (bytes.len() - start - BLOCK) as u64;
    if MEMBER_BYTES < size {
        return Err(format!("a row of {size} bytes; members of a tar file end at {MEMBER_BYTES}"));
    }
    bytes[start..start + BLOCK].copy_from_slice(&header(&name(row), size));
    bytes.resize(start + (bytes.len() - start).next_multiple_of(BLOCK), 0);
    Ok(())
}

fn name(row: &Row) -> String {
    format!("{:012}-{:05}.json", row.step, row.row)
}

/// Where the checksum stands in a header.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// A regular file that everybody may read, of nobody's and from 1970.
fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(156, "0");
    put(257, "ustar\x0000");
    let checksum = format!("{:06o}\0 ", checksum(&header));
    header[CHECKSUM].copy_from_slice(checksum.as_bytes());
    header
}

/// The sum of the header's bytes, where its own place counts as spaces.
fn checksum(header: &[u8; BLOCK]) -> u32 {
    let byte = |(i, &byte): (usize, &u8)| if CHECKSUM.contains(&i) { b' ' } else { byte };
    header.iter().enumerate().map(|byte_at| u32::from(byte(byte_at))).sum()
}

pub(super) fn read(folder: &Path) -> ReadBack {
    numbered::read(folder, EXTENSION, next)
}

/// The next member, whose header must be the one that we write for what it holds.
fn next(file: &mut Input) -> io::Result<Option<Row<'static>>> {
    let mut found = [0; BLOCK];
    file.read_exact(&mut found)?;
    if found == [0; BLOCK] {
        return Ok(None);
    }
    let size =
        std::str::from_utf8(&found[124..135]).ok().and_then(|digits| u64::from_str_radix(digits, 8).ok());
    let size = size.ok_or_else(|| invalid("a header without a size"))?;
    let mut json = Vec::new();
    file.take(size.next_multiple_of(BLOCK as u64)).read_to_end(&mut json)?;
    json.truncate(size as usize);
    let row: Row = serde_json::from_slice(&json).map_err(|e| invalid(e.to_string()))?;
    if found != header(&name(&row), size) {
        return Err(invalid("the header of another member"));
    }
    Ok(Some(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `t = tarfile.TarInfo("000000000012-00003.json"); t.size = 1234; t.tobuf(tarfile.USTAR_FORMAT)` of
    /// Python.
    #[test]
    fn a_header_is_that_of_python() {
        let mut expected = b"000000000012-00003.json".to_vec();
        expected.resize(100, 0);
        expected.extend(b"0000644\x000000000\x000000000\x0000000002322\x0000000000000\x00010461\x00 0");
        expected.resize(257, 0);
        expected.extend(b"ustar\x0000");
        expected.resize(512, 0);
        assert_eq!(header("000000000012-00003.json", 1234).as_slice(), expected);
    }
}
