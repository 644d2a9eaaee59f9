//! TyDi QA: candidates by bytes, annotators, gold passages.

use serde_json::{Value, json};

use crate::built::{
    BUILD, build_shipped, build_with, corpus, gzipped, manifest, passages, qrels, queries, rows, unbuilt,
};
use crate::util::{Folder, real_corpora, repository, squad};

/// A question on an article of three paragraphs: `ö` and `漢字` are of two and six bytes.
fn tydi(id: &Value, language: &str, chosen: &[i64]) -> Value {
    let annotation = |index: &i64| {
        json!({"annotation_id": 9_676_129_447_864_545_067_u64, "passage_answer": {"candidate_index": index},
               "minimal_answer": {"plaintext_start_byte": -1, "plaintext_end_byte": -1}, "yes_no_answer": "NONE"})
    };
    json!({
        "example_id": id, "language": language, "document_title": "T", "question_text": format!("{language}?"),
        "document_plaintext": "Öl ist zäh.\n漢字\nEis.\n",
        "passage_answer_candidates": [
            {"plaintext_start_byte": 0, "plaintext_end_byte": 13},
            {"plaintext_start_byte": 14, "plaintext_end_byte": 20},
            {"plaintext_start_byte": 21, "plaintext_end_byte": 25},
        ],
        "annotations": chosen.iter().map(annotation).collect::<Vec<_>>(),
    })
}

pub fn lines(values: &[Value]) -> String {
    values.iter().map(|value| value.to_string() + "\n").collect::<Vec<_>>().concat()
}

#[test]
fn candidates_of_tydi_are_spans_of_bytes_and_any_annotator_chooses() {
    let folder = Folder::new();
    let examples = [
        tydi(&json!("9063198863303558281"), "thai", &[-1, 1, 1]),
        tydi(&json!(-7), "thai", &[0, -1, 2]),
        tydi(&json!(8), "japanese", &[1]),
        tydi(&json!(9), "thai", &[-1, -1, -1]),
        tydi(&json!(10), "korean", &[0]),
    ];
    folder.write("data/all.jsonl.gz", gzipped(lines(&examples).as_bytes()));
    let section = corpus("tydiqa", "all.jsonl.gz", &["ja", "th"], "");
    // What no annotator found an answer to is no bad record, and neither is a language that nobody asked for.
    build_with(&folder, &section, "--strict");
    folder.prep("verify d -q").done();
    assert_eq!(
        queries(&folder),
        [
            "d/ja/8 | d/ja/8 | ja | japanese?",
            "d/th/-7 | d/th/-7 | th | thai?",
            "d/th/9063198863303558281 | d/th/9063198863303558281 | th | thai?",
        ]
    );
    let hash = &blake3::hash("Öl ist zäh.\n漢字\nEis.\n".as_bytes()).to_hex()[..16];
    let passage =
        |lang: &str, span: &str, text: &str| format!("d/{lang}/{hash}/{span} | d/{lang}/{hash} | T | {text}");
    // Three examples in Thai have one article, which is there once.
    assert_eq!(
        passages(&folder),
        [
            passage("ja", "b0-13", "Öl ist zäh."),
            passage("ja", "b14-20", "漢字"),
            passage("ja", "b21-25", "Eis."),
            passage("th", "b0-13", "Öl ist zäh."),
            passage("th", "b14-20", "漢字"),
            passage("th", "b21-25", "Eis."),
        ]
    );
    assert_eq!(
        qrels(&folder),
        [
            format!("d/ja/8 | d/ja/{hash}/b14-20 | 1"),
            format!("d/th/-7 | d/th/{hash}/b0-13 | 1"),
            format!("d/th/-7 | d/th/{hash}/b21-25 | 1"),
            format!("d/th/9063198863303558281 | d/th/{hash}/b14-20 | 1"),
        ]
    );
    assert_eq!(
        rows(&folder, "rejects", &["place", "reason"]),
        ["line 4 | filter_unanswerable", "line 5 | filter_language"]
    );
    unbuilt(&folder, &corpus("tydiqa", "all.jsonl.gz", &["fi", "th"], ""));
    folder.prep(BUILD).failed_with(&["cannot read source `all.jsonl.gz`", "no question in language `fi`"]);
}

