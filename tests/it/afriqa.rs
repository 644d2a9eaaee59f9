//! AfriQA's gold passages and queries.

use std::collections::BTreeSet;

use serde_json::json;

use crate::built::{
    BUILD, HYBRID, X_Y, build_shipped, build_with, corpus, manifest, passages, qrels, queries, rows, unbuilt,
};
use crate::util::{Folder, real_corpora};

const AFRIQA: &str = "paths = { \"bem:en\" = \"gold.bem.en.*.json\", \"fon:fr\" = \"gold.fon.fr.*.json\" }";

fn afriqa(more: &str) -> String {
    corpus("afriqa", "", &["bem", "en", "fon", "fr"], &format!("{AFRIQA}\n{more}"))
        .replace("path = \"\"\n", "")
}

fn gold(id: &str, asked: &str, translated: &str, context: &str, start: i64, answer: &str) -> String {
    let pivot = json!({"answer_start": [start], "text": [answer]});
    json!({"id": id, "question_lang": asked, "question_translated": translated, "context": context, "title": "T",
           "answer_lang": "?", "answer_pivot": pivot})
    .to_string()
        + "\n"
}

/// Ids count from 1 in every file, and two questions are on one context.
fn three_files() -> Folder {
    let folder = Folder::new();
    let ice = "Ice is cold. It melts.";
    let dev = gold("1", "Nshi?", "What?", ice, 13, "It") + &gold("2", "Ninani?", "Who?", ice, 0, "Ice");
    folder.write("data/gold.bem.en.dev.json", dev);
    folder.write("data/gold.bem.en.train.json", gold("1", "Kwi?", "Where?", "Sand.", 0, "Sand"));
    folder.write("data/gold.fon.fr.dev.json", gold("1", "Etɛ?", "Quoi?", "Glace.", 0, "Glace"));
    folder
}

#[test]
fn a_question_of_afriqa_and_its_translation_are_answered_by_one_passage() {
    let folder = three_files();
    build_with(&folder, &afriqa("unit = \"paragraph\""), &format!("--strict {HYBRID}"));
    folder.prep("verify d -q").done();
    assert_eq!(
        queries(&folder),
        [
            "d/bem/bem-dev-1 | d/bem-dev-1 | bem | Nshi?",
            "d/bem/bem-dev-2 | d/bem-dev-2 | bem | Ninani?",
            "d/bem/bem-train-1 | d/bem-train-1 | bem | Kwi?",
            "d/en/bem-dev-1 | d/bem-dev-1 | en | What?",
            "d/en/bem-dev-2 | d/bem-dev-2 | en | Who?",
            "d/en/bem-train-1 | d/bem-train-1 | en | Where?",
            "d/fon/fon-dev-1 | d/fon-dev-1 | fon | Etɛ?",
            "d/fr/fon-dev-1 | d/fon-dev-1 | fr | Quoi?",
        ]
    );
    let id = |lang: &str, text: &str| format!("d/{lang}/{}", &blake3::hash(text.as_bytes()).to_hex()[..16]);
    let ice = id("en", "Ice is cold. It melts.");
    let glace = id("fr", "Glace.");
    let sand = id("en", "Sand.");
    assert_eq!(
        qrels(&folder),
        [
            format!("d/bem-dev-1 | {ice} | 1"),
            format!("d/bem-dev-2 | {ice} | 1"),
            format!("d/bem-train-1 | {sand} | 1"),
            format!("d/fon-dev-1 | {glace} | 1"),
        ]
    );
    assert!(passages(&folder).contains(&format!("{ice} | {ice} | T | Ice is cold. It melts.")));
    let pools = json!({"d/bem:en": 3, "d/en:en": 3, "d/fon:fr": 1, "d/fr:fr": 1});
    assert_eq!(manifest(&folder)["counts"]["pools"], pools);
    // The sentence where the answer begins.
    build_with(&folder, &afriqa(""), "--strict");
    assert_eq!(
        qrels(&folder)[..2],
        [format!("d/bem-dev-1 | {ice}/s1 | 1"), format!("d/bem-dev-2 | {ice}/s0 | 1")]
    );
    // The question and its translation, which need no passage.
    build_with(&folder, &afriqa("unit = \"question\""), &format!("--strict {X_Y}"));
    let pools = json!({"d/bem:en": 3, "d/en:bem": 3, "d/fon:fr": 1, "d/fr:fon": 1});
    assert_eq!(manifest(&folder)["counts"]["pools"], pools);
}

