//! `prep` builds hybrid batches for multilingual retrieval, and proves them.
//!
//! A batch is either monolingual (questions and passages of one language) or cross-lingual (they differ in every
//! row), mixed with probability alpha; training so serves monolingual, cross-lingual and multilingual retrieval at
//! once (Elmahdy, Lin and Ahmad 2024, arXiv 2408.10536). Others promise an order of samples. Here **a batch is a pure
//! function of (plan, step)**: hashed, re-derivable in another language, and byte-equal for any thread count, engine
//! or crash in between.
//!
//! # What happens to a question
//!
//! ```text
//! sources ──> corpus ──────> pairs ─────────> plan ────────────> shards
//! SQuAD,      questions,     pools of         which example      Parquet on disk, one commit;
//! BEIR,       passages,      (question,       stands in which    verify and reproduce
//! tables      judgements     passage) pairs   row of a batch
//! ```
//!
//! 1. [`pipeline`] reads `pipelines/*.toml`: which corpora, what to filter, what to hold out, how to draw.
//! 2. [`corpus`] reads the source files ([`remote`] fetches those that lie elsewhere) and refines them in the query
//!    [`engine`] to three sorted tables. What must be
//!    refused is kept, with a reason. Where words are to be switched into other languages, they are found here.
//! 3. [`pairs`] numbers everything: a pool is one dataset, one query language and one passage language; its examples
//!    are counted and found by rank, never listed.
//! 4. [`plan`] turns pool sizes into integer weights, and a step into the rows of its batch. It never reads text.
//! 5. [`tokens`], where a tokenizer is named, turns every text into the ids that a model reads.
//! 6. [`shards`] writes rows, digests and index, commits them at once, and derives any of it anew to compare.
//! 7. [`kernels`] are the fused operations of an encoder with their gradients, for the CPU and, with the feature `cuda`,
//!    for NVIDIA GPUs; [`model`] is the encoder, read from files, a hub or a preset, and the tokenizer that is trained
//!    for it.
//! 8. [`eval`] ranks the held-out passages for the held-out questions by their vectors, and says how well.
//! 9. [`mine`] finds hard negatives for the training questions: by BM25, by judgements, or in what a model retrieved.
//! 10. [`train`] takes the batches in order, on one device or several, and refuses to train wrong.
//! 11. [`export`] writes them as other frameworks read them, and proves that they are the same.
//! 12. [`report`] makes a page of what came out: datasets, runs and evaluations side by side.
//! 13. [`why`] goes back from a step of a run to the rows that it was trained on.
//! 14. [`doctor`] looks at the machine that all of it is to run on.
//!
//! ```
//! use prep::plan::{Plan, Sampler};
//!
//! # fn main() -> prep::Result<()> {
//! let plan = Plan::from_json(br#"{"version":1,"seed":42,"batch_size":4,"steps":1000,
//!     "hard_negatives":{"k":0,"source":"same-context"},"sources":[
//!     {"name":"de","weight":1,"pools":[{"name":"demo/de:de","weight":1,"size":10}]},
//!     {"name":"x-y","weight":1,"pools":[{"name":"demo/de:en","weight":1,"size":10}]}]}"#)?;
//! let mut sampler = Sampler::new(&plan);
//! let late = sampler.batch(1_000_000_000_000); // costs what batch 0 costs
//! assert_eq!(late.rows.len(), 4);
//! assert_eq!(late, Sampler::new(&plan).batch(1_000_000_000_000));
//! # Ok(())
//! # }
//! ```
//!
//! # Words
//!
//! * **group**: a question with all its translations. Relevance belongs to it, so it grows with the languages and not
//!   with their square.
//! * **pool**, `D/q:p`: the examples of dataset D with a question in language q and a relevant passage in p.
//! * **source**: what one batch is drawn from: pools with integer weights. **Step**: the number of a batch.
//! * **masked pair**: a question and a passage of one batch that answers it, though not as its own positive: no
//!   negative.
//! * B is the number of rows of a batch, N that of hard negatives of a row.
//!
//! # Invariants
//!
//! * The modules below form a total order: each uses only those above it (`tests/it/layering.rs`).
//! * Every random decision takes its key from [`keys::subkey`]; there is no generator with a state.
//! * `train/` follows from `plan.json` and `corpus/`, and from nothing else. No result depends on threads, the order
//!   of files, hash maps or the clock.
//! * The planner never reads text. The query engine is spoken to in [`engine`] only. Nothing here prints: long work
//!   tells a [`progress::Observer`].
//! * Tensors start at [`kernels`]: what makes data never names candle.
//! * The cross product of languages is never stored, neither as pairs nor as judgements.
//!
//! The directory, the sampling plan, the trainer and the measures are specified in `schemas/SHARDS.md`,
//! `schemas/SAMPLING.md`, `schemas/TRAIN.md` and `schemas/EVAL.md`.

// Without the feature `pipeline` nothing makes a dataset, so what writes one is there and not called.
#![cfg_attr(
    not(feature = "pipeline"),
    expect(dead_code, unused_imports, reason = "the writing half of `corpus` and `shards`")
)]

pub mod error;
pub mod digest;
pub mod keys;
pub mod progress;
pub mod number;
pub(crate) mod staging;
pub(crate) mod environment;
pub(crate) mod words;
pub(crate) mod pattern;
#[cfg(feature = "hub")]
pub mod hub;
pub mod remote;
pub mod schema;
pub mod pipeline;
#[cfg(feature = "pipeline")]
pub mod engine;
pub mod corpus;
pub mod pairs;
pub mod plan;
pub mod tokens;
pub mod shards;
pub mod kernels;
pub mod model;
pub mod eval;
pub mod mine;
pub mod train;
pub mod export;
pub mod report;
pub mod why;
pub mod doctor;

pub use error::{Error, Result};
