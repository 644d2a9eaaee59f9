//! Token ids in the batches: those of the tokenizer, whatever the threads, and no part of any digest.

use std::collections::BTreeMap;
use std::fs;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use serde_json::{Value, json};

use crate::proof::replace_file;
use crate::util::{Folder, Ran, files, parquet, repository, texts};

const WORDS: [&str; 8] = ["the", "The", "of", "is", "der", "die", "Der", "ist"];

/// Words between white space. What it says of truncation and padding would leave four ids of every text.
fn tokenizer(words: &[&str]) -> Value {
    let special = ["<pad>", "<s>", "</s>", "<unk>"];
    let vocab: BTreeMap<&str, usize> =
        special.iter().chain(words).enumerate().map(|(id, word)| (*word, id)).collect();
    let token = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let known = |id: &str, n: u32| json!({"id": id, "ids": [n], "tokens": [id]});
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 4}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "<pad>"},
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "TemplateProcessing", "single": [token("<s>"), text("A"), token("</s>")],
            "pair": [text("A"), text("B")], "special_tokens": {"<s>": known("<s>", 1), "</s>": known("</s>", 2)}},
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    })
}

/// The same by hand: `<s>`, a number for each word, `</s>`.
fn ids_of(text: &str) -> Vec<i32> {
    let id = |word: &str| WORDS.iter().position(|known| *known == word).map_or(3, |at| at as i32 + 4);
    [1].into_iter().chain(text.split_whitespace().map(id)).chain([2]).collect()
}

fn with_tokenizer() -> Folder {
    let folder = Folder::new();
    folder.write("tok/words.json", tokenizer(&WORDS).to_string());
    folder
}

/// Builds the demo with hard negatives.
fn run(folder: &Folder, out: &str, more: &[&str]) -> Ran {
    let (data, pipeline) = (repository().join("data"), repository().join("pipelines/demo.toml"));
    let (data, pipeline) = (data.to_str().unwrap(), pipeline.to_str().unwrap());
    let sets =
        ["--set", "batches.negatives=2", "--set", "batches.steps=30", "--set", "shards.steps_per_shard=7"];
    let arguments = ["build-shards", pipeline, "--data", data, "--out", out, "-q"];
    folder.prep_args(&[&arguments[..], &sets, more].concat())
}

fn manifest(folder: &Folder, dataset: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.path(&format!("{dataset}/manifest.json"))).unwrap()).unwrap()
}

fn numbers(list: &ArrayRef) -> Vec<i32> {
    list.as_primitive::<Int32Type>().values().to_vec()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"))
}

#[test]
fn rows_hold_the_ids_of_their_texts_whole() {
    let folder = with_tokenizer();
    run(&folder, "d", &["--tokenizer", "tok/words.json"]).done();
    let (mut n_known, mut n_long) = (0, 0);
    for shard in 0..5 {
        let rows = parquet(&folder.path(&format!("d/train/batches-{shard:05}.parquet")));
        for side in ["query", "positive"] {
            let ids = column(&rows, &format!("{side}_input_ids")).as_list::<i32>();
            for (row, text) in texts(&rows, side).into_iter().enumerate() {
                let found = numbers(&ids.value(row));
                assert_eq!(found, ids_of(&text.unwrap()));
                n_known += found.iter().filter(|id| 3 < **id).count();
                n_long += usize::from(4 < found.len());
            }
        }
        let ids = column(&rows, "negative_input_ids").as_list::<i32>();
        let negatives = column(&rows, "negatives").as_list::<i32>();
        for row in 0..rows.num_rows() {
            let (ids, negatives) = (ids.value(row), negatives.value(row));
            let ids: Vec<Vec<i32>> =
                ids.as_list::<i32>().iter().map(|list| numbers(&list.unwrap())).collect();
            let expected: Vec<Vec<i32>> =
                negatives.as_string::<i32>().iter().map(|text| ids_of(text.unwrap())).collect();
            assert_eq!(ids, expected);
            assert_eq!(ids.len(), 2);
        }
    }
    assert!(0 < n_known && 0 < n_long);
    // Verified, and listed with its bytes.
    folder.prep("verify d -q").done();
    assert_eq!(
        fs::read(folder.path("d/tokenizer.json")).unwrap(),
        fs::read(folder.path("tok/words.json")).unwrap()
    );
}

#[test]
fn tokens_change_no_digest_and_not_the_id() {
    let folder = with_tokenizer();
    run(&folder, "with", &["--tokenizer", "tok/words.json"]).done();
    run(&folder, "without", &[]).done();
    let (with, without) = (manifest(&folder, "with"), manifest(&folder, "without"));
    assert_eq!(with["dataset_id"], without["dataset_id"]);
    let bytes = fs::read(folder.path("tok/words.json")).unwrap();
    let digest = blake3::hash(&bytes).to_hex().to_string();
    assert_eq!(with["tokenizer"], json!({"name": "words.json", "digest": digest}));
    assert_eq!(without.get("tokenizer"), None);
    let (with, without) = (files(&folder.path("with")), files(&folder.path("without")));
    let differing: Vec<&str> = with
        .iter()
        .filter(|(name, bytes)| without.get(*name) != Some(bytes))
        .map(|(name, _)| name.split("-0").next().unwrap())
        .collect();
    let expected = [&["README.md", "manifest.json", "tokenizer.json"][..], &["train/batches"; 5]].concat();
    assert_eq!(differing, expected);
    // Batches are reproduced without them, and still agree with the index.
    let batch = folder.prep("reproduce with --step 3 --json -q").done().json();
    assert_eq!(batch[0]["agrees_with_index"], json!(true));
}

