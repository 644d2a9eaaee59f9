//! Lexicons and the words that they have: what is told of them, what is refused, what two datasets differ in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use arrow::array::AsArray;
use serde_json::{Value, json};

use crate::code_switch::{ALL, LEXICON, SOME, build, column, manifest, pipeline, rows, with_texts};
use crate::proof::replace_file;
use crate::util::{Folder, files, parquet, repository};

/// By hand: of the words of TEXTS, what LEXICON has, and how often a row of each language is drawn.
#[test]
fn the_report_says_what_is_switched_by_language_and_lexicon() {
    let folder = with_texts();
    let report = build(&folder, ALL, "--out d --json").done().json();
    let switches = &report["code_switch"];
    assert_eq!(manifest(&folder, "d")["code_switch"], *switches);
    // "Where is the House?", "The house stands by the RIVER.", "Dogs bark.": 4, 6 and 2 words, 1, 2 and 1 translated.
    assert_eq!((&switches["en"]["words"], &switches["en"]["translated"]), (&json!(12), &json!(4)));
    assert_eq!(switches["en"]["translated_by"], json!({"words": 4}));
    let rows = rows(&folder, "d");
    let count =
        |name: &str| column(&rows, name).iter().filter(|lang| lang.as_deref() == Some("en")).count() as u64;
    let (asked, answered) = (count("query_lang"), count("positive_lang"));
    // A row has a question, or a positive and its hard negative.
    assert_eq!(switches["en"]["drawn"], json!(4 * asked + 8 * answered));
    assert_eq!(switches["en"]["switched"], json!(asked + 3 * answered));
    assert_eq!(switches["en"]["switched_by"], json!({"words": asked + 3 * answered}));
    assert_eq!(switches["en"]["in_switched_batches"], switches["en"]["drawn"]);
    let text = build(&folder, ALL, "--out e").done().stdout;
    assert!(text.lines().any(|line| line.trim_start().starts_with("code switching")), "{text}");
    let dry = build(&folder, ALL, "--out f --dry-run --json").done().json();
    assert_eq!(dry["code_switch"], *switches);
    // The lexicon is named with its licence, and is an input.
    let card = fs::read_to_string(folder.path("d/README.md")).unwrap();
    assert!(card.contains("| words (lexicon) |") && card.contains("| made by hand | CC0-1.0 |"), "{card}");
    assert!(card.contains("`query_original`"), "{card}");
    let citation = fs::read_to_string(folder.path("d/CITATION.cff")).unwrap();
    assert!(citation.contains("Source: made by hand; Licence: CC0-1.0"), "{citation}");
    let inputs = manifest(&folder, "d")["inputs"].to_string();
    assert!(inputs.contains("words.tsv"), "{inputs}");
}

/// A manifest, words or a lexicon that say something else are findings, and nothing panics.
#[test]
fn what_does_not_follow_is_found() {
    let folder = with_texts();
    build(&folder, SOME, "--out d").done();
    let root = folder.path("d");
    let good = fs::read(root.join("manifest.json")).unwrap();
    let mut other: Value = serde_json::from_slice(&good).unwrap();
    other["code_switch"]["en"]["switched"] = json!(1);
    fs::write(root.join("manifest.json"), other.to_string()).unwrap();
    let ran = folder.prep("verify d --quiet").failed_with(&["1 difference"]);
    assert!(ran.stdout.contains("`code_switch` is not what the batches switch"), "{}", ran.stdout);
    fs::write(root.join("manifest.json"), &good).unwrap();

    // The words of another dataset, and the lexicon of another.
    folder.write("data/words.tsv", "en\tde\tth\tja\tzh\nhouse\tHeim\tบ้าน\t家\t房子\n");
    build(&folder, SOME, "--out e").done();
    for table in ["words", "lexicon"] {
        let name = format!("corpus/{table}-00000.parquet");
        let mine = fs::read(root.join(&name)).unwrap();
        let others = fs::read(folder.path(&format!("e/{name}"))).unwrap();
        replace_file(&root, &name, &others);
        for lookup in [true, false] {
            let ran = folder.prep("verify d --quiet").failed_with(&["difference"]);
            // Without lookup.bin that is told, too; the table is wrong either way.
            let of_table = ran.stdout.lines().filter(|line| !line.contains("lookup.bin"));
            assert!(
                of_table.clone().any(|line| line.contains(table) || line.contains("dataset")),
                "{}",
                ran.stdout
            );
            let ran = folder.prep("reproduce d --step 0..40");
            assert!(
                ran.code == Some(1) && !ran.stderr.contains("panicked"),
                "{table} {lookup}: {}",
                ran.stderr
            );
            let hidden = (root.join("corpus/lookup.bin"), folder.path("lookup.bin"));
            if lookup { fs::rename(hidden.0, hidden.1) } else { fs::rename(hidden.1, hidden.0) }.unwrap();
        }
        replace_file(&root, &name, &mine);
    }
}

