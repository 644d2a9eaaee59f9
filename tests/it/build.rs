//! `build-shards`, `--dry-run` and `inspect`: what they say, what they leave behind.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::util::{Folder, files, parquet, pipeline, repository, squad, tally, texts};

/// Two languages, two paragraphs of two sentences, three questions; the first two share their answer sentence.
fn small() -> Folder {
    let folder = Folder::new();
    let document = |first: &str, second: &str, questions: [(&str, &str, i64, &str); 3]| {
        let one: Value = serde_json::from_str(&squad(first, &questions[..2])).unwrap();
        let mut two: Value = serde_json::from_str(&squad(second, &questions[2..])).unwrap();
        let paragraph = two["data"][0]["paragraphs"][0].take();
        let mut document = one;
        document["data"].as_array_mut().unwrap().push(json!({"title": "U", "paragraphs": [paragraph]}));
        document.to_string()
    };
    folder.write(
        "data/de.json",
        document(
            "Eis ist kalt. Feuer ist heiß.",
            "Wasser ist nass. Sand nicht.",
            [
                ("q1", "Was ist kalt?", 0, "Eis"),
                ("q2", "Wie ist Eis?", 8, "kalt"),
                ("q3", "Was ist nass?", 0, "Wasser"),
            ],
        ),
    );
    folder.write(
        "data/en.json",
        document(
            "Ice is cold. Fire is hot.",
            "Water is wet. Sand is not.",
            [
                ("q1", "What is cold?", 0, "Ice"),
                ("q2", "How is ice?", 7, "cold"),
                ("q3", "What is wet?", 0, "Water"),
            ],
        ),
    );
    folder.write("p.toml", pipeline(&["de", "en"], "").replace("x-x-mono", "hybrid"));
    folder
}

const BUILD: &str = "build-shards p.toml --data data --out d";

#[test]
fn rows_carry_every_group_that_their_passages_answer() {
    let folder = small();
    folder
        .prep(&format!("{BUILD} --set batches.batch_size=3 --set batches.steps=6 --set batches.negatives=2"))
        .done();
    let rows = folder.prep("reproduce d --step 0..6 --json").done().json();
    let mut n_shared = 0;
    for batch in rows.as_array().unwrap() {
        let rows = batch["rows"].as_array().unwrap();
        let mut masked = 0;
        for (i, row) in rows.iter().enumerate() {
            let group = row["group_id"].as_str().unwrap();
            // By hand: q1 and q2 share their sentence, q3 has its own; the other sentences answer nothing, so they
            // are the one hard negative that a context of two sentences has.
            let expected = if group == "d/q3" { json!(["d/q3"]) } else { json!(["d/q1", "d/q2"]) };
            assert_eq!(row["positive_group_ids"], expected);
            assert_eq!(row["negative_group_ids"], json!([[]]));
            assert_eq!(row["negatives"].as_array().unwrap().len(), 1);
            for (j, other) in rows.iter().enumerate() {
                let answered = other["positive_group_ids"].as_array().unwrap();
                masked += u64::from(i != j && answered.iter().any(|g| g == group));
            }
            n_shared += usize::from(group != "d/q3");
        }
        assert_eq!(batch["masked_pairs"], json!(masked));
    }
    assert!(0 < n_shared);
}