#[test]
fn tokens_are_the_same_for_any_thread_count() {
    let folder = with_tokenizer();
    let build = |out: &str, threads: &str| {
        run(&folder, out, &["--tokenizer", "tok/words.json", "--threads", threads]).done();
        files(&folder.path(out))
    };
    let expected = build("one", "1");
    for threads in ["2", "3"] {
        assert!(build(threads, threads) == expected, "{threads} threads");
    }
}

#[test]
fn a_pipeline_names_a_tokenizer_below_its_data_and_the_command_line_wins() {
    let folder = with_tokenizer();
    folder.write("data/tok/other.json", tokenizer(&["what"]).to_string());
    for lang in ["de", "en"] {
        let source = fs::read(repository().join(format!("data/demo/{lang}.json"))).unwrap();
        folder.write(&format!("data/{lang}.json"), source);
    }
    let named = format!("tokenizer = \"tok/other.json\"\n{}", crate::util::pipeline(&["de", "en"], ""));
    folder.write("p.toml", named);
    let build = "build-shards p.toml --data data -q --set batches.steps=3 --out";
    folder.prep(&format!("{build} a")).done();
    let of_pipeline = manifest(&folder, "a");
    assert_eq!(of_pipeline["tokenizer"]["name"], "other.json");
    assert_eq!(of_pipeline["pipeline"]["tokenizer"], "tok/other.json");
    folder.prep(&format!("{build} b --tokenizer tok/words.json")).done();
    let of_option = manifest(&folder, "b");
    assert_eq!(of_option["tokenizer"]["name"], "words.json");
    assert_eq!(of_option["pipeline"].get("tokenizer"), None);
    folder.prep("verify a -q").done();
    folder.prep("verify b -q").done();
    folder.prep(&format!("{build} c --set tokenizer=../tok/words.json")).failed_with(&[
        "setting `tokenizer`",
        "leads out of the data folder",
        "`--tokenizer`",
    ]);
}

#[test]
fn a_token_that_does_not_follow_from_its_text_is_named() {
    let folder = with_tokenizer();
    run(&folder, "d", &["--tokenizer", "tok/words.json"]).done();
    let root = folder.path("d");
    // Other numbers for the same words, with every digest that says so.
    let other = tokenizer(&["of", "is", "ist", "The", "the", "der", "die", "Der"]).to_string();
    replace_file(&root, "tokenizer.json", other.as_bytes());
    let ran = folder.prep("verify d -q").failed_with(&["1 difference"]);
    assert!(
        ran.stdout.contains("tokenizer.json: `d/tokenizer.json`: is not the tokenizer"),
        "{}",
        ran.stdout
    );
    let mut manifest = manifest(&folder, "d");
    manifest["tokenizer"]["digest"] = json!(blake3::hash(other.as_bytes()).to_hex().to_string());
    fs::write(root.join("manifest.json"), serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
    let ran = folder.prep("verify d -q").failed_with(&["difference"]);
    assert!(ran.stdout.contains("_input_ids`: expected [1,"), "{}", ran.stdout);
    // A dataset that hides its tokens, or claims some.
    manifest.as_object_mut().unwrap().remove("tokenizer");
    fs::write(root.join("manifest.json"), serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
    let ran = folder.prep("verify d -q").failed_with(&["1 difference"]);
    assert!(ran.stdout.contains("`tokenizer` and tokenizer.json do not go together"), "{}", ran.stdout);
}

#[test]
fn a_file_that_is_no_tokenizer_is_refused_before_anything_is_read() {
    let folder = with_tokenizer();
    let refused = |name: &str, bytes: &[u8], parts: &[&str]| {
        folder.write(name, bytes);
        run(&folder, "d", &["--tokenizer", name, "--set", "corpora.demo.path=nowhere/{lang}.json"])
            .failed_with(parts);
        assert!(!folder.path("d").exists());
    };
    let unusable = "cannot use tokenizer `t.json`";
    refused(
        "t.json",
        b"{\"model_type\": \"bert\"}",
        &[unusable, "no tokenizer.json", "hint: `save_pretrained`"],
    );
    refused("t.json", b"", &[unusable, "no tokenizer.json"]);
    refused(
        "t.model",
        b"\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02",
        &["`t.model`: it is a SentencePiece model", "hint"],
    );
    refused(
        "t.pkl",
        b"\x80\x04\x95\x10\0\0\0",
        &["`t.pkl`: it is a Python pickle, which is never loaded", "hint"],
    );
    refused("t.bin", b"PK\x03\x04\x14\0", &["`t.bin`: it is a ZIP archive", "hint"]);
    let random = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": 0.1, "vocab": {"a": 0}, "merges": []}});
    refused(
        "t.json",
        random.to_string().as_bytes(),
        &[unusable, "`model.dropout` is 0.1", "at random", "hint"],
    );
    run(&folder, "d", &["--tokenizer", "nowhere.json"])
        .failed_with(&["cannot read tokenizer `nowhere.json`", "caused by: No such file"]);
}

#[test]
fn a_text_that_has_no_ids_is_shown() {
    let folder = Folder::new();
    let mut without_unknown = tokenizer(&WORDS);
    without_unknown["model"]["unk_token"] = json!("[UNK]");
    folder.write("t.json", without_unknown.to_string());
    run(&folder, "d", &["--tokenizer", "t.json"])
        .failed_with(&["cannot use tokenizer `t.json`: no ids for `"]);
    assert!(!folder.path("d").exists());
}
