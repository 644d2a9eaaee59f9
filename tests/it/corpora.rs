//! The corpora of the field in their own formats: what each has that the others have not, on small made files, and the
//! counts of the real ones where they are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::formats::{build_with, corpus, gzipped, manifest, passages, qrels, queries, rows};
use crate::util::{Folder, files, real_corpora, repository, squad};

const HYBRID: &str = "--set batches.strategy=hybrid";
const X_Y: &str = "--set batches.strategy=x-y";
const BUILD: &str = "build-shards p.toml --data data --out d -q --force";

/// A pipeline of these corpora that need not build.
fn pipeline(folder: &Folder, sections: &str) {
    folder.write("p.toml", format!("name = \"test\"\n{sections}\n[batches]\nbatch_size = 1\n"));
}

/// Builds a pipeline that ships on the real corpora, with few steps, and verifies it.
fn build_shipped(data: &Path, name: &str, sets: &[&str]) -> Folder {
    let folder = Folder::new();
    let pipeline = repository().join(format!("pipelines/{name}.toml"));
    let arguments =
        ["build-shards", pipeline.to_str().unwrap(), "--data", data.to_str().unwrap(), "--out", "d", "-q"];
    let sets = sets.iter().chain(&["batches.steps=5"]).flat_map(|set| ["--set", set]);
    folder.prep_args(&arguments.into_iter().chain(sets).collect::<Vec<_>>()).done();
    folder.prep("verify d -q").done();
    folder
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
        (corpus("mkqa", MLQA, &["de", "en"], ""), "its files are of pairs of languages"),
        (
            squad("", "paths = { \"de:en\" = \"a.json\", en = \"b.json\" }").replace("path = \"\"\n", ""),
            "pair `en` is not `q:p`",
        ),
    ] {
        pipeline(&folder, &section);
        folder.prep(BUILD).failed_with(&["setting `corpora.d`", part]);
    }
}

// AfriQA.

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
    pipeline(&folder, &corpus("afriqa", "gold.{lang}.en.dev.json", &["bem", "en"], ""));
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

// TyDi QA.

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