#[test]
fn candidates_that_cut_a_character_or_are_not_there_are_refused() {
    let folder = Folder::new();
    let with = |pointer: &str, value: Value| {
        let mut example = tydi(&json!(pointer), "thai", &[0]);
        *example.pointer_mut(pointer).unwrap() = value;
        example
    };
    let examples = [
        tydi(&json!(1), "thai", &[0]),
        with("/passage_answer_candidates/0/plaintext_end_byte", json!(1)),
        with("/passage_answer_candidates/2/plaintext_end_byte", json!(99)),
        with("/passage_answer_candidates/1/plaintext_start_byte", json!(-1)),
        with("/annotations/0/passage_answer/candidate_index", json!(3)),
        with("/annotations", json!([])),
        with("/question_text", json!(" ")),
        tydi(&json!(1), "thai", &[0]),
    ];
    folder.write("data/all.jsonl", lines(&examples));
    build_with(&folder, &corpus("tydiqa", "all.jsonl", &["th"], ""), "--set max_rejects=0.9");
    assert_eq!(
        rows(&folder, "rejects", &["place", "reason"]),
        [
            "line 2 | malformed",
            "line 3 | malformed",
            "line 4 | malformed",
            "line 5 | malformed",
            "line 6 | no_answer",
            "line 7 | query_empty",
            "line 8 | duplicate_id",
        ]
    );
}

#[test]
fn the_tiny_sample_of_tydi_has_its_candidates() {
    const TEST: &str = "the_tiny_sample_of_tydi_has_its_candidates";
    let Some(data) = real_corpora(TEST) else { return };
    let folder = build_shipped(&data, "tydiqa-tiny", &[]);
    // Counted with Python: 314 candidates in 11 articles, six of which answer. Three annotators chose two paragraphs of the
    // Russian one.
    let counts = manifest(&folder)["counts"].clone();
    assert_eq!(counts["queries"], json!({"ar": 1, "en": 1, "fi": 1, "id": 1, "ru": 1, "te": 1}));
    assert_eq!(rows(&folder, "corpus/passages-00000", &["passage_id"]).len(), 314);
    let russian = qrels(&folder).iter().filter(|row| row.starts_with("tydiqa/ru/")).count();
    assert_eq!((qrels(&folder).len(), russian), (7, 2));
    assert_eq!(manifest(&folder)["rejects"], json!({"filter_unanswerable": 5}));
    // Every passage is the slice of bytes of its article that its id says.
    let text = rows(&folder, "corpus/passages-00000", &["lang", "text"]);
    assert!(text.iter().all(|row| !row.contains('\u{fffd}')));
    // The sample with the annotations of a page of HTML; without annotations there is nothing to train on.
    let small = |file: &str, languages: &str| {
        let path = format!("corpora.tydiqa.path=tydiqa/{file}");
        let languages = format!("corpora.tydiqa.languages={languages}");
        let pipeline = repository().join("pipelines/tydiqa-tiny.toml");
        let arguments =
            ["build-shards", pipeline.to_str().unwrap(), "--data", data.to_str().unwrap(), "--out", "d"];
        folder.prep_args(&[&arguments[..], &["-q", "--force", "--set", &path, "--set", &languages]].concat())
    };
    small("small_gold_annotation.jsonl.gz", "[\"ar\", \"ko\", \"th\"]").done();
    assert_eq!(manifest(&folder)["counts"]["queries"], json!({"ar": 1, "th": 1}));
    assert_eq!(rows(&folder, "corpus/passages-00000", &["passage_id"]).len(), 24);
    let all = "[\"ar\", \"bn\", \"en\", \"fi\", \"id\", \"ja\", \"ko\", \"ru\", \"sw\", \"te\", \"th\"]";
    small("tiny_dev_no_annotations.jsonl.gz", all).failed_with(&["11 of 11 records are bad", "no_answer"]);
}

/// TyDi QA's gold passage task is SQuAD's format, a file for each language.
#[test]
fn the_gold_passages_of_tydi_are_of_the_squad_family() {
    let folder = Folder::new();
    let fi = squad("Jää on kylmää.", &[("finnish-7633091408814529542-1", "Mitä?", 0, "Jää")]);
    folder.write("data/tydiqa-goldp-dev-finnish.json", fi);
    let paths = "parallel = false\npaths = { fi = \"tydiqa-goldp-dev-finnish.json\" }";
    build_with(&folder, &corpus("squad", "", &["fi"], paths).replace("path = \"\"\n", ""), "--strict");
    let id = "d/fi/finnish-7633091408814529542-1";
    assert_eq!(queries(&folder), [format!("{id} | {id} | fi | Mitä?")]);
}
