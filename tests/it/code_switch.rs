//! Words in other languages: which are replaced and by what, and that every reader derives the same.
//!
//! Expected texts are written by hand, draws are the test vectors of `schemas/SAMPLING.md`, section 9, and
//! `code_switch.py` derives whole datasets from that page alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use arrow::array::{Array, AsArray, RecordBatch};
use serde_json::{Value, json};

use crate::eval_oracle::python;
use crate::proof::replace_file;
use crate::util::{Folder, Ran, files, parquet, real_corpora, repository, squad, texts};

/// A question and a passage of two sentences in each of five languages. Thai, Chinese and Japanese have no spaces.
const TEXTS: [(&str, &str, &str, &str); 5] = [
    ("de", "Wo steht das HAUS?", "Das Haus steht am Fluss.", " Hunde bellen."),
    ("en", "Where is the House?", "The house stands by the RIVER.", " Dogs bark."),
    ("ja", "家はどこですか", "家は川のそばにあります。", "犬が吠える。"),
    ("th", "บ้านอยู่ที่ไหน", "บ้านอยู่ใกล้แม่น้ำ!", " สุนัขเห่า!"),
    ("zh", "房子在哪里？", "房子在河边。", "狗在叫。"),
];

/// A column a language; the last concept is of several words in English, and has no word in Chinese.
const LEXICON: &str = "en\tth\tde\tzh\tja\n\
    house\tบ้าน\tHaus\t房子\t家\n\
    river\tแม่น้ำ\tFluss\t河\t川\n\
    dogs\tสุนัข\tHunde\t狗\t犬\n\
    to bark\tเห่า\tbellen\t\t吠える\n";

/// What stands in the texts for the house of the question, that of the passage, the river, the dogs and the barking.
fn words_of(lang: &str) -> [&str; 5] {
    match lang {
        "de" => ["HAUS", "Haus", "Fluss", "Hunde", "bellen"],
        "en" => ["House", "house", "RIVER", "Dogs", "to bark"],
        "ja" => ["家", "家", "川", "犬", "吠える"],
        "th" => ["บ้าน", "บ้าน", "แม่น้ำ", "สุนัข", "เห่า"],
        "zh" => ["房子", "房子", "河", "狗", ""],
        other => panic!("{other}"),
    }
}

/// The same as translations from another language, in the case of the word there.
fn translations(from: &str, to: &str) -> [String; 5] {
    let [_, _, river, dogs, barking] = words_of(to);
    let house = match to {
        "de" => "Haus",
        other => words_of(other)[1],
    };
    let plain = [
        house,
        house,
        if to == "en" { "river" } else { river },
        if to == "en" { "dogs" } else { dogs },
        barking,
    ];
    let upper = |text: &str| text.to_uppercase();
    let capitalised = |text: &str| {
        let mut letters = text.chars();
        letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
    };
    let [asked, house, river, dogs, barking] = plain;
    match from {
        // HAUS, Haus, Fluss, Hunde, bellen.
        "de" => [upper(asked), capitalised(house), capitalised(river), capitalised(dogs), barking.to_owned()],
        // House, house, RIVER, Dogs; `bark` alone is in no lexicon.
        "en" => [capitalised(asked), house.to_owned(), upper(river), capitalised(dogs), "to bark".to_owned()],
        _ => plain.map(str::to_owned),
    }
}

/// A text of a language with its words in another.
fn switched(text: &str, from: &str, to: &str) -> String {
    let (mine, theirs) = (words_of(from), translations(from, to));
    // Thai has no space between the dogs and the barking.
    let [dogs, barking] = ["สุนัข", "เห่า"];
    let mut text = match to {
        "de" | "en" => text.replace(&format!("{dogs}{barking}"), &format!("{dogs} {barking}")),
        _ => text.to_owned(),
    };
    for (word, translation) in mine.into_iter().zip(theirs) {
        if !word.is_empty() && !translation.is_empty() {
            text = text.replace(word, &translation);
        }
    }
    text
}