fn lines(values: &[Value]) -> String {
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
    pipeline(&folder, &corpus("tydiqa", "all.jsonl.gz", &["fi", "th"], ""));
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
    pipeline(&folder, &collection(&["yo"], FILES));
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
        pipeline(&folder, &section);
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

// Captions.

#[test]
fn an_image_is_a_group_and_each_of_its_captions_asks_and_answers() {
    let folder = Folder::new();
    let image = |key: &str, de: &[&str], fil: &[&str]| {
        json!({"image/key": key, "image/locale": "de", "de": {"caption": de, "caption/tokenized": de},
               "fil": {"caption": fil}, "zh": {"caption": ["狗"]}})
    };
    let values = [
        image("a", &["Ein Hund", "Hund am Strand"], &["Aso"]),
        image("b", &["Eis", " "], &["Yelo"]),
        image("a", &[], &[]),
    ];
    folder.write("data/captions.jsonl", lines(&values));
    let section = corpus("captions", "captions.jsonl", &["de", "fil"], "");
    build_with(&folder, &section, X_Y);
    folder.prep("verify d -q").done();
    assert_eq!(
        queries(&folder),
        [
            "d/de/a/c0 | d/a | de | Ein Hund",
            "d/de/a/c1 | d/a | de | Hund am Strand",
            "d/de/b/c0 | d/b | de | Eis",
            "d/fil/a/c0 | d/a | fil | Aso",
            "d/fil/b/c0 | d/b | fil | Yelo",
        ]
    );
    assert_eq!(manifest(&folder)["counts"]["pools"], json!({"d/de:fil": 3, "d/fil:de": 3}));
    assert_eq!(
        rows(&folder, "rejects", &["place", "reason"]),
        ["line 2 | query_empty", "line 3 | duplicate_id"]
    );
    pipeline(&folder, &corpus("captions", "captions.jsonl", &["de", "te"], ""));
    folder.prep(BUILD).failed_with(&["no question in language `te`"]);
}

// Translations by line.

#[test]
fn columns_of_a_bitext_are_translations() {
    let folder = Folder::new();
    folder.write("data/de-en.tsv", "Eis.\tIce.\t0.9\nSand.\t\nMeer.\nEis.\tIce.\n");
    folder.write("data/fi-en.tsv.gz", gzipped("Jää.\tIce.\n".as_bytes()));
    let paths = "paths = { \"de:en\" = \"de-en.tsv\", \"fi:en\" = \"fi-en.tsv.gz\" }";
    let section = corpus("bitext", "", &["de", "en", "fi"], paths).replace("path = \"\"\n", "");
    build_with(&folder, &section, X_Y);
    folder.prep("verify d -q").done();
    assert_eq!(
        queries(&folder),
        [
            "d/de/de-en-1 | d/de-en-1 | de | Eis.",
            "d/de/de-en-4 | d/de-en-4 | de | Eis.",
            "d/en/de-en-1 | d/de-en-1 | en | Ice.",
            "d/en/de-en-4 | d/de-en-4 | en | Ice.",
            "d/en/fi-en-1 | d/fi-en-1 | en | Ice.",
            "d/fi/fi-en-1 | d/fi-en-1 | fi | Jää.",
        ]
    );
    assert_eq!(
        manifest(&folder)["counts"]["pools"],
        json!({"d/de:en": 2, "d/en:de": 2, "d/en:fi": 1, "d/fi:en": 1})
    );
    assert_eq!(
        rows(&folder, "rejects", &["place", "reason"]),
        ["line 2 | query_empty", "line 3 | malformed"]
    );
}

/// One file for all languages: its first line names the columns.
#[test]
fn named_columns_of_a_bitext_are_translations() {
    let folder = Folder::new();
    folder.write("data/all.tsv", "id\tdeu\ten\tfi\n1\tEis.\tIce.\tJää.\n2\tMeer.\t\tMeri.\n3\tSand.\n");
    let section = corpus("bitext", "all.tsv", &["de", "fi", "en"], "");
    build_with(&folder, &section, X_Y);
    assert_eq!(
        queries(&folder),
        [
            "d/de/2 | d/2 | de | Eis.",
            "d/de/3 | d/3 | de | Meer.",
            "d/en/2 | d/2 | en | Ice.",
            "d/fi/2 | d/2 | fi | Jää.",
            "d/fi/3 | d/3 | fi | Meri.",
        ]
    );
    assert_eq!(rows(&folder, "rejects", &["place", "reason"]), ["line 4 | malformed"]);
    folder.write("data/all.tsv", "de\tdeu\ten\tfi\nEis.\tEis.\tIce.\tJää.\n");
    folder.prep(BUILD).failed_with(&[
        "at line 1",
        "2 columns are called `de`, not 1",
        "hint: the first line",
    ]);
}

/// Moses: a file for each language; a blank line is no text, and counts.
#[test]
fn lines_of_aligned_files_are_translations_by_their_number() {
    let folder = Folder::new();
    folder.write("data/e.de-en.de", "Eis.\n\nSand.\n");
    folder.write("data/e.de-en.en.gz", gzipped("Ice.\nSea.\nSand.\n".as_bytes()));
    let paths = "paths = { de = \"e.de-en.de\", en = \"e.de-en.en.gz\" }";
    let section = corpus("bitext", "", &["de", "en"], paths).replace("path = \"\"\n", "");
    build_with(&folder, &section, &format!("--strict {X_Y}"));
    assert_eq!(
        queries(&folder),
        [
            "d/de/1 | d/1 | de | Eis.",
            "d/de/3 | d/3 | de | Sand.",
            "d/en/1 | d/1 | en | Ice.",
            "d/en/2 | d/2 | en | Sea.",
            "d/en/3 | d/3 | en | Sand.",
        ]
    );
    assert_eq!(manifest(&folder)["counts"]["pools"], json!({"d/de:en": 2, "d/en:de": 2}));
    folder.write("data/e.de-en.de", "Eis.\nSand.\n");
    pipeline(&folder, &section);
    folder
        .prep(BUILD)
        .failed_with(&["3 lines, where `e.de-en.de` has 2", "hint: equal lines are translations"]);
}

#[test]
fn a_line_of_a_word_list_is_a_concept() {
    let folder = Folder::new();
    folder.write("data/deu.txt", "Eis\tGlace\n\nMeer\tSee\tMeer\n");
    folder.write("data/fin.txt", "jää\nhiekka\nmeri\n");
    let paths = "paths = { de = \"deu.txt\", fi = \"fin.txt\" }";
    let section = corpus("word-lists", "", &["de", "fi"], paths).replace("path = \"\"\n", "");
    build_with(&folder, &section, X_Y);
    assert_eq!(
        queries(&folder),
        [
            "d/de/1/w0 | d/1 | de | Eis",
            "d/de/1/w1 | d/1 | de | Glace",
            "d/de/3/w0 | d/3 | de | Meer",
            "d/de/3/w1 | d/3 | de | See",
            "d/fi/1/w0 | d/1 | fi | jää",
            "d/fi/2/w0 | d/2 | fi | hiekka",
            "d/fi/3/w0 | d/3 | fi | meri",
        ]
    );
    assert_eq!(manifest(&folder)["counts"]["pools"], json!({"d/de:fi": 4, "d/fi:de": 4}));
    assert_eq!(rows(&folder, "rejects", &["place", "reason"]), ["line 3 | duplicate_id"]);
}

#[test]
fn panlex_has_the_words_of_its_lists() {
    const TEST: &str = "panlex_has_the_words_of_its_lists";
    let Some(data) = real_corpora(TEST) else { return };
    let folder = build_shipped(&data, "panlex", &[]);
    // Counted with Python over the files of the archive: cells of 207 lines that are not blank.
    let mut words = BTreeMap::new();
    for row in rows(&folder, "corpus/queries-00000", &["query_id"]) {
        let (corpus, rest) = row.split_once('/').unwrap();
        *words.entry((corpus.to_owned(), rest.split('/').next().unwrap().to_owned())).or_insert(0) += 1;
    }
    let swadesh = [
        ("ar", 519),
        ("de", 359),
        ("el", 252),
        ("en", 342),
        ("es", 359),
        ("fi", 447),
        ("hi", 248),
        ("ru", 364),
        ("th", 424),
        ("tr", 337),
        ("vi", 420),
        ("zh", 541),
    ];
    for (lang, n) in swadesh {
        assert_eq!(words[&("swadesh207".to_owned(), lang.to_owned())], n, "{lang}");
    }
    // Published: 5,000; the file has 4,557.
    for lang in ["th", "tr"] {
        assert_eq!(words[&("panlex-bli".to_owned(), lang.to_owned())], 4_557, "{lang}");
    }
    assert_eq!(manifest(&folder)["rejects"], json!({}));
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
