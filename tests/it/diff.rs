//! `prep diff`: what differs between two datasets, held against the files themselves, and why.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::util::{Folder, files, parquet, repository, texts};

/// A copy of the demo's sources and pipeline, and the dataset `a`.
fn demo() -> Folder {
    let folder = Folder::new();
    for (name, bytes) in files(&repository().join("data/demo")) {
        folder.write(&format!("data/demo/{name}"), bytes);
    }
    folder.write("demo.toml", fs::read(repository().join("pipelines/demo.toml")).unwrap());
    build(&folder, "a", "");
    folder
}

fn build(folder: &Folder, out: &str, sets: &str) {
    folder.prep(&format!("build-shards demo.toml --out {out} --quiet --set batches.steps=100 {sets}")).done();
}

fn diff(folder: &Folder, a: &str, b: &str) -> Value {
    let ran = folder.prep(&format!("diff {a} {b} --json --quiet"));
    let found = ran.json();
    assert_eq!(ran.code, Some(i32::from(found["is_equal"] != true)), "{}", ran.stderr);
    found
}

/// `key` and the two values of each change of a section.
fn changes(found: &Value, section: &str) -> Vec<(String, Value, Value)> {
    let changes = found[section].as_array().unwrap().iter();
    changes.map(|c| (c["key"].as_str().unwrap().to_owned(), c["a"].clone(), c["b"].clone())).collect()
}

/// Steps whose digests differ, by the two files.
fn differing(folder: &Folder, a: &str, b: &str) -> Vec<u64> {
    let digests = |of: &str| texts(&parquet(&folder.path(&format!("{of}/train/index.parquet"))), "digest");
    (0..).zip(digests(a).iter().zip(&digests(b))).filter(|(_, (a, b))| a != b).map(|(step, _)| step).collect()
}

fn steps(found: &Value) -> Vec<u64> {
    let runs = found["batches"]["differing"].as_array().unwrap().iter();
    runs.flat_map(|run| run["start"].as_u64().unwrap()..run["end"].as_u64().unwrap()).collect()
}

#[test]
fn datasets_that_are_stored_otherwise_are_the_same() {
    let folder = demo();
    build(&folder, "b", "");
    let found = diff(&folder, "a", "b");
    for section in ["pipeline", "inputs", "tools", "plan", "corpus", "files"] {
        assert_eq!(found[section], json!([]), "{section}");
    }
    assert_eq!((&found["is_equal"], &found["batches"]["equal"]), (&json!(true), &json!(100)));

    build(&folder, "c", "--set shards.zstd_level=3");
    let found = diff(&folder, "a", "c");
    assert_eq!(found["is_equal"], true);
    assert_eq!(changes(&found, "pipeline"), [("shards.zstd_level".to_owned(), json!(1), json!(3))]);
    let of = |name: &str| files(&folder.path(name));
    let (a, c) = (of("a"), of("c"));
    let expected: Vec<&String> =
        a.keys().filter(|path| *path != "manifest.json" && a[*path] != c[*path]).collect();
    let named: Vec<String> = changes(&found, "files").into_iter().map(|(path, ..)| path).collect();
    assert_eq!(named.iter().collect::<Vec<_>>(), expected);
    assert!(folder.prep("diff a c").done().stdout.contains("stored in other files"));
}

/// A question was edited in one language: the batches that it stands in differ, in its text alone.
#[test]
fn a_text_that_changed_is_found_in_every_batch_that_holds_it() {
    let folder = demo();
    let english = fs::read_to_string(folder.path("data/demo/en.json")).unwrap();
    let (old, new) = ("How far is the Moon from the Earth on average?", "How far away is the Moon?");
    assert!(english.contains(old));
    folder.write("data/demo/en.json", english.replace(old, new));
    build(&folder, "b", "");
    let found = diff(&folder, "a", "b");
    assert_eq!((&found["pipeline"], &found["plan"], &found["tools"]), (&json!([]), &json!([]), &json!([])));
    let inputs: Vec<String> = changes(&found, "inputs").into_iter().map(|(path, ..)| path).collect();
    assert_eq!(inputs, ["demo/en.json"]);
    let queries = &found["corpus"][0];
    assert_eq!((&queries["changed"], &queries["columns"]), (&json!(1), &json!({"text": 1})));
    assert_eq!(queries["only"], json!({"a": 0, "b": 0}));
    assert_eq!(queries["languages"], json!({"en": {"only": {"a": 0, "b": 0}, "changed": 1}}));
    let shown = json!([{"id": "demo/en/moon-01", "column": "text", "a": old, "b": new}]);
    assert_eq!(queries["shown"], shown);

    let inspected = folder.prep("inspect a --query demo/en/moon-01 --json --quiet").done().json();
    let mut rows: BTreeMap<u64, u64> = BTreeMap::new();
    for occurrence in inspected.as_array().unwrap() {
        *rows.entry(occurrence["step"].as_u64().unwrap()).or_default() += 1;
    }
    assert_eq!(steps(&found), differing(&folder, "a", "b"));
    assert_eq!(steps(&found), rows.keys().copied().collect::<Vec<_>>());
    for batch in found["batches"]["compared"].as_array().unwrap() {
        let n = rows[&batch["step"].as_u64().unwrap()];
        let expected = (json!(0), json!(n), json!({"query": n}));
        assert_eq!(
            (&batch["other_pairs"], &batch["same_pairs"], &batch["columns"]),
            (&expected.0, &expected.1, &expected.2)
        );
    }
    let text = folder.prep("diff a b --quiet").failed_with(&["the datasets differ"]).stdout;
    assert!(text.contains("One plan: batches differ because texts do."), "{text}");

    // Without train/ the batches are derived, to the same end.
    fs::remove_dir_all(folder.path("b/train")).unwrap();
    assert_eq!(diff(&folder, "a", "b")["batches"], found["batches"]);
}