#[test]
fn a_dry_run_says_what_would_be_built_and_writes_nothing() {
    let folder = small();
    let before = files(&folder.path(""));
    let run = folder.prep(&format!("{BUILD} --set batches.batch_size=3 --dry-run --json")).done().json();
    assert_eq!(files(&folder.path("")), before);
    assert_eq!(run["steps"], json!(4)); // four pools of three examples, three rows a batch
    assert_eq!(run["sources"], json!({"de": 1, "en": 1, "x-y": 2}));
    assert_eq!(run["pipeline"]["batches"]["batch_size"], json!(3));
    let report = folder.prep(&format!("{BUILD} --set batches.batch_size=3 --json")).done().json();
    assert_eq!(run["masked_pairs"], report["masked_pairs"]);
    assert_eq!(run["rows"], report["rows"]);
    assert!(run["expected_bytes"].as_u64().unwrap() < report["bytes"].as_u64().unwrap());
    // For people: the resolved pipeline and the counts.
    let text = folder.prep(&format!("{BUILD} --dry-run")).done().stdout;
    for part in [
        "\"strategy\": \"hybrid\"",
        "masked pairs",
        "expected bytes",
        "sources, by weight  de 1, en 1, x-y 2",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

#[test]
fn the_expected_bytes_are_near_those_that_are_written() {
    let folder = Folder::new();
    let (data, pipeline) = (repository().join("data"), repository().join("pipelines/demo.toml"));
    let arguments =
        ["build-shards", pipeline.to_str().unwrap(), "--data", data.to_str().unwrap(), "--out", "d"];
    let run = folder.prep_args(&[&arguments[..], &["--dry-run", "--json"]].concat()).done().json();
    folder.prep_args(&arguments).done();
    let written: usize = files(&folder.path("d/train"))
        .iter()
        .filter(|(name, _)| name.starts_with("batches"))
        .map(|(_, bytes)| bytes.len())
        .sum();
    let ratio = run["expected_bytes"].as_f64().unwrap() / written as f64;
    assert!((0.5..1.5).contains(&ratio), "{ratio}");
}

#[test]
fn no_pair_of_languages_is_ever_stored() {
    let folder = Folder::new();
    let (data, pipeline) = (repository().join("data"), repository().join("pipelines/demo.toml"));
    let report = folder
        .prep_args(&[
            "build-shards",
            pipeline.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--out",
            "d",
            "--json",
        ])
        .done()
        .json();
    let qrels = parquet(&folder.path("d/corpus/qrels-00000.parquet"));
    // One judgement a question and language, though each question has a relevant passage in all eight.
    assert_eq!(qrels.num_rows() as u64, report["queries"].as_u64().unwrap());
}

#[test]
fn the_demo_runs_as_the_readme_says() {
    let folder = Folder::new();
    for (name, bytes) in files(&repository().join("data")) {
        folder.write(&format!("data/{name}"), bytes);
    }
    folder.write("pipelines/demo.toml", fs::read(repository().join("pipelines/demo.toml")).unwrap());
    folder.prep("build-shards").done();
    folder.prep("verify out/demo").done();
    folder.prep("reproduce out/demo --step 3").done();
    let summary = folder.prep("inspect out/demo --json").done().json();
    assert_eq!(summary["languages"].as_object().unwrap().len(), 8);
    let text = folder.prep("inspect out/demo").done().stdout;
    insta::assert_snapshot!(text);
}

#[test]
fn the_demo_corpus_is_parallel_and_whole() {
    let folder = Folder::new();
    let (data, pipeline) = (repository().join("data"), repository().join("pipelines/demo.toml"));
    folder
        .prep_args(&[
            "build-shards",
            pipeline.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--out",
            "d",
            "--strict",
        ])
        .done();
    let queries = parquet(&folder.path("d/corpus/queries-00000.parquet"));
    let counts = tally(&queries, "lang");
    assert!(6 <= counts.len() && counts.values().all(|n| 60 <= *n), "{counts:?}");
    let groups = tally(&queries, "group_id");
    assert!(groups.values().all(|n| *n == counts.len() as u64), "a group in every language");
    assert!(texts(&queries, "text").iter().all(|t| t.as_ref().is_some_and(|t| t.trim() == t)));
}

#[test]
fn strategies_and_other_keys_can_be_set() {
    let folder = small();
    let mono =
        folder.prep(&format!("{BUILD} --dry-run --json --set batches.strategy=x-x-mono")).done().json();
    assert_eq!(mono["sources"], json!({"de": 1, "en": 1}));
    let cross = folder.prep(&format!("{BUILD} --dry-run --json --set batches.strategy=x-y")).done().json();
    assert_eq!(cross["sources"], json!({"x-y": 1}));
    let other = folder
        .prep(&format!("{BUILD} --dry-run --json --set corpora.d.languages=['de']"))
        .failed_with(&["no cross-lingual pair"]);
    assert!(other.stderr.contains("hint: strategy `x-x-mono`"), "{}", other.stderr);
    folder.write("p.toml", pipeline(&["de", "en"], "epochs = 5"));
    let steps = folder.prep(&format!("{BUILD} --dry-run --json --set batches.steps=7")).done().json();
    assert_eq!(steps["steps"], json!(7), "steps take the place of the file's epochs");
    let seeded = folder.prep(&format!("{BUILD} --dry-run --json --seed 18446744073709551615")).done().json();
    assert_eq!(seeded["pipeline"]["seed"], json!(u64::MAX));
}

/// Questions whose passages were all filtered out are counted by no paragraph: they are not held out for nothing.
#[test]
fn a_split_by_paragraph_counts_paragraphs_only() {
    let folder = Folder::new();
    let (data, pipeline) = (repository().join("data"), repository().join("pipelines/demo.toml"));
    let (data, pipeline) = (data.to_str().unwrap(), pipeline.to_str().unwrap());
    let settings = [
        "filters.passage_chars.max=60",
        "split.eval.by=paragraph",
        "split.eval.fraction=0.2",
        "batches.batch_size=2",
    ];
    let mut arguments = vec!["build-shards", pipeline, "--data", data, "--out", "d"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    folder.prep_args(&arguments).done();
    let table = |name: &str| parquet(&folder.path(&format!("d/corpus/{name}-00000.parquet")));
    let held_out = |name: &str, id: &str| -> BTreeSet<Option<String>> {
        let rows = table(name);
        let ids = texts(&rows, id).into_iter().zip(texts(&rows, "split"));
        ids.filter(|(_, split)| split.as_deref() == Some("eval")).map(|(id, _)| id).collect()
    };
    let judged: BTreeSet<_> = texts(&table("qrels"), "group_id").into_iter().collect();
    let groups = held_out("queries", "group_id");
    assert!(!groups.is_empty() && groups.is_subset(&judged), "every question held out has an answer");
    let contexts: BTreeSet<_> = texts(&table("passages"), "context_id").into_iter().collect();
    assert!(held_out("passages", "context_id").len() * 5 <= contexts.len(), "a fifth at most");
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let folder = small();
    for (settings, found) in [
        (
            "--set batches.steps=9000000000000000000 --set batches.batch_size=3",
            "more rows than can be counted",
        ),
        ("--set batches.epochs=9000000000000000000", "more rows than can be counted"),
        (
            "--set batches.steps=200000 --set shards.steps_per_shard=1 --set batches.batch_size=1",
            "200000 shard files, more than 100000",
        ),
    ] {
        folder.prep(&format!("{BUILD} {settings}")).failed_with(&[found]);
    }
    // A shard that could hold more than there is holds what there is.
    folder.prep(&format!("{BUILD} --set shards.steps_per_shard=9000000000000000000")).done();
    folder.prep("verify d").done();
}

#[test]
fn a_crashed_build_is_cleared_away_by_the_next() {
    let folder = small();
    folder.write(".d.partial/train/batches-00000.parquet", "half");
    folder.write(".d.partial/.lock", "");
    folder.prep(BUILD).done();
    folder.prep("verify d").done();
    assert!(!folder.path(".d.partial").exists());
}

/// The folder is held until it is the dataset: a second build writes nothing into what the first one moves into place.
#[test]
fn a_folder_that_is_being_committed_takes_nothing_more() {
    let folder = small();
    let partial = folder.path(".d.partial");
    fs::create_dir(&partial).unwrap();
    let held = fs::File::open(&partial).unwrap();
    held.lock().unwrap();
    folder.prep(BUILD).failed_with(&["`d`: another build of this dataset is under way", "hint: wait for it"]);
    assert_eq!(fs::read_dir(&partial).unwrap().count(), 0);
    drop(held);
    folder.prep(BUILD).done();
    folder.prep("verify d").done();
}

#[test]
fn force_replaces_a_dataset() {
    let folder = small();
    folder.prep(BUILD).done();
    let before = files(&folder.path("d"));
    folder.prep(BUILD).failed_with(&["`d`: is there already", "--force"]);
    assert_eq!(files(&folder.path("d")), before);
    folder.prep(&format!("{BUILD} --force --seed 7")).done();
    folder.prep("verify d").done();
    assert_ne!(files(&folder.path("d"))["plan.json"], before["plan.json"]);
    assert!(!folder.path(".d.partial").exists());
}

#[test]
fn results_go_to_stdout_and_progress_to_stderr() {
    let folder = small();
    let ran = folder.prep(&format!("{BUILD} --json")).done();
    assert_eq!(ran.json()["queries"], json!(6));
    assert!(ran.stderr.lines().all(|line| line.starts_with("prep: ")), "{}", ran.stderr);
    assert_eq!(folder.prep("verify d --quiet").done().stderr, "");
}
