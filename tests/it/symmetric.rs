//! Formats whose texts are questions and passages at once: synsets of words, and MKQA's questions. Also the archive that
//! the latter comes in.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Write};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::built::{build_with, corpus, gzipped, manifest, passages, qrels, queries, rejects, rows};
use crate::util::{Folder, Ran, parquet, real_corpora, repository, texts};

const X_Y: &str = "--set batches.strategy=x-y";

/// Builds `d` from these corpora, cross-lingual batches of one row.
#[track_caller]
fn build(folder: &Folder, sections: &str) {
    build_with(folder, sections, X_Y);
    folder.prep("verify d -q").done();
}

/// The examples of the pools.
fn pools(folder: &Folder) -> Value {
    manifest(folder)["counts"]["pools"].clone()
}

// Synsets.

const GERMAN: &str = "# Wiktionary\tdeu\thttp://wiktionary.org/\tCC BY-SA\n00000002-n\tdeu:lemma\tBank\n\
    00000001-a\tdeu:lemma\tunfähig\n00000002-n\tdeu:lemma\tGeldinstitut\n00000003-n\tdeu:lemma\tBank\n";
const VIETNAMESE: &str =
    "# Wiktionary\tvie\n00000002-n\tvie:lemma\tngân hàng\n00000003-n\tvie:lemma\tghế dài \n\n";

fn two_wordnets() -> Folder {
    let folder = Folder::new();
    folder.write("data/wn-deu.tab", GERMAN);
    folder.write("data/wn-vie.tab", VIETNAMESE);
    folder
}

/// Wordnets are called by other codes than languages.
fn wordnets(more: &str) -> String {
    format!(
        "[[corpora]]\nname = \"d\"\nformat = \"synsets\"\nlanguages = [\"de\", \"vi\"]\n\
         paths = {{ de = \"wn-deu.tab\", vi = \"wn-vie.tab\" }}\n{more}\n"
    )
}

#[test]
fn a_synset_is_a_group_and_each_of_its_words_asks_and_answers() {
    let folder = two_wordnets();
    build(&folder, &wordnets(""));
    assert_eq!(
        queries(&folder),
        [
            "d/de/00000001-a/w0 | d/00000001-a | de | unfähig",
            "d/de/00000002-n/w0 | d/00000002-n | de | Bank",
            "d/de/00000002-n/w1 | d/00000002-n | de | Geldinstitut",
            "d/de/00000003-n/w0 | d/00000003-n | de | Bank",
            "d/vi/00000002-n/w0 | d/00000002-n | vi | ngân hàng",
            // Outer white space is the source's.
            "d/vi/00000003-n/w0 | d/00000003-n | vi | ghế dài ",
        ]
    );
    let both = rows(&folder, "corpus/queries-00000", &["query_id", "query_id", "text"]);
    assert_eq!(rows(&folder, "corpus/passages-00000", &["passage_id", "context_id", "text"]), both);
    assert_eq!(
        qrels(&folder),
        [
            "d/00000001-a | d/de/00000001-a/w0 | 1",
            "d/00000002-n | d/de/00000002-n/w0 | 1",
            "d/00000002-n | d/de/00000002-n/w1 | 1",
            "d/00000002-n | d/vi/00000002-n/w0 | 1",
            "d/00000003-n | d/de/00000003-n/w0 | 1",
            "d/00000003-n | d/vi/00000003-n/w0 | 1",
        ]
    );
    // Two words times one, and one times one; no pool of one language.
    assert_eq!(pools(&folder), json!({"d/de:vi": 3, "d/vi:de": 3}));
    assert_eq!(rejects(&folder), [""; 0]);
}

#[test]
fn a_word_answers_every_synset_that_has_it_in_its_language() {
    let folder = two_wordnets();
    let three = "--set batches.strategy=x-y --set batches.batch_size=3 --set batches.steps=4";
    build_with(&folder, &wordnets(""), three);
    let table = parquet(&folder.path("d/train/batches-00000.parquet"));
    let groups =
        prep::schema::Table::Batches.columns().iter().position(|c| c.name == "positive_group_ids").unwrap();
    let lists = table.column(groups);
    let lists = arrow::array::AsArray::as_list::<i32>(lists.as_ref());
    for (row, positive) in texts(&table, "positive").into_iter().enumerate() {
        let ids = lists.value(row);
        let n = arrow::array::Array::len(&ids);
        assert_eq!(n, if positive.as_deref() == Some("Bank") { 2 } else { 1 });
    }
}