#[test]
fn a_plan_that_changed_is_told_from_a_corpus_that_changed() {
    let folder = demo();
    build(&folder, "b", "--seed 7");
    let found = diff(&folder, "a", "b");
    let seed = [("seed".to_owned(), json!(42), json!(7))];
    assert_eq!((&changes(&found, "pipeline")[..], &changes(&found, "plan")[..]), (&seed[..], &seed[..]));
    assert!(
        found["corpus"].as_array().unwrap().iter().all(|t| t["changed"] == 0 && t["columns"] == json!({}))
    );
    assert_eq!(steps(&found), differing(&folder, "a", "b"));
    let text = folder.prep("diff a b --quiet").failed_with(&[]).stdout;
    assert!(text.contains("One corpus: batches differ because they were planned otherwise."), "{text}");

    // More steps of the same cycle begin with the same batches.
    build(&folder, "c", "--set batches.steps=40");
    let found = diff(&folder, "a", "c");
    assert_eq!((&found["batches"]["equal"], &found["batches"]["differing"]), (&json!(40), &json!([])));
    assert_eq!(found["batches"]["steps"], json!({"a": 100, "b": 40}));
    assert_eq!(changes(&found, "plan"), [("steps".to_owned(), json!(100), json!(40))]);

    // Batches of another size are not compared row by row, but counted by language.
    build(&folder, "d", "--set batches.batch_size=8");
    let found = diff(&folder, "a", "d");
    assert_eq!((&found["batches"]["equal"], &found["batches"]["compared"]), (&json!(0), &json!([])));
    let languages = found["batches"]["languages"].as_object().unwrap();
    let sum = |side: &str| languages.values().map(|of| of[side]["queries"].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("a"), sum("b")), (1_600, 800));
}

/// A language more: its rows are only in one, and the order of the two datasets matters to nothing else.
#[test]
fn a_long_text_is_shown_where_it_differs() {
    let folder = demo();
    let english = fs::read_to_string(folder.path("data/demo/en.json")).unwrap();
    let old = "printing press with movable metal type in the German";
    assert!(english.contains(old));
    folder.write("data/demo/en.json", english.replace(old, &old.replace("German", "Germon")));
    build(&folder, "b", "");
    let text = folder.prep("diff a b --quiet").failed_with(&["the datasets differ"]).stdout;
    assert!(text.contains("a  …") && text.contains("German") && text.contains("Germon"), "{text}");
}

#[test]
fn what_only_one_has_is_counted_on_its_side() {
    let folder = demo();
    let pipeline = fs::read_to_string(folder.path("demo.toml")).unwrap();
    folder.write("demo.toml", pipeline.replace(", \"zh\"]", "]"));
    build(&folder, "b", "");
    let [found, mirrored] = [("a", "b"), ("b", "a")].map(|(a, b)| diff(&folder, a, b));
    for (table, mirror) in
        found["corpus"].as_array().unwrap().iter().zip(mirrored["corpus"].as_array().unwrap())
    {
        assert_eq!((&table["only"]["a"], &table["only"]["b"]), (&mirror["only"]["b"], &mirror["only"]["a"]));
    }
    let [queries, passages] = [&found["corpus"][0], &found["corpus"][1]];
    assert_eq!(queries["languages"], json!({"zh": {"only": {"a": 74, "b": 0}, "changed": 0}}));
    assert_eq!(passages["languages"], json!({"zh": {"only": {"a": 80, "b": 0}, "changed": 0}}));
    assert_eq!(found["batches"]["languages"]["zh"]["b"], json!({"queries": 0, "positives": 0}));
    assert!(changes(&found, "plan").iter().any(|(key, _, b)| key == "sources.zh" && b.is_null()));
    assert_eq!(steps(&found), steps(&mirrored));
}

#[test]
fn what_is_no_dataset_or_not_what_its_manifest_names_is_an_error() {
    let folder = demo();
    folder.prep("diff a nothing").failed_with(&["nothing", "no manifest.json"]);
    build(&folder, "b", "--seed 7");
    let queries = folder.path("b/corpus/queries-00000.parquet");
    fs::copy(folder.path("b/corpus/passages-00000.parquet"), queries).unwrap();
    folder
        .prep("diff a b")
        .failed_with(&["queries-00000.parquet", "is not the file that the manifest names"]);
}
