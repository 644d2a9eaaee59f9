//! Exports that are folders, or hold tokens: what is copied, what is refused, and what the card says.

use std::fs;

use serde_json::Value;

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
        serde_json::from_slice::<Value>(&manifest).unwrap()["dataset_id"].clone()
    };
    assert_eq!(id("d"), id("again"));
    assert!(card.contains(id("d").as_str().unwrap()));
}

/// Rows as `jsonl` has them, and as a trainer's format.
fn rows_twice(folder: &Folder, format: &str) -> Vec<(Value, Value)> {
    folder.prep("export d --to jsonl --out plain.jsonl --force --quiet").done();
    folder.prep(&format!("export d --to {format} --out f.jsonl --negatives 3 --verify --quiet")).done();
    let read = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(folder.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    read("plain.jsonl").into_iter().zip(read("f.jsonl")).collect()
}

/// A trainer that draws from a row's hard negatives finds some in every row; own ones first, then passages of the batch,
/// and never an answer.
#[test]
fn rows_with_too_few_hard_negatives_are_filled_from_their_batch() {
    let folder = demo("--set batches.negatives=2");
    for (format, negatives) in [("flag-embedding", "neg"), ("tevatron", "negative_passages")] {
        let rows = rows_twice(&folder, format);
        let mut n_filled = 0;
        for (plain, filled) in &rows {
            let text = |passage: &Value| passage.get("text").unwrap_or(passage).clone();
            let found: Vec<Value> = filled[negatives].as_array().unwrap().iter().map(text).collect();
            let own = plain["negatives"].as_array().unwrap();
            assert_eq!((found.len(), &found[..own.len()]), (3, &own[..]), "{filled}");
            let of_step = rows.iter().map(|row| &row.0).filter(|row| row["step"] == plain["step"]);
            let answers: Vec<&Value> = of_step
                .filter(|row| row["positive_group_ids"].as_array().unwrap().contains(&plain["group_id"]))
                .map(|row| &row["positive"])
                .collect();
            for added in &found[own.len()..] {
                assert!(!answers.contains(&added) && !own.contains(added), "{filled}");
                n_filled += 1;
            }
        }
        assert!(rows.len() <= n_filled, "a plan of two hard negatives leaves one to fill in every row");
        fs::remove_file(folder.path("f.jsonl")).unwrap();
    }
}

#[test]
fn columns_of_hard_negatives_have_no_gaps() {
    // More than a paragraph of the demo has, and a few more than a batch can add.
    let folder = demo("--set batches.negatives=50");
    folder.prep("export d --to sentence-transformers --out out --quiet").failed_with(&[
        "of step 0 gets",
        "hard negatives of 50",
        "hint: ask for fewer with `--negatives",
    ]);
    folder.prep("export d --to sentence-transformers --out out --negatives 5 --verify --quiet").done();
    folder
        .prep("export d --to sentence-transformers --out other --negatives 51")
        .failed_with(&["`--negatives`: 51 are more than the 50 of the plan"]);
    folder.prep("export d --to jsonl --out d.jsonl --negatives 1").failed_with(&["`--negatives`"]);
}

#[test]
fn a_name_that_promises_something_else_is_refused_before_any_work() {
    let folder = demo("");
    for (format, name) in [
        ("arrow", "d.arrow.zst"),
        ("jsonl", "d.jsonl.gz"),
        ("jsonl", "d.jsonl.ZST"),
        ("flag-embedding", "d.jsonl.zst"),
    ] {
        let export = format!("export d --to {format} --out {name}");
        folder.prep(&export).failed_with(&[name, "not be compressed as its name says", "hint: "]);
    }
    folder.prep("export d --to jsonl --out d.jsonl/").failed_with(&["the name is a folder's"]);
}

/// An id that a terminal would take for a command shows as text.
#[test]
fn what_is_refused_is_shown_without_commands_to_the_terminal() {
    let folder = Folder::new();
    folder.write("data/p.jsonl", "{\"q\": \"?\", \"p\": \"!\", \"id\": \"a\\u001b[31m b\"}\n");
    folder.write(
        "p.toml",
        "name = \"p\"\n[[corpora]]\nname = \"p\"\nformat = \"table\"\npath = \"p.jsonl\"\nlanguages = [\"en\"]\n\
         columns = { query = \"q\", passage = \"p\", query_id = \"id\" }\n[batches]\nstrategy = \"x-x-mono\"\n\
         batch_size = 1\n",
    );
    folder.prep("build-shards p.toml --data data --out d --quiet").done();
    let ran = folder
        .prep("export d --to trec-qrels --out q.txt")
        .failed_with(&["cannot export to `q.txt`", "[31m b"]);
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
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
