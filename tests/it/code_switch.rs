//! Words in other languages: which are replaced and by what, and that every reader derives the same.
//!
//! Expected texts are written by hand, draws are the test vectors of `schemas/SAMPLING.md`, section 9, and
//! `code_switch.py` derives whole datasets from that page alone.

use std::collections::BTreeSet;
use std::fs;

use arrow::array::{Array, AsArray, RecordBatch};
use serde_json::{Value, json};

use crate::code_switch_derived::derived_in_python;
use crate::util::{Folder, Ran, parquet, squad, texts};

/// A question and a passage of two sentences in each of five languages. Thai, Chinese and Japanese have no spaces.
pub const TEXTS: [(&str, &str, &str, &str); 5] = [
    ("de", "Wo steht das HAUS?", "Das Haus steht am Fluss.", " Hunde bellen."),
    ("en", "Where is the House?", "The house stands by the RIVER.", " Dogs bark."),
    ("ja", "家はどこですか", "家は川のそばにあります。", "犬が吠える。"),
    ("th", "บ้านอยู่ที่ไหน", "บ้านอยู่ใกล้แม่น้ำ!", " สุนัขเห่า!"),
    ("zh", "房子在哪里？", "房子在河边。", "狗在叫。"),
];

/// A column a language; the last concept is of several words in English, and has no word in Chinese.
pub const LEXICON: &str = "en\tth\tde\tzh\tja\n\
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
pub fn translations(from: &str, to: &str) -> [String; 5] {
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
pub fn switched(text: &str, from: &str, to: &str) -> String {
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

pub fn with_texts() -> Folder {
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
pub fn pipeline(code_switch: &str) -> String {
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

pub fn build(folder: &Folder, code_switch: &str, more: &str) -> Ran {
    folder.write("p.toml", pipeline(code_switch));
    folder.prep(&format!("build-shards p.toml --data data --quiet {more}"))
}

pub fn rows(folder: &Folder, dataset: &str) -> RecordBatch {
    parquet(&folder.path(&format!("{dataset}/train/batches-00000.parquet")))
}

pub fn column(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    texts(batch, name)
}

/// The only hard negative of each row; nothing where there is a null.
pub fn only(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let list = batch.column_by_name(name).unwrap().as_list::<i32>();
    let of_row = |row: usize| {
        let items = list.value(row);
        let items = items.as_string::<i32>();
        assert_eq!(items.len(), 1);
        items.is_valid(0).then(|| items.value(0).to_owned())
    };
    (0..list.len()).map(of_row).collect()
}

pub fn manifest(folder: &Folder, dataset: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.path(&format!("{dataset}/manifest.json"))).unwrap()).unwrap()
}

pub const ALL: &str = "kind = \"bilingual\"\nprobability = 1";

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

pub const SOME: &str = "kind = \"multilingual\"\nprobability = 0.6\nshare = 0.7";