fn with_texts() -> Folder {
    let folder = Folder::new();
    for (lang, question, first, second) in TEXTS {
        let answer = first.chars().next().unwrap().to_string();
        folder.write(
            &format!("data/{lang}.json"),
            squad(&format!("{first}{second}"), &[("q", question, 0, &answer)]),
        );
    }
    folder.write("data/words.tsv", LEXICON);
    folder
}

/// Pairs of two languages in every row, hard negatives, and this lexicon.
fn pipeline(code_switch: &str) -> String {
    format!(
        r#"
name = "p"
[[corpora]]
name = "d"
format = "squad"
path = "{{lang}}.json"
languages = ["de", "en", "ja", "th", "zh"]
[batches]
strategy = "x-y"
batch_size = 2
steps = 40
negatives = 1
[code_switch]
{code_switch}
[[code_switch.lexicons]]
name = "words"
format = "tsv"
path = "words.tsv"
languages = ["de", "en", "ja", "th", "zh"]
licence = "CC0-1.0"
source = "made by hand"
"#
    )
}

fn build(folder: &Folder, code_switch: &str, more: &str) -> Ran {
    folder.write("p.toml", pipeline(code_switch));
    folder.prep(&format!("build-shards p.toml --data data --quiet {more}"))
}

fn rows(folder: &Folder, dataset: &str) -> RecordBatch {
    parquet(&folder.path(&format!("{dataset}/train/batches-00000.parquet")))
}

fn column(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    texts(batch, name)
}

/// The only hard negative of each row; nothing where there is a null.
fn only(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let list = batch.column_by_name(name).unwrap().as_list::<i32>();
    let of_row = |row: usize| {
        let items = list.value(row);
        let items = items.as_string::<i32>();
        assert_eq!(items.len(), 1);
        items.is_valid(0).then(|| items.value(0).to_owned())
    };
    (0..list.len()).map(of_row).collect()
}

fn manifest(folder: &Folder, dataset: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.path(&format!("{dataset}/manifest.json"))).unwrap()).unwrap()
}

const ALL: &str = "kind = \"bilingual\"\nprobability = 1";

#[test]
fn words_stand_in_the_language_of_the_other_side() {
    let folder = with_texts();
    build(&folder, ALL, "--out d").done();
    let rows = rows(&folder, "d");
    let (query_langs, passage_langs) = (column(&rows, "query_lang"), column(&rows, "positive_lang"));
    let (queries, positives) = (column(&rows, "query"), column(&rows, "positive"));
    let (query_originals, originals) = (column(&rows, "query_original"), column(&rows, "positive_original"));
    let (negatives, negative_originals) = (only(&rows, "negatives"), only(&rows, "negatives_original"));
    let mut pairs = BTreeSet::new();
    for row in 0..rows.num_rows() {
        let (q, p) = (query_langs[row].as_deref().unwrap(), passage_langs[row].as_deref().unwrap());
        pairs.insert((q, p));
        let text = |lang: &str| TEXTS.iter().find(|text| text.0 == lang).unwrap();
        let expect = |found: &Option<String>, original: &Option<String>, text: &str, from: &str, to: &str| {
            let expected = switched(text, from, to);
            assert_eq!(found.as_deref(), Some(expected.as_str()), "{from} to {to}");
            assert_eq!(original.as_deref(), (expected != text).then_some(text), "{from} to {to}");
        };
        expect(&queries[row], &query_originals[row], text(q).1, q, p);
        expect(&positives[row], &originals[row], text(p).2, p, q);
        expect(&negatives[row], &negative_originals[row], text(p).3.trim(), p, q);
    }
    assert_eq!(pairs.len(), 20);
}

