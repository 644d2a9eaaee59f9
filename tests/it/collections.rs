//! Passages, questions and judgements in files of their own (MIRACL, Mr. TyDi, mMARCO, MTEB), and training files with both.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::built::{
    BUILD, HYBRID, build_with, corpus, gzipped, manifest, passages, qrels, queries, rows, unbuilt,
};
use crate::tydiqa::lines;
use crate::util::{Folder, files, real_corpora};

// Collections: MIRACL, Mr. TyDi, mMARCO, MTEB.

const FILES: &str = "files = { corpus = \"corpus-{lang}/docs-*\", queries = \"topics-{lang}-dev.tsv\", qrels = \"qrels-{lang}-dev.tsv\" }";

fn collection(languages: &[&str], more: &str) -> String {
    corpus("collection", "", languages, more).replace("path = \"\"\n", "")
}

fn document(id: &str, title: &str, text: &str) -> Value {
    json!({"docid": id, "title": title, "text": text})
}

/// Two files of passages, one packed; a query with one relevant passage and one that was judged not to be.
fn miracl() -> Folder {
    let folder = Folder::new();
    let docs = [document("10#0", "Ice", "Ice is cold."), document("10#1", "Ice", "It melts.")];
    folder.write("data/corpus-yo/docs-0.jsonl", lines(&docs));
    let more = [document("11#0", "", "Sand."), document("12#0", "Iron", "Rust.")];
    folder.write("data/corpus-yo/docs-1.jsonl.gz", gzipped(lines(&more).as_bytes()));
    folder.write("data/topics-yo-dev.tsv", "7#0\tKini yinyin?\n8#0\tKini iyanrin?\n");
    folder.write(
        "data/qrels-yo-dev.tsv",
        "7#0\tQ0\t10#0\t1\n7#0\tQ0\t12#0\t0\n8#0\tQ0\t11#0\t1\n8#0\tQ0\t99#0\t1\n",
    );
    folder
}

#[test]
fn miracl_keeps_what_was_judged_not_relevant_and_makes_up_no_passage() {
    let folder = miracl();
    build_with(&folder, &collection(&["yo"], FILES), "");
    folder.prep("verify d -q").done();
    assert_eq!(
        queries(&folder),
        ["d/yo/7#0 | d/yo/7#0 | yo | Kini yinyin?", "d/yo/8#0 | d/yo/8#0 | yo | Kini iyanrin?"]
    );
    assert_eq!(
        passages(&folder),
        [
            "d/yo/10#0 | d/yo/10#0 | Ice | Ice is cold.",
            "d/yo/10#1 | d/yo/10#1 | Ice | It melts.",
            "d/yo/11#0 | d/yo/11#0 | - | Sand.",
            "d/yo/12#0 | d/yo/12#0 | Iron | Rust.",
        ]
    );
    assert_eq!(
        qrels(&folder),
        ["d/yo/7#0 | d/yo/10#0 | 1", "d/yo/7#0 | d/yo/12#0 | 0", "d/yo/8#0 | d/yo/11#0 | 1"]
    );
    assert_eq!(
        rows(&folder, "rejects", &["source", "place", "reason", "raw"]),
        ["qrels-yo-dev.tsv | line 4 | unknown_passage | 8#0\tQ0\t99#0\t1"]
    );
    // Without passages there is no collection.
    fs::remove_dir_all(folder.path("data/corpus-yo")).unwrap();
    unbuilt(&folder, &collection(&["yo"], FILES));
    folder.prep(BUILD).failed_with(&["corpus-yo", "no such folder"]);
    fs::create_dir(folder.path("data/corpus-yo")).unwrap();
    folder.prep(BUILD).failed_with(&["cannot read source `corpus-yo/docs-*`", "hint: ", "corpus"]);
    let files = "files = { corpus = \"c.jsonl\", queries = \"q.tsv\" }";
    for (section, part) in [
        (collection(&["yo"], ""), "give either `path` or `paths`"),
        (collection(&["yo"], files), "`files` has neither `qrels` nor `triples`"),
        (corpus("collection", "a.tsv", &["yo"], FILES), "`files` stands instead of `path`"),
        (corpus("squad", "a.json", &["yo"], FILES), "`files` goes with format `collection` only"),
    ] {
        unbuilt(&folder, &section);
        folder.prep(BUILD).failed_with(&[part]);
    }
}