#[test]
fn what_is_no_word_is_passed_over_or_refused() {
    let folder = two_wordnets();
    let more = "00000009-n\tdeu:def\t0\tein Haus für Geld\n00000009-n\tdeu:exe\tEr geht zur Bank.\n\
        00000009-n\tdeu:lemma\t\n00000009-n\tdeu:lemma\n\tdeu:lemma\tHaus\n00000009-n\tlemma\tHaus\n\
        00000009-n\tfin:lemma\ttalo\n00000001-a\tdeu:lemma\tunfähig\n";
    folder.write("data/wn-deu.tab", format!("{GERMAN}{more}"));
    build(&folder, &wordnets(""));
    assert_eq!(
        rows(&folder, "rejects", &["place", "reason"]),
        [
            "line 10 | malformed",
            "line 11 | malformed",
            "line 12 | malformed",
            "line 13 | duplicate_id",
            "line 8 | query_empty",
            "line 9 | malformed",
        ]
    );
    assert_eq!(queries(&folder).len(), 6);
}

#[test]
fn a_corpus_without_pairs_of_languages_is_refused_by_name() {
    let folder = two_wordnets();
    folder.write("p.toml", format!("name = \"test\"\n{}[batches]\nbatch_size = 1\n", wordnets("")));
    let run = |strategy: &str| -> Ran {
        folder.prep(&format!("build-shards p.toml --data data --out d -q --set batches.strategy={strategy}"))
    };
    run("x-x-mono").failed_with(&["no language has examples", "questions and passages at once"]);
    run("hybrid").failed_with(&["`hybrid` finds no monolingual pair", "strategy `x-y`"]);
    run("pair").done();
}

#[test]
fn a_hybrid_takes_pairs_from_words_and_single_languages_from_elsewhere() {
    let folder = two_wordnets();
    for (lang, text) in [("de", "Eis ist kalt."), ("vi", "Băng thì lạnh.")] {
        folder.write(&format!("data/{lang}.json"), crate::util::squad(text, &[("q", "?", 0, &text[..1])]));
    }
    let questions = corpus("squad", "{lang}.json", &["de", "vi"], "").replace("\"d\"", "\"q\"");
    build_with(&folder, &format!("{}{questions}", wordnets("")), "--set batches.strategy=hybrid");
    let expected =
        json!({"d/de:vi": 3, "d/vi:de": 3, "q/de:de": 1, "q/de:vi": 1, "q/vi:de": 1, "q/vi:vi": 1});
    assert_eq!(pools(&folder), expected);
}

#[test]
fn synonyms_alone_make_groups_where_languages_are_not_parallel() {
    let folder = two_wordnets();
    folder.write(
        "p.toml",
        format!("name = \"test\"\n{}[batches]\nbatch_size = 1\n", wordnets("parallel = false")),
    );
    folder
        .prep("build-shards p.toml --data data --out d -q --set batches.strategy=x-y")
        .failed_with(&["no language pair has examples"]);
}

