//! `prep tokenizer train`: the same bytes everywhere, a file that others load, and pieces as good as others'.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::{AddedToken, Tokenizer};

use crate::util::{Folder, parquet, prep_command, repository, texts};

/// The demo with a split.
fn demo() -> Folder {
    let folder = Folder::new();
    let (data, pipeline) = (repository().join("data"), repository().join("pipelines/demo.toml"));
    let sets =
        ["--set", "batches.steps=3", "--set", "split.eval.by=title", "--set", "split.eval.fraction=0.25"];
    let arguments =
        ["build-shards", pipeline.to_str().unwrap(), "--data", data.to_str().unwrap(), "--out", "d", "-q"];
    folder.prep_args(&[&arguments[..], &sets].concat()).done();
    folder
}

fn train(folder: &Folder, more: &str) -> Value {
    folder.prep(&format!("tokenizer train d --vocab 1500 --json -q {more}")).done().json()
}

/// Distinct texts of questions and passages.
fn demo_texts(folder: &Folder, with_eval: bool) -> Vec<String> {
    let mut found = BTreeSet::new();
    for table in ["queries", "passages"] {
        let rows = parquet(&folder.path(&format!("d/corpus/{table}-00000.parquet")));
        for (text, split) in texts(&rows, "text").into_iter().zip(texts(&rows, "split")) {
            if with_eval || split.as_deref() == Some("train") {
                found.insert(text.unwrap());
            }
        }
    }
    found.into_iter().collect()
}

#[test]
fn every_byte_is_the_same_for_any_thread_count_and_process() {
    let folder = demo();
    let report = train(&folder, "--out one.json --threads 1");
    let expected = fs::read(folder.path("one.json")).unwrap();
    assert_eq!(report["digest"], json!(blake3::hash(&expected).to_hex().to_string()));
    for threads in ["2", "3", "5"] {
        let out = format!("{threads}.json");
        // Both ways of setting them: the option, and what the thread pool reads where nobody says.
        let mut command = prep_command();
        command.args([
            "tokenizer",
            "train",
            "d",
            "--vocab",
            "1500",
            "-q",
            "--threads",
            threads,
            "--out",
            &out,
        ]);
        let run = command.env("RAYON_NUM_THREADS", threads).current_dir(folder.path(".")).output().unwrap();
        assert!(run.status.success());
        assert!(fs::read(folder.path(&out)).unwrap() == expected, "{threads} threads");
    }
    // The order in which datasets are named, and one of them twice, change nothing.
    folder.prep("tokenizer train d d --vocab 1500 -q --out twice.json").done();
    assert!(fs::read(folder.path("twice.json")).unwrap() == expected);
}

#[test]
fn the_file_loads_and_has_the_ids_that_models_expect() {
    let folder = demo();
    let report = train(&folder, "--out t.json");
    assert_eq!(report["vocab_size"], json!(1500));
    let tokenizer = Tokenizer::from_file(folder.path("t.json")).unwrap();
    assert_eq!(tokenizer.get_vocab_size(true), 1500);
    for (id, token) in (0..).zip(["<pad>", "<s>", "</s>", "<unk>", "<mask>"]) {
        assert_eq!(tokenizer.token_to_id(token), Some(id));
    }
    // NFKC, white space folded and trimmed, capital letters kept.
    let encoding = tokenizer.encode("  The\u{a0}\n Ｍｏｏｎ ", true).unwrap();
    let ids = encoding.get_ids();
    assert_eq!((ids[0], *ids.last().unwrap()), (1, 2));
    assert_eq!(tokenizer.decode(ids, true).unwrap(), "The Moon");
    assert_eq!(encoding.get_ids(), tokenizer.encode("The Moon", true).unwrap().get_ids());
    // A character that no text has.
    assert_eq!(tokenizer.encode("ᚠ", true).unwrap().get_ids().last(), Some(&2));
    assert!(tokenizer.encode("ᚠ", true).unwrap().get_ids().contains(&3));
    // With --lowercase the two cases are one.
    train(&folder, "--out lower.json --lowercase");
    let lower = Tokenizer::from_file(folder.path("lower.json")).unwrap();
    assert_eq!(
        lower.encode("The MOON", true).unwrap().get_ids(),
        lower.encode("the moon", true).unwrap().get_ids()
    );
    // And it is what `build-shards` takes.
    let (data, pipeline) = (repository().join("data"), repository().join("pipelines/demo.toml"));
    let arguments =
        ["build-shards", pipeline.to_str().unwrap(), "--data", data.to_str().unwrap(), "--out", "e", "-q"];
    folder.prep_args(&[&arguments[..], &["--tokenizer", "t.json"]].concat()).done();
    folder.prep("verify e -q").done();
}

