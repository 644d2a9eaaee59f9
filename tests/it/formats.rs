//! Source formats, filters and splits: small files made by hand, and the tables that have to come of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::util::{Folder, files, parquet, squad, texts};

const BUILD: &str = "build-shards p.toml --data data --out d --quiet --force";

/// Builds `d` from these corpora (and other sections), monolingual batches of one row.
#[track_caller]
pub fn build(folder: &Folder, sections: &str) {
    build_with(folder, sections, "");
}

#[track_caller]
pub fn build_with(folder: &Folder, sections: &str, sets: &str) {
    write_pipeline(folder, sections);
    folder.prep(&format!("{BUILD} {sets}")).done();
}

fn write_pipeline(folder: &Folder, sections: &str) {
    let batches = "[batches]\nstrategy = \"x-x-mono\"\nbatch_size = 1";
    folder.write("p.toml", format!("name = \"test\"\nmax_rejects = 0.5\n{sections}\n{batches}\n"));
}

/// A corpus of dataset `d`: format, path, languages, and further keys.
pub fn corpus(format: &str, path: &str, languages: &[&str], more: &str) -> String {
    format!(
        "[[corpora]]\nname = \"d\"\nformat = {format:?}\npath = {path:?}\nlanguages = {languages:?}\n{more}\n"
    )
}

/// Some columns of a Parquet file of `d`, each row as `a | b`; null is `-`.
#[track_caller]
pub fn rows(folder: &Folder, file: &str, columns: &[&str]) -> Vec<String> {
    let table = parquet(&folder.path(&format!("d/{file}.parquet")));
    let columns: Vec<_> = columns.iter().map(|column| texts(&table, column)).collect();
    let cell =
        |column: &Vec<Option<String>>, row: usize| column[row].clone().unwrap_or_else(|| "-".to_owned());
    (0..table.num_rows())
        .map(|row| columns.iter().map(|column| cell(column, row)).collect::<Vec<_>>().join(" | "))
        .collect()
}

pub fn queries(folder: &Folder) -> Vec<String> {
    rows(folder, "corpus/queries-00000", &["query_id", "group_id", "lang", "text"])
}

pub fn passages(folder: &Folder) -> Vec<String> {
    rows(folder, "corpus/passages-00000", &["passage_id", "context_id", "title", "text"])
}

pub fn qrels(folder: &Folder) -> Vec<String> {
    rows(folder, "corpus/qrels-00000", &["group_id", "passage_id", "relevance"])
}

pub fn rejects(folder: &Folder) -> Vec<String> {
    rows(folder, "rejects", &["source", "place", "reason", "raw"])
}

pub fn manifest(folder: &Folder) -> Value {
    serde_json::from_slice(&fs::read(folder.path("d/manifest.json")).unwrap()).unwrap()
}

pub fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

// The SQuAD family.

/// Two sentences of 14 and 15 characters, with breaks, in an article of two paragraphs; a second article of one.
fn with_breaks() -> String {
    let answer = |id: &str, start: i64, text: &str| json!({"id": id, "question": format!("{id}?"), "answers": [{"answer_start": start, "text": text}]});
    json!({"data": [
        {"title": "Wärme", "paragraphs": [
            {
                "context": "Eis ist kalt. Feuer ist heiß.",
                "sentence_breaks": [[0, 14], [14, 29]],
                "sentences": ["not", "these"],
                "qas": [answer("b", 14, "Feuer"), answer("a", 8, "kalt")],
            },
            {"context": "Sand.", "sentence_breaks": [[0, 5]], "sentences": ["Sand."], "qas": []},
        ]},
        {"title": "Wasser", "paragraphs": [
            // The white space between the sentences belongs to none of them.
            {
                "context": "Nass. Tief.",
                "sentence_breaks": [[0, 5], [6, 11]],
                "sentences": ["Nass.", "Tief."],
                "qas": [answer("c", 6, "Tief"), answer("e", 5, " Tief")],
            },
        ]},
    ]})
    .to_string()
}

#[test]
fn squad_sentences_are_the_slices_that_the_breaks_name() {
    let folder = Folder::new();
    folder.write("data/de.json", with_breaks());
    build(&folder, &corpus("squad", "{lang}.json", &["de"], ""));
    assert_eq!(
        queries(&folder),
        ["d/de/a | d/a | de | a?", "d/de/b | d/b | de | b?", "d/de/c | d/c | de | c?"]
    );
    // Paragraphs are numbered through the file, not the article.
    assert_eq!(
        passages(&folder),
        [
            "d/de/p0/s0 | d/de/p0 | Wärme | Eis ist kalt. ",
            "d/de/p0/s1 | d/de/p0 | Wärme | Feuer ist heiß.",
            "d/de/p1/s0 | d/de/p1 | Wärme | Sand.",
            "d/de/p2/s0 | d/de/p2 | Wasser | Nass.",
            "d/de/p2/s1 | d/de/p2 | Wasser | Tief.",
        ]
    );
    assert_eq!(qrels(&folder), ["d/a | d/de/p0/s0 | 1", "d/b | d/de/p0/s1 | 1", "d/c | d/de/p2/s1 | 1"]);
    let places = rows(&folder, "rejects", &["place", "reason"]);
    assert_eq!(places, ["/data/1/paragraphs/0/qas/1 | answer_not_in_one_sentence"]);
}

#[test]
fn squad_breaks_that_leave_the_context_cost_the_paragraph() {
    let folder = Folder::new();
    folder.write("data/de.json", with_breaks().replace("[[0,5],[6,11]]", "[[0,5],[6,12]]"));
    build(&folder, &corpus("squad", "{lang}.json", &["de"], ""));
    let places = rows(&folder, "rejects", &["source", "place", "reason"]);
    assert_eq!(places, ["de.json | /data/1/paragraphs/0 | sentence_breaks_invalid"]);
    assert_eq!(passages(&folder).len(), 3);
}

