//! Small datasets over sources that a test writes, and what is in them.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::util::{Folder, parquet, repository, texts};

pub const BUILD: &str = "build-shards p.toml --data data --out d --quiet --force";

/// Builds `d` from these corpora (and other sections), monolingual batches of one row.
#[track_caller]
pub fn build(folder: &Folder, sections: &str) {
    build_with(folder, sections, "");
}

#[track_caller]
pub fn build_with(folder: &Folder, sections: &str, sets: &str) {
    write_pipeline(folder, sections);
    folder.prep(&format!("{BUILD} {sets}")).done();
}

pub fn write_pipeline(folder: &Folder, sections: &str) {
    let batches = "[batches]\nstrategy = \"x-x-mono\"\nbatch_size = 1";
    folder.write("p.toml", format!("name = \"test\"\nmax_rejects = 0.5\n{sections}\n{batches}\n"));
}

/// A corpus of dataset `d`: format, path, languages, and further keys.
pub fn corpus(format: &str, path: &str, languages: &[&str], more: &str) -> String {
    format!(
        "[[corpora]]\nname = \"d\"\nformat = {format:?}\npath = {path:?}\nlanguages = {languages:?}\n{more}\n"
    )
}

/// Some columns of a Parquet file of `d`, each row as `a | b`; null is `-`.
#[track_caller]
pub fn rows(folder: &Folder, file: &str, columns: &[&str]) -> Vec<String> {
    let table = parquet(&folder.path(&format!("d/{file}.parquet")));
    let columns: Vec<_> = columns.iter().map(|column| texts(&table, column)).collect();
    let cell =
        |column: &Vec<Option<String>>, row: usize| column[row].clone().unwrap_or_else(|| "-".to_owned());
    (0..table.num_rows())
        .map(|row| columns.iter().map(|column| cell(column, row)).collect::<Vec<_>>().join(" | "))
        .collect()
}

pub fn queries(folder: &Folder) -> Vec<String> {
    rows(folder, "corpus/queries-00000", &["query_id", "group_id", "lang", "text"])
}

pub fn passages(folder: &Folder) -> Vec<String> {
    rows(folder, "corpus/passages-00000", &["passage_id", "context_id", "title", "text"])
}

pub fn qrels(folder: &Folder) -> Vec<String> {
    rows(folder, "corpus/qrels-00000", &["group_id", "passage_id", "relevance"])
}

pub fn rejects(folder: &Folder) -> Vec<String> {
    rows(folder, "rejects", &["source", "place", "reason", "raw"])
}

pub fn manifest(folder: &Folder) -> Value {
    serde_json::from_slice(&fs::read(folder.path("d/manifest.json")).unwrap()).unwrap()
}

pub fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub const HYBRID: &str = "--set batches.strategy=hybrid";
pub const X_Y: &str = "--set batches.strategy=x-y";

/// A pipeline of these corpora that need not build.
pub fn unbuilt(folder: &Folder, sections: &str) {
    folder.write("p.toml", format!("name = \"test\"\n{sections}\n[batches]\nbatch_size = 1\n"));
}

/// Builds a pipeline that ships on the real corpora, with few steps, and verifies it.
pub fn build_shipped(data: &Path, name: &str, sets: &[&str]) -> Folder {
    let folder = Folder::new();
    let pipeline = repository().join(format!("pipelines/{name}.toml"));
    let arguments =
        ["build-shards", pipeline.to_str().unwrap(), "--data", data.to_str().unwrap(), "--out", "d", "-q"];
    let sets = sets.iter().chain(&["batches.steps=5"]).flat_map(|set| ["--set", set]);
    folder.prep_args(&arguments.into_iter().chain(sets).collect::<Vec<_>>()).done();
    folder.prep("verify d -q").done();
    folder
}