/// What the function above makes, for once in plain sight.
#[test]
fn expected_texts_are_what_a_person_would_write() {
    assert_eq!(switched("Where is the House?", "en", "th"), "Where is the บ้าน?");
    assert_eq!(switched("Wo steht das HAUS?", "de", "en"), "Wo steht das HOUSE?");
    assert_eq!(switched("The house stands by the RIVER.", "en", "de"), "The Haus stands by the FLUSS.");
    assert_eq!(switched("Das Haus steht am Fluss.", "de", "en"), "Das House steht am River.");
    assert_eq!(switched("房子在河边。", "zh", "en"), "house在river边。");
    assert_eq!(switched("Hunde bellen.", "de", "zh"), "狗 bellen.");
    assert_eq!(switched("สุนัขเห่า!", "th", "en"), "dogs to bark!");
    assert_eq!(switched("สุนัขเห่า!", "th", "ja"), "犬吠える!");
    assert_eq!(switched("犬が吠える。", "ja", "en"), "dogsがto bark。");
}

/// Words that touch, of scripts without spaces, beside letters and digits: what a person would write with spaces has them.
#[test]
fn words_that_touched_do_not_run_together() {
    let folder = Folder::new();
    folder.write("data/zh.json", squad("房子abc河3河，狗房子。", &[("q", "iPhone房子吗", 0, "房")]));
    folder.write("data/en.json", squad("A house by the river.", &[("q", "Which dogs?", 0, "A")]));
    folder.write("data/words.tsv", "en\tzh\nhouse\t房子\nriver\t河\ndogs\t狗\n");
    folder.write("p.toml", pipeline(ALL).replace(r#"["de", "en", "ja", "th", "zh"]"#, r#"["en", "zh"]"#));
    let build = "build-shards p.toml --data data --out d --quiet --set batches.batch_size=1 --set batches.negatives=0";
    folder.prep(build).done();
    folder.prep("verify d --quiet").done();
    let rows = rows(&folder, "d");
    let of = |name: &str| -> BTreeSet<String> { column(&rows, name).into_iter().flatten().collect() };
    assert_eq!(of("query"), ["iPhone house吗", "Which 狗?"].map(str::to_owned).into());
    let passages = ["house abc river 3 river，dogs house。", "A 房子 by the 河."];
    assert_eq!(of("positive"), passages.map(str::to_owned).into());
    derived_in_python(&folder, "d", "words_that_touched_do_not_run_together");
}

/// Eight questions, and the draws of `schemas/SAMPLING.md` for pass 3 and index 7 of `demo/de:en`.
fn vectors() -> Folder {
    let folder = Folder::new();
    let question = |lang: &str, n: usize| match lang {
        "de" => format!("Eins zwei drei vier{n}"),
        _ => format!("One two three four{n}"),
    };
    for lang in ["de", "en"] {
        let questions: Vec<String> = (0..8).map(|n| question(lang, n)).collect();
        let ids: Vec<String> = (0..8).map(|n| format!("q{n}")).collect();
        let all: Vec<_> = ids
            .iter()
            .zip(&questions)
            .map(|(id, question)| (id.as_str(), question.as_str(), 0, if lang == "de" { "U" } else { "O" }))
            .collect();
        let context = if lang == "de" { "Und eins zwei." } else { "One two three." };
        folder.write(&format!("data/{lang}.json"), squad(context, &all));
    }
    // Line N is concept N; each language has five words for it, not in byte order.
    let words = |first: [&str; 3], mark: char| -> String {
        let line =
            |(n, word): (usize, &str)| format!("{word}\t{mark}{n}d\t{mark}{n}b\t{mark}{n}c\t{mark}{n}a\n");
        first.into_iter().enumerate().map(line).collect()
    };
    folder.write("data/de.txt", words(["eins", "zwei", "drei"], 'd'));
    folder.write("data/en.txt", words(["one", "two", "three"], 'e'));
    folder.write("data/es.txt", words(["zz", "zz", "zz"], 's'));
    folder.write("data/fr.txt", words(["zz", "zz", "zz"], 'f'));
    folder.write(
        "p.toml",
        r#"
name = "p"
[[corpora]]
name = "demo"
format = "squad"
path = "{lang}.json"
languages = ["de", "en"]
[batches]
strategy = "pair"
language_weights = { "de:en" = 1, "en:de" = 0 }
batch_size = 1
steps = 32
[code_switch]
kind = "multilingual"
probability = 0.5
[[code_switch.lexicons]]
name = "concepts"
format = "word-lists"
path = "{lang}.txt"
languages = ["de", "en", "es", "fr"]
"#,
    );
    folder
}

#[test]
fn the_words_of_a_row_are_those_of_the_test_vectors() {
    let folder = vectors();
    folder.prep("build-shards p.toml --data data --out d --quiet").done();
    let rows = rows(&folder, "d");
    let examples =
        arrow::compute::cast(rows.column_by_name("example").unwrap(), &arrow::datatypes::DataType::UInt64);
    let examples = examples.unwrap();
    let examples = examples.as_primitive::<arrow::datatypes::UInt64Type>();
    // A batch is one row of the one pool, so the fourth pass is steps 24 to 31.
    let row = (24..32).find(|&row| examples.value(row) == 7).unwrap();
    // Eins: language 0 of en, es, fr, translation 1 of e0a e0b e0c e0d one. zwei: language 1, translation 0. drei: language 1,
    // translation 2. vier7 is in no lexicon.
    assert_eq!(column(&rows, "query")[row].as_deref(), Some("E0b s1a s2c vier7"));
    assert_eq!(column(&rows, "query_original")[row].as_deref(), Some("Eins zwei drei vier7"));
    // One: language 0 of de, es, fr, translation 1 of d0a d0b d0c d0d eins. The others stay.
    assert_eq!(column(&rows, "positive")[row].as_deref(), Some("D0b two three."));
    assert_eq!(column(&rows, "positive_original")[row].as_deref(), Some("One two three."));
}

#[test]
fn a_share_of_the_batches_is_switched_and_which_follows_from_the_seed() {
    let folder = with_texts();
    build(&folder, &format!("{ALL}\nshare = \"1/2\""), "--out d").done();
    let rows = rows(&folder, "d");
    let originals = column(&rows, "query_original");
    let switched: Vec<usize> = (0..16).filter(|step| originals[2 * step].is_some()).collect();
    assert_eq!(switched, [0, 1, 5, 7, 9, 10, 14]);
    let untouched = ["query_original", "positive_original"].map(|name| column(&rows, name));
    for row in (0..80).filter(|row| originals[row - row % 2].is_none()) {
        assert!(untouched.iter().all(|column| column[row].is_none()), "row {row}");
        assert_eq!(only(&rows, "negatives_original")[row], None);
    }
    // Of the words of the switched batches, as many are switched as of all words where all batches are: 4 words in an
    // English question, 8 in a passage and its hard negative; of these 1 and 3 are switched.
    let langs = ["query_lang", "positive_lang"].map(|name| column(&rows, name));
    let n_of = |side: usize, is_wanted: &dyn Fn(usize) -> bool| {
        (0..80).filter(|&row| langs[side][row].as_deref() == Some("en") && is_wanted(row)).count() as u64
    };
    let (all, there) = (|_: usize| true, |row: usize| originals[row].is_some());
    let words = |is_wanted: &dyn Fn(usize) -> bool| 4 * n_of(0, is_wanted) + 8 * n_of(1, is_wanted);
    let n_switched = n_of(0, &there) + 3 * n_of(1, &there);
    let english = &manifest(&folder, "d")["code_switch"]["en"];
    assert_eq!(english["drawn"], json!(words(&all)));
    assert_eq!(english["in_switched_batches"], json!(words(&there)));
    assert_eq!(english["switched"], json!(n_switched));
    assert!(words(&there) < words(&all));
    let share = |of: u64| format!("{:.1} %", 100.0 * n_switched as f64 / of as f64);
    let built = build(&folder, &format!("{ALL}\nshare = \"1/2\""), "--out e").done().stdout;
    for text in [built, folder.prep("inspect d --quiet").done().stdout] {
        assert!(text.contains("in switched batches"), "{text}");
        let line = text.lines().rev().find(|line| line.trim_start().starts_with("en ")).unwrap();
        assert!(line.contains(&share(words(&all))) && line.contains(&share(words(&there))), "{line}");
    }
}

#[test]
fn nothing_is_switched_with_probability_or_share_0_and_on_the_other_side() {
    let folder = with_texts();
    folder.write("plain.toml", pipeline("").split("[code_switch]").next().unwrap());
    folder.prep("build-shards plain.toml --data data --out plain --quiet").done();
    let plain = rows(&folder, "plain");
    assert!(plain.column_by_name("query_original").is_none());
    assert!(!fs::read_to_string(folder.path("plain/plan.json")).unwrap().contains("code_switch"));
    let columns = ["query", "positive"];
    let none = "kind = \"multilingual\"\nprobability = 0";
    for (name, setting) in [("a", none.to_owned()), ("b", format!("{ALL}\nshare = 0"))] {
        build(&folder, &setting, &format!("--out {name}")).done();
        let rows = rows(&folder, name);
        assert_eq!(columns.map(|c| column(&rows, c)), columns.map(|c| column(&plain, c)));
        assert_eq!(only(&rows, "negatives"), only(&plain, "negatives"));
        assert!(column(&rows, "query_original").iter().all(Option::is_none));
        assert_ne!(manifest(&folder, name)["dataset_id"], manifest(&folder, "plain")["dataset_id"]);
        folder.prep(&format!("verify {name} --quiet")).done();
    }
    for (sides, stays) in [("queries", "positive"), ("passages", "query")] {
        build(&folder, &format!("{ALL}\nsides = \"{sides}\""), &format!("--out {sides}")).done();
        let rows = rows(&folder, sides);
        assert_eq!(column(&rows, stays), column(&plain, stays));
        assert!(column(&rows, &format!("{stays}_original")).iter().all(Option::is_none));
        let other = if stays == "query" { "positive" } else { "query" };
        assert!(column(&rows, &format!("{other}_original")).iter().all(Option::is_some), "{sides}");
        folder.prep(&format!("verify {sides} --quiet")).done();
    }
}

const SOME: &str = "kind = \"multilingual\"\nprobability = 0.6\nshare = 0.7";

#[test]
fn a_dataset_is_the_same_for_any_thread_count() {
    let folder = with_texts();
    let of = |threads: &str| {
        build(&folder, SOME, &format!("--out t{threads} --threads {threads}")).done();
        files(&folder.path(&format!("t{threads}")))
    };
    let expected = of("1");
    for threads in ["2", "3"] {
        assert!(of(threads) == expected, "{threads} threads");
    }
}

#[test]
fn every_way_to_derive_a_batch_gives_the_same() {
    let folder = with_texts();
    build(&folder, SOME, "--out d").done();
    folder.prep("verify d --quiet").done();
    let reproduce = |more: &str| {
        let batches = folder.prep(&format!("reproduce d --step 0..40 --json --quiet {more}")).done().json();
        let of = |key: &str| -> Vec<Value> {
            batches.as_array().unwrap().iter().map(|batch| batch[key].clone()).collect()
        };
        (of("digest"), of("rows"))
    };
    let expected = reproduce("");
    assert!(expected.1.iter().any(|rows| rows[0]["query_original"].is_string()));
    assert_eq!(reproduce("--from-sources data"), expected);
    let table = rows(&folder, "d");
    let queries: Vec<Option<String>> = expected
        .1
        .iter()
        .flat_map(|rows| rows.as_array().unwrap())
        .map(|row| row["query"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(queries, column(&table, "query"));
    fs::remove_file(folder.path("d/corpus/lookup.bin")).unwrap();
    assert_eq!(reproduce(""), expected);
    fs::remove_dir_all(folder.path("d/train")).unwrap();
    assert_eq!(reproduce(""), expected);
    // A lexicon that has changed is another source.
    folder.write("data/words.tsv", LEXICON.replace("Haus", "Heim"));
    folder
        .prep("reproduce d --step 3 --from-sources data")
        .failed_with(&["words.tsv", "is not the file that the dataset was built from"]);
}

#[test]
fn exports_hold_the_switched_texts_from_shards_and_derived() {
    let folder = with_texts();
    build(&folder, SOME, "--out d").done();
    for (format, path) in [
        ("jsonl", "e.jsonl"),
        ("arrow", "e.arrow"),
        ("tevatron", "t.jsonl"),
        ("datasets", "hf"),
        ("mds", "mds"),
        ("sentence-transformers", "st.parquet"),
    ] {
        for (origin, more) in [("a", ""), ("b", "--virtual")] {
            let export = format!("export d --to {format} --out {origin}/{path} --verify --quiet {more}");
            fs::create_dir_all(folder.path(origin)).unwrap();
            folder.prep(&export).done();
        }
        let of = |origin: &str| files(&folder.path(origin));
        let jsonl = |origin: &str| of(origin).get("e.jsonl").cloned();
        assert_eq!(jsonl("a"), jsonl("b"), "{format}");
    }
    let lines = fs::read_to_string(folder.path("a/e.jsonl")).unwrap();
    let queries: Vec<Option<String>> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["query"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(queries, column(&rows(&folder, "d"), "query"));
    // Whatever else looks at batches.
    folder.prep("inspect d --quiet").done();
    folder.prep("inspect d --step 3 --quiet").done();
    folder.prep("diff d d --quiet").done();
    build(&folder, ALL, "--out all").done();
    let ran = folder.prep("diff d all --json --quiet");
    let plan = ran.json()["plan"].to_string();
    assert!(plan.contains("code_switch"), "{plan}");
    folder.prep("report all --out report.html --quiet").done();
    let page = fs::read_to_string(folder.path("report.html")).unwrap();
    let first = rows(&folder, "all");
    for text in ["query", "query_original"].map(|name| column(&first, name)[0].clone().unwrap()) {
        assert!(page.contains(&format!(">{text}</span>")), "{text}");
    }
}

#[test]
fn token_ids_are_those_of_the_switched_texts() {
    let folder = with_texts();
    // Another id for every character, so that ids tell texts apart.
    let letters: BTreeSet<char> = TEXTS
        .iter()
        .flat_map(|(_, a, b, c)| [*a, *b, *c])
        .chain(LEXICON.lines())
        .flat_map(str::chars)
        .flat_map(|c| c.to_uppercase().chain([c]))
        .collect();
    let vocab: BTreeMap<String, usize> =
        letters.iter().map(|c| format!("{c}")).zip(1..).chain([("<unk>".to_owned(), 0)]).collect();
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "post_processor": null, "decoder": null, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}});
    folder.write("t.json", tokenizer.to_string());
    build(&folder, SOME, "--out d --tokenizer t.json").done();
    build(&folder, SOME, "--out without").done();
    assert_eq!(manifest(&folder, "d")["dataset_id"], manifest(&folder, "without")["dataset_id"]);
    folder.prep("verify d --quiet").done();
    let rows = rows(&folder, "d");
    let ids_of = |text: &str| -> Vec<i32> { text.chars().map(|c| vocab[&c.to_string()] as i32).collect() };
    for side in ["query", "positive"] {
        let ids = rows.column_by_name(&format!("{side}_input_ids")).unwrap().as_list::<i32>();
        for (row, text) in column(&rows, side).into_iter().enumerate() {
            let found = ids.value(row);
            let found = found.as_primitive::<arrow::datatypes::Int32Type>().values().to_vec();
            assert_eq!(found, ids_of(&text.unwrap()), "{side} {row}");
        }
    }
    let ids = rows.column_by_name("negative_input_ids").unwrap().as_list::<i32>();
    for (row, text) in only(&rows, "negatives").into_iter().enumerate() {
        let found = ids.value(row).as_list::<i32>().value(0);
        let found = found.as_primitive::<arrow::datatypes::Int32Type>().values().to_vec();
        assert_eq!(found, ids_of(&text.unwrap()));
    }
    let names: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names[16..19], ["query_input_ids", "positive_input_ids", "negative_input_ids"]);
    assert_eq!(names[19..], ["query_original", "positive_original", "negatives_original"]);
}

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
            assert!(ran.stdout.contains("corpus") || ran.stdout.contains("dataset_id"), "{}", ran.stdout);
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

fn derived_in_python(folder: &Folder, dataset: &str, test: &str) {
    let Some(python) = python(test, "pyarrow, blake3") else { return };
    let output = Command::new(python)
        .arg(repository().join("tests/it/code_switch.py"))
        .arg(folder.path(dataset))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    println!("{test}: {stdout}");
}

#[test]
fn python_derives_every_batch_from_the_specification() {
    let folder = with_texts();
    for (name, setting) in
        [("a", SOME.to_owned()), ("b", ALL.to_owned()), ("c", format!("{SOME}\nsides = \"queries\""))]
    {
        build(&folder, &setting, &format!("--out {name}")).done();
        derived_in_python(&folder, name, "python_derives_every_batch_from_the_specification");
    }
}

#[test]
fn real_lexicons_switch_real_questions() {
    let test = "real_lexicons_switch_real_questions";
    let Some(data) = real_corpora(test) else { return };
    let folder = Folder::new();
    let pipeline = repository().join("pipelines/xquad-r-code-switch.toml");
    let (pipeline, data) = (pipeline.to_str().unwrap(), data.to_str().unwrap());
    let build = ["build-shards", pipeline, "--data", data, "--out", "d", "--quiet", "--json"];
    let few = ["--set", "batches.steps=60", "--set", "batches.negatives=2"];
    let report = folder.prep_args(&[&build[..], &few].concat()).done().json();
    let switches = report["code_switch"].as_object().unwrap();
    assert_eq!(switches.len(), 11);
    for (lang, counts) in switches {
        let n = |key: &str| counts[key].as_u64().unwrap();
        assert!(0 < n("switched") && n("switched") < n("drawn"), "{lang}: {counts}");
        assert!(n("words") / 50 < n("translated") && n("translated") < n("words"), "{lang}: {counts}");
    }
    let by = switches["th"]["switched_by"].as_object().unwrap();
    assert_eq!(by.keys().collect::<Vec<_>>(), ["omw-wikt", "panlex-bli", "panlex-swadesh207"]);
    folder.prep("verify d --quiet").done();
    let batch = folder.prep("reproduce d --step 59 --json --quiet").done().json();
    assert_eq!(batch[0]["agrees_with_index"], json!(true));
    derived_in_python(&folder, "d", test);
}

/// The demo in German and English as dataset `s`, with some of its words switched wherever they can be.
pub fn build_demo(folder: &Folder) {
    let demo = fs::read_to_string(repository().join("pipelines/demo.toml")).unwrap();
    folder.write("data/words.tsv", "de\ten\nMond\tMoon\nErde\tEarth\nist\tis\nvon\tof\n");
    for (name, bytes) in files(&repository().join("data")) {
        folder.write(&format!("data/{name}"), bytes);
    }
    let section = pipeline(ALL).split_once("[code_switch]").unwrap().1.to_owned();
    let section = section.replace("[\"de\", \"en\", \"ja\", \"th\", \"zh\"]", "[\"de\", \"en\"]");
    folder.write("p.toml", format!("{demo}\n[code_switch]{section}"));
    let two = "--set corpora.demo.languages=[\"de\",\"en\"]";
    folder.prep(&format!("build-shards p.toml --data data --out s --quiet {two}")).done();
}

/// The trainer reads the switched texts: a run over the dataset ends, and says how many masked pairs it met.
#[test]
fn a_trainer_takes_a_switched_dataset() {
    let folder = crate::train::folder();
    build_demo(&folder);
    for (out, more) in [("a", ""), ("b", "--virtual")] {
        let train =
            format!("train s --init tiny --tokenizer tokenizer.json --steps 3 --out {out} --quiet {more}");
        folder.prep(&train).done();
    }
    let weights = |run: &str| {
        let found = files(&folder.path(run)).into_iter().find(|(name, _)| name.ends_with(".safetensors"));
        found.unwrap_or_else(|| panic!("{run} has no weights"))
    };
    assert_eq!(weights("a"), weights("b"));
}
