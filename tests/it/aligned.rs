//! Texts that are questions and passages at once: captions of an image, translations, words of a list.

use std::collections::BTreeMap;

use serde_json::json;

use crate::built::{
    BUILD, X_Y, build_shipped, build_with, corpus, gzipped, manifest, queries, rows, unbuilt,
};
use crate::tydiqa::lines;
use crate::util::{Folder, real_corpora};

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
    unbuilt(&folder, &corpus("captions", "captions.jsonl", &["de", "te"], ""));
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
    unbuilt(&folder, &section);
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