#[test]
fn omw_wikt_has_the_pairs_that_its_description_counts() {
    const TEST: &str = "omw_wikt_has_the_pairs_that_its_description_counts";
    let Some(data) = real_corpora(TEST) else { return };
    let folder = Folder::new();
    let pipeline = repository().join("pipelines/synsets.toml");
    let arguments =
        ["build-shards", pipeline.to_str().unwrap(), "--data", data.to_str().unwrap(), "--out", "d", "-q"];
    folder.prep_args(&[&arguments[..], &["--set", "batches.steps=20"]].concat()).done();
    folder.prep("verify d -q").done();
    let counts = manifest(&folder)["counts"].clone();
    // Counted over the files with Python: lines of three columns with a word that is not white space alone.
    for (lang, n) in [
        ("ar", 9_337),
        ("de", 29_616),
        ("el", 13_071),
        ("en", 49_895),
        ("es", 25_310),
        ("hi", 4_486),
        ("ru", 33_716),
        ("th", 3_193),
        ("tr", 10_571),
        ("vi", 5_498),
        ("zh", 19_079),
    ] {
        assert_eq!(counts["queries"][lang], n, "{lang}");
        assert_eq!(counts["passages"][lang], n, "{lang}");
        assert_eq!(counts["pools"].get(format!("omw-wikt/{lang}:{lang}")), None);
    }
    // Likewise: over the synsets, English words times words of the other language.
    for (lang, n) in [("ar", 16_249), ("de", 51_116), ("th", 5_892), ("zh", 33_140)] {
        assert_eq!(counts["pools"][format!("omw-wikt/en:{lang}")], n, "{lang}");
        assert_eq!(counts["pools"][format!("omw-wikt/{lang}:en")], n, "{lang}");
    }
    // 56 English lines have a synset and no word. Nothing else is refused: the blank last lines are no records.
    let reasons: BTreeSet<String> = rows(&folder, "rejects", &["source", "reason"]).into_iter().collect();
    assert_eq!(reasons, ["lexicon/omw-wikt/wn-wikt-eng.tab | query_empty".to_owned()].into());
    assert_eq!(manifest(&folder)["rejects"], json!({"query_empty": 56}));
    // The description counts pairs of different texts, with the lines that have no word: 15,814 for Arabic, of which 21
    // have none.
    let words = |lang: &str| -> Vec<(String, String)> {
        let table = parquet(&folder.path("d/corpus/queries-00000.parquet"));
        let columns = ["lang", "group_id", "text"].map(|column| texts(&table, column));
        let of_lang = (0..table.num_rows()).filter(|&row| columns[0][row].as_deref() == Some(lang));
        of_lang.map(|row| (columns[1][row].clone().unwrap(), columns[2][row].clone().unwrap())).collect()
    };
    let (english, arabic) = (words("en"), words("ar"));
    let pairs: BTreeSet<(&str, &str)> = arabic
        .iter()
        .flat_map(|(group, word)| {
            let start = english.partition_point(|(other, _)| other < group);
            english[start..]
                .iter()
                .take_while(move |(other, _)| other == group)
                .map(move |(_, e)| (e.as_str(), word.as_str()))
        })
        .collect();
    assert_eq!(pairs.len(), 15_814 - 21);
    // Outer white space stays: counted as two German words, one Chinese, two Russian, one English.
    for (lang, n) in [("de", 2), ("zh", 1), ("ru", 2), ("en", 1), ("ar", 0)] {
        assert_eq!(words(lang).iter().filter(|(_, word)| word.trim() != word).count(), n, "{lang}");
    }
}

// MKQA.

fn mia(id: &str, lang: &str, question: &str) -> String {
    json!({"id": format!("{id}_{lang}"), "lang": lang, "question": question, "answers": []}).to_string()
        + "\n"
}

const MIA: &str = "paths = { en = \"mkqa-en.jsonl\", zh = \"mkqa-zh_cn.jsonl\" }";

fn of_mia(more: &str) -> String {
    format!("[[corpora]]\nname = \"d\"\nformat = \"mkqa\"\nlanguages = [\"en\", \"zh\"]\n{MIA}\n{more}\n")
}

fn two_questions() -> Folder {
    let folder = Folder::new();
    folder.write("data/mkqa-en.jsonl", mia("-4767536963343233422", "en", "who?") + &mia("7", "en", "where?"));
    folder.write(
        "data/mkqa-zh_cn.jsonl",
        mia("-4767536963343233422", "zh_cn", "谁") + &mia("7", "zh_cn", "谁"),
    );
    folder
}

#[test]
fn mkqa_of_mia_is_joined_by_its_ids_without_the_language() {
    let folder = two_questions();
    build(&folder, &of_mia(""));
    assert_eq!(
        queries(&folder),
        [
            "d/en/-4767536963343233422 | d/-4767536963343233422 | en | who?",
            "d/en/7 | d/7 | en | where?",
            // `zh_cn` has a mark of its own, and equal texts are two questions.
            "d/zh/-4767536963343233422 | d/-4767536963343233422 | zh | 谁",
            "d/zh/7 | d/7 | zh | 谁",
        ]
    );
    assert_eq!(passages(&folder)[3], "d/zh/7 | d/zh/7 | - | 谁");
    assert_eq!(qrels(&folder).len(), 4);
    // Answers are withheld, which makes nothing unanswerable.
    assert_eq!(pools(&folder), json!({"d/en:zh": 2, "d/zh:en": 2}));
}

