//! The same bytes for any thread count, any order in which sources are listed, and from a second build.

use serde_json::Value;

use crate::util::{Folder, files, repository};

const DEMO: &str = r#"
name = "demo"
[[corpora]]
name = "a"
format = "squad"
path = "demo/{lang}.json"
languages = ["de", "en", "zh"]
[[corpora]]
name = "b"
format = "squad"
path = "demo/{lang}.json"
languages = ["hi", "ar"]
[filters]
query_chars = { min = 12 }
[deduplicate]
passages = "normalised"
[split.eval]
by = "title"
fraction = 0.25
[batches]
batch_size = 8
epochs = 2
negatives = 2
[shards]
steps_per_shard = 10
steps_per_row_group = 3
"#;

/// The corpora and the languages in another order.
fn shuffled() -> String {
    let (head, rest) = DEMO.split_once("[[corpora]]").unwrap();
    let (first, rest) = rest.split_once("[[corpora]]").unwrap();
    let (second, tail) = rest.split_once("[filters]").unwrap();
    format!("{head}[[corpora]]{second}[[corpora]]{first}[filters]{tail}")
        .replace(r#"["de", "en", "zh"]"#, r#"["zh", "de", "en"]"#)
}

fn build(folder: &Folder, pipeline: &str, out: &str, more: &[&str]) -> Value {
    let data = repository().join("data");
    let data = data.to_str().unwrap();
    let arguments = [&["build-shards", pipeline, "--data", data, "--out", out, "--json"], more].concat();
    folder.prep_args(&arguments).done().json()
}

#[test]
fn every_byte_is_the_same_for_any_thread_count_source_order_and_build() {
    let folder = Folder::new();
    folder.write("p.toml", DEMO);
    folder.write("shuffled.toml", shuffled());
    build(&folder, "p.toml", "first", &["--threads", "1"]);
    let expected = files(&folder.path("first"));
    assert!(8 <= expected.keys().filter(|name| name.starts_with("train/batches-")).count(), "several shards");
    for (out, pipeline, threads) in [
        ("again", "p.toml", "1"),
        ("two", "p.toml", "2"),
        ("three", "p.toml", "3"),
        ("eight", "p.toml", "8"),
        ("shuffled", "shuffled.toml", "3"),
    ] {
        build(&folder, pipeline, out, &["--threads", threads]);
        let found = files(&folder.path(out));
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, bytes) in &expected {
            assert!(found[name] == *bytes, "{name} differs with {threads} threads ({out})");
        }
    }
}

#[test]
fn the_dataset_id_names_the_content_and_not_how_it_is_stored() {
    let folder = Folder::new();
    folder.write("p.toml", DEMO);
    let id = |out: &str, more: &[&str]| build(&folder, "p.toml", out, more)["dataset_id"].clone();
    let expected = id("a", &[]);
    assert_eq!(id("b", &["--set", "shards.zstd_level=9"]), expected);
    assert_eq!(
        id("c", &["--set", "shards.steps_per_shard=7", "--set", "shards.steps_per_row_group=7"]),
        expected
    );
    assert_ne!(
        files(&folder.path("a"))["train/batches-00000.parquet"],
        files(&folder.path("b"))["train/batches-00000.parquet"]
    );
    for (out, other) in [
        ("d", "seed=43"),
        ("e", "batches.negatives=1"),
        ("f", "batches.steps=9"),
        ("g", "corpora.b.languages=['ar']"),
    ] {
        let mut more = vec!["--set", other];
        if out == "f" {
            // Steps instead of epochs.
            folder.write("f.toml", DEMO.replace("epochs = 2", "steps = 9"));
            more.clear();
            assert_ne!(build(&folder, "f.toml", out, &more)["dataset_id"], expected);
        } else {
            assert_ne!(id(out, &more), expected, "{other}");
        }
    }
    assert_eq!(id("h", &["--seed", "43"]), id("i", &["--set", "seed=43"]));
}
