//! BEIR folders.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use crate::built::{
    BUILD, build, build_with, corpus, gzipped, manifest, passages, qrels, queries, rejects, rows,
    write_pipeline,
};
use crate::util::{Folder, files};

pub fn beir(folder: &Folder, name: &str, qrels: &str) {
    folder.write(
        &format!("data/{name}/corpus.jsonl"),
        "{\"_id\": \"p1\", \"title\": \"Eis\", \"text\": \"Eis ist kalt.\", \"metadata\": {}}\n\
         {\"_id\": \"p2\", \"title\": \"\", \"text\": \"Eis schmilzt.\"}\n\
         {\"_id\": \"p3\", \"text\": \"Feuer ist heiß.\"}\n",
    );
    folder.write(
        &format!("data/{name}/queries.jsonl"),
        "{\"_id\": \"q1\", \"text\": \"Was ist Eis?\"}\n{\"_id\": \"q2\", \"text\": \"Was ist Feuer?\"}\n",
    );
    folder.write(&format!("data/{name}/qrels/test.tsv"), qrels);
}

/// Two passages for `q1`, one that was judged and is not relevant, and two judgements of what is not there.
const QRELS: &str =
    "query-id\tcorpus-id\tscore\nq1\tp1\t1\nq1\tp2\t2\nq1\tp3\t0\nq2\tp3\t1\nq9\tp1\t1\nq2\tp9\t1\n";

#[test]
fn beir_ids_titles_and_judgements_are_kept() {
    let folder = Folder::new();
    beir(&folder, "de", QRELS);
    build(&folder, &corpus("beir", "{lang}", &["de"], ""));
    assert_eq!(
        queries(&folder),
        ["d/de/q1 | d/de/q1 | de | Was ist Eis?", "d/de/q2 | d/de/q2 | de | Was ist Feuer?"]
    );
    assert_eq!(
        passages(&folder),
        [
            "d/de/p1 | d/de/p1 | Eis | Eis ist kalt.",
            "d/de/p2 | d/de/p2 | - | Eis schmilzt.",
            "d/de/p3 | d/de/p3 | - | Feuer ist heiß.",
        ]
    );
    assert_eq!(
        qrels(&folder),
        ["d/de/q1 | d/de/p1 | 1", "d/de/q1 | d/de/p2 | 2", "d/de/q1 | d/de/p3 | 0", "d/de/q2 | d/de/p3 | 1"]
    );
    assert_eq!(
        rejects(&folder),
        [
            "de/qrels/test.tsv | line 6 | unknown_query | q9\tp1\t1",
            "de/qrels/test.tsv | line 7 | unknown_passage | q2\tp9\t1"
        ]
    );
    // One example a relevant pair: q1 with p1, q1 with p2, q2 with p3.
    assert_eq!(manifest(&folder)["counts"]["pools"], json!({"d/de:de": 3}));
    let pairs: BTreeSet<_> =
        rows(&folder, "train/batches-00000", &["query_id", "positive_id"]).into_iter().collect();
    let expected = ["d/de/q1 | d/de/p1", "d/de/q1 | d/de/p2", "d/de/q2 | d/de/p3"].map(str::to_owned);
    assert_eq!(pairs, BTreeSet::from(expected));
}

#[test]
fn beir_reads_the_four_columns_of_trec_and_compressed_parts() {
    let folder = Folder::new();
    beir(&folder, "de", QRELS);
    build(&folder, &corpus("beir", "{lang}", &["de"], ""));
    let expected = files(&folder.path("d/corpus"));
    beir(&folder, "de", "q1\t0\tp1\t1\nq1\t0\tp2\t2\nq1\t0\tp3\t0\nq2\t0\tp3\t1\n");
    let corpus_jsonl = folder.path("data/de/corpus.jsonl");
    folder.write("data/de/corpus.jsonl.gz", gzipped(&fs::read(&corpus_jsonl).unwrap()));
    fs::remove_file(corpus_jsonl).unwrap();
    build_with(&folder, &corpus("beir", "{lang}", &["de"], ""), "--strict");
    assert!(files(&folder.path("d/corpus")) == expected);
}