#[test]
fn held_out_texts_are_not_trained_on_unless_asked_for() {
    let folder = demo();
    let (of_train, of_all) = (demo_texts(&folder, false).len(), demo_texts(&folder, true).len());
    assert!(of_train < of_all);
    assert_eq!(train(&folder, "--out train.json")["texts"], json!(of_train));
    assert_eq!(train(&folder, "--out all.json --from all")["texts"], json!(of_all));
    let other = fs::read(folder.path("all.json")).unwrap();
    assert!(fs::read(folder.path("train.json")).unwrap() != other);
}

/// The trainer of the `tokenizers` crate, with the same normaliser, words, vocabulary and characters.
#[test]
fn words_are_cut_into_as_few_pieces_as_by_the_trainer_of_hugging_face() {
    let folder = demo();
    train(&folder, "--out ours.json --coverage 1");
    let texts = demo_texts(&folder, false);
    let ours = Tokenizer::from_file(folder.path("ours.json")).unwrap();
    let mut theirs = Tokenizer::new(Unigram::default());
    theirs.with_normalizer(ours.get_normalizer().cloned()).unwrap();
    theirs.with_pre_tokenizer(ours.get_pre_tokenizer().cloned());
    let special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"].map(|token| AddedToken::from(token, true));
    let mut trainer: TrainerWrapper = UnigramTrainer::builder()
        .show_progress(false)
        .vocab_size(1500)
        .special_tokens(special.to_vec())
        .unk_token(Some("<unk>".to_owned()))
        .build()
        .unwrap()
        .into();
    theirs.train(&mut trainer, texts.iter()).unwrap();
    assert_eq!(theirs.get_vocab_size(true), 1500);
    let count = |tokenizer: &Tokenizer| -> usize {
        texts.iter().map(|text| tokenizer.encode(text.as_str(), false).unwrap().len()).sum()
    };
    let ratio = count(&ours) as f64 / count(&theirs) as f64;
    println!("pieces of the demo, ours over theirs: {ratio:.4}");
    assert!(ratio < 1.03, "{ratio}");
}

#[test]
fn what_cannot_be_trained_is_said() {
    let folder = demo();
    let run = |more: &str| folder.prep(&format!("tokenizer train {more}"));
    run("d --vocab 200 --coverage 1 --out t.json -q").failed_with(&[
        "setting `--vocab`: 195 pieces besides the special tokens, fewer than the",
        "hint: a larger",
    ]);
    assert!(!folder.path("t.json").exists());
    run("nowhere -q --out t.json").failed_with(&["`nowhere`: no manifest.json, so no dataset"]);
    folder.write("t.json", "mine");
    run("d --vocab 1500 -q --out t.json")
        .failed_with(&["`t.json` is there already", "`--force` replaces it"]);
    assert_eq!(fs::read_to_string(folder.path("t.json")).unwrap(), "mine");
    run("d --vocab 1500 -q --out t.json --force").done();
    assert!(Path::new(&folder.path("t.json")).metadata().unwrap().len() > 1000);
    assert_eq!(run("-q").code, Some(2));
    assert_eq!(run("d --coverage 0").code, Some(2));
    // A vocabulary that the texts cannot fill is smaller, and the report says so.
    let report = run("d --vocab 500000 --json -q --out large.json").done().json();
    assert!(report["vocab_size"].as_u64().unwrap() < 100_000);
}