#[test]
fn mkqa_records_that_are_none_are_refused() {
    let folder = two_questions();
    let good = mia("7", "en", "where?");
    let bad = [
        mia("7", "en", "when?"),
        mia("8", "en", " "),
        "{\"id\": \"9-en\", \"lang\": \"en\", \"question\": \"how?\"}\n".to_owned(),
        "{\"id\": \"_en\", \"lang\": \"en\", \"question\": \"how?\"}\n".to_owned(),
        "{\"id\": 9, \"lang\": \"en\", \"question\": \"how?\"}\n".to_owned(),
        "{\"question\": \"how?\"}\n".to_owned(),
        "{\"example_id\": 0.5, \"queries\": {\"en\": \"how?\"}}\n".to_owned(),
    ];
    folder.write("data/mkqa-en.jsonl", good + &bad.concat());
    // A third of the records and more, so the limit is raised.
    build_with(&folder, &of_mia(""), &format!("{X_Y} --set max_rejects=0.9"));
    assert_eq!(
        rows(&folder, "rejects", &["place", "reason"]),
        [
            "line 2 | duplicate_id",
            "line 3 | query_empty",
            "line 4 | malformed",
            "line 5 | malformed",
            "line 6 | malformed",
            "line 7 | malformed",
            "line 8 | malformed",
        ]
    );
}

/// Two lines in MKQA's own layout: all languages together, and answers that are none.
fn native() -> String {
    let queries = |en: &str, zh: Value| json!({"en": en, "zh_cn": zh, "zh_hk": "無", "fi": "mikä"});
    let answers = json!({"en": [{"type": "unanswerable", "text": null}]});
    [
        json!({"query": "a", "example_id": -7_449_157_003_522_518_870_i64, "queries": queries("a", json!("甲")), "answers": answers}),
        json!({"query": "b", "example_id": 36_228_854_473_990_432_i64, "queries": queries("b", Value::Null), "answers": answers}),
    ]
    .map(|line| line.to_string() + "\n")
    .concat()
}

#[test]
fn mkqa_itself_has_all_languages_in_a_line() {
    let folder = Folder::new();
    folder.write("data/mkqa.jsonl.gz", gzipped(native().as_bytes()));
    let section = |languages: &[&str]| corpus("mkqa", "mkqa.jsonl.gz", languages, "");
    build(&folder, &section(&["en", "zh-CN"]));
    assert_eq!(
        queries(&folder),
        [
            // Larger than a double holds exactly: through one it would end in 432 and 869.
            "d/en/-7449157003522518870 | d/-7449157003522518870 | en | a",
            "d/en/36228854473990432 | d/36228854473990432 | en | b",
            "d/zh-CN/-7449157003522518870 | d/-7449157003522518870 | zh-CN | 甲",
        ]
    );
    folder.write("p.toml", format!("name = \"test\"\n{}[batches]\nbatch_size = 1\n", section(&["de", "en"])));
    let run = folder.prep("build-shards p.toml --data data --out e -q --set batches.strategy=x-y");
    run.failed_with(&["cannot read source `mkqa.jsonl.gz`", "no question in language `de`"]);
}

#[test]
fn the_six_records_of_mkqa_give_a_group_each_in_26_languages() {
    let Some(data) = real_corpora("the_six_records_of_mkqa_give_a_group_each_in_26_languages") else {
        return;
    };
    let folder = Folder::new();
    let languages = "ar da de en es fi fr he hu it ja km ko ms nl no pl pt ru sv th tr vi zh-CN zh-HK zh-TW";
    let languages: Vec<&str> = languages.split(' ').collect();
    let section = corpus("mkqa", "mkqa/test_mkqa.jsonl.gz", &languages, "");
    folder.write(
        "p.toml",
        format!("name = \"test\"\n{section}[batches]\nstrategy = \"x-y\"\nbatch_size = 6\nsteps = 5\n"),
    );
    let arguments = ["build-shards", "p.toml", "--data", data.to_str().unwrap(), "--out", "d", "-q"];
    folder.prep_args(&[&arguments[..], &["--strict"]].concat()).done();
    folder.prep("verify d -q").done();
    let counts = manifest(&folder)["counts"].clone();
    assert!(languages.iter().all(|lang| counts["queries"][lang] == 6), "{counts}");
    assert_eq!(counts["pools"].as_object().unwrap().len(), 26 * 25);
    // The questions that nobody can answer, or at length only, are questions all the same.
    let ids = rows(&folder, "corpus/queries-00000", &["group_id"]);
    for id in ["36228854473990432", "7721692200040168186", "2961317153244610375", "-7449157003522518870"] {
        assert!(ids.contains(&format!("d/{id}")), "{id}");
    }
}

