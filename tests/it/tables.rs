//! Tables of questions and passages, of every kind, and corpora that need no more.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::json;

use crate::built::{build, build_with, corpus, gzipped, manifest, passages, qrels, queries, rows};
use crate::tydiqa::lines;
use crate::util::{Folder, files, squad};

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

// What needs no format of its own.

/// Questions of a forum and their answers, in lines of JSON: a table.
#[test]
fn questions_and_answers_of_a_community_are_a_table() {
    let folder = Folder::new();
    let faq =
        |lang: &str, q: &str, a: &str| json!({"language": lang, "question": q, "answer": a, "votes": 3});
    let values =
        [faq("de", "Wie heiß?", "Sehr heiß."), faq("fi", "Kuinka?", "Näin."), faq("de", "Wo?", "Hier.")];
    folder.write("data/faq.jsonl.gz", gzipped(lines(&values).as_bytes()));
    let columns = "parallel = false\ncolumns = { query = \"question\", passage = \"answer\", query_lang = \"language\" }";
    build_with(&folder, &corpus("table", "faq.jsonl.gz", &["de", "fi"], columns), "--strict");
    assert_eq!(
        queries(&folder),
        ["d/de/1 | d/de/1 | de | Wie heiß?", "d/de/3 | d/de/3 | de | Wo?", "d/fi/2 | d/fi/2 | fi | Kuinka?"]
    );
    assert_eq!(manifest(&folder)["counts"]["pools"], json!({"d/de:de": 2, "d/fi:fi": 1}));
}

/// XTREME's translations of SQuAD: JSON as SQuAD has it, named by pairs of which the first is always English.
#[test]
fn translations_of_squad_are_of_its_family_and_in_columns_a_table() {
    let folder = Folder::new();
    for (lang, text) in [("de", "Eis."), ("th", "น้ำแข็ง")] {
        folder.write(
            &format!("data/squad.translate.train.en-{lang}.json"),
            squad(text, &[("56be", "?", 0, text)]),
        );
        folder.write(&format!("data/{lang}.tsv"), format!("id\tquestion\tcontext\n56be\t?\t{text}\n"));
    }
    build_with(
        &folder,
        &corpus("squad", "squad.translate.train.en-{lang}.json", &["de", "th"], ""),
        "--strict",
    );
    assert_eq!(queries(&folder), ["d/de/56be | d/56be | de | ?", "d/th/56be | d/56be | th | ?"]);
    let columns = "columns = { query = \"question\", passage = \"context\", query_id = \"id\" }";
    build_with(&folder, &corpus("table", "{lang}.tsv", &["de", "th"], columns), "--strict");
    assert_eq!(queries(&folder), ["d/de/56be | d/56be | de | ?", "d/th/56be | d/56be | th | ?"]);
}
