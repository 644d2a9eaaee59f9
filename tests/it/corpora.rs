//! The corpora of the field in their own formats: what each has that the others have not, on small made files, and the
//! counts of the real ones where they are there.

use std::fs;

use serde_json::json;

use crate::formats::{build_with, corpus, passages, qrels, queries, rows};
use crate::util::{Folder, squad};

const BUILD: &str = "build-shards p.toml --data data --out d -q --force";

/// A pipeline of these corpora that need not build.
fn pipeline(folder: &Folder, sections: &str) {
    folder.write("p.toml", format!("name = \"test\"\n{sections}\n[batches]\nbatch_size = 1\n"));
}

// Languages.

#[test]
fn a_language_that_is_none_is_refused_with_the_one_that_was_meant() {
    let folder = Folder::new();
    for (tag, parts) in [
        ("zh_cn", ["`zh_cn` is not a language tag", "did you mean `zh-CN`?"]),
        ("cmn", ["`cmn` is not the tag of its language", "did you mean `zh`?"]),
        ("swa", ["`swa` is not the tag of its language", "did you mean `sw`?"]),
        ("thai", ["`thai` is not the tag of its language", "did you mean `th`?"]),
        ("jp", ["`jp` is no language that is known", "did you mean `ja`?"]),
        ("swahilli", ["`swahilli` is no language that is known", "did you mean `sw`?"]),
        ("xx", ["`xx` is no language that is known", "setting `corpora.d`"]),
    ] {
        pipeline(&folder, &corpus("squad", "{lang}.json", &[tag], ""));
        folder.prep(BUILD).failed_with(&parts);
    }
    folder.write("data/x-martian.json", squad("Eis.", &[("1", "?", 0, "Eis")]));
    folder.write("data/zh-Hant.json", squad("Eis.", &[("1", "?", 0, "Eis")]));
    build_with(&folder, &corpus("squad", "{lang}.json", &["x-martian", "zh-Hant"], ""), "--strict");
}

#[test]
fn a_column_may_name_languages_as_its_corpus_does() {
    let folder = Folder::new();
    let row = |lang: &str, text: &str| json!({"id": 1, "l": lang, "q": text, "p": text}).to_string() + "\n";
    let lines = row("swa", "a") + &row("zho_Hans", "b") + &row("thai", "c") + &row("en", "d");
    folder.write("data/all.jsonl", lines);
    let columns = "columns = { query = \"q\", passage = \"p\", query_id = \"id\", query_lang = \"l\" }";
    build_with(&folder, &corpus("table", "all.jsonl", &["sw", "th", "zh-Hans"], columns), "");
    assert_eq!(
        queries(&folder),
        ["d/sw/1 | d/1 | sw | a", "d/th/1 | d/1 | th | c", "d/zh-Hans/1 | d/1 | zh-Hans | b"]
    );
    assert_eq!(rows(&folder, "rejects", &["place", "reason"]), ["line 4 | filter_language"]);
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
    // A pair that is left out has no file to be missed.
    fs::remove_file(folder.path("data/test-context-en-question-en.json")).unwrap();
    let three = corpus("squad", MLQA, &["de", "en"], "pairs = [\"en:de\", \"de:en\", \"de:de\"]");
    build_with(&folder, &three, "--strict");
    assert_eq!(passages(&folder).len(), 4);
    pipeline(&folder, &corpus("squad", MLQA, &["de", "en"], ""));
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
        (corpus("mkqa", MLQA, &["de", "en"], ""), "is of pairs of languages"),
    ] {
        pipeline(&folder, &section);
        folder.prep(BUILD).failed_with(&["setting `corpora.d`", part]);
    }
}
