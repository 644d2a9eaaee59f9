//! What a pipeline file may say: [`Pipeline`], read from TOML, overridden from the command line, checked once.
//!
//! Everything after this module works on a resolved pipeline: defaults filled in, lists in canonical order (so that
//! the order in which somebody wrote them changes no byte of a dataset), contradictions refused. The JSON Schema in
//! `schemas/pipeline.schema.json` is made from these types; the manifest of a dataset carries the resolved form.

mod batches;
mod code_switch;
mod folder;
mod held_out;
pub(crate) mod language;
mod load;
mod negatives;
mod normalise;
mod pin;
mod resolve;
mod sources;
mod value;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::batches::{
    Batches, DEFAULT_BATCH_SIZE, DEFAULT_CYCLE_BATCHES, DEFAULT_CYCLE_ROWS, DEFAULT_ROWS_PER_ROW_GROUP,
    DEFAULT_TARGET_BYTES, DEFAULT_ZSTD_LEVEL, Shards, Strategy,
};
pub use self::code_switch::{CodeSwitchSpec, LexiconFormat, LexiconSpec, SwitchKind, SwitchSides};
pub use self::held_out::{EvalPool, EvalSplit, SplitBy, SplitSpec};
pub use self::load::Override;
pub(crate) use self::load::read_toml;
pub use self::negatives::{NegativeSource, Negatives};
pub use self::sources::{Columns, CorpusSpec, Files, Format, Synth, Unit};
pub(crate) use self::sources::{PASSAGE_LANG, QUERY_LANG};
pub use self::value::{Ratio, Weighting};

/// A pipeline: from source files to hybrid batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Names the output directory: `out/<name>`.
    pub name: String,
    /// Every random decision is a function of this seed.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Greatest share of bad records, of all records, before the build fails. Default 0.01.
    #[serde(default = "default_max_rejects")]
    pub max_rejects: Ratio,
    /// The source corpora.
    pub corpora: Vec<CorpusSpec>,
    /// Records to leave out.
    #[serde(default)]
    pub filters: Filters,
    /// Repeated texts to merge. Off by default: it changes published counts.
    #[serde(default)]
    pub deduplicate: Deduplicate,
    /// What is held out for evaluation. Without it everything is trained and evaluated on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitSpec>,
    /// A Hugging Face `tokenizer.json` below `--data`: the batches then hold the token ids of their texts, too. Changes
    /// no digest of a batch and not the dataset id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Words of the batches' texts to replace by translations. Without it every text stands as in the corpus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_switch: Option<CodeSwitchSpec>,
    /// How batches are drawn.
    #[serde(default)]
    pub batches: Batches,
    /// Where hard negatives come from. Default: from the positive's context.
    #[serde(default, skip_serializing_if = "Negatives::is_default")]
    pub negatives: Negatives,
    /// How batches are laid out on disk. Changes no digest of a batch and not the dataset id.
    #[serde(default)]
    pub shards: Shards,
}

/// Records to leave out; they are listed in `rejects.parquet` with a reason that begins with `filter_`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Length of a question in characters (Unicode code points).
    #[serde(default, skip_serializing_if = "Length::is_any")]
    pub query_chars: Length,
    /// Length of a passage in characters.
    #[serde(default, skip_serializing_if = "Length::is_any")]
    pub passage_chars: Length,
    /// Keep these languages only. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<String>>,
    /// Keep groups that have a question in at least so many languages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_group_languages: Option<NonZeroU32>,
}

/// Bounds, both inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Length {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

impl Length {
    fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

/// Repeated texts to merge, within one dataset and language. The smallest id stays and takes over what the others
/// were relevant to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deduplicate {
    #[serde(default)]
    pub queries: Sameness,
    #[serde(default)]
    pub passages: Sameness,
}

/// When two texts are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sameness {
    /// Never: nothing is merged.
    #[default]
    Off,
    /// Byte for byte.
    Exact,
    /// After NFKC, lower case, and white space folded.
    Normalised,
}

/// The seed of a pipeline that names none.
pub const DEFAULT_SEED: u64 = 42;
fn default_seed() -> u64 {
    DEFAULT_SEED
}
fn default_max_rejects() -> Ratio {
    Ratio::new(1, 100)
}
