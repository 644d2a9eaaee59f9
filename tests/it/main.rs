//! Behaviour, through the command line and the entry functions of the library. One binary, one file a behaviour.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

#[cfg(feature = "hub")]
mod hub_server;
#[cfg(all(feature = "hub", feature = "pipeline"))]
mod store_server;
mod util;

mod build;
mod code_switch;
mod cookbook;
mod corpora;
mod determinism;
mod devices;
mod diff;
mod doctor;
mod errors;
mod experiment;
mod export;
mod eval;
mod export_folders;
mod formats;
mod gpu_scripts;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "hub")]
mod hub_train;
mod languages;
mod layering;
mod leakage;
mod loss;
mod mine;
mod model_directory;
mod pages;
mod pipelines;
mod pipeline_fixtures;
mod plan;
mod proof;
mod recipes;
#[cfg(all(feature = "hub", feature = "pipeline"))]
mod remote;
mod report;
mod schemas;
mod sentence_transformers;
mod shared_ids;
mod symmetric;
mod terminal;
mod tokenizer;
mod tokens;
mod train;
mod train_run;
mod traps;
mod why;
