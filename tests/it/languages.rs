//! Tags of languages: what a pipeline or a record calls a language, and the tag of BCP 47 that it means.

use std::fs;

use serde_json::json;

use crate::built::{BUILD, build_with, corpus, manifest, queries, rows, unbuilt};
use crate::util::{Folder, squad};

/// A question of the id 1 in a file of this name.
fn source(folder: &Folder, name: &str) {
    folder.write(&format!("data/{name}"), squad("Eis.", &[("1", "?", 0, "Eis")]));
}

/// The files are called as the pipeline calls its languages.
#[test]
fn a_language_gets_its_tag_and_its_files_keep_their_names() {
    let names = [
        ("zh_cn", "zh-CN"),
        ("cmn", "zh"),
        ("thai", "th"),
        ("swa", "sw"),
        ("Deu_Latn", "de-Latn"),
        ("EN", "en"),
        ("x-martian", "x-martian"),
        ("bem", "bem"),
    ];
    let folder = Folder::new();
    names.iter().for_each(|(name, _)| source(&folder, &format!("{name}.json")));
    let mut tags: Vec<&str> = names.iter().map(|(_, tag)| *tag).collect();
    tags.sort_unstable();
    let mut expected: Vec<String> = tags.iter().map(|tag| format!("d/{tag}/1 | d/1 | {tag} | ?")).collect();
    expected.sort_unstable();
    let written = names.map(|(name, _)| name);
    build_with(&folder, &corpus("squad", "{lang}.json", &written, ""), "--strict");
    assert_eq!(queries(&folder), expected);
    assert_eq!(manifest(&folder)["pipeline"]["corpora"][0]["languages"], json!(tags));
    folder.prep("reproduce d --step 3 --from-sources data").done();

    let paths: Vec<String> = written.iter().map(|name| format!("\"{name}\" = \"{name}.json\"")).collect();
    let section = corpus("squad", "{lang}.json", &written, "")
        .replace("path = \"{lang}.json\"", &format!("paths = {{ {} }}", paths.join(", ")));
    build_with(&folder, &section, "--strict");
    assert_eq!(queries(&folder), expected);
    build_with(&folder, &section, "--set filters.languages=['cmn','EN']");
    assert_eq!(queries(&folder), ["d/en/1 | d/1 | en | ?", "d/zh/1 | d/1 | zh | ?"]);
}

#[test]
fn files_of_pairs_and_weights_name_languages_as_people_do() {
    let folder = Folder::new();
    for (query, passage) in [("thai", "thai"), ("thai", "zh_cn"), ("zh_cn", "thai"), ("zh_cn", "zh_cn")] {
        folder.write(
            &format!("data/{query}-{passage}.json"),
            squad(&format!("Eis in {passage}."), &[("1", &format!("{query}?"), 0, "Eis")]),
        );
    }
    let path = "{query_lang}-{passage_lang}.json";
    let section = corpus("squad", path, &["thai", "zh_cn"], "");
    build_with(
        &folder,
        &section,
        "--set batches.strategy=x-y --set batches.language_weights={'thai:zh_cn'=1,'zh_cn:thai'=0}",
    );
    assert_eq!(queries(&folder), ["d/th/1 | d/1 | th | thai?", "d/zh-CN/1 | d/1 | zh-CN | zh_cn?"]);
    let plan: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("d/plan.json")).unwrap()).unwrap();
    let pools: Vec<&str> = plan["sources"][0]["pools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pool| pool["name"].as_str().unwrap())
        .collect();
    assert_eq!(pools, ["d/th:zh-CN"]);
    // One of four, by a pair.
    build_with(
        &folder,
        &corpus("squad", path, &["thai", "zh_cn"], "pairs = [\"thai:zh_cn\"]"),
        "--set batches.strategy=x-y",
    );
    assert_eq!(queries(&folder), ["d/th/1 | d/1 | th | thai?"]);
}

#[test]
fn what_is_no_language_is_refused_with_the_one_that_was_meant() {
    let folder = Folder::new();
    for (tag, parts) in [
        ("jp", ["`jp` is no language that is known", "did you mean `ja`?"]),
        ("swahilli", ["`swahilli` is no language that is known", "did you mean `sw`?"]),
        ("xx", ["`xx` is no language that is known", "setting `corpora.d`"]),
        // No code of ISO 639-3.
        ("xqq", ["`xqq` is no language that is known", "setting `corpora.d`"]),
        ("en-foo", ["`en-foo` is no tag of BCP 47", "what stands behind `en`"]),
    ] {
        unbuilt(&folder, &corpus("squad", "{lang}.json", &[tag], ""));
        folder.prep(BUILD).failed_with(&parts);
    }
    unbuilt(&folder, &corpus("squad", "{lang}.json", &["zh", "cmn"], ""));
    folder.prep(BUILD).failed_with(&["setting `corpora.d`: language `zh` is named twice"]);
    unbuilt(
        &folder,
        &corpus("squad", "{lang}.json", &["zh"], "")
            .replace("path = \"{lang}.json\"", "paths = { zh = \"a\", cmn = \"b\" }"),
    );
    folder.prep(BUILD).failed_with(&["setting `corpora.d`: two of `paths` are of the same language"]);
    let pairs = corpus("squad", "{query_lang}-{passage_lang}", &["zh_cn", "de"], "pairs = [\"zh_cn:fr\"]");
    unbuilt(&folder, &pairs);
    folder.prep(BUILD).failed_with(&["pair `zh-CN:fr` is not `q:p` with both among `languages`"]);
    // What is wrong stays wrong under another name.
    for name in ["zh", "zh_cn"] {
        unbuilt(&folder, &corpus("squad", "{query_lang}.json", &["de", name], ""));
        folder.prep(BUILD).failed_with(&["needs `{query_lang}` and `{passage_lang}`"]);
    }
    unbuilt(&folder, &corpus("squad", "{lang}.json", &["sw"], ""));
    folder
        .prep(&format!("{BUILD} --set batches.language_weights={{sw=1,swa=3}}"))
        .failed_with(&["setting `batches.language_weights`: two weights are of `sw`"]);
    let files = "files = { corpus = \"{lang}.tsv\", queries = \"q.tsv\", qrels = \"r.tsv\" }";
    unbuilt(&folder, &corpus("collection", "", &["zh_cn"], files).replace("path = \"\"\n", ""));
    folder.prep(BUILD).failed_with(&["`files` has `{lang}.tsv`", "`zh-CN`"]);
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
