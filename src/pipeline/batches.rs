//! `[batches]` and `[shards]`: how batches are drawn, and how they lie on disk.

use std::num::{NonZeroU32, NonZeroU64};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Ratio, Weighting};

/// How batches are drawn (`schemas/SAMPLING.md`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batches {
    #[serde(default)]
    pub strategy: Strategy,
    /// `hybrid`: the share of monolingual batches. Default 0.5.
    #[serde(default = "default_alpha")]
    pub alpha: Ratio,
    /// Rows of a batch. Default 100.
    #[serde(default = "default_batch_size")]
    pub batch_size: NonZeroU32,
    /// Number of batches. Either this or `epochs`; default: one epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<NonZeroU64>,
    /// Number of epochs; one is the sum of all pool sizes divided by the batch size, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<NonZeroU64>,
    /// How often each language is drawn, and each ordered pair `q:p` in `x-y` and `pair`.
    #[serde(default = "default_language_weights")]
    pub language_weights: Weighting,
    /// How often each dataset of one language or pair is drawn.
    #[serde(default = "default_dataset_weights")]
    pub dataset_weights: Weighting,
    /// Hard negatives per row, as far as there are candidates: from the positive's context, or from where `negatives.source`
    /// says.
    #[serde(default)]
    pub negatives: u32,
    /// Greatest sum of the sources' weights that is kept exact. Default 1000.
    #[serde(default = "default_cycle_batches")]
    pub cycle_batches: NonZeroU64,
    /// Greatest sum of the weights of one source's pools that is kept exact. Default 10000.
    #[serde(default = "default_cycle_rows")]
    pub cycle_rows: NonZeroU64,
}

/// What a batch may mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A batch is either of `x-x-mono` (a share of `alpha`) or of `x-y`.
    #[default]
    Hybrid,
    /// One language to a batch.
    XXMono,
    /// Query and passage of one language, languages mixed in a batch.
    XX,
    /// Query and passage languages differ in every row.
    XY,
    /// One ordered pair of languages to a batch.
    Pair,
}

/// How batches are laid out on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shards {
    /// Batches to a shard file. Either this or `target_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_per_shard: Option<NonZeroU64>,
    /// Bytes of text (before compression) that a shard file aims at. Default 256 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_bytes: Option<NonZeroU64>,
    /// Batches to a row group: what a reader of one batch decodes. Default: as many as make 51,200 rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_per_row_group: Option<NonZeroU64>,
    /// Compression level of zstd, 1 to 22. Default 1.
    #[serde(default = "default_zstd_level")]
    pub zstd_level: i32,
}

/// Rows of a batch, as in the paper.
pub const DEFAULT_BATCH_SIZE: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
/// Draws in which the shares of sources are apportioned where they cannot be kept exact.
pub const DEFAULT_CYCLE_BATCHES: NonZeroU64 = NonZeroU64::new(1_000).expect("not zero");
/// The same for the pools of a source.
pub const DEFAULT_CYCLE_ROWS: NonZeroU64 = NonZeroU64::new(10_000).expect("not zero");
/// Fastest of zstd's standard levels; level 3 is smaller by a tenth and slower by a third.
pub const DEFAULT_ZSTD_LEVEL: i32 = 1;
/// Bytes of text of a shard.
pub const DEFAULT_TARGET_BYTES: u64 = 256 << 20;
/// Rows of a row group.
pub const DEFAULT_ROWS_PER_ROW_GROUP: u64 = 51_200;

fn default_alpha() -> Ratio {
    Ratio::new(1, 2)
}
fn default_batch_size() -> NonZeroU32 {
    DEFAULT_BATCH_SIZE
}
fn default_language_weights() -> Weighting {
    Weighting::Uniform
}
fn default_dataset_weights() -> Weighting {
    Weighting::Proportional
}
fn default_cycle_batches() -> NonZeroU64 {
    DEFAULT_CYCLE_BATCHES
}
fn default_cycle_rows() -> NonZeroU64 {
    DEFAULT_CYCLE_ROWS
}
fn default_zstd_level() -> i32 {
    DEFAULT_ZSTD_LEVEL
}

impl Default for Batches {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            alpha: default_alpha(),
            batch_size: DEFAULT_BATCH_SIZE,
            steps: None,
            epochs: None,
            language_weights: default_language_weights(),
            dataset_weights: default_dataset_weights(),
            negatives: 0,
            cycle_batches: DEFAULT_CYCLE_BATCHES,
            cycle_rows: DEFAULT_CYCLE_ROWS,
        }
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            steps_per_shard: None,
            target_bytes: None,
            steps_per_row_group: None,
            zstd_level: DEFAULT_ZSTD_LEVEL,
        }
    }
}