#[test]
fn squad_without_breaks_is_cut_by_the_rules_of_unicode() {
    let folder = Folder::new();
    // Offsets are code points: `𝄞` is one, two units of UTF-16 and four bytes. A full stop before a small letter ends
    // no sentence; a Chinese one always does.
    let de = "𝄞 ist ein Schlüssel.  Er steht d. h. links. Ende";
    let zh = "你好。再见。";
    folder.write(
        "data/de.json",
        squad(de, &[("1", "Wer?", 22, "Er"), ("2", "Was?", 0, "𝄞"), ("3", "Wie?", 44, "Ende")]),
    );
    folder.write("data/zh.json", squad(zh, &[("1", "谁？", 3, "再见")]));
    build(&folder, &corpus("squad", "{lang}.json", &["de", "zh"], ""));
    assert_eq!(
        rows(&folder, "corpus/passages-00000", &["passage_id", "text"]),
        [
            "d/de/p0/s0 | 𝄞 ist ein Schlüssel.",
            "d/de/p0/s1 | Er steht d. h. links.",
            "d/de/p0/s2 | Ende",
            "d/zh/p0/s0 | 你好。",
            "d/zh/p0/s1 | 再见。",
        ]
    );
    assert_eq!(
        qrels(&folder),
        ["d/1 | d/de/p0/s1 | 1", "d/1 | d/zh/p0/s1 | 1", "d/2 | d/de/p0/s0 | 1", "d/3 | d/de/p0/s2 | 1"]
    );
}

#[test]
fn squad_paragraphs_may_be_the_passages() {
    let folder = Folder::new();
    folder.write("data/de.json", with_breaks());
    build(&folder, &corpus("squad", "{lang}.json", &["de"], "unit = \"paragraph\""));
    assert_eq!(
        passages(&folder),
        [
            "d/de/p0 | d/de/p0 | Wärme | Eis ist kalt. Feuer ist heiß.",
            "d/de/p1 | d/de/p1 | Wärme | Sand.",
            "d/de/p2 | d/de/p2 | Wasser | Nass. Tief.",
        ]
    );
    // Nothing falls between sentences here, so `e` stays.
    let expected = ["d/a | d/de/p0 | 1", "d/b | d/de/p0 | 1", "d/c | d/de/p2 | 1", "d/e | d/de/p2 | 1"];
    assert_eq!(qrels(&folder), expected);
}

#[test]
fn squad_takes_the_first_good_answer_and_numbers_for_ids() {
    let folder = Folder::new();
    let answers = json!([
        {"text": "", "answer_start": -1},
        {"text": "kalt", "answer_start": 0},
        {"text": "Feuer", "answer_start": null},
        {"text": "Feuer", "answer_start": 14},
        {"text": "Eis", "answer_start": 0},
    ]);
    let unanswerable = json!({"id": 8, "question": "Wo?", "is_impossible": true, "answers": []});
    let questions = json!([{"id": 7, "question": "Was?", "answers": answers}, unanswerable]);
    let paragraph = json!({"context": "Eis ist kalt. Feuer ist heiß.", "qas": questions});
    folder.write("data/de.json", json!({"data": [{"paragraphs": [paragraph]}]}).to_string());
    // A question that has no answer by design is no bad record.
    build_with(&folder, &corpus("squad", "{lang}.json", &["de"], ""), "--strict");
    assert_eq!(queries(&folder), ["d/de/7 | d/7 | de | Was?"]);
    assert_eq!(qrels(&folder), ["d/7 | d/de/p0/s1 | 1"]);
    assert_eq!(passages(&folder)[0], "d/de/p0/s0 | d/de/p0 | - | Eis ist kalt.");
    assert_eq!(
        rows(&folder, "rejects", &["place", "reason"]),
        ["/data/0/paragraphs/0/qas/1 | filter_unanswerable"]
    );
}

#[test]
fn squad_files_of_one_language_are_told_apart_by_their_stem() {
    let folder = Folder::new();
    folder.write("data/de/b.json", squad("Sand.", &[("2", "Was?", 0, "Sand")]));
    folder.write("data/de/a.json.gz", gzipped(squad("Eis.", &[("1", "Was?", 0, "Eis")]).as_bytes()));
    folder.write("data/de/notes.txt", "no part of it");
    build(&folder, &corpus("squad", "{lang}/*.json*", &["de"], ""));
    assert_eq!(
        passages(&folder),
        ["d/de/a/p0/s0 | d/de/a/p0 | T | Eis.", "d/de/b/p0/s0 | d/de/b/p0 | T | Sand."]
    );
    assert_eq!(qrels(&folder), ["d/1 | d/de/a/p0/s0 | 1", "d/2 | d/de/b/p0/s0 | 1"]);
    let inputs = manifest(&folder)["inputs"].clone();
    let names: Vec<_> = inputs.as_array().unwrap().iter().map(|input| input["name"].clone()).collect();
    assert_eq!(names, ["de/a.json.gz", "de/b.json"]);
}

/// Passage ids are unique, whatever the files of a language are called.
#[test]
fn squad_files_whose_names_differ_behind_a_full_stop_are_told_apart_too() {
    let folder = Folder::new();
    folder.write("data/de.train.json", squad("Eis.", &[("1", "Was?", 0, "Eis")]));
    folder.write("data/de.dev.json", squad("Sand.", &[("2", "Was?", 0, "Sand")]));
    build(&folder, &corpus("squad", "{lang}.*.json", &["de"], ""));
    let ids: BTreeSet<_> = rows(&folder, "corpus/passages-00000", &["passage_id"]).into_iter().collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    let judged: BTreeSet<_> = rows(&folder, "corpus/qrels-00000", &["passage_id"]).into_iter().collect();
    assert_eq!(judged, ids);
}

#[test]
fn compressed_sources_give_the_same_corpus() {
    let folder = Folder::new();
    let plain = with_breaks();
    folder.write("data/de.json", &plain);
    folder.write("data/de.json.gz", gzipped(plain.as_bytes()));
    // As `cat a.gz b.gz` makes them: two members are one file.
    let (head, tail) = plain.as_bytes().split_at(plain.len() / 2);
    folder.write("data/two.json.gz", [gzipped(head), gzipped(tail)].concat());
    folder.write("data/de.json.zst", zstd::encode_all(plain.as_bytes(), 3).unwrap());
    build(&folder, &corpus("squad", "de.json", &["de"], ""));
    let expected = files(&folder.path("d/corpus"));
    for name in ["de.json.gz", "two.json.gz", "de.json.zst"] {
        build(&folder, &corpus("squad", name, &["de"], ""));
        assert!(files(&folder.path("d/corpus")) == expected, "{name}");
    }
}

