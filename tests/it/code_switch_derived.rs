//! Batches with switched words, derived in every way: on any number of threads, without shards, in exports, in Python.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use arrow::array::AsArray;
use serde_json::{Value, json};

use crate::code_switch::{
    ALL, LEXICON, SOME, TEXTS, build, column, manifest, only, pipeline, rows, with_texts,
};
use crate::eval_oracle::python;
use crate::util::{Folder, files, real_corpora, repository};

#[test]
fn a_dataset_is_the_same_for_any_thread_count() {
    let folder = with_texts();
    let of = |threads: &str| {
        build(&folder, SOME, &format!("--out t{threads} --threads {threads}")).done();
        files(&folder.path(&format!("t{threads}")))
    };
    let expected = of("1");
    for threads in ["2", "3"] {
        assert!(of(threads) == expected, "{threads} threads");
    }
}

#[test]
fn every_way_to_derive_a_batch_gives_the_same() {
    let folder = with_texts();
    build(&folder, SOME, "--out d").done();
    folder.prep("verify d --quiet").done();
    let reproduce = |more: &str| {
        let batches = folder.prep(&format!("reproduce d --step 0..40 --json --quiet {more}")).done().json();
        let of = |key: &str| -> Vec<Value> {
            batches.as_array().unwrap().iter().map(|batch| batch[key].clone()).collect()
        };
        (of("digest"), of("rows"))
    };
    let expected = reproduce("");
    assert!(expected.1.iter().any(|rows| rows[0]["query_original"].is_string()));
    assert_eq!(reproduce("--from-sources data"), expected);
    let table = rows(&folder, "d");
    let queries: Vec<Option<String>> = expected
        .1
        .iter()
        .flat_map(|rows| rows.as_array().unwrap())
        .map(|row| row["query"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(queries, column(&table, "query"));
    fs::remove_file(folder.path("d/corpus/lookup.bin")).unwrap();
    assert_eq!(reproduce(""), expected);
    fs::remove_dir_all(folder.path("d/train")).unwrap();
    assert_eq!(reproduce(""), expected);
    // A lexicon that has changed is another source.
    folder.write("data/words.tsv", LEXICON.replace("Haus", "Heim"));
    folder
        .prep("reproduce d --step 3 --from-sources data")
        .failed_with(&["words.tsv", "is not the file that the dataset was built from"]);
}

#[test]
fn exports_hold_the_switched_texts_from_shards_and_derived() {
    let folder = with_texts();
    build(&folder, SOME, "--out d").done();
    for (format, path) in [
        ("jsonl", "e.jsonl"),
        ("arrow", "e.arrow"),
        ("tevatron", "t.jsonl"),
        ("datasets", "hf"),
        ("mds", "mds"),
        ("sentence-transformers", "st.parquet"),
    ] {
        for (origin, more) in [("a", ""), ("b", "--virtual")] {
            let export = format!("export d --to {format} --out {origin}/{path} --verify --quiet {more}");
            fs::create_dir_all(folder.path(origin)).unwrap();
            folder.prep(&export).done();
        }
        let of = |origin: &str| files(&folder.path(origin));
        let jsonl = |origin: &str| of(origin).get("e.jsonl").cloned();
        assert_eq!(jsonl("a"), jsonl("b"), "{format}");
    }
    let lines = fs::read_to_string(folder.path("a/e.jsonl")).unwrap();
    let queries: Vec<Option<String>> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["query"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(queries, column(&rows(&folder, "d"), "query"));
    // Whatever else looks at batches.
    folder.prep("inspect d --quiet").done();
    folder.prep("inspect d --step 3 --quiet").done();
    folder.prep("diff d d --quiet").done();
    build(&folder, ALL, "--out all").done();
    let ran = folder.prep("diff d all --json --quiet");
    let plan = ran.json()["plan"].to_string();
    assert!(plan.contains("code_switch"), "{plan}");
    folder.prep("report all --out report.html --quiet").done();
    let page = fs::read_to_string(folder.path("report.html")).unwrap();
    let first = rows(&folder, "all");
    for text in ["query", "query_original"].map(|name| column(&first, name)[0].clone().unwrap()) {
        assert!(page.contains(&format!(">{text}</span>")), "{text}");
    }
}

#[test]
fn token_ids_are_those_of_the_switched_texts() {
    let folder = with_texts();
    // Another id for every character, so that ids tell texts apart.
    let letters: BTreeSet<char> = TEXTS
        .iter()
        .flat_map(|(_, a, b, c)| [*a, *b, *c])
        .chain(LEXICON.lines())
        .flat_map(str::chars)
        .flat_map(|c| c.to_uppercase().chain([c]))
        .collect();
    let vocab: BTreeMap<String, usize> =
        letters.iter().map(|c| format!("{c}")).zip(1..).chain([("<unk>".to_owned(), 0)]).collect();
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "post_processor": null, "decoder": null, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}});
    folder.write("t.json", tokenizer.to_string());
    build(&folder, SOME, "--out d --tokenizer t.json").done();
    build(&folder, SOME, "--out without").done();
    assert_eq!(manifest(&folder, "d")["dataset_id"], manifest(&folder, "without")["dataset_id"]);
    folder.prep("verify d --quiet").done();
    let rows = rows(&folder, "d");
    let ids_of = |text: &str| -> Vec<i32> { text.chars().map(|c| vocab[&c.to_string()] as i32).collect() };
    for side in ["query", "positive"] {
        let ids = rows.column_by_name(&format!("{side}_input_ids")).unwrap().as_list::<i32>();
        for (row, text) in column(&rows, side).into_iter().enumerate() {
            let found = ids.value(row);
            let found = found.as_primitive::<arrow::datatypes::Int32Type>().values().to_vec();
            assert_eq!(found, ids_of(&text.unwrap()), "{side} {row}");
        }
    }
    let ids = rows.column_by_name("negative_input_ids").unwrap().as_list::<i32>();
    for (row, text) in only(&rows, "negatives").into_iter().enumerate() {
        let found = ids.value(row).as_list::<i32>().value(0);
        let found = found.as_primitive::<arrow::datatypes::Int32Type>().values().to_vec();
        assert_eq!(found, ids_of(&text.unwrap()));
    }
    let names: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names[16..19], ["query_input_ids", "positive_input_ids", "negative_input_ids"]);
    assert_eq!(names[19..], ["query_original", "positive_original", "negatives_original"]);
}

