//! `index.json`: what the shards are, for a reader to know before it opens one.

use std::collections::BTreeMap;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use super::sample;
use crate::export::columns::COLUMNS;

pub(super) const NAME: &str = "index.json";

/// Bytes of a shard of more than one sample before it is compressed, at most: the default of `MDSWriter`.
pub(super) const SHARD_BYTES: usize = 1 << 26;

/// Higher levels take several times as long for a few per cent.
pub(super) const ZSTD_LEVEL: i32 = 1;

const HASH: &str = "xxh64";
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
pub(super) struct Index {
    shards: Vec<Shard>,
    version: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Shard {
    #[serde(flatten)]
    pub(super) config: Config,
    pub(super) raw_data: Part,
    pub(super) samples: usize,
    pub(super) zip_data: Part,
}

/// What all shards have alike, and each holds.
#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct Config {
    column_encodings: Vec<String>,
    column_names: Vec<String>,
    column_sizes: Vec<Option<usize>>,
    compression: String,
    format: String,
    hashes: Vec<String>,
    size_limit: usize,
    version: u32,
}

/// A file, with its hash under the hash's name.
#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) basename: String,
    bytes: usize,
    hashes: BTreeMap<String, String>,
}

impl Index {
    pub(super) fn of(shards: Vec<Shard>) -> Self {
        Self { shards, version: VERSION }
    }

    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an index is plain data")
    }

    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|e| e.to_string())
    }

    pub(super) fn into_shards(self) -> Vec<Shard> {
        self.shards
    }
}

impl Shard {
    /// What `zip` was made of.
    pub(super) fn decompress(&self, zip: &[u8]) -> Result<Vec<u8>, String> {
        if self.config != Config::ours() {
            return Err("has another configuration than ours".to_owned());
        }
        self.zip_data.check(zip)?;
        let raw = zstd::bulk::decompress(zip, self.raw_data.bytes).map_err(|e| e.to_string())?;
        self.raw_data.check(&raw)?;
        Ok(raw)
    }
}

impl Config {
    pub(super) fn ours() -> Self {
        Self {
            column_encodings: COLUMNS.iter().map(|(_, column)| sample::encoding(column).to_owned()).collect(),
            column_names: COLUMNS.iter().map(|&(name, _)| name.to_owned()).collect(),
            column_sizes: COLUMNS.iter().map(|(_, column)| sample::fixed_bytes(column)).collect(),
            compression: format!("zstd:{ZSTD_LEVEL}"),
            format: "mds".to_owned(),
            hashes: vec![HASH.to_owned()],
            size_limit: SHARD_BYTES,
            version: VERSION,
        }
    }

    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a configuration is plain data")
    }
}

impl Part {
    /// Of a file that is these bytes, one after another.
    pub(super) fn of<const N: usize>(basename: String, bytes: [&[u8]; N]) -> Self {
        let mut hash = XxHash64::with_seed(0);
        bytes.iter().for_each(|bytes| hash.write(bytes));
        Self {
            basename,
            bytes: bytes.iter().map(|bytes| bytes.len()).sum(),
            hashes: BTreeMap::from([(HASH.to_owned(), format!("{:016x}", hash.finish()))]),
        }
    }

    fn check(&self, bytes: &[u8]) -> Result<(), String> {
        match *self == Self::of(self.basename.clone(), [bytes]) {
            true => Ok(()),
            false => Err(format!("`{}` has another size or another hash than the index says", self.basename)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `xxhash.xxh64(b"abc").hexdigest()` of Python's xxhash 3.8.2.
    #[test]
    fn hashes_are_those_of_xxhash() {
        let part = Part::of("shard.00000.mds".to_owned(), [b"a", b"bc"]);
        assert_eq!(part.hashes[HASH], "44bc2cf5ad770999");
        part.check(b"abc").unwrap();
        part.check(b"abd").unwrap_err();
    }
}