#[test]
fn spans_that_went_astray_cost_a_sentence_and_no_whole_passage() {
    let folder = three_files();
    let bad = [
        gold("3", "a", "b", "Ice is cold.", -1, "Ice"),
        gold("4", "a", "b", "Ice is cold.", 0, "ice"),
        gold("5", "a", "b", "Ice is cold.", 0, "Ice").replace("[0]", "[]"),
        gold("6", "a", "b", "Ice is cold.", 0, "Ice").replace("[0]", "[null]"),
        // As Python writes what pandas has not.
        gold("7", "a", "b", "Ice is cold.", 0, "Ice").replace("\"?\"", "NaN"),
        gold("8", "a", "b", "", 0, "Ice").replace("\"context\":\"\"", "\"context\":null"),
        gold("9", "", "b", "Ice is cold.", 0, "Ice")
            .replace("\"question_lang\":\"\"", "\"question_lang\":NaN"),
        gold("7", "c", "b", "Ice is cold.", 0, "Ice"),
        "{\"id\": \"10\"\n".to_owned(),
    ];
    folder.write("data/gold.bem.en.dev.json", bad.concat());
    let reasons = |unit: &str| {
        build_with(&folder, &afriqa(unit), "--set max_rejects=0.9");
        rows(&folder, "rejects", &["place", "reason"])
    };
    let both =
        ["line 6 | passage_empty", "line 7 | query_empty", "line 8 | duplicate_id", "line 9 | malformed"];
    assert_eq!(reasons("unit = \"paragraph\""), both);
    let astray = [
        "line 1 | answer_start_invalid",
        "line 2 | answer_not_at_offset",
        "line 3 | answer_start_invalid",
        "line 4 | answer_start_invalid",
    ];
    assert_eq!(reasons(""), [&astray[..], &both[..]].concat());
    unbuilt(&folder, &corpus("afriqa", "gold.{lang}.en.dev.json", &["bem", "en"], ""));
    folder.prep(BUILD).failed_with(&["format `afriqa` needs a path with `{query_lang}`"]);
}

/// Queries come without passages, with numbers for ids and Python literals for answers, some of them broken.
#[test]
fn queries_of_afriqa_are_questions_and_translations() {
    let folder = Folder::new();
    let query = |id: u32, answers: &str| {
        json!({"id": id, "question": format!("q{id}"), "translated_question": format!("t{id}"), "answers": answers,
               "lang": "swa", "split": "dev", "translated_answer": answers})
        .to_string()
            + "\n"
    };
    folder.write("data/queries.afriqa.swa.en.dev.json", query(0, "['ndiyo']") + &query(1, "['it's']"));
    let paths = "unit = \"question\"\npaths = { \"sw:en\" = \"queries.afriqa.swa.en.*.json\" }";
    let section = corpus("afriqa", "", &["en", "sw"], paths).replace("path = \"\"\n", "");
    build_with(&folder, &section, &format!("--strict {X_Y}"));
    assert_eq!(
        queries(&folder),
        [
            "d/en/sw-dev-0 | d/sw-dev-0 | en | t0",
            "d/en/sw-dev-1 | d/sw-dev-1 | en | t1",
            "d/sw/sw-dev-0 | d/sw-dev-0 | sw | q0",
            "d/sw/sw-dev-1 | d/sw-dev-1 | sw | q1",
        ]
    );
}

#[test]
fn afriqa_has_the_counts_of_its_files() {
    const TEST: &str = "afriqa_has_the_counts_of_its_files";
    let Some(data) = real_corpora(TEST) else { return };
    let folder = build_shipped(&data, "afriqa", &[]);
    // Counted with Python, of 7,210 lines: 153 contexts that are null, 3 that are white space, one question that is NaN
    // (and whose context is null). Contexts that differ: 5,401 in English, 790 in French.
    let counts = manifest(&folder)["counts"].clone();
    assert_eq!(manifest(&folder)["rejects"], json!({"passage_empty": 155, "query_empty": 1}));
    let languages = json!({"bem": 771, "en": 6_115, "fon": 939, "fr": 939, "ha": 745, "ig": 1_021, "rw": 789, "sw": 295,
                           "tw": 1_185, "yo": 500, "zu": 809});
    assert_eq!(counts["queries"], languages);
    assert_eq!(counts["passages"], json!({"en": 5_401, "fr": 790}));
    assert_eq!(counts["pools"]["afriqa/bem:en"], 771);
    assert_eq!(counts["pools"]["afriqa/fon:fr"], 939);
    assert_eq!(counts["pools"]["afriqa/en:en"], 6_115);
    // By sentences: 6,524 spans are at their offset, as the description says. Of the others, one lies behind its context.
    let sentences = ["corpora.afriqa.unit=sentence", "max_rejects=0.1"];
    let folder = build_shipped(&data, "afriqa", &sentences);
    assert_eq!(
        manifest(&folder)["rejects"],
        json!({"answer_not_at_offset": 76, "answer_outside_context": 1, "answer_start_invalid": 453,
               "passage_empty": 155, "query_empty": 1})
    );
    let n_groups =
        rows(&folder, "corpus/queries-00000", &["group_id"]).into_iter().collect::<BTreeSet<_>>().len();
    assert_eq!(n_groups, 6_524);
}