/// The same collection in the three ways that a part is written.
#[test]
fn collections_in_lines_of_json_in_columns_and_in_parquet_are_one() {
    let folder = Folder::new();
    folder.write(
        "data/c.jsonl",
        lines(&[json!({"_id": "1", "text": "Eis."}), json!({"_id": "2", "text": "Sand."})]),
    );
    folder.write("data/q.jsonl", lines(&[json!({"_id": "7", "text": "Was?"})]));
    folder.write(
        "data/r.jsonl",
        lines(&[
            json!({"query-id": "7", "corpus-id": "1", "score": 1}),
            json!({"query-id": "7", "corpus-id": "2", "score": 0}),
        ]),
    );
    let files_of = |kind: &str| {
        format!("files = {{ corpus = \"c.{kind}\", queries = \"q.{kind}\", qrels = \"r.{kind}\" }}")
    };
    build_with(&folder, &collection(&["de"], &files_of("jsonl")), "--strict");
    let expected = files(&folder.path("d/corpus"));
    assert_eq!(qrels(&folder), ["d/de/7 | d/de/1 | 1", "d/de/7 | d/de/2 | 0"]);
    // mMARCO's columns, and judgements of BEIR behind a header.
    folder.write("data/c.tsv", "1\tEis.\n2\tSand.\n");
    folder.write("data/q.tsv", "7\tWas?\n");
    for judged in
        ["query-id\tcorpus-id\tscore\n7\t1\t1\n7\t2\t0\n", "7 Q0 1 1\n7 Q0 2 0\n", "7\t1\t1\n7\t2\t0\n"]
    {
        folder.write("data/r.tsv", judged);
        build_with(&folder, &collection(&["de"], &files_of("tsv")), "--strict");
        assert!(files(&folder.path("d/corpus")) == expected, "{judged}");
    }
    let table = |columns: &[(&str, ArrayRef)]| {
        let columns = columns.iter().map(|(name, column)| (*name, Arc::clone(column), true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    };
    let text = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    // As MTEB has them: numbers for ids, a float for the score.
    let number = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let score = Arc::new(Float64Array::from(vec![1.0, 0.0])) as ArrayRef;
    folder.write("data/c.parquet", table(&[("_id", number(&[1, 2])), ("text", text(&["Eis.", "Sand."]))]));
    folder.write("data/q.parquet", table(&[("_id", number(&[7])), ("text", text(&["Was?"]))]));
    folder.write(
        "data/r.parquet",
        table(&[("query-id", number(&[7, 7])), ("corpus-id", number(&[1, 2])), ("score", score)]),
    );
    build_with(&folder, &collection(&["de"], &files_of("parquet")), "--strict");
    assert!(files(&folder.path("d/corpus")) == expected);
}

/// mMARCO has files by the English name of a language, and the ids of all languages in one file of judgements.
#[test]
fn mmarco_is_parallel_when_it_is_said_to_be() {
    let folder = Folder::new();
    for (language, texts) in
        [("german", ["Eis.", "Sand.", "Was?"]), ("french", ["Glace.", "Sable.", "Quoi?"])]
    {
        folder.write(
            &format!("data/collections/{language}_collection.tsv"),
            format!("0\t{}\n1\t{}\n", texts[0], texts[1]),
        );
        folder.write(&format!("data/queries/{language}_queries.train.tsv"), format!("9\t{}\n", texts[2]));
    }
    folder.write("data/triples.train.ids.small.tsv", "9\t0\t1\n9\t0\t1\n");
    let files = "parallel = true\nfiles = { corpus = \"collections/{language}_collection.tsv\", \
                 queries = \"queries/{language}_queries.train.tsv\", triples = \"triples.train.ids.small.tsv\" }";
    build_with(&folder, &collection(&["de", "fr"], files), &format!("--strict {HYBRID}"));
    assert_eq!(queries(&folder), ["d/de/9 | d/9 | de | Was?", "d/fr/9 | d/9 | fr | Quoi?"]);
    assert_eq!(
        qrels(&folder),
        ["d/9 | d/de/0 | 1", "d/9 | d/de/1 | 0", "d/9 | d/fr/0 | 1", "d/9 | d/fr/1 | 0"]
    );
    let pools = json!({"d/de:de": 1, "d/de:fr": 1, "d/fr:de": 1, "d/fr:fr": 1});
    assert_eq!(manifest(&folder)["counts"]["pools"], pools);
}

#[test]
fn records_of_a_collection_that_are_none_are_refused() {
    let folder = Folder::new();
    let docs = [
        "{\"docid\": \"1\", \"text\": \"Eis.\"}",
        "{\"docid\": \"1\", \"text\": \"Sand.\"}",
        "{\"docid\": \"2\", \"text\": \" \"}",
        "{\"docid\": \"3\"}",
        "{\"docid\": ",
    ];
    folder.write("data/c.jsonl", docs.join("\n"));
    folder.write("data/q.tsv", "7\tWas?\n7\tWer?\n8\t \n9\n");
    folder.write("data/r.tsv", "7\tQ0\t1\t1\n7\tQ0\t1\t0\n6\tQ0\t1\t1\n7\t1\tmuch\n7\n");
    let files = "files = { corpus = \"c.jsonl\", queries = \"q.tsv\", qrels = \"r.tsv\" }";
    build_with(&folder, &collection(&["de"], files), "--set max_rejects=1");
    assert_eq!(
        rows(&folder, "rejects", &["source", "place", "reason"]),
        [
            "c.jsonl | line 2 | duplicate_id",
            "c.jsonl | line 3 | passage_empty",
            "c.jsonl | line 4 | malformed",
            "c.jsonl | line 5 | malformed",
            "q.tsv | line 2 | duplicate_id",
            "q.tsv | line 3 | query_empty",
            "q.tsv | line 4 | malformed",
            "r.tsv | line 2 | duplicate_id",
            "r.tsv | line 3 | unknown_query",
            "r.tsv | line 4 | malformed",
            "r.tsv | line 5 | malformed",
        ]
    );
    assert_eq!(qrels(&folder), ["d/de/7 | d/de/1 | 1"]);
}

/// The passages of MIRACL were not to be had: those that are judged are made up here, and one is left out.
#[test]
fn topics_and_judgements_of_miracl_have_their_published_counts() {
    const TEST: &str = "topics_and_judgements_of_miracl_have_their_published_counts";
    let Some(data) = real_corpora(TEST) else { return };
    let folder = Folder::new();
    let mut judged = 0;
    for lang in ["sw", "yo"] {
        for part in ["topics", "qrels"] {
            let name = format!("{part}.miracl-v1.0-{lang}-dev.tsv");
            folder.write(
                &format!("data/miracl/{part}/{name}"),
                fs::read(data.join("miracl").join(part).join(&name)).unwrap(),
            );
        }
        let text =
            fs::read_to_string(folder.path(&format!("data/miracl/qrels/qrels.miracl-v1.0-{lang}-dev.tsv")))
                .unwrap();
        judged += text.lines().count();
        let ids: BTreeSet<&str> = text.lines().map(|line| line.split('\t').nth(2).unwrap()).collect();
        let docs: Vec<Value> =
            ids.iter().skip(1).map(|id| document(id, "T", &format!("{lang} {id}"))).collect();
        folder.write(
            &format!("data/miracl/miracl-corpus-v1.0-{lang}/docs-0.jsonl.gz"),
            gzipped(lines(&docs).as_bytes()),
        );
    }
    let files = "files = { corpus = \"miracl/miracl-corpus-v1.0-{lang}/docs-*.jsonl.gz\", \
                 queries = \"miracl/topics/topics.miracl-v1.0-{lang}-dev.tsv\", qrels = \"miracl/qrels/qrels.miracl-v1.0-{lang}-dev.tsv\" }";
    build_with(&folder, &collection(&["sw", "yo"], files), "");
    // Published: 482 questions in Swahili, 119 in Yoruba. Counted with `wc -l`: 5,092 and 1,188 judgements.
    assert_eq!(manifest(&folder)["counts"]["queries"], json!({"sw": 482, "yo": 119}));
    assert_eq!(judged, 5_092 + 1_188);
    let refused = rows(&folder, "rejects", &["reason"]);
    assert!(refused.iter().all(|reason| reason == "unknown_passage") && 2 <= refused.len(), "{refused:?}");
    assert_eq!(qrels(&folder).len(), judged - refused.len());
    let irrelevant = qrels(&folder).iter().filter(|row| row.ends_with(" | 0")).count();
    assert!(0 < irrelevant && irrelevant < judged, "{irrelevant}");
}

// Training files of Mr. TyDi and MIRACL.

#[test]
fn negative_passages_of_a_training_file_are_judged_not_relevant() {
    let folder = Folder::new();
    let line = |id: &str, query: &str, positive: &[Value], negative: &[Value]| json!({"query_id": id, "query": query, "positive_passages": positive, "negative_passages": negative});
    let (ice, sand) = (document("1#0", "Ice", "Ice is cold."), document("2#0", "", "Sand."));
    let values = [
        line("1", "what?", std::slice::from_ref(&ice), std::slice::from_ref(&sand)),
        line("2", "where?", std::slice::from_ref(&sand), std::slice::from_ref(&ice)),
        line("2", "again?", std::slice::from_ref(&sand), &[]),
        line("3", "who?", &[document("1#0", "", "Something else.")], &[]),
        line("4", "why?", &[], std::slice::from_ref(&ice)),
        line("5", "both?", std::slice::from_ref(&ice), std::slice::from_ref(&ice)),
        line("6", " ", std::slice::from_ref(&ice), &[]),
    ];
    folder.write("data/mrtydi-v1.1-swahili/train.jsonl.gz", gzipped(lines(&values).as_bytes()));
    let section = corpus("tevatron", "mrtydi-v1.1-{language}/train.jsonl.gz", &["sw"], "");
    build_with(&folder, &section, "--set max_rejects=0.9");
    folder.prep("verify d -q").done();
    assert_eq!(queries(&folder), ["d/sw/1 | d/sw/1 | sw | what?", "d/sw/2 | d/sw/2 | sw | where?"]);
    assert_eq!(
        passages(&folder),
        ["d/sw/1#0 | d/sw/1#0 | Ice | Ice is cold.", "d/sw/2#0 | d/sw/2#0 | - | Sand."]
    );
    assert_eq!(
        qrels(&folder),
        ["d/sw/1 | d/sw/1#0 | 1", "d/sw/1 | d/sw/2#0 | 0", "d/sw/2 | d/sw/1#0 | 0", "d/sw/2 | d/sw/2#0 | 1"]
    );
    assert_eq!(
        rows(&folder, "rejects", &["place", "reason"]),
        [
            "line 3 | duplicate_id",
            "line 4 | duplicate_id",
            "line 5 | no_answer",
            "line 6 | duplicate_id",
            "line 7 | query_empty",
        ]
    );
}
