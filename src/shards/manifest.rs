//! `manifest.json`: what a dataset is and which files it is made of. Written last; without it there is no dataset.
//!
//! No clock, no host, no absolute path: two builds of one pipeline over the same sources give the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::switch::Switches;
use crate::corpus::{Corpus, Input, Overlaps};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::schema::Table;

/// The version of the directory format that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const PLAN: &str = "plan.json";
/// The copy of the tokenizer that a dataset was built with.
pub(super) const TOKENIZER: &str = "tokenizer.json";

/// What a dataset is, for readers and for Hugging Face `datasets`.
pub(super) const CARD: &str = "README.md";
/// How to cite it, in the Citation File Format.
pub(super) const CITATION: &str = "CITATION.cff";

/// The commit of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    pub format_version: u32,
    pub prep_version: String,
    /// Names the content: equal ids mean equal plan, batches and corpus, however they are stored.
    pub dataset_id: Digest,
    /// BLAKE3 of the bytes of plan.json.
    pub plan_digest: Digest,
    /// The resolved pipeline.
    pub pipeline: Value,
    /// BLAKE3 of the pipeline as compact JSON.
    pub pipeline_digest: Digest,
    /// No split was asked for: everything is both trained and evaluated on.
    pub eval_is_trained_on: bool,
    /// What of the held-out part stands in training texts too; only where something is held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlaps: Option<Overlaps>,
    /// Words that may be replaced by translations and that are, by language of their text; only with code switching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_switch: Option<Switches>,
    /// Only where the batches hold tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerEntry>,
    pub inputs: Vec<Input>,
    pub files: Vec<FileEntry>,
    pub counts: Counts,
    /// Refused records by reason.
    pub rejects: BTreeMap<String, u64>,
}

/// The tokenizer of the batches' tokens; `tokenizer.json` of the dataset is a copy of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenizerEntry {
    /// Of its file, without folders.
    pub name: String,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
}

/// What every version of the manifest says.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// A file of the dataset, by its path below the directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    pub bytes: u64,
    pub digest: Digest,
    /// Of a shard: its first batch, and how many it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_step: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
}

/// Questions and passages by language, examples by pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    pub queries: BTreeMap<String, u64>,
    pub passages: BTreeMap<String, u64>,
    pub pools: BTreeMap<String, u64>,
}

impl Counts {
    pub(super) fn of(corpus: &Corpus, plan: &Plan) -> Self {
        let by_language = |table: Table| {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for lang in corpus.names(table, "lang") {
                let lang = lang.unwrap_or_default();
                match counts.get_mut(lang) {
                    Some(n) => *n += 1,
                    None => drop(counts.insert(lang.to_owned(), 1)),
                }
            }
            counts
        };
        Self {
            queries: by_language(Table::Queries),
            passages: by_language(Table::Passages),
            pools: plan.pools().into_iter().map(|(name, size)| (name.to_owned(), size)).collect(),
        }
    }
}

impl Manifest {
    /// Reads the manifest of a dataset directory.
    ///
    /// # Errors
    /// [`Error::Dataset`] when the directory holds no (readable) dataset.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(MANIFEST);
        if !path.is_file() {
            return Err(Error::dataset(root, "no manifest.json, so no dataset")
                .with_hint("`prep build-shards` makes one; a build that broke off leaves none"));
        }
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        // The version first: another one may have other keys.
        let bad = |e: serde_json::Error| Error::dataset(&path, format!("not a manifest: {e}"));
        let Version { format_version } = serde_json::from_slice(&bytes).map_err(bad)?;
        if format_version != FORMAT_VERSION {
            let found = format!("format version {format_version}, this program reads {FORMAT_VERSION}");
            return Err(Error::dataset(&path, found));
        }
        serde_json::from_slice(&bytes).map_err(bad)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a manifest is plain data");
        bytes.push(b'\n');
        bytes
    }
}

/// BLAKE3 of the pipeline as compact JSON, keys in the order in which the manifest has them.
pub(super) fn pipeline_digest(pipeline: &Value) -> Digest {
    Digest::of(pipeline.to_string().as_bytes())
}