#[test]
fn what_a_lexicon_cannot_do_is_said_before_anything_is_built() {
    let folder = with_texts();
    let refused = |setting: &str, more: &str, parts: &[&str]| {
        build(&folder, setting, &format!("--out x {more}")).failed_with(parts);
        assert!(!folder.path("x").exists());
    };
    refused("kind = \"bilingual\"\nprobability = 1.5", "", &["`code_switch.probability`", "between 0 and 1"]);
    refused("kind = \"bilingual\"\nprobability = 1\nshare = 2", "", &["`code_switch.share`"]);
    refused(
        "kind = \"both\"\nprobability = 1",
        "",
        &["unknown variant `both`", "`bilingual` or `multilingual`"],
    );
    refused(ALL, "--set code_switch.lexicons=[]", &["`code_switch.lexicons`", "is empty"]);
    let lexicon = "--set code_switch.lexicons.words";
    refused(
        ALL,
        &format!("{lexicon}.languages=[\"de\"]"),
        &["`code_switch.lexicons.words`", "two languages"],
    );
    refused(ALL, &format!("{lexicon}.languages=[\"de\",\"jp\"]"), &["`jp`", "did you mean `ja`?"]);
    refused(ALL, &format!("{lexicon}.path=../words.tsv"), &["leads out of the data folder"]);
    refused(ALL, &format!("{lexicon}.path=nothing.tsv"), &["nothing.tsv", "no such file"]);
    refused(
        ALL,
        &format!("{lexicon}.languages=[\"de\",\"fr\"]"),
        &["words.tsv", "0 columns are called `fr`", "hint"],
    );
    refused(ALL, &format!("{lexicon}.path={{lang}}.tsv"), &["has its languages in columns", "{query_lang}"]);
    // Monolingual rows have no other side.
    let found = ["setting `code_switch`", "no pool has two languages", "hint", "de:en"];
    refused(ALL, "--set batches.strategy=x-x-mono --set batches.batch_size=1", &found);
    folder.write("data/none.tsv", "de\ten\nKatze\tcat\n");
    let none = format!("{lexicon}.path=none.tsv {lexicon}.languages=[\"de\",\"en\"]");
    refused(ALL, &none, &["have a translation for no word of the training texts", "hint", "de, en"]);
    folder.write("data/empty.tsv", "de\ten\n");
    let empty = format!("{lexicon}.path=empty.tsv {lexicon}.languages=[\"de\",\"en\"]");
    refused(ALL, &empty, &["empty.tsv"]);
}

#[test]
fn a_bad_line_of_a_lexicon_is_a_reject() {
    let folder = with_texts();
    folder.write("data/words.tsv", format!("{LEXICON}cat\tKatze\n"));
    build(&folder, ALL, "--out d").failed_with(&[
        "1 of 5 records are bad",
        "words.tsv",
        "line 6",
        "2 columns",
    ]);
    build(&folder, ALL, "--out d --set max_rejects=0.5").done();
    assert_eq!(manifest(&folder, "d")["rejects"], json!({"malformed": 1}));
    let rejects = parquet(&folder.path("d/rejects.parquet"));
    assert_eq!(column(&rejects, "source"), [Some("words.tsv".to_owned())]);
    build(&folder, ALL, "--out e --set max_rejects=0.5 --strict").failed_with(&["1 of 5 records are bad"]);
    folder.prep("verify d --quiet").done();
}

