//! The SQuAD family: sentences, offsets, answers, files of a language and of pairs of languages (MLQA).

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use crate::built::{
    BUILD, build, build_with, corpus, gzipped, manifest, passages, qrels, queries, rows, unbuilt,
};
use crate::util::{Folder, files, squad};

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

// MLQA: a file for each pair of languages.

const MLQA: &str = "test-context-{passage_lang}-question-{query_lang}.json";

/// Questions `a` in both languages and `b` in German; each file has the contexts of the questions in it.
fn mlqa() -> Folder {
    let folder = Folder::new();
    let de = "Eis ist kalt. Es schmilzt.";
    let en = "It melts. Ice is cold.";
    let a = |text| ("a", text, 0, "Eis");
    folder.write("data/test-context-de-question-de.json", squad(de, &[a("Was?"), ("b", "Wer?", 14, "Es")]));
    folder.write("data/test-context-de-question-en.json", squad(de, &[a("What?")]));
    folder.write("data/test-context-en-question-de.json", squad(en, &[("a", "Was?", 10, "Ice")]));
    folder.write("data/test-context-en-question-en.json", squad(en, &[("a", "What?", 10, "Ice")]));
    folder
}

#[test]
fn files_of_pairs_of_languages_share_questions_and_contexts() {
    let folder = mlqa();
    build_with(&folder, &corpus("squad", MLQA, &["de", "en"], ""), "--strict");
    folder.prep("verify d -q").done();
    assert_eq!(
        queries(&folder),
        ["d/de/a | d/a | de | Was?", "d/de/b | d/b | de | Wer?", "d/en/a | d/a | en | What?"]
    );
    let id = |lang: &str, text: &str| format!("d/{lang}/{}", &blake3::hash(text.as_bytes()).to_hex()[..16]);
    let (de, en) = (id("de", "Eis ist kalt. Es schmilzt."), id("en", "It melts. Ice is cold."));
    assert_eq!(
        passages(&folder),
        [
            format!("{de}/s0 | {de} | T | Eis ist kalt."),
            format!("{de}/s1 | {de} | T | Es schmilzt."),
            format!("{en}/s0 | {en} | T | It melts."),
            format!("{en}/s1 | {en} | T | Ice is cold."),
        ]
    );
    assert_eq!(
        qrels(&folder),
        [format!("d/a | {de}/s0 | 1"), format!("d/a | {en}/s1 | 1"), format!("d/b | {de}/s1 | 1")]
    );
    let expected = files(&folder.path("d/corpus"));
    let paths = "paths = { \"de:de\" = \"test-context-de-question-de.json\", \"de:en\" = \"test-context-en-question-de.json\", \
                 \"en:de\" = \"test-context-de-question-en.json\", \"en:en\" = \"test-context-en-question-en.json\" }";
    let by_paths = corpus("squad", "", &["de", "en"], paths).replace("path = \"\"\n", "");
    build_with(&folder, &by_paths, "--strict");
    assert!(files(&folder.path("d/corpus")) == expected);
    // A pair that is left out has no file to be missed.
    fs::remove_file(folder.path("data/test-context-en-question-en.json")).unwrap();
    let three = corpus("squad", MLQA, &["de", "en"], "pairs = [\"en:de\", \"de:en\", \"de:de\"]");
    build_with(&folder, &three, "--strict");
    assert_eq!(passages(&folder).len(), 4);
    unbuilt(&folder, &corpus("squad", MLQA, &["de", "en"], ""));
    folder.prep(BUILD).failed_with(&["test-context-en-question-en.json", "no such file"]);
}

#[test]
fn a_question_of_two_texts_in_one_language_is_refused() {
    let folder = mlqa();
    let other = squad("It melts. Ice is cold.", &[("a", "Wo?", 10, "Ice"), ("b", "Wer?", 0, "It")]);
    folder.write("data/test-context-en-question-de.json", other);
    build_with(&folder, &corpus("squad", MLQA, &["de", "en"], ""), "");
    assert_eq!(
        rows(&folder, "rejects", &["source", "place", "reason"]),
        ["test-context-en-question-de.json | /data/0/paragraphs/0/qas/0 | duplicate_id"]
    );
}

#[test]
fn pairs_that_are_none_are_refused() {
    let folder = mlqa();
    let squad = |path: &str, more: &str| corpus("squad", path, &["de", "en"], more);
    for (section, part) in [
        (squad("{lang}.json", "pairs = [\"de:en\"]"), "`pairs` needs a path with `{query_lang}`"),
        (squad("{query_lang}.json", ""), "needs `{query_lang}` and `{passage_lang}`"),
        (squad(MLQA, "pairs = [\"de:fr\"]"), "pair `de:fr` is not `q:p` with both among `languages`"),
        (squad(MLQA, "pairs = [\"de:de\"]"), "language `en` is in none of `pairs`"),
        (squad(MLQA, "pairs = [\"de:en\", \"de:en\"]"), "pair `de:en` is named twice"),
        (corpus("mkqa", MLQA, &["de", "en"], ""), "its files are of pairs of languages"),
        (
            squad("", "paths = { \"de:en\" = \"a.json\", en = \"b.json\" }").replace("path = \"\"\n", ""),
            "pair `en` is not `q:p`",
        ),
    ] {
        unbuilt(&folder, &section);
        folder.prep(BUILD).failed_with(&["setting `corpora.d`", part]);
    }
}