pub fn derived_in_python(folder: &Folder, dataset: &str, test: &str) {
    let Some(python) = python(test, "pyarrow, blake3") else { return };
    let output = Command::new(python)
        .arg(repository().join("tests/it/code_switch.py"))
        .arg(folder.path(dataset))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    println!("{test}: {stdout}");
}

#[test]
fn python_derives_every_batch_from_the_specification() {
    let folder = with_texts();
    for (name, setting) in
        [("a", SOME.to_owned()), ("b", ALL.to_owned()), ("c", format!("{SOME}\nsides = \"queries\""))]
    {
        build(&folder, &setting, &format!("--out {name}")).done();
        derived_in_python(&folder, name, "python_derives_every_batch_from_the_specification");
    }
}

#[test]
fn real_lexicons_switch_real_questions() {
    let test = "real_lexicons_switch_real_questions";
    let Some(data) = real_corpora(test) else { return };
    let folder = Folder::new();
    let pipeline = repository().join("pipelines/xquad-r-code-switch.toml");
    let (pipeline, data) = (pipeline.to_str().unwrap(), data.to_str().unwrap());
    let build = ["build-shards", pipeline, "--data", data, "--out", "d", "--quiet", "--json"];
    let few = ["--set", "batches.steps=60", "--set", "batches.negatives=2"];
    let report = folder.prep_args(&[&build[..], &few].concat()).done().json();
    let switches = report["code_switch"].as_object().unwrap();
    assert_eq!(switches.len(), 11);
    for (lang, counts) in switches {
        let n = |key: &str| counts[key].as_u64().unwrap();
        assert!(0 < n("switched") && n("switched") < n("drawn"), "{lang}: {counts}");
        assert!(n("words") / 50 < n("translated") && n("translated") < n("words"), "{lang}: {counts}");
    }
    let by = switches["th"]["switched_by"].as_object().unwrap();
    assert_eq!(by.keys().collect::<Vec<_>>(), ["omw-wikt", "panlex-bli", "panlex-swadesh207"]);
    folder.prep("verify d --quiet").done();
    let batch = folder.prep("reproduce d --step 59 --json --quiet").done().json();
    assert_eq!(batch[0]["agrees_with_index"], json!(true));
    derived_in_python(&folder, "d", test);
}

/// The demo in German and English as dataset `s`, with some of its words switched wherever they can be.
pub fn build_demo(folder: &Folder) {
    let demo = fs::read_to_string(repository().join("pipelines/demo.toml")).unwrap();
    folder.write("data/words.tsv", "de\ten\nMond\tMoon\nErde\tEarth\nist\tis\nvon\tof\n");
    for (name, bytes) in files(&repository().join("data")) {
        folder.write(&format!("data/{name}"), bytes);
    }
    let section = pipeline(ALL).split_once("[code_switch]").unwrap().1.to_owned();
    let section = section.replace("[\"de\", \"en\", \"ja\", \"th\", \"zh\"]", "[\"de\", \"en\"]");
    folder.write("p.toml", format!("{demo}\n[code_switch]{section}"));
    let two = "--set corpora.demo.languages=[\"de\",\"en\"]";
    folder.prep(&format!("build-shards p.toml --data data --out s --quiet {two}")).done();
}

/// The trainer reads the switched texts: a run over the dataset ends, and says how many masked pairs it met.
#[test]
fn a_trainer_takes_a_switched_dataset() {
    let folder = crate::train::folder();
    build_demo(&folder);
    for (out, more) in [("a", ""), ("b", "--virtual")] {
        let train =
            format!("train s --init tiny --tokenizer tokenizer.json --steps 3 --out {out} --quiet {more}");
        folder.prep(&train).done();
    }
    let weights = |run: &str| {
        let found = files(&folder.path(run)).into_iter().find(|(name, _)| name.ends_with(".safetensors"));
        found.unwrap_or_else(|| panic!("{run} has no weights"))
    };
    assert_eq!(weights("a"), weights("b"));
}