/// Parts of words are neither looked up nor put in, whatever the dash; each is kept with its place, and none is a fault.
#[test]
fn affixes_are_no_words_of_a_lexicon() {
    let folder = with_texts();
    // Nothing but the house and the river is left; `Haus` itself stands in the texts.
    let lexicon = LEXICON
        .replace("dogs", "-dogs")
        .replace("สุนัข\tHunde\t狗\t犬", "-สุนัข\tHunde\u{2010}\t～狗\t犬〜")
        .replace("to bark\tเห่า\tbellen\t\t吠える", "bark-\t\t\t\t");
    folder.write("data/words.tsv", format!("{lexicon}Haus-\t\tHaus-\t\t\n"));
    build(&folder, ALL, "--out d --strict").done();
    folder.prep("verify d --quiet").done();
    assert_eq!(manifest(&folder, "d")["rejects"], json!({"affix": 8}));
    let rejects = parquet(&folder.path("d/rejects.parquet"));
    let of = |name: &str| -> Vec<String> { column(&rejects, name).into_iter().flatten().collect() };
    assert_eq!(of("source"), vec!["words"; 8]);
    assert_eq!(of("place")[..2], ["words/de/4", "words/de/6"]);
    assert_eq!(of("raw")[..2], ["Hunde\u{2010}", "Haus-"]);
    let rows = rows(&folder, "d");
    for text in ["query", "positive"].into_iter().flat_map(|name| column(&rows, name)).flatten() {
        assert!(!text.contains(['-', '\u{2010}', '～', '〜']), "{text}");
    }
    let lexicon = parquet(&folder.path("d/corpus/lexicon-00000.parquet"));
    let words: BTreeSet<String> = column(&lexicon, "word").into_iter().flatten().collect();
    // NFKC takes a Thai ำ apart.
    let river = "แม\u{e48}น\u{e49}\u{e4d}า";
    let expected = ["haus", "fluss", "house", "river", "家", "川", "บ้าน", river, "房子", "河"];
    assert_eq!(words, expected.map(str::to_owned).into());
}

/// A word whose translation is spelt alike was not replaced, and is not counted.
#[test]
fn a_word_that_stays_as_it_is_was_not_switched() {
    let switched = |lexicon: &str| {
        let folder = with_texts();
        folder.write("data/words.tsv", lexicon);
        let report = build(&folder, ALL, "--out d --json").done().json();
        report["code_switch"]["de"]["switched"].as_u64().unwrap()
    };
    let all = switched(LEXICON);
    let houses = LEXICON.replace("house\tบ้าน\tHaus", "house\tบ้าน\thaus").replace("house", "haus");
    let stays = switched(&houses);
    assert!(stays < all, "{stays} of {all}");
    // The words that are switched are those that differ, in the texts of all rows.
    let folder = with_texts();
    folder.write("data/words.tsv", "en\tth\tde\tzh\tja\nhaus\t\tHaus\t\t\n");
    let report = build(&folder, ALL, "--out d --json").done().json();
    assert_eq!(report["code_switch"]["de"]["switched"], 0);
    assert_ne!(report["code_switch"]["de"]["translated"], 0);
}

/// Words and texts meet by their tags.
#[test]
fn a_lexicon_of_another_tag_of_a_language_is_refused() {
    let folder = with_texts();
    let text = pipeline(ALL).replace("\"zh\"", "\"zh-CN\"");
    let (corpora, lexicons) = text.split_once("[code_switch]").unwrap();
    folder.write("p.toml", format!("{corpora}[code_switch]{}", lexicons.replace("\"zh-CN\"", "\"zh\"")));
    folder.prep("build-shards p.toml --data data --out d --quiet").failed_with(&[
        "setting `code_switch.lexicons.words`",
        "`zh` is no language of the corpora, whose texts in `zh-CN` get no words",
        "hint: call it `zh-CN`, too",
    ]);
}

