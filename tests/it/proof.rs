//! `verify` and `reproduce`: what holds is proven, and what does not is named with its file, step and row.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::util::{Folder, files, repository};

/// The demo in shards of 20 batches of 16 rows, with hard negatives and a split.
fn demo() -> Folder {
    let folder = Folder::new();
    let data = repository().join("data");
    let pipeline = repository().join("pipelines/demo.toml");
    folder
        .prep_args(&[
            "build-shards",
            pipeline.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--out",
            "d",
            "--set",
            "shards.steps_per_shard=20",
            "--set",
            "shards.steps_per_row_group=5",
            "--set",
            "split.eval.by=title",
            "--set",
            "split.eval.fraction=0.25",
        ])
        .done();
    folder
}

/// Gives a file other bytes, and the manifest their digest: somebody who knows what they do.
pub fn replace_file(root: &Path, name: &str, bytes: &[u8]) {
    fs::write(root.join(name), bytes).unwrap();
    let path = root.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for file in manifest["files"].as_array_mut().unwrap() {
        if file["path"] == name {
            file["bytes"] = json!(bytes.len());
            file["digest"] = json!(blake3::hash(bytes).to_hex().to_string());
        }
    }
    fs::write(path, serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
}

#[test]
fn a_dataset_as_built_verifies() {
    let folder = demo();
    let seen = folder.prep("verify d --json").done().json();
    let manifest: Value = serde_json::from_slice(&fs::read(folder.path("d/manifest.json")).unwrap()).unwrap();
    assert_eq!(seen["dataset_id"], manifest["dataset_id"]);
    assert_eq!(seen["findings"], json!([]));
    assert_eq!(manifest["eval_is_trained_on"], json!(false));
}

#[test]
fn one_changed_byte_of_any_file_is_found() {
    let folder = demo();
    let root = folder.path("d");
    for (name, bytes) in files(&root) {
        if name == "manifest.json" {
            continue;
        }
        let mut changed = bytes.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(root.join(&name), &changed).unwrap();
        let ran = folder.prep("verify d");
        assert_eq!(ran.code, Some(1), "{name}: {}{}", ran.stdout, ran.stderr);
        let named = ran.stdout.contains(&name) || ran.stderr.contains(&name);
        assert!(named && !ran.stderr.contains("panicked"), "{name}: {}{}", ran.stdout, ran.stderr);
        fs::write(root.join(&name), bytes).unwrap();
    }
    folder.prep("verify d").done();
}

#[test]
fn files_that_are_missing_or_too_many_are_found() {
    let folder = demo();
    let root = folder.path("d");
    folder.write("d/train/notes.txt", "mine");
    assert!(folder.prep("verify d").failed_with(&["1 difference"]).stdout.contains("train/notes.txt"));
    fs::remove_file(root.join("train/notes.txt")).unwrap();
    fs::remove_file(root.join("train/batches-00001.parquet")).unwrap();
    let ran = folder.prep("verify d").failed_with(&["1 difference"]);
    assert!(ran.stdout.contains("train/batches-00001.parquet: is missing"), "{}", ran.stdout);
}

/// A batch that was exchanged for another one, digests and all, stands out because it does not follow from the plan.
#[test]
fn a_forged_batch_is_named_with_shard_step_and_row() {
    let folder = demo();
    let root = folder.path("d");
    let other = files(&root)["train/batches-00000.parquet"].clone();
    replace_file(&root, "train/batches-00001.parquet", &other);
    let ran = folder.prep("verify d").failed_with(&["difference"]);
    assert!(
        ran.stdout.contains("train/batches-00001.parquet step 20 row 0: column `step`: expected 20, found 0"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("footer `prep.first_step`"), "{}", ran.stdout);
}

/// Rows behind the last step are rows that no plan asked for.
#[test]
fn rows_that_were_added_to_a_shard_are_found() {
    use std::fs::File;

    use parquet::arrow::ArrowWriter;

    let folder = demo();
    let root = folder.path("d");
    let name = "train/batches-00000.parquet";
    let rows = crate::util::parquet(&root.join(name));
    let mut writer =
        ArrowWriter::try_new(File::create(root.join(name)).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.flush().unwrap();
    writer.write(&rows.slice(0, 16)).unwrap();
    writer.close().unwrap();
    let bytes = fs::read(root.join(name)).unwrap();
    replace_file(&root, name, &bytes);
    let ran = folder.prep("verify d").failed_with(&["difference"]);
    assert!(ran.stdout.contains("batches-00000.parquet: holds more rows than its steps"), "{}", ran.stdout);
}

/// Whoever edits the manifest by hand.
#[test]
fn a_manifest_that_says_other_than_the_files_is_found() {
    let folder = demo();
    let path = folder.path("d/manifest.json");
    let good: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let refused = |manifest: &Value, found: &str| {
        fs::write(&path, manifest.to_string()).unwrap();
        let ran = folder.prep("verify d");
        assert_eq!(ran.code, Some(1), "{}", ran.stdout);
        assert!(ran.stdout.contains(found), "no `{found}` in {}", ran.stdout);
    };
    let mut other = good.clone();
    other["eval_is_trained_on"] = json!(true);
    refused(&other, "`eval_is_trained_on` is not what the corpus says");
    let mut other = good.clone();
    other["files"].as_array_mut().unwrap().retain(|file| file["path"] != "train/index.parquet");
    refused(&other, "does not list train/index.parquet");
    let mut other = good.clone();
    for file in other["files"].as_array_mut().unwrap() {
        if file["path"] == "train/batches-00000.parquet" {
            file["steps"] = json!(u64::MAX);
        }
    }
    refused(&other, "the shards do not follow one another");
}

#[test]
fn a_changed_text_of_the_corpus_is_named_where_batches_hold_it() {
    use std::fs::File;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;

    let folder = demo();
    let root = folder.path("d");
    let path = root.join("corpus/queries-00000.parquet");
    let table = crate::util::parquet(&path);
    let mut texts: Vec<Option<String>> = crate::util::texts(&table, "text");
    // A question of the training side, so that batches hold it.
    let train =
        crate::util::texts(&table, "split").iter().position(|s| s.as_deref() == Some("train")).unwrap();
    texts[train] = Some("forged".to_owned());
    let mut columns = table.columns().to_vec();
    columns[4] = Arc::new(StringArray::from(texts)) as ArrayRef;
    let forged = RecordBatch::try_new(table.schema(), columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), forged.schema(), None).unwrap();
    writer.write(&forged).unwrap();
    writer.close().unwrap();
    let bytes = fs::read(&path).unwrap();
    replace_file(&root, "corpus/queries-00000.parquet", &bytes);
    let ran = folder.prep("verify d").failed_with(&["difference"]);
    assert!(ran.stdout.contains("column `query`: expected \"forged\""), "{}", ran.stdout);
    assert!(ran.stdout.contains("`dataset_id` is not that of the content"), "{}", ran.stdout);
    assert!(ran.stdout.contains("train/index.parquet step"), "{}", ran.stdout);
}

#[test]
fn any_batch_is_reproduced_from_plan_and_corpus_alone() {
    let folder = demo();
    let root = folder.path("d");
    let with_train = folder.prep("reproduce d --step 0..60 --json").done().json();
    for batch in with_train.as_array().unwrap() {
        assert_eq!(batch["agrees_with_index"], json!(true), "step {}", batch["step"]);
        assert_eq!(batch["digest"], batch["index_digest"]);
    }
    fs::remove_dir_all(root.join("train")).unwrap();
    let alone = folder.prep("reproduce d --step 0..60 --json").done().json();
    let digests = |batches: &Value| -> Vec<Value> {
        batches.as_array().unwrap().iter().map(|batch| batch["digest"].clone()).collect()
    };
    assert_eq!(digests(&alone), digests(&with_train));
    assert_eq!(alone[0]["agrees_with_index"], Value::Null);
    // Without the lookup file too: it is a cache.
    fs::remove_file(root.join("corpus/lookup.bin")).unwrap();
    assert_eq!(digests(&folder.prep("reproduce d --step 0..60 --json").done().json()), digests(&with_train));
}

#[test]
fn a_batch_is_reproduced_from_the_original_sources() {
    let folder = demo();
    let data = repository().join("data");
    let from_sources =
        |data: &str| folder.prep_args(&["reproduce", "d", "--step", "7", "--from-sources", data, "--json"]);
    let batch = from_sources(data.to_str().unwrap()).done().json();
    assert_eq!(batch[0]["agrees_with_index"], json!(true));
    assert_eq!(batch, folder.prep("reproduce d --step 7 --json").done().json());

    // Sources that changed since are named.
    for (name, bytes) in files(&data) {
        folder.write(&format!("data/{name}"), bytes);
    }
    let changed = fs::read_to_string(folder.path("data/demo/de.json")).unwrap().replacen("Mond", "Mund", 1);
    folder.write("data/demo/de.json", changed);
    from_sources("data").failed_with(&["demo/de.json", "is not the file that the dataset was built from"]);
}

#[test]
fn a_digest_that_differs_from_the_index_fails() {
    let folder = demo();
    let root = folder.path("d");
    // Another seed gives other batches; the index is still that of the first.
    let plan = fs::read_to_string(root.join("plan.json")).unwrap().replace("\"seed\":42", "\"seed\":43");
    fs::write(root.join("plan.json"), &plan).unwrap();
    folder.prep("reproduce d --step 3").failed_with(&["plan.json`: is not the plan that the manifest names"]);
    let manifest = fs::read_to_string(root.join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
    manifest["plan_digest"] = json!(blake3::hash(plan.as_bytes()).to_hex().to_string());
    fs::write(root.join("manifest.json"), manifest.to_string()).unwrap();
    let ran = folder.prep("reproduce d --step 3").failed_with(&["the index says something else of step 3"]);
    assert!(ran.stdout.contains("DIFFERS"), "{}", ran.stdout);
}

#[test]
fn a_lookup_file_of_another_corpus_is_refused() {
    let folder = demo();
    let other = demo();
    let data = repository().join("data");
    let pipeline = repository().join("pipelines/demo.toml");
    other
        .prep_args(&[
            "build-shards",
            pipeline.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--out",
            "e",
            "--set",
            "split.eval.by=title",
            "--set",
            "split.eval.fraction=0.25",
            "--seed",
            "5",
        ])
        .done();
    fs::copy(other.path("e/corpus/lookup.bin"), folder.path("d/corpus/lookup.bin")).unwrap();
    let ran = folder.prep("reproduce d --step 3");
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[test]
fn a_question_is_found_in_every_row_that_it_stands_in() {
    let folder = demo();
    let id = "demo/de/moon-01";
    let manifest: Value = serde_json::from_slice(&fs::read(folder.path("d/manifest.json")).unwrap()).unwrap();
    let steps: u64 = manifest["files"].as_array().unwrap().iter().filter_map(|f| f["steps"].as_u64()).sum();
    let all = folder.prep(&format!("reproduce d --step 0..{steps} --json")).done().json();
    let mut expected = Vec::new();
    for batch in all.as_array().unwrap() {
        for row in batch["rows"].as_array().unwrap() {
            if row["query_id"] == id {
                expected.push((batch["step"].clone(), row["row"].clone()));
            }
        }
    }
    let found = folder.prep_args(&["inspect", "d", "--query", id, "--json"]).done().json();
    let found: Vec<_> =
        found.as_array().unwrap().iter().map(|o| (o["step"].clone(), o["row"].clone())).collect();
    assert_eq!(found, expected);
    folder.prep("inspect d --query nobody").failed_with(&["no question has the id `nobody`"]);
}