#[test]
fn each_language_may_have_a_path_of_its_own() {
    let folder = Folder::new();
    folder.write("data/german.json", squad("Eis.", &[("1", "Was?", 0, "Eis")]));
    folder.write("data/e/dev.json", squad("Ice.", &[("1", "What?", 0, "Ice")]));
    let corpus =
        corpus("squad", "", &["en", "de"], "[corpora.paths]\nde = \"german.json\"\nen = \"e/dev.json\"");
    build(&folder, &corpus.replace("path = \"\"\n", ""));
    assert_eq!(queries(&folder), ["d/de/1 | d/1 | de | Was?", "d/en/1 | d/1 | en | What?"]);
    assert_eq!(
        rows(&folder, "corpus/passages-00000", &["passage_id", "text"]),
        ["d/de/p0/s0 | Eis.", "d/en/p0/s0 | Ice."]
    );
    assert_eq!(qrels(&folder), ["d/1 | d/de/p0/s0 | 1", "d/1 | d/en/p0/s0 | 1"]);
}

// BEIR.

fn beir(folder: &Folder, name: &str, qrels: &str) {
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

// Tables.

const COLUMNS: &str = "columns = { query = \"q\", passage = \"p\", query_id = \"id\", passage_id = \"pid\", \
                       title = \"t\", relevance = \"rel\" }";

/// (id, q, pid, p, t, rel)
type Pair = (i64, &'static str, &'static str, &'static str, Option<&'static str>, i32);

const PAIRS: [Pair; 4] = [
    (7, "Was ist Eis, genau?", "x", "Ein \"kalter\" Stoff.", Some("Wärme"), 1),
    (7, "Was ist Eis, genau?", "y", "Gefrorenes Wasser.", None, 3),
    (7, "Was ist Eis, genau?", "z", "Sand.", None, 0),
    (10, "Was ist Sand?", "z", "Sand.", None, 1),
];

fn json_lines() -> String {
    PAIRS
        .map(|(id, q, pid, p, t, rel)| {
            json!({"id": id, "q": q, "pid": pid, "p": p, "t": t, "rel": rel, "more": [1]}).to_string() + "\n"
        })
        .concat()
}

/// With columns in another order, and one that nobody asked for.
fn separated(delimiter: u8) -> Vec<u8> {
    let style = if delimiter == b'\t' { csv::QuoteStyle::Never } else { csv::QuoteStyle::Necessary };
    let mut table = csv::WriterBuilder::new().delimiter(delimiter).quote_style(style).from_writer(Vec::new());
    table.write_record(["p", "more", "q", "id", "rel", "t", "pid"]).unwrap();
    for (id, q, pid, p, t, rel) in PAIRS {
        table.write_record([p, "", q, &id.to_string(), &rel.to_string(), t.unwrap_or(""), pid]).unwrap();
    }
    table.into_inner().unwrap()
}

fn table_file() -> Vec<u8> {
    let text = |of: fn(&Pair) -> Option<&'static str>| -> ArrayRef {
        Arc::new(PAIRS.iter().map(of).collect::<StringArray>())
    };
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from_iter_values(PAIRS.iter().map(|pair| pair.0))) as ArrayRef, false),
        ("q", text(|pair| Some(pair.1)), false),
        ("pid", text(|pair| Some(pair.2)), false),
        ("p", text(|pair| Some(pair.3)), false),
        ("t", text(|pair| pair.4), true),
        ("rel", Arc::new(Int32Array::from_iter_values(PAIRS.iter().map(|pair| pair.5))) as ArrayRef, false),
    ])
    .unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn tables_of_all_kinds_give_the_same_corpus() {
    let folder = Folder::new();
    folder.write("data/de.jsonl", json_lines());
    build_with(&folder, &corpus("table", "de.jsonl", &["de"], COLUMNS), "--strict");
    assert_eq!(
        queries(&folder),
        ["d/de/10 | d/10 | de | Was ist Sand?", "d/de/7 | d/7 | de | Was ist Eis, genau?"]
    );
    assert_eq!(
        passages(&folder),
        [
            "d/de/x | d/de/x | Wärme | Ein \"kalter\" Stoff.",
            "d/de/y | d/de/y | - | Gefrorenes Wasser.",
            "d/de/z | d/de/z | - | Sand.",
        ]
    );
    let judged = ["d/10 | d/de/z | 1", "d/7 | d/de/x | 1", "d/7 | d/de/y | 3", "d/7 | d/de/z | 0"];
    assert_eq!(qrels(&folder), judged);
    let expected = files(&folder.path("d/corpus"));
    for (name, bytes) in [
        ("de.csv", separated(b',')),
        ("de.tsv", separated(b'\t')),
        ("de.parquet", table_file()),
        ("de.csv.gz", gzipped(&separated(b','))),
        ("de.tsv.zst", zstd::encode_all(&separated(b'\t')[..], 3).unwrap()),
        ("de.jsonl.gz", gzipped(json_lines().as_bytes())),
    ] {
        folder.write(&format!("data/{name}"), bytes);
        build_with(&folder, &corpus("table", name, &["de"], COLUMNS), "--strict");
        assert!(files(&folder.path("d/corpus")) == expected, "{name}: {:?}", passages(&folder));
    }
}

#[test]
fn csv_fields_may_hold_line_feeds_and_tsv_fields_quotes() {
    let folder = Folder::new();
    let text = "id,q,p\n1,\"Was,\nund \"\"wer\"\"?\",\"a\nb\"\n2,Wo?,c\n3,,d\n";
    let columns = "columns = { query = \"q\", passage = \"p\", query_id = \"id\" }";
    folder.write("data/de.csv", text);
    build(&folder, &corpus("table", "de.csv", &["de"], columns));
    assert_eq!(rows(&folder, "corpus/queries-00000", &["text"]), ["Was,\nund \"wer\"?", "Wo?"]);
    // The header, three lines of the first record, one of the second.
    assert_eq!(rows(&folder, "rejects", &["source", "place"]), ["de.csv | line 6"]);
    folder.write("data/de.tsv", "id\tq\tp\n1\t\"Was\tEis\n2\tWo?\tSand\n");
    build_with(&folder, &corpus("table", "de.tsv", &["de"], columns), "--strict");
    assert_eq!(rows(&folder, "corpus/queries-00000", &["text"]), ["\"Was", "Wo?"]);
}