#[test]
fn mkqa_of_mia_has_its_published_size() {
    let Some(data) = real_corpora("mkqa_of_mia_has_its_published_size") else { return };
    let folder = Folder::new();
    let pipeline = repository().join("pipelines/mkqa.toml");
    let arguments =
        ["build-shards", pipeline.to_str().unwrap(), "--data", data.to_str().unwrap(), "--out", "d", "-q"];
    let sets = ["--strict", "--set", "batches.steps=20"];
    folder.prep_args(&[&arguments[..], &sets].concat()).done();
    folder.prep("verify d -q").done();
    let manifest = manifest(&folder);
    let inputs: Vec<_> =
        manifest["inputs"].as_array().unwrap().iter().map(|input| input["name"].clone()).collect();
    assert_eq!(inputs, ["mkqa-mia2022/mkqa_dev.zip", "mkqa-mia2022/mkqa_test_without_answers.zip"]);
    for (lang, n) in manifest["counts"]["queries"].as_object().unwrap() {
        assert_eq!(n, 1_758 + 5_000, "{lang}");
    }
    let pools = manifest["counts"]["pools"].as_object().unwrap();
    assert_eq!(pools.len(), 2 * 12 * 11);
    assert!(pools.iter().all(|(name, n)| n == if name.starts_with("mkqa-dev/") { 1_758 } else { 5_000 }));
    let table = parquet(&folder.path("d/corpus/queries-00000.parquet"));
    let [ids, langs, asked] = ["query_id", "lang", "text"].map(|column| texts(&table, column));
    // Published: up to 37 questions of a language repeat a text (Korean, test); they stay questions of their own.
    let korean: Vec<_> = (0..table.num_rows())
        .filter(|&row| ids[row].as_deref().unwrap().starts_with("mkqa-test/ko/"))
        .map(|row| asked[row].clone())
        .collect();
    assert_eq!((korean.len(), korean.iter().collect::<BTreeSet<_>>().len()), (5_000, 5_000 - 37));
    // Every key has all languages; half of them are negative (counted: 870 and 2,486).
    let negative = |lang: &str| {
        (0..table.num_rows())
            .filter(|&row| langs[row].as_deref() == Some(lang) && ids[row].as_deref().unwrap().contains("/-"))
            .count()
    };
    assert_eq!((negative("zh"), negative("en")), (870 + 2_486, 870 + 2_486));
}

#[test]
fn the_empty_file_of_mia_is_an_error() {
    let Some(data) = real_corpora("the_empty_file_of_mia_is_an_error") else { return };
    let folder = Folder::new();
    let path = "mkqa-mia2022/mkqa_test_without_answers.zip/mkqa_test_without_answers/mkqa-{lang}.jsonl";
    folder.write("p.toml", format!("name = \"test\"\n{}", corpus("mkqa", path, &["en", "pt"], "")));
    folder
        .prep_args(&["build-shards", "p.toml", "--data", data.to_str().unwrap(), "--out", "d", "-q"])
        .failed_with(&["mkqa-pt.jsonl`: no question in language `pt`", "hint:"]);
}

// Archives.

pub fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn a_path_may_lead_into_an_archive() {
    let folder = two_questions();
    build(&folder, &of_mia(""));
    let expected = crate::util::files(&folder.path("d/corpus"));
    let [en, zh] =
        ["en", "zh_cn"].map(|lang| fs::read(folder.path(&format!("data/mkqa-{lang}.jsonl"))).unwrap());
    let bytes =
        zipped(&[("in/mkqa-en.jsonl", &en), ("in/mkqa-zh_cn.jsonl.gz", &gzipped(&zh)), ("other", b"x")]);
    folder.write("data/all.zip", &bytes);
    let section =
        of_mia("").replace("\"mkqa-", "\"all.zip/in/mkqa-").replace("zh_cn.jsonl", "zh_cn.jsonl.gz");
    build(&folder, &section);
    assert!(crate::util::files(&folder.path("d/corpus")) == expected);
    let inputs = manifest(&folder)["inputs"].clone();
    let digest = blake3::hash(&bytes).to_hex().to_string();
    assert_eq!(inputs, json!([{"name": "all.zip", "bytes": bytes.len(), "digest": digest}]));
    // A `*` in the last part, as outside.
    build(&folder, &section.replace("in/mkqa-en.jsonl", "in/*-en.json*"));
    assert!(crate::util::files(&folder.path("d/corpus")) == expected);
}

