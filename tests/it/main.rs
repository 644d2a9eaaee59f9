//! Behaviour, through the command line and the entry functions of the library. One binary, one file a behaviour.

mod util;

mod build;
mod determinism;
mod errors;
mod formats;
mod layering;
mod plan;
mod proof;
mod schemas;
mod traps;