/// Rows number the questions that have no id, whatever ends a line; places are lines.
#[test]
fn csv_lines_have_the_same_numbers_with_carriage_returns() {
    let folder = Folder::new();
    let text = "q,p\nWas?,Eis\n,Sand\nWo?,Meer\n";
    let columns = "columns = { query = \"q\", passage = \"p\" }";
    for text in [text.to_owned(), text.replace('\n', "\r\n")] {
        folder.write("data/de.csv", text);
        build(&folder, &corpus("table", "de.csv", &["de"], columns));
        assert_eq!(
            rows(&folder, "corpus/queries-00000", &["query_id", "text"]),
            ["d/de/1 | Was?", "d/de/3 | Wo?"]
        );
        assert_eq!(rows(&folder, "rejects", &["place"]), ["line 3"]);
    }
}

#[test]
fn a_table_may_name_its_languages_in_a_column() {
    let folder = Folder::new();
    folder.write(
        "data/all.csv",
        "id,ql,pl,q,p\n1,de,de,Was?,Eis\n1,en,en,What?,Ice\n1,de,en,Was?,Frost\n2,fr,fr,Quoi?,Glace\n3,,de,Wo?,Sand\n",
    );
    let columns = "columns = { query = \"q\", passage = \"p\", query_id = \"id\", query_lang = \"ql\", passage_lang = \"pl\" }";
    build(&folder, &corpus("table", "all.csv", &["de", "en"], columns));
    // One id in two languages is one group, and what is relevant to it is so in every language.
    assert_eq!(queries(&folder), ["d/de/1 | d/1 | de | Was?", "d/en/1 | d/1 | en | What?"]);
    let texts = rows(&folder, "corpus/passages-00000", &["lang", "text"]);
    assert_eq!(
        texts.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from(["de | Eis", "en | Frost", "en | Ice"])
    );
    assert_eq!(qrels(&folder).len(), 3);
    assert!(qrels(&folder).iter().all(|row| row.starts_with("d/1 | ")));
    assert_eq!(
        rows(&folder, "rejects", &["place", "reason"]),
        ["line 5 | filter_language", "line 6 | malformed"]
    );
}

#[test]
fn a_table_without_passage_ids_merges_equal_texts() {
    let folder = Folder::new();
    folder.write(
        "data/de.jsonl",
        "{\"q\":\"Was?\",\"p\":\"Eis.\"}\n{\"q\":\"Wer?\",\"p\":\"Eis.\"}\n{\"q\":\"Wo?\",\"p\":\"eis.\"}\n",
    );
    build(&folder, &corpus("table", "de.jsonl", &["de"], "columns = { query = \"q\", passage = \"p\" }"));
    let id = |text: &str| format!("d/de/{}", &blake3::hash(text.as_bytes()).to_hex()[..16]);
    // Without ids of their own, questions are numbered by line.
    assert_eq!(
        qrels(&folder),
        [
            format!("d/1 | {} | 1", id("Eis.")),
            format!("d/2 | {} | 1", id("Eis.")),
            format!("d/3 | {} | 1", id("eis.")),
        ]
    );
    assert_eq!(passages(&folder).len(), 2);
}

#[test]
fn a_table_is_parallel_unless_it_is_said_not_to_be() {
    let folder = Folder::new();
    folder.write("data/de.csv", "id,q,p\n1,Was?,Eis\n");
    folder.write("data/en.csv", "id,q,p\n1,What?,Ice\n");
    let columns = "columns = { query = \"q\", passage = \"p\", query_id = \"id\" }";
    let groups = |more: &str| {
        build(&folder, &corpus("table", "{lang}.csv", &["de", "en"], &format!("{columns}\n{more}")));
        rows(&folder, "corpus/queries-00000", &["group_id"])
    };
    assert_eq!(groups(""), ["d/1", "d/1"]);
    assert_eq!(groups("parallel = false"), ["d/de/1", "d/en/1"]);
}

// Filters and repeated texts.

/// Questions of two to four characters in German, the second of them in English as well.
fn for_filters() -> Folder {
    let folder = Folder::new();
    let de = [("1", "𝄞?", 0, "Eis"), ("2", "Wo?", 0, "Eis"), ("3", "Was?", 6, "Sand")];
    folder.write("data/de.json", squad("Eis.  Sand.", &de));
    folder.write("data/en.json", squad("Ice.", &[("2", "Why?", 0, "Ice")]));
    folder
}

/// Question ids that are left, and what is rejected.
fn filtered(more: &str) -> (Vec<String>, Vec<String>) {
    let folder = for_filters();
    // What is asked for is no bad record.
    build_with(&folder, &format!("{}{more}", corpus("squad", "{lang}.json", &["de", "en"], "")), "--strict");
    folder.prep("verify d").done();
    (rows(&folder, "corpus/queries-00000", &["query_id"]), rejects(&folder))
}

#[test]
fn questions_are_filtered_by_their_length_in_characters() {
    // Both bounds are inclusive, and a character of four bytes is one.
    let (left, rejects) = filtered("[filters]\nquery_chars = { min = 3, max = 3 }");
    assert_eq!(left, ["d/de/2"]);
    assert_eq!(
        rejects,
        [
            "d | d/de/1 | filter_query_chars | 𝄞?",
            "d | d/de/3 | filter_query_chars | Was?",
            "d | d/en/2 | filter_query_chars | Why?",
        ]
    );
    assert_eq!(filtered("[filters]\nquery_chars = { min = 2, max = 4 }").1, Vec::<String>::new());
}

#[test]
fn passages_are_filtered_by_their_length_in_characters() {
    let folder = for_filters();
    let filters = "[filters]\npassage_chars = { min = 5 }";
    build(&folder, &format!("{}{filters}", corpus("squad", "{lang}.json", &["de", "en"], "")));
    assert_eq!(passages(&folder), ["d/de/p0/s1 | d/de/p0 | T | Sand."]);
    // Questions stay, though two of the groups have nothing left that answers them.
    assert_eq!(queries(&folder).len(), 4);
    assert_eq!(qrels(&folder), ["d/3 | d/de/p0/s1 | 1"]);
    assert_eq!(
        rejects(&folder),
        ["d | d/de/p0/s0 | filter_passage_chars | Eis.", "d | d/en/p0/s0 | filter_passage_chars | Ice."]
    );
}

