//! `prep export`: every format keeps batches, order and texts, whatever is in them; what a format cannot hold is refused;
//! nothing is left half-written.

use std::fs;

use serde_json::{Value, json};

use crate::train::folder_with_held_out;
use crate::util::{Folder, files, repository};

/// Formats that hold texts of batches, with the name that they are written under.
const OF_TEXTS: &[(&str, &str)] = &[
    ("jsonl", "x.jsonl"),
    ("jsonl", "x.jsonl.zst"),
    ("arrow", "x.arrow"),
    ("tevatron", "tevatron.jsonl"),
    ("flag-embedding", "flag.jsonl"),
    ("datasets", "datasets"),
    ("sentence-transformers", "st"),
    ("mds", "mds"),
    ("webdataset", "webdataset"),
    ("tfrecord", "tfrecord"),
];

/// What has ended a field, a string or a path somewhere.
const HOSTILE: [&str; 6] = [
    "../../etc/passwd",
    "quote \" quote ' comma , back\\slash \\n",
    "NUL \0, bell \u{7}, delete \u{7f}",
    "lines\nof\r\na\ttext\u{2028}\u{85}",
    "right \u{202e}to\u{202c} left \u{200f}שלום, null, NaN, {\"a\": [1]}",
    "\u{feff}mark, \u{fffd}, \u{10ffff}, e\u{301} and é, 𝄞",
];

/// A pipeline whose ids and texts are all of these.
fn hostile() -> Folder {
    let folder = Folder::new();
    let rows = HOSTILE.iter().enumerate().flat_map(|(i, text)| {
        (0..3).map(move |n| {
            let passage = (i + n) % HOSTILE.len();
            json!({
                "q": format!("question {text}"),
                "id": format!("q{i} {text}"),
                "p": format!("passage {}", HOSTILE[passage]),
                "pid": format!("p{passage} {}", HOSTILE[passage]),
                "rel": i32::from(n == 0),
            })
        })
    });
    folder.write("data/de.jsonl", rows.map(|row| row.to_string() + "\n").collect::<String>());
    folder.write(
        "p.toml",
        "name = \"test\"\n[[corpora]]\nname = \"d\"\nformat = \"table\"\npath = \"de.jsonl\"\nlanguages = [\"de\"]\n\
         columns = { query = \"q\", passage = \"p\", query_id = \"id\", passage_id = \"pid\", relevance = \"rel\" }\n\
         [batches]\nstrategy = \"x-x-mono\"\nbatch_size = 3\nsteps = 7\n",
    );
    folder
}

/// The demo dataset `d`, with up to two hard negatives a row.
fn folder_with_negatives() -> Folder {
    let folder = Folder::new();
    let (pipeline, data) = (repository().join("pipelines/demo.toml"), repository().join("data"));
    let (pipeline, data) = (pipeline.display(), data.display());
    let sets = "--set batches.negatives=2";
    folder.prep(&format!("build-shards {pipeline} --data {data} --out d --quiet {sets}")).done();
    folder
}