/// By hand: without the house of the German column, two German texts have a word less, and four words one translation less.
/// That all later words have other rows in the lexicon is no difference.
#[test]
fn a_diff_says_which_words_and_translations_differ() {
    let folder = with_texts();
    build(&folder, ALL, "--out a").done();
    folder.write("data/words.tsv", LEXICON.replace("Haus", "Gemäuer"));
    build(&folder, ALL, "--out b").done();
    let found = folder.prep("diff a b --json --quiet").json();
    let tables = found["corpus"].as_array().unwrap();
    let of = |name: &str| tables.iter().find(|table| table["table"] == name).unwrap();
    for same in ["queries", "passages", "qrels"] {
        assert_eq!((&of(same)["changed"], &of(same)["only"]), (&json!(0), &json!({"a": 0, "b": 0})));
        assert_eq!(of(same)["rows"]["a"], json!(if same == "passages" { 10 } else { 5 }));
    }
    let words = of("words");
    assert_eq!((&words["changed"], &words["rows"]), (&json!(2), &json!({"a": 15, "b": 15})));
    assert_eq!(words["columns"], json!({"positions": 2, "starts": 2, "ends": 2, "entries": 2}));
    let entries = words["shown"].as_array().unwrap();
    assert!(entries.len() == 2 && entries.iter().all(|cell| cell["column"] == "entries"), "{words}");
    assert_eq!((&entries[0]["a"], &entries[0]["b"]), (&json!(["haus", "fluss"]), &json!(["fluss"])));
    assert_eq!((&entries[1]["a"], &entries[1]["b"]), (&json!(["haus"]), &json!([])));
    assert!(entries[1]["id"].as_str().unwrap().starts_with("query d/de/"), "{}", entries[1]);
    let lexicon = of("lexicon");
    assert_eq!(
        (&lexicon["changed"], &lexicon["columns"], &lexicon["only"]),
        (&json!(4), &json!({"translations": 4}), &json!({"a": 1, "b": 0}))
    );
    assert_eq!(lexicon["languages"]["de"], json!({"only": {"a": 1, "b": 0}, "changed": 0}));
    assert_eq!(lexicon["languages"]["th"], json!({"only": {"a": 0, "b": 0}, "changed": 1}));
    let text = folder.prep("diff a b --quiet").stdout;
    assert!(text.contains("One plan and the same texts"), "{text}");
    assert!(text.contains("  en house: translations\n") && text.contains("Gemäuer"), "{text}");
}

/// Held-out texts are evaluated on as they are, and no word of theirs is looked at.
#[test]
fn what_is_held_out_stays_as_it_is() {
    let folder = Folder::new();
    let data = repository().join("data");
    folder.write("words.tsv", "de\ten\nMond\tMoon\nErde\tEarth\nBienen\tbees\nist\tis\n");
    for (name, bytes) in files(&data) {
        folder.write(&format!("data/{name}"), bytes);
    }
    fs::rename(folder.path("words.tsv"), folder.path("data/words.tsv")).unwrap();
    let demo = fs::read_to_string(repository().join("pipelines/demo.toml")).unwrap();
    let section = pipeline(ALL);
    let section = section.split_once("[code_switch]").unwrap().1;
    let section = section.replace("[\"de\", \"en\", \"ja\", \"th\", \"zh\"]", "[\"de\", \"en\"]");
    folder.write(
        "p.toml",
        format!("{demo}\n[split.eval]\nby = \"title\"\nfraction = 0.25\n[code_switch]{section}"),
    );
    folder.prep("build-shards p.toml --data data --out d --quiet").done();
    folder.prep("verify d --quiet").done();
    let words = parquet(&folder.path("d/corpus/words-00000.parquet"));
    let mut n_held_out = 0;
    for table in ["queries", "passages"] {
        let corpus = parquet(&folder.path(&format!("d/corpus/{table}-00000.parquet")));
        let (ids, splits) = (
            column(&corpus, if table == "queries" { "query_id" } else { "passage_id" }),
            column(&corpus, "split"),
        );
        let of: BTreeMap<_, _> = ids.into_iter().zip(splits).collect();
        for (row, id) in column(&words, "text_id").into_iter().enumerate() {
            let Some(split) = of.get(&id) else { continue };
            let n = words
                .column_by_name("words")
                .unwrap()
                .as_primitive::<arrow::datatypes::UInt32Type>()
                .value(row);
            assert_eq!(n == 0, split.as_deref() == Some("eval"), "{id:?}");
            n_held_out += usize::from(n == 0);
        }
    }
    assert!(0 < n_held_out);
}
