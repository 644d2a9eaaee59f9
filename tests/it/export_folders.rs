//! Exports that are folders, or hold tokens: what is copied, what is refused, and what the card says.

use std::fs;

use crate::util::{Folder, repository};

/// The demo as `d`, in shards of four batches.
fn demo(more: &str) -> Folder {
    let folder = Folder::new();
    let (pipeline, data) = (repository().join("pipelines/demo.toml"), repository().join("data"));
    let (pipeline, data) = (pipeline.display(), data.display());
    let shards = "--set shards.steps_per_shard=4";
    folder.prep(&format!("build-shards {pipeline} --data {data} --out d --quiet {shards} {more}")).done();
    folder
}

#[test]
fn a_shard_is_copied_where_all_its_steps_are_wanted() {
    let folder = demo("");
    let report =
        folder.prep("export d --to datasets --out out --steps 3..14 --verify --json --quiet").done().json();
    assert_eq!([&report["verified"], &report["steps"]], [&serde_json::json!(true), &serde_json::json!(11)]);
    let file = |name: &str| fs::read(folder.path(name)).unwrap();
    // Step 3, the two shards of steps 4..12, steps 12..14.
    assert_eq!(fs::read_dir(folder.path("out/train")).unwrap().count(), 4);
    for number in [1, 2] {
        let name = format!("train/batches-0000{number}.parquet");
        assert!(file(&format!("out/{name}")) == file(&format!("d/{name}")), "{name}");
    }
    assert!(file("out/eval/queries-00000.parquet") == file("d/eval/queries-00000.parquet"));
    // Steps that no shard has.
    let export = "export d --virtual --to datasets --out derived --steps 1000000..1000002 --verify --quiet";
    folder.prep(export).done();
}

#[test]
fn a_shard_that_was_changed_is_not_copied() {
    let folder = demo("");
    let shard = folder.path("d/train/batches-00001.parquet");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[100] ^= 1;
    fs::write(&shard, bytes).unwrap();
    folder.prep("export d --to datasets --out out --quiet").failed_with(&[
        "batches-00001.parquet",
        "is not the file that the manifest names",
        "prep verify",
    ]);
    assert!(!folder.path("out").exists());
}

#[test]
fn the_command_of_a_card_builds_the_dataset_again() {
    let folder = demo("--seed 18446744073709551615 --set batches.steps=8");
    folder.prep("export d --to datasets --out out --quiet").done();
    let card = fs::read_to_string(folder.path("out/README.md")).unwrap();
    let block = |language: &str| {
        let start = format!("```{language}\n");
        card.split(&start).nth(1).unwrap().split("```").next().unwrap().trim().to_owned()
    };
    folder.write("pipeline.toml", block("toml"));
    let data = repository().join("data");
    let command = block("sh").replace("DATA", &data.display().to_string());
    folder.prep(&format!("{} --out again --quiet", command.strip_prefix("prep ").unwrap())).done();
    let id = |dataset: &str| {
        let manifest = fs::read(folder.path(&format!("{dataset}/manifest.json"))).unwrap();
        serde_json::from_slice::<serde_json::Value>(&manifest).unwrap()["dataset_id"].clone()
    };
    assert_eq!(id("d"), id("again"));
    assert!(card.contains(id("d").as_str().unwrap()));
}

#[test]
fn columns_of_hard_negatives_have_no_gaps() {
    // More than a paragraph of the demo has.
    let folder = demo("--set batches.negatives=50");
    folder.prep("export d --to sentence-transformers --out out --quiet").failed_with(&[
        "of step 0 has",
        "hard negatives of 50",
        "hint: `--negatives",
    ]);
    folder.prep("export d --to sentence-transformers --out out --negatives 0 --verify --quiet").done();
    folder
        .prep("export d --to sentence-transformers --out other --negatives 51")
        .failed_with(&["`--negatives`: 51 are more than the 50 of the plan"]);
    folder.prep("export d --to jsonl --out d.jsonl --negatives 1").failed_with(&["`--negatives`"]);
    folder.prep("export d --to arrow --out d.arrow.zst").failed_with(&[
        "d.arrow.zst",
        "is not compressed",
        "hint: ",
    ]);
}

#[test]
fn token_ids_come_from_a_tokenizer() {
    let folder = demo("");
    for format in ["numpy", "safetensors"] {
        folder
            .prep(&format!("export d --to {format} --out out --quiet"))
            .failed_with(&["the format holds token ids", "hint: `prep build-shards --tokenizer FILE`"]);
        assert!(!folder.path("out").exists());
    }
}
