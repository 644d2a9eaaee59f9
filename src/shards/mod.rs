//! Shards: plan and corpus as bytes on disk, and back. The directory is specified in `schemas/SHARDS.md`.
//!
//! [`build`] writes a dataset and commits it at once; [`verify`] derives every batch anew and compares; [`reproduce`]
//! derives one. The shards are a cache of (plan, corpus): whatever is in `train/` follows from `plan.json` and
//! `corpus/`, and every batch has a digest to prove it.

mod batches;
#[cfg(feature = "pipeline")]
mod build;
mod card;
mod cells;
#[cfg(feature = "pipeline")]
mod citation;
mod dataset;
mod diff;
mod eval_part;
mod histogram;
mod inspect;
#[cfg(feature = "pipeline")]
mod layout;
mod lookup;
mod manifest;
mod ordered;
mod parquet_file;
mod positional;
mod reproduce;
mod rows;
mod scan;
mod switch;
mod tables;
mod tokens;
mod verify;

pub use self::batches::{Origin, digest_of, map_batches, stream_batches};
#[cfg(feature = "pipeline")]
pub use self::build::{BuildReport, BuildRequest, DryRun, build, dry_run};
pub(crate) use self::card::{Corpus, card, corpora as card_corpora};
pub use self::dataset::{Dataset, IndexRow, Part};
pub use self::diff::{
    Batches, Change, ChangedBatch, ChangedRow, ChangedRows, Diff, LanguageChanges, LanguageRows, Pair,
    TableChanges, diff,
};
pub use self::histogram::Histogram;
pub use self::inspect::{Language, Lengths, MinedLists, Occurrence, Summary, occurrences, summary};
pub use self::manifest::{Counts, FORMAT_VERSION, FileEntry, Manifest, TokenizerEntry};
pub(crate) use self::parquet_file::{Encoding, ParquetFile, RowGroupEncoder};
#[cfg(feature = "pipeline")]
pub use self::reproduce::reproduce_from_sources;
pub use self::reproduce::{Batch, reproduce};
pub use self::switch::{LanguageSwitches, Switches};
pub use self::verify::{Finding, Verification, verify};
