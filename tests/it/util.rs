//! Running the program in a folder of its own, and reading what it wrote.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with sources, pipelines and datasets, in which `prep` runs.
pub struct Folder(TempDir);

/// What a run printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs `prep` with this folder as the working directory; arguments are split at white space.
    pub fn prep(&self, arguments: &str) -> Ran {
        self.prep_args(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    pub fn prep_args(&self, arguments: &[&str]) -> Ran {
        let mut command = prep_command();
        Ran::of(command.args(arguments).current_dir(self.0.path()).output().unwrap())
    }
}

pub fn prep_command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_prep"))
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }

    /// Asserts exit code 0.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Asserts exit code 1, no panic, and that standard error holds every one of these.
    #[track_caller]
    pub fn failed_with(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "no `{part}` in:\n{}", self.stderr);
        }
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The real corpora, which are no part of the repository. Tests on them say so and pass where there are none.
pub fn real_corpora(test: &str) -> Option<PathBuf> {
    let path = repository().join("../shared/data");
    if path.is_dir() {
        return Some(path);
    }
    println!("{test}: skipped, there is no ../shared/data");
    None
}

/// Bytes of every file below a folder, by path.
pub fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// A Parquet file, whole.
pub fn parquet(path: &Path) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = builder.schema().clone();
    let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// A column of text (plain or dictionary); nulls are `None`.
pub fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(column).unwrap_or_else(|| panic!("no column {column}"));
    let column = arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).unwrap();
    let column = column.as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
    (0..column.len()).map(|row| column.is_valid(row).then(|| column.value(row).to_owned())).collect()
}

/// How often each value of a column occurs.
pub fn tally(batch: &RecordBatch, column: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for value in texts(batch, column) {
        *counts.entry(value.unwrap_or_else(|| "null".to_owned())).or_default() += 1;
    }
    counts
}

/// One paragraph in SQuAD's format: each question is `(id, text, answer_start, answer)`.
pub fn squad(context: &str, questions: &[(&str, &str, i64, &str)]) -> String {
    let qas: Vec<Value> = questions
        .iter()
        .map(|(id, question, start, answer)| {
            serde_json::json!({"id": id, "question": question, "answers": [{"answer_start": start, "text": answer}]})
        })
        .collect();
    let paragraph = serde_json::json!({"context": context, "qas": qas});
    serde_json::json!({"version": "1.1", "data": [{"title": "T", "paragraphs": [paragraph]}]}).to_string()
}

/// A pipeline over SQuAD files `{lang}.json` of dataset `d`, monolingual batches of one row, and what is added.
pub fn pipeline(languages: &[&str], more: &str) -> String {
    format!(
        "name = \"test\"\n[[corpora]]\nname = \"d\"\nformat = \"squad\"\npath = \"{{lang}}.json\"\n\
         languages = {languages:?}\n[batches]\nstrategy = \"x-x-mono\"\nbatch_size = 1\n{more}\n"
    )
}