#[test]
fn languages_that_are_not_on_the_list_are_filtered() {
    let (left, rejects) = filtered("[filters]\nlanguages = [\"de\"]");
    assert_eq!(left, ["d/de/1", "d/de/2", "d/de/3"]);
    assert_eq!(rejects, ["d | d/en/2 | filter_language | Why?", "d | d/en/p0/s0 | filter_language | Ice."]);
}

#[test]
fn groups_in_too_few_languages_are_filtered() {
    let (left, rejects) = filtered("[filters]\nmin_group_languages = 2");
    assert_eq!(left, ["d/de/2", "d/en/2"]);
    assert_eq!(
        rejects,
        ["d | d/de/1 | filter_group_languages | 𝄞?", "d | d/de/3 | filter_group_languages | Was?"]
    );
}

/// A table with passage ids `p9` and `p1` for texts that are the same after normalisation.
fn repeated(passages: [&str; 2], questions: [&str; 2], deduplicate: &str) -> Folder {
    let folder = Folder::new();
    let row =
        |id: &str, q: &str, pid: &str, p: &str| json!({"id": id, "q": q, "pid": pid, "p": p}).to_string();
    let lines = [row("a", questions[0], "p9", passages[0]), row("b", questions[1], "p1", passages[1])];
    folder.write("data/de.jsonl", lines.join("\n"));
    // The same text in another language is another text.
    folder.write("data/en.jsonl", row("c", questions[0], "p5", passages[0]));
    let columns = "columns = { query = \"q\", passage = \"p\", query_id = \"id\", passage_id = \"pid\" }";
    let corpus = corpus("table", "{lang}.jsonl", &["de", "en"], columns);
    build_with(&folder, &format!("{corpus}[deduplicate]\n{deduplicate}"), "--strict");
    folder.prep("verify d").done();
    folder
}

#[test]
fn of_equal_passages_the_smallest_id_stays_and_takes_over_the_judgements() {
    let folder = repeated(["Eis.", "Eis."], ["Was?", "Wer?"], "passages = \"exact\"");
    assert_eq!(rows(&folder, "corpus/passages-00000", &["passage_id"]), ["d/de/p1", "d/en/p5"]);
    assert_eq!(qrels(&folder), ["d/a | d/de/p1 | 1", "d/b | d/de/p1 | 1", "d/c | d/en/p5 | 1"]);
    assert_eq!(rejects(&folder), ["d | d/de/p9 | duplicate_text | Eis."]);
    // Nothing is merged unasked.
    let folder = repeated(["Eis.", "Eis."], ["Was?", "Wer?"], "queries = \"exact\"");
    assert_eq!(rejects(&folder), Vec::<String>::new());
}

#[test]
fn normalised_texts_are_equal_after_nfkc_lower_case_and_white_space() {
    // Full-width letters, a no-break space, a capital.
    let texts = ["Ｅｉｓ\u{a0}\n ist", "eis IST"];
    let folder = repeated(texts, ["Was?", "Wer?"], "passages = \"normalised\"");
    assert_eq!(rows(&folder, "corpus/passages-00000", &["passage_id", "text"])[0], "d/de/p1 | eis IST");
    assert_eq!(qrels(&folder), ["d/a | d/de/p1 | 1", "d/b | d/de/p1 | 1", "d/c | d/en/p5 | 1"]);
    assert_eq!(rows(&folder, "rejects", &["place", "reason"]), ["d/de/p9 | duplicate_text"]);
    let folder = repeated(texts, ["Was?", "Wer?"], "passages = \"exact\"");
    assert_eq!(rejects(&folder), Vec::<String>::new());
}

#[test]
fn of_equal_questions_the_smallest_id_stays() {
    let folder = repeated(["Eis.", "Sand."], ["Was?", "Was?"], "queries = \"exact\"");
    assert_eq!(rows(&folder, "corpus/queries-00000", &["query_id"]), ["d/de/a", "d/en/c"]);
    assert_eq!(rejects(&folder), ["d | d/de/b | duplicate_text | Was?"]);
    let folder = repeated(["Eis.", "Sand."], ["Was?", "was ?"], "queries = \"normalised\"");
    assert_eq!(rejects(&folder), Vec::<String>::new());
    let folder = repeated(["Eis.", "Sand."], ["Was?", " WAS？"], "queries = \"normalised\"");
    assert_eq!(rejects(&folder), ["d | d/de/b | duplicate_text |  WAS？"]);
}

/// Otherwise the passage of the question that went would be taken for a negative of the one that stayed.
#[test]
fn of_equal_questions_the_smallest_id_takes_over_the_judgements() {
    let folder = repeated(["Eis.", "Sand."], ["Was?", "Was?"], "queries = \"exact\"");
    assert_eq!(qrels(&folder), ["d/a | d/de/p1 | 1", "d/a | d/de/p9 | 1", "d/c | d/en/p5 | 1"]);
}

// Synthetic corpora.

fn for_synth() -> Folder {
    let folder = Folder::new();
    let de = [("1", "Was ist kalt hier?", 0, "Eis"), ("2", "Was ist heiß hier?", 14, "Feuer")];
    let en = [("1", "What is cold here?", 0, "Ice"), ("2", "What is hot here?", 13, "Fire")];
    folder.write("data/de.json", squad("Eis ist kalt. Feuer ist heiß.", &de));
    folder.write("data/en.json", squad("Ice is cold. Fire is hot.", &en));
    folder
}

#[test]
fn synth_makes_as_many_groups_and_languages_as_asked_for() {
    let folder = for_synth();
    let section = corpus("synth", "{lang}.json", &["de", "en"], "synth = { groups = 5, languages = 3 }");
    build_with(&folder, &section, "--strict");
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows(&folder, "corpus/queries-00000", &["group_id", "lang"]) {
        let (group, lang) = row.split_once(" | ").unwrap();
        groups.entry(group.to_owned()).or_default().push(lang.to_owned());
    }
    // Two groups of the source, two of copy 1, one of copy 2; the third language is made of the first, and comes
    // before it, as `-` comes before `/`.
    assert_eq!(groups.keys().collect::<Vec<_>>(), ["d/1", "d/1-c1", "d/1-c2", "d/2", "d/2-c1"]);
    assert!(groups.values().all(|langs| *langs == ["de-x-s1", "de", "en"]), "{groups:?}");
    // Three copies of two sentences in three languages.
    assert_eq!(passages(&folder).len(), 18);
    assert_eq!(qrels(&folder).len(), 15);
    let first = files(&folder.path("d"));
    build_with(&folder, &section, "--strict --threads 1");
    assert!(files(&folder.path("d")) == first);
}

