//! BLAKE3 digests, and the one encoding under all of them.
//!
//! Encoding (`schemas/SHARDS.md`): a string or a digest is its length in bytes (u64le) and its bytes; an integer is
//! its decimal as a string; null is the length 2^64-1 alone; a list is its count (u64le) and its items; a table is
//! its name, its row count (u64le), and its rows. It has one reading only, so equal digests mean equal content.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};

/// A BLAKE3 digest; printed and stored in hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Digest and length of a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub fn of_file(path: &Path) -> Result<(Self, u64)> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 18];
        let mut bytes = 0;
        loop {
            match file.read(&mut buffer).map_err(Error::io("read", path))? {
                0 => return Ok((Self(*hasher.finalize().as_bytes()), bytes)),
                n => {
                    hasher.update(&buffer[..n]);
                    bytes += n as u64;
                }
            }
        }
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        blake3::Hash::from_hex(text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| format!("`{text}` is not 64 hexadecimal digits"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "BLAKE3, in hex", "type": "string", "pattern": "^[0-9a-f]{64}$"})
    }
}

/// Where encoded values go: a hasher, or a buffer that will be hashed at once.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A digest that grows with what is put into it.
#[derive(Default)]
pub(crate) struct Hasher(Box<blake3::Hasher>);

impl Hasher {
    pub(crate) fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl Sink for Hasher {
    fn put(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

pub(crate) fn put_count(sink: &mut impl Sink, n: usize) {
    sink.put(&(n as u64).to_le_bytes());
}

pub(crate) fn put_bytes(sink: &mut impl Sink, bytes: &[u8]) {
    put_count(sink, bytes.len());
    sink.put(bytes);
}

pub(crate) fn put_null(sink: &mut impl Sink) {
    sink.put(&u64::MAX.to_le_bytes());
}

/// An integer: its decimal, as a string.
pub(crate) fn put_integer(sink: &mut impl Sink, n: i64) {
    if n < 0 {
        return put_bytes(sink, n.to_string().as_bytes());
    }
    put_unsigned(sink, n.unsigned_abs());
}

/// The same for integers without a sign. No `to_string`: this runs once for every row of every batch.
pub(crate) fn put_unsigned(sink: &mut impl Sink, n: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = n;
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    put_bytes(sink, &digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_as_the_specification_says() {
        let mut out = Vec::new();
        put_bytes(&mut out, "ü".as_bytes());
        put_unsigned(&mut out, 1204);
        put_integer(&mut out, -7);
        put_null(&mut out);
        let expected: &[u8] = b"\x02\0\0\0\0\0\0\0\xc3\xbc\x04\0\0\0\0\0\0\x001204\x02\0\0\0\0\0\0\0-7\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(out, expected);
        let mut zero = Vec::new();
        put_unsigned(&mut zero, 0);
        put_unsigned(&mut zero, u64::MAX);
        assert_eq!(zero, b"\x01\0\0\0\0\0\0\x000\x14\0\0\0\0\0\0\x0018446744073709551615");
    }

    #[test]
    fn hex_reads_back() {
        // b3sum of nothing.
        let hex = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Digest::of(b"").to_string(), hex);
        assert_eq!(hex.parse(), Ok(Digest::of(b"")));
        assert!("af13".parse::<Digest>().is_err());
    }
}