#[test]
fn an_archive_that_is_damaged_or_lacks_the_file_is_named() {
    let folder = two_questions();
    let section = of_mia("").replace("\"mkqa-", "\"all.zip/mkqa-");
    folder.write(
        "p.toml",
        format!("name = \"test\"\n{section}[batches]\nstrategy = \"x-y\"\nbatch_size = 1\n"),
    );
    let run = |bytes: &[u8]| {
        folder.write("data/all.zip", bytes);
        folder.prep("build-shards p.toml --data data --out d -q")
    };
    let en = mia("7", "en", "where?").repeat(50);
    let bytes = zipped(&[("mkqa-en.jsonl", en.as_bytes())]);
    run(&bytes).failed_with(&[
        "cannot read source `all.zip`: no file `mkqa-zh_cn.jsonl` in it",
        "it holds `mkqa-en.jsonl`",
    ]);
    run(&bytes[..bytes.len() / 2]).failed_with(&["cannot read source `all.zip`", "hint:"]);
    let bytes = zipped(&[("mkqa-en.jsonl", en.as_bytes()), ("mkqa-zh_cn.jsonl", en.as_bytes())]);
    let mut damaged = bytes;
    damaged[60] ^= 0x55;
    run(&damaged).failed_with(&["cannot read source `all.zip/mkqa-en.jsonl`", "hint:"]);
}

// Questions without their passages.

#[test]
fn a_question_is_answered_by_its_translation() {
    let folder = two_wordnets();
    for (lang, text) in [("de", "Eis ist kalt."), ("vi", "Băng thì lạnh.")] {
        let questions = [("q", "Eins?", 0, &text[..1]), ("r", "Zwei?", 0, &text[..1])];
        folder.write(&format!("data/{lang}.json"), crate::util::squad(text, &questions));
    }
    let corpus = "[[corpora]]\nname = \"d\"\nformat = \"squad\"\nlanguages = [\"de\", \"vi\"]\n\
        path = \"{lang}.json\"\nunit = \"question\"\n";
    build(&folder, corpus);
    assert_eq!(
        queries(&folder),
        [
            "d/de/q | d/q | de | Eins?",
            "d/de/r | d/r | de | Zwei?",
            "d/vi/q | d/q | vi | Eins?",
            "d/vi/r | d/r | vi | Zwei?",
        ]
    );
    // The context is that of the paragraph: what keeps paragraphs and titles together in a split.
    assert_eq!(
        rows(&folder, "corpus/passages-00000", &["passage_id", "context_id", "text"]),
        [
            "d/de/q | d/de/p0 | Eins?",
            "d/de/r | d/de/p0 | Zwei?",
            "d/vi/q | d/vi/p0 | Eins?",
            "d/vi/r | d/vi/p0 | Zwei?",
        ]
    );
    assert_eq!(pools(&folder), json!({"d/de:vi": 2, "d/vi:de": 2}));
}

#[test]
fn words_need_no_title_where_questions_are_split_by_theirs() {
    let folder = two_wordnets();
    for (lang, text) in [("de", "Eis ist kalt."), ("vi", "Băng thì lạnh.")] {
        let article = |n: usize| {
            let answer = json!([{"answer_start": 0, "text": &text[..1]}]);
            let question =
                json!({"id": format!("q{n}"), "question": format!("{lang} {n}?"), "answers": answer});
            json!({"title": format!("T{n}"), "paragraphs": [{"context": text, "qas": [question]}]})
        };
        let articles: Vec<Value> = (0..6).map(article).collect();
        folder.write(&format!("data/{lang}.json"), json!({"data": articles}).to_string());
    }
    let questions = "[[corpora]]\nname = \"q\"\nformat = \"squad\"\nlanguages = [\"de\", \"vi\"]\n\
        path = \"{lang}.json\"\nunit = \"question\"\n";
    let split = "[split.eval]\nby = \"title\"\nfolds = 3\nfold = 2\nseed = 5\n";
    build(&folder, &format!("{}{questions}{split}", wordnets("")));
    // Of T0 to T5 fold 2 has T5 (`the_fold_of_a_title_follows_from_its_name_and_the_seed`), and words stay.
    assert_eq!(rows(&folder, "eval/queries-00000", &["query_id"]), ["q/de/q5", "q/vi/q5"]);
}