#[test]
fn synth_begins_with_the_source_as_it_is() {
    let folder = for_synth();
    build(&folder, &corpus("squad", "{lang}.json", &["de", "en"], ""));
    let (queries_of_source, passages_of_source, qrels_of_source) =
        (queries(&folder), passages(&folder), qrels(&folder));
    build(&folder, &corpus("synth", "{lang}.json", &["de", "en"], "synth = { groups = 4, languages = 4 }"));
    let of_source = |rows: Vec<String>| -> Vec<String> {
        rows.into_iter().filter(|row| !row.contains("-c1") && !row.contains("-x-s1")).collect()
    };
    assert_eq!(of_source(queries(&folder)), queries_of_source);
    assert_eq!(of_source(passages(&folder)), passages_of_source);
    assert_eq!(of_source(qrels(&folder)), qrels_of_source);
    // Copies and languages differ from it and from one another.
    let texts = rows(&folder, "corpus/queries-00000", &["text"]);
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), 16);
    let answer = "d/1-c1 | d/en-x-s1/p0-c1/s0 | 1".to_owned();
    assert!(qrels(&folder).contains(&answer), "{:?}", qrels(&folder));
}

// Splits.

/// Six titles of two paragraphs of three questions, in two languages; English paragraphs are in another order.
fn for_splits() -> Folder {
    let folder = Folder::new();
    for lang in ["de", "en"] {
        let paragraph = |p: usize| {
            let question = |q: usize| {
                let answer = json!([{"answer_start": 0, "text": "Satz"}]);
                json!({"id": format!("{p}-{q}"), "question": format!("{lang} {p} {q}?"), "answers": answer})
            };
            let questions: Vec<_> = (0..3).map(question).collect();
            json!({"context": format!("Satz {lang} {p}. Noch einer, {lang} {p}."), "qas": questions})
        };
        let article = |a: usize| {
            let mut paragraphs = vec![paragraph(2 * a), paragraph(2 * a + 1)];
            if lang == "en" {
                paragraphs.reverse();
            }
            json!({"title": format!("T{a}"), "paragraphs": paragraphs})
        };
        let articles: Vec<_> = (0..6).map(article).collect();
        folder.write(&format!("data/{lang}.json"), json!({"data": articles}).to_string());
    }
    folder
}

/// The side of everything of this kind; fails where one thing stands on two.
#[track_caller]
fn sides(folder: &Folder, table: &str, of: &str) -> BTreeMap<String, String> {
    let mut sides = BTreeMap::new();
    for row in rows(folder, &format!("corpus/{table}-00000"), &[of, "split"]) {
        let (name, side) = row.rsplit_once(" | ").unwrap();
        assert!(side == "train" || side == "eval", "{row}");
        let before = sides.insert(name.to_owned(), side.to_owned());
        assert!(before.is_none_or(|before| before == side), "{name} stands on both sides");
    }
    sides
}

fn n_eval(sides: &BTreeMap<String, String>) -> usize {
    sides.values().filter(|side| *side == "eval").count()
}

/// What every split promises, whatever it counts.
#[track_caller]
fn check_split(folder: &Folder) {
    folder.prep("verify d").done();
    let (groups, contexts) = (sides(folder, "queries", "group_id"), sides(folder, "passages", "context_id"));
    assert!(0 < n_eval(&groups) && n_eval(&groups) < groups.len());
    let passages = sides(folder, "passages", "passage_id");
    let qrels = rows(folder, "corpus/qrels-00000", &["group_id", "passage_id"]);
    // A judgement ties a question to its context: never across.
    for row in &qrels {
        let (group, passage) = row.split_once(" | ").unwrap();
        assert_eq!(groups[group], passages[passage], "{row}");
    }
    // eval/ is the eval side and nothing else.
    let all = |table: &str, columns: &[&str], keep: &dyn Fn(&str) -> bool| -> Vec<String> {
        let rows = rows(folder, &format!("corpus/{table}-00000"), columns);
        rows.into_iter().filter(|row| keep(row)).collect()
    };
    let columns = ["query_id", "group_id", "dataset", "lang", "text", "split"];
    let held_out = |row: &str| row.ends_with(" | eval");
    assert_eq!(rows(folder, "eval/queries-00000", &columns), all("queries", &columns, &held_out));
    let columns = ["passage_id", "dataset", "lang", "text", "context_id", "title", "split"];
    assert_eq!(rows(folder, "eval/passages-00000", &columns), all("passages", &columns, &held_out));
    let columns = ["group_id", "passage_id", "relevance"];
    let judged = |row: &str| groups[row.split_once(" | ").unwrap().0] == "eval";
    assert_eq!(rows(folder, "eval/qrels-00000", &columns), all("qrels", &columns, &judged));
    // Nothing that is held out is trained on.
    for row in rows(folder, "train/batches-00000", &["group_id", "positive_id"]) {
        let (group, passage) = row.split_once(" | ").unwrap();
        assert_eq!((groups[group].as_str(), passages[passage].as_str()), ("train", "train"));
    }
    let n_train = groups.len() - n_eval(&groups);
    let trained: BTreeSet<_> = rows(folder, "train/batches-00000", &["group_id"]).into_iter().collect();
    assert_eq!(trained.len(), n_train, "one epoch takes every group that is left");
    assert_eq!(manifest(folder)["eval_is_trained_on"], json!(false));
    assert!(contexts.values().any(|side| side == "eval"));
}

fn split(by: &str, fraction: &str) -> Folder {
    let folder = for_splits();
    let section = format!("[split.eval]\nby = {by:?}\nfraction = {fraction}\n");
    build_with(
        &folder,
        &format!("{}{section}", corpus("squad", "{lang}.json", &["de", "en"], "")),
        "--strict",
    );
    check_split(&folder);
    folder
}