/// Rows of a step as `prep reproduce` derives them.
fn reproduced(folder: &Folder, steps: &str) -> Vec<Value> {
    let batches = folder.prep(&format!("reproduce d --step {steps} --json")).done().json();
    let rows = batches.as_array().unwrap().iter().map(|batch| batch["rows"].as_array().unwrap().clone());
    rows.flatten().collect()
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    bytes.split_inclusive(|&byte| byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn json_lines_are_the_rows_in_their_order() {
    let folder = folder_with_held_out();
    folder.prep("export d --to jsonl --out x.jsonl --steps 3..6").done();
    assert_eq!(lines(&fs::read(folder.path("x.jsonl")).unwrap()), reproduced(&folder, "3..6"));
    folder.prep("export d --to jsonl --out x.jsonl.zst --steps 3..6 --threads 3").done();
    let packed = fs::read(folder.path("x.jsonl.zst")).unwrap();
    assert_eq!(zstd::decode_all(&packed[..]).unwrap(), fs::read(folder.path("x.jsonl")).unwrap());
}

#[test]
fn every_format_is_read_back_and_the_same_bytes_for_any_number_of_threads() {
    let folder = folder_with_negatives();
    for (format, out) in OF_TEXTS {
        let export = format!("export d --to {format} --verify --json");
        let report = folder.prep(&format!("{export} --out one/{out} --threads 1")).done().json();
        assert_eq!(report["verified"], true, "{report}");
        assert_eq!(report["rows"], 16 * report["steps"].as_u64().unwrap(), "{report}");
        folder.prep(&format!("{export} --out three/{out} --threads 3")).done();
        folder.prep(&format!("{export} --out derived/{out} --virtual")).done();
        // Beyond the end of the plan, where there are no shards.
        folder.prep(&format!("{export} --out beyond/{out} --virtual --steps 100000..100002")).done();
    }
    let one = files(&folder.path("one"));
    assert!(one == files(&folder.path("three")));
    // `datasets` copies shards where there are any.
    let mut derived = files(&folder.path("derived"));
    let mut one = one;
    one.retain(|path, _| !path.starts_with("datasets/"));
    derived.retain(|path, _| !path.starts_with("datasets/"));
    assert!(one == derived);
    assert!(one.len() >= OF_TEXTS.len());
}

#[test]
fn hostile_texts_survive_every_format() {
    let folder = hostile();
    folder.prep("build-shards p.toml --data data --out d --quiet").done();
    let texts: Vec<Value> = reproduced(&folder, "0..2").into_iter().map(|row| row["query"].clone()).collect();
    for hostile in HOSTILE {
        assert!(texts.contains(&json!(format!("question {hostile}"))), "{texts:?}");
    }
    for (format, out) in OF_TEXTS {
        folder.prep(&format!("export d --to {format} --out {out} --verify")).done();
    }
    folder.prep("export d --to jsonl --out plain.jsonl --steps 0..2").done();
    assert_eq!(lines(&fs::read(folder.path("plain.jsonl")).unwrap()), reproduced(&folder, "0..2"));
    for (format, what) in [("beir", "has a tab or a line break"), ("trec-qrels", "has white space")] {
        let ran = folder.prep(&format!("export d --to {format} --out refused")).failed_with(&[what, "id"]);
        assert!(ran.stderr.contains("`refused") && !ran.stderr.contains(".partial"), "{}", ran.stderr);
        assert!(!folder.path("refused").exists());
    }
}

#[test]
fn the_held_out_part_is_a_beir_folder() {
    let folder = folder_with_held_out();
    let report = folder.prep("export d --to beir --out beir --verify --json").done().json();
    let read = |name: &str| fs::read(folder.path(&format!("beir/{name}"))).unwrap();
    let (queries, corpus) = (lines(&read("queries.jsonl")), lines(&read("corpus.jsonl")));
    assert_eq!(report["queries"], queries.len());
    assert_eq!(report["passages"], corpus.len());
    let ids = |records: &[Value]| -> Vec<String> {
        records.iter().map(|record| record["_id"].as_str().unwrap().to_owned()).collect()
    };
    let (query_ids, passage_ids) = (ids(&queries), ids(&corpus));
    let qrels = String::from_utf8(read("qrels/test.tsv")).unwrap();
    let mut judgements = qrels.lines();
    assert_eq!(judgements.next(), Some("query-id\tcorpus-id\tscore"));
    let judged: Vec<[&str; 3]> =
        judgements.map(|line| line.split('\t').collect::<Vec<_>>().try_into().unwrap()).collect();
    for [query, passage, relevance] in &judged {
        assert!(query_ids.iter().any(|id| id == query) && passage_ids.iter().any(|id| id == passage));
        relevance.parse::<i32>().unwrap();
    }
    // Each question has an answer in its language and in each other one.
    assert!(queries.len() < judged.len());
    folder.prep("export d --to trec-qrels --out x.qrels --verify").done();
    let trec = fs::read_to_string(folder.path("x.qrels")).unwrap();
    let mut from_trec: Vec<Vec<&str>> = trec.lines().map(|line| line.split(' ').collect()).collect();
    from_trec.iter_mut().for_each(|fields| assert_eq!(fields.remove(1), "0"));
    assert!(from_trec.iter().zip(&judged).all(|(a, b)| a[..] == b[..]) && from_trec.len() == judged.len());
    folder.prep("export d --to beir --out b2 --steps 0..1").failed_with(&["`--steps`", "no batches"]);
}

#[test]
fn an_export_appears_whole_or_not_at_all() {
    let folder = folder_with_held_out();
    folder.prep("export d --to jsonl --out x.jsonl").done();
    let before = fs::read(folder.path("x.jsonl")).unwrap();
    folder.prep("export d --to jsonl --out x.jsonl").failed_with(&["is there already", "hint", "--force"]);
    folder.prep("export d --to beir --out d --force").failed_with(&["is no export"]);
    for inside in ["d/manifest.json", "d/train/x.jsonl", "d/new/folder/x.jsonl"] {
        let export = format!("export d --to jsonl --out {inside} --force");
        folder.prep(&export).failed_with(&["it lies in the dataset", "hint: name a place outside"]);
    }
    folder.prep("verify d --quiet").done();
    folder.prep("export d --to jsonl --out x.jsonl --force --steps 0..1").done();
    assert!(fs::read(folder.path("x.jsonl")).unwrap().len() < before.len());
    let last = "--steps 18446744073709551600..18446744073709551602";
    folder.prep(&format!("export d --to jsonl --out last.jsonl --virtual --verify {last}")).done();
    // Rows that the digest of their batch does not vouch for.
    let shard = folder.path("d/train/batches-00000.parquet");
    let mut bytes = fs::read(&shard).unwrap();
    let index = fs::read(folder.path("d/train/index.parquet")).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle..middle + 64].fill(0);
    fs::write(&shard, &bytes).unwrap();
    for (format, out) in OF_TEXTS {
        let ran = folder.prep(&format!("export d --to {format} --out damaged/{out}"));
        assert_eq!(ran.code, Some(1), "{}", ran.stdout);
        assert!(!folder.path(&format!("damaged/{out}")).exists());
        // What the shards lost, plan and corpus still have.
        folder.prep(&format!("export d --to {format} --out mended/{out} --virtual --verify")).done();
    }
    assert_eq!(fs::read_dir(folder.path("damaged")).unwrap().count(), 0, "nothing is left behind");
    assert_eq!(index, fs::read(folder.path("d/train/index.parquet")).unwrap());
    folder
        .prep("export d --to jsonl --out y.jsonl --steps 5..9999")
        .failed_with(&["9999 are asked for", "--virtual"]);
}
