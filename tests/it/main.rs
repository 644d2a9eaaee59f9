//! Behaviour, through the command line and the entry functions of the library. One binary, one file a behaviour.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

#[cfg(feature = "hub")]
mod hub_server;
#[cfg(all(feature = "hub", feature = "pipeline"))]
mod store_server;
mod util;

mod afriqa;
mod aligned;
mod beir;
mod build;
mod built;
mod code_switch;
mod code_switch_derived;
mod code_switch_words;
mod collections;
mod cookbook;
mod determinism;
mod devices;
mod diff;
mod doctor;
mod errors;
mod errors_settings;
mod errors_target;
mod eval;
mod eval_oracle;
mod eval_runs;
mod experiment;
mod export;
mod export_folders;
mod filters;
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
mod pipeline_fixtures;
mod pipelines;
mod plan;
mod proof;
mod real;
mod real_pipelines;
mod real_squad;
mod real_xquad_r;
mod recipes;
#[cfg(all(feature = "hub", feature = "pipeline"))]
mod remote;
mod report;
mod schemas;
mod sentence_transformers;
mod shared_ids;
mod splits;
mod squad;
mod symmetric;
mod synth;
mod tables;
mod terminal;
mod tokenizer;
mod tokens;
mod train;
mod train_run;
mod tydiqa;
mod why;