#[test]
fn a_split_by_title_keeps_titles_whole() {
    let folder = split("title", "\"1/3\"");
    // A third of six; each has two paragraphs of three questions.
    assert_eq!(n_eval(&sides(&folder, "passages", "title")), 2);
    assert_eq!(n_eval(&sides(&folder, "queries", "group_id")), 12);
}

#[test]
fn a_split_by_group_keeps_paragraphs_whole() {
    let folder = split("group", "0.3");
    // 0.3 of 36 groups is 10.8, rounded to 11; paragraphs of three fit three times.
    assert_eq!(n_eval(&sides(&folder, "queries", "group_id")), 9);
    assert_eq!(n_eval(&sides(&folder, "queries", "query_id")), 18);
}

#[test]
fn a_split_by_paragraph_keeps_translations_together() {
    let folder = split("paragraph", "0.25");
    // A quarter of 24 paragraphs: three, each with its translation.
    assert_eq!(n_eval(&sides(&folder, "passages", "context_id")), 6);
    assert_eq!(n_eval(&sides(&folder, "queries", "group_id")), 9);
}

/// By hand, seed 5 and three folds: `subkey(5, "split", "T0", 0) * 3 >> 64` and so on are 0, 0, 1, 1, 0, 2.
#[test]
fn the_fold_of_a_title_follows_from_its_name_and_the_seed() {
    let folder = for_splits();
    let corpora = corpus("squad", "{lang}.json", &["de", "en"], "");
    let mut of_fold = Vec::new();
    for fold in 0..3 {
        let section = format!("[split.eval]\nby = \"title\"\nfolds = 3\nfold = {fold}\nseed = 5\n");
        // The seed of the plan has no say.
        build_with(&folder, &format!("{corpora}{section}"), &format!("--strict --seed {fold}"));
        check_split(&folder);
        let titles = sides(&folder, "passages", "title");
        let held_out = titles.into_iter().filter(|(_, side)| side == "eval").map(|(title, _)| title);
        of_fold.push(held_out.collect::<Vec<_>>());
    }
    assert_eq!(of_fold, [vec!["T0", "T1", "T4"], vec!["T2", "T3"], vec!["T5"]]);
    let section = "[split.eval]\nby = \"title\"\nfolds = 6\nfold = 5\nseed = 4\n";
    let failed = format!("name = \"test\"\n{corpora}{section}[batches]\nbatch_size = 1\n");
    folder.write("p.toml", failed);
    folder
        .prep(BUILD)
        .failed_with(&["setting `split.eval.folds`: fold 5 of 6 got none of the 6 parts", "hint: "]);
}

/// Of six articles T0 lost its title in both languages, T5 in German alone.
#[test]
fn a_context_without_a_title_is_held_out_with_what_it_is_tied_to_or_not_at_all() {
    let folder = for_splits();
    let corpora = corpus("squad", "{lang}.json", &["de", "en"], "");
    let untitle = |articles: &[(&str, usize)]| {
        for (lang, article) in articles {
            let name = format!("data/{lang}.json");
            let text = fs::read_to_string(folder.path(&name)).unwrap();
            let mut document: Value = serde_json::from_str(&text).unwrap();
            // Blank in one language, missing in the other: neither is a title.
            match *lang {
                "de" => document["data"][article]["title"] = json!(" "),
                _ => _ = document["data"][article].as_object_mut().unwrap().remove("title"),
            }
            folder.write(&name, document.to_string());
        }
    };
    untitle(&[("de", 0), ("en", 0), ("de", 5)]);
    let mut of_fold = Vec::new();
    for fold in 0..3 {
        let section = format!("[split.eval]\nby = \"title\"\nfolds = 3\nfold = {fold}\nseed = 5\n");
        build_with(&folder, &format!("{corpora}{section}"), "--strict");
        check_split(&folder);
        let questions = sides(&folder, "queries", "group_id").into_iter().filter(|(_, side)| side == "eval");
        // Two paragraphs to an article, three questions to a paragraph: `d/11-2` is the last of T5.
        let article =
            |group: &str| group["d/".len()..].split_once('-').unwrap().0.parse::<usize>().unwrap() / 2;
        of_fold.push(questions.map(|(group, _)| article(&group)).collect::<BTreeSet<_>>());
    }
    // As in the test above, but that no fold has T0.
    assert_eq!(of_fold, [BTreeSet::from([1, 4]), BTreeSet::from([2, 3]), BTreeSet::from([5])]);

    untitle(&(0..6).flat_map(|article| [("de", article), ("en", article)]).collect::<Vec<_>>());
    let section = "[split.eval]\nby = \"title\"\nfraction = 0.5\n";
    folder.write("p.toml", format!("name = \"test\"\n{corpora}{section}[batches]\nbatch_size = 1\n"));
    folder.prep(BUILD).failed_with(&[
        "setting `split.eval.by`: no context of `d` has a title",
        "hint: split by `paragraph`",
    ]);
}

#[test]
fn another_seed_holds_out_something_else() {
    let folder = for_splits();
    let section = "[split.eval]\nby = \"title\"\nfraction = 0.5\n";
    let corpus = format!("{}{section}", corpus("squad", "{lang}.json", &["de", "en"], ""));
    let chosen: BTreeSet<_> = (0..8)
        .map(|seed| {
            build_with(&folder, &corpus, &format!("--seed {seed}"));
            let titles = sides(&folder, "passages", "title");
            assert_eq!(n_eval(&titles), 3);
            format!("{titles:?}")
        })
        .collect();
    // Eight draws out of 20 that all agree would be chance of one in 20^7.
    assert!(1 < chosen.len());
}

#[test]
fn evaluation_may_search_all_passages() {
    let folder = for_splits();
    let section = "[split.eval]\nby = \"title\"\nfraction = 0.5\npool = \"all\"\n";
    build(&folder, &format!("{}{section}", corpus("squad", "{lang}.json", &["de", "en"], "")));
    let columns = ["passage_id", "split"];
    let all = rows(&folder, "corpus/passages-00000", &columns);
    assert_eq!(rows(&folder, "eval/passages-00000", &columns), all);
    assert_eq!(all.len(), 48); // two sentences of twelve paragraphs in two languages
    let held_out = rows(&folder, "eval/queries-00000", &["split"]);
    assert_eq!(held_out, vec!["eval"; 36]);
}