#[test]
fn beir_judgements_without_a_header_lose_no_line() {
    let folder = Folder::new();
    beir(&folder, "de", "q1\tp1\t1\nq2\tp3\t1\n");
    build_with(&folder, &corpus("beir", "{lang}", &["de"], ""), "--strict");
    assert_eq!(qrels(&folder), ["d/de/q1 | d/de/p1 | 1", "d/de/q2 | d/de/p3 | 1"]);
}

#[test]
fn beir_reads_the_judgements_that_are_named() {
    let folder = Folder::new();
    beir(&folder, "de", QRELS);
    folder.write("data/de/qrels/dev.tsv", "query-id\tcorpus-id\tscore\nq2\tp1\t1\n");
    build(&folder, &corpus("beir", "{lang}", &["de"], "qrels = \"dev\""));
    assert_eq!(qrels(&folder), ["d/de/q2 | d/de/p1 | 1"]);
    folder.write(
        "p.toml",
        corpus("beir", "{lang}", &["de"], "qrels = \"train\"").replacen("[[", "name = \"t\"\n[[", 1),
    );
    folder.prep(BUILD).failed_with(&["data/de/qrels/train.tsv", "No such file"]);
}

#[test]
fn beir_ids_mean_nothing_in_another_language_unless_they_are_said_to() {
    let folder = Folder::new();
    beir(&folder, "de", "q1\tp1\t1\n");
    beir(&folder, "en", "q1\tp2\t1\n");
    let apart = corpus("beir", "{lang}", &["de", "en"], "");
    build(&folder, &apart);
    assert_eq!(qrels(&folder), ["d/de/q1 | d/de/p1 | 1", "d/en/q1 | d/en/p2 | 1"]);
    write_pipeline(&folder, &apart);
    folder
        .prep(&format!("{BUILD} --set batches.strategy=x-y"))
        .failed_with(&["no language pair has examples"]);
    build_with(
        &folder,
        &corpus("beir", "{lang}", &["de", "en"], "parallel = true"),
        "--set batches.strategy=x-y",
    );
    assert_eq!(qrels(&folder), ["d/q1 | d/de/p1 | 1", "d/q1 | d/en/p2 | 1"]);
    assert_eq!(manifest(&folder)["counts"]["pools"], json!({"d/de:en": 1, "d/en:de": 1}));
}

#[test]
fn beir_records_that_stand_twice_or_are_empty_are_refused() {
    let folder = Folder::new();
    beir(&folder, "de", "q1\tp1\t1\nq1\tp1\t1\nq1\tp1\t2\nq2\tp3\tvery\nq2\n");
    let documents = "{\"_id\": \"p1\", \"text\": \"Eis.\"}\n{\"_id\": \"p1\", \"text\": \"Sand.\"}\n\
                     {\"_id\": \"p4\", \"text\": \" \"}\n{\"_id\": \"p3\"}\n";
    folder.write("data/de/corpus.jsonl", documents);
    folder.write(
        "data/de/queries.jsonl",
        "{\"_id\": \"q1\", \"text\": \"Was?\"}\n{\"_id\": \"q1\", \"text\": \"Wer?\"}\n",
    );
    build_with(&folder, &corpus("beir", "{lang}", &["de"], ""), "--set max_rejects=1");
    assert_eq!(
        rows(&folder, "rejects", &["source", "place", "reason"]),
        [
            "de/corpus.jsonl | line 2 | duplicate_id",
            "de/corpus.jsonl | line 3 | passage_empty",
            "de/corpus.jsonl | line 4 | malformed",
            "de/qrels/test.tsv | line 3 | duplicate_id",
            "de/qrels/test.tsv | line 4 | malformed",
            "de/qrels/test.tsv | line 5 | malformed",
            "de/queries.jsonl | line 2 | duplicate_id",
        ]
    );
    // Said twice alike, a judgement counts once.
    assert_eq!(qrels(&folder), ["d/de/q1 | d/de/p1 | 1"]);
}