#[test]
fn questions_that_share_a_passage_fall_on_one_side() {
    // A and B hang together by q1, C and D by q4.
    let folder = Folder::new();
    folder.write(
        "data/de.csv",
        "id,q,pid,p\nq1,1?,A,a\nq1,1?,B,b\nq2,2?,B,b\nq3,3?,C,c\nq4,4?,C,c\nq4,4?,D,d\n",
    );
    let columns = "columns = { query = \"q\", passage = \"p\", query_id = \"id\", passage_id = \"pid\" }";
    let section = "[split.eval]\nby = \"group\"\nfraction = 0.5\n";
    build(&folder, &format!("{}{section}", corpus("table", "de.csv", &["de"], columns)));
    check_split(&folder);
    let groups = sides(&folder, "queries", "group_id");
    assert_eq!((&groups["d/q1"], &groups["d/q3"]), (&groups["d/q2"], &groups["d/q4"]));
    assert_ne!(groups["d/q1"], groups["d/q3"]);
}

#[test]
fn a_split_without_parallel_groups_may_part_languages() {
    // One group in each of two languages, with one id: they are strangers.
    let folder = Folder::new();
    beir(&folder, "de", "q1\tp1\t1\n");
    beir(&folder, "en", "q1\tp1\t1\n");
    for lang in ["de", "en"] {
        folder.write(&format!("data/{lang}/queries.jsonl"), "{\"_id\": \"q1\", \"text\": \"Was?\"}\n");
    }
    let section = "[split.eval]\nby = \"group\"\nfraction = 0.5\n";
    build(&folder, &format!("{}{section}", corpus("beir", "{lang}", &["de", "en"], "")));
    check_split(&folder);
    let groups = sides(&folder, "queries", "group_id");
    assert_ne!(groups["d/de/q1"], groups["d/en/q1"]);
}

#[test]
fn the_ids_of_another_corpus_are_held_out() {
    let folder = for_splits();
    folder.write(
        "data/held.json",
        squad("Held out.", &[("4-1", "Which?", 0, "Held"), ("none", "Who?", 0, "Held")]),
    );
    let held =
        corpus("squad", "held.json", &["en"], "ids_only = true").replace("name = \"d\"", "name = \"h\"");
    let section = "[split.eval]\nids_from = \"h\"\n";
    build(&folder, &format!("{}{held}{section}", corpus("squad", "{lang}.json", &["de", "en"], "")));
    check_split(&folder);
    // The other questions of its paragraph go with it; nothing of the other corpus is in the dataset.
    let groups = sides(&folder, "queries", "group_id");
    let eval: Vec<_> = groups.iter().filter(|(_, side)| *side == "eval").map(|(group, _)| group).collect();
    assert_eq!(eval, ["d/4-0", "d/4-1", "d/4-2"]);
    assert_eq!(groups.len(), 36);
    assert_eq!(passages(&folder).len(), 48);
    // Where the ids are from is a source like any other.
    assert!(manifest(&folder)["inputs"].to_string().contains("held.json"));
}

#[test]
fn a_corpus_that_is_trained_on_can_give_the_ids_too() {
    // `e` has the ids of two questions of `d`, so it is held out whole and they with their paragraph.
    let folder = for_splits();
    folder.write(
        "data/e.json",
        squad("Wieder. Anders.", &[("0-0", "Was?", 0, "Wieder"), ("0-2", "Wer?", 8, "Anders")]),
    );
    let other = corpus("squad", "e.json", &["de"], "").replace("name = \"d\"", "name = \"e\"");
    let section = "[split.eval]\nids_from = \"e\"\n";
    build(&folder, &format!("{}{other}{section}", corpus("squad", "{lang}.json", &["de", "en"], "")));
    check_split(&folder);
    let groups = sides(&folder, "queries", "group_id");
    let eval: Vec<_> = groups.iter().filter(|(_, side)| *side == "eval").map(|(group, _)| group).collect();
    assert_eq!(eval, ["d/0-0", "d/0-1", "d/0-2", "e/0-0", "e/0-2"]);
}

/// A question that the ids corpus had to refuse is held out all the same, and the refusal is kept.
#[test]
fn ids_of_refused_questions_are_held_out_too() {
    let folder = Folder::new();
    let questions = |start: i64| {
        let texts = ["Was ist kalt?", "Wie ist Eis?", "Was ist es?"];
        let ids = ["q1", "q2", "q3"];
        let rows: Vec<_> = ids.into_iter().zip(texts).map(|(id, text)| (id, text, 0, "Eis")).collect();
        let mut document: Value = serde_json::from_str(&squad("Eis ist kalt.", &rows[..2])).unwrap();
        let other: Value = serde_json::from_str(&squad("Eis liegt hier.", &rows[2..])).unwrap();
        document["data"].as_array_mut().unwrap().push(other["data"][0].clone());
        document["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = start.into();
        document
    };
    folder.write("data/de.json", questions(0).to_string());
    // The ids are q1, which is refused, and q2 of the same paragraph.
    let mut ids = questions(-1);
    ids["data"].as_array_mut().unwrap().pop();
    folder.write("data/ids.json", ids.to_string());
    folder.write(
        "p.toml",
        "name = \"t\"\nmax_rejects = 0.5\n[[corpora]]\nname = \"d\"\nformat = \"squad\"\npath = \"{lang}.json\"\nlanguages = [\"de\"]\n\
         [[corpora]]\nname = \"i\"\nformat = \"squad\"\npath = \"ids.json\"\nlanguages = [\"de\"]\nids_only = true\n\
         [split.eval]\nids_from = \"i\"\n[batches]\nstrategy = \"x-x-mono\"\nbatch_size = 1\n",
    );
    folder.prep("build-shards p.toml --data data --out d").done();
    let queries = parquet(&folder.path("d/corpus/queries-00000.parquet"));
    let split: Vec<_> = texts(&queries, "split").into_iter().flatten().collect();
    assert_eq!(split, ["eval", "eval", "train"]);
    let rejects = parquet(&folder.path("d/rejects.parquet"));
    assert_eq!(texts(&rejects, "source"), [Some("ids.json".to_owned())]);
    folder
        .prep("build-shards p.toml --data data --out e --strict")
        .failed_with(&["ids.json", "answer_start"]);
}
