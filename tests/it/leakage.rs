//! What may not be trained on: questions of another corpus by their ids, and held-out texts under other ids.

use std::fs;

use serde_json::{Value, json};

use crate::util::{Folder, parquet, real_corpora, repository, squad, texts};

/// 13 words and more in a row, which a training text and a held-out one share in one of these tests.
const LONG: &str = "the quick brown fox jumps over the lazy dog while nobody at all is looking";

/// Three questions about a paragraph each; those with `ids` are in corpus `x`, which is read for its ids alone.
fn folder(contexts: [&str; 3], questions: [&str; 3], ids: &[&str], split: &str) -> Folder {
    let folder = Folder::new();
    for lang in ["de", "en"] {
        let paragraphs: Vec<Value> = (0..3)
            .map(|n| {
                let one = squad(contexts[n], &[(&format!("q{n}"), questions[n], 0, &contexts[n][..3])]);
                let one: Value = serde_json::from_str(&one).unwrap();
                one["data"][0]["paragraphs"][0].clone()
            })
            .collect();
        let file = json!({"version": "1.1", "data": [{"title": "T", "paragraphs": paragraphs}]});
        folder.write(&format!("data/{lang}.json"), file.to_string());
    }
    let asked: Vec<(&str, &str, i64, &str)> = ids.iter().map(|id| (*id, "Any?", 0, "one")).collect();
    folder.write("data/x/en.json", squad("one", &asked));
    folder.write(
        "p.toml",
        format!(
            "name = \"test\"\n[[corpora]]\nname = \"d\"\nformat = \"squad\"\npath = \"{{lang}}.json\"\n\
             languages = [\"de\", \"en\"]\nunit = \"paragraph\"\n\
             [[corpora]]\nname = \"x\"\nformat = \"squad\"\npath = \"x/{{lang}}.json\"\nlanguages = [\"en\"]\n\
             ids_only = true\n{split}\n[batches]\nstrategy = \"x-x-mono\"\nbatch_size = 1\nsteps = 2\n"
        ),
    );
    folder
}

const BUILD: &str = "build-shards p.toml --data data --out d --quiet --json";
const HELD_OUT: &str = "[split.eval]\nids_from = \"x\"";

fn ids(folder: &Folder, table: &str, column: &str) -> Vec<String> {
    let rows = parquet(&folder.path(&format!("d/corpus/{table}-00000.parquet")));
    texts(&rows, column).into_iter().flatten().collect()
}

/// What is evaluated elsewhere is looked for by its texts as well: ids say nothing of a copy under other ids.
#[test]
fn a_copy_of_an_excluded_corpus_under_other_ids_is_found() {
    let folder = folder(
        ["red it is", "blue it is", "one"],
        ["Red?", "Blue?", "Any?"],
        &["other"],
        "[split]\nexclude_ids_from = [\"x\"]",
    );
    folder.prep(BUILD).failed_with(&[
        "1 of 1 held-out questions stand in training texts",
        "more than `max_overlap` = 1/100 allows (en 1)",
        "hint: ",
    ]);
    // Whatever the region of the tag.
    fs::rename(folder.path("data/x/en.json"), folder.path("data/x/en-GB.json")).unwrap();
    let british = format!("{BUILD} --set corpora.x.languages=['en-GB']");
    folder.prep(&british).failed_with(&["1 of 1 held-out questions stand in training texts", "(en-GB 1)"]);
    let report = folder.prep(&format!("{british} --set split.max_overlap=1")).done().json();
    assert_eq!(
        (&report["overlaps"]["queries"]["equal"], &report["overlaps"]["passages"]["equal"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn a_question_of_an_excluded_corpus_goes_with_all_that_is_tied_to_it() {
    let contexts = ["red it is", "blue it is", "green it is"];
    let folder =
        folder(contexts, ["Red?", "Blue?", "Green?"], &["q1"], "[split]\nexclude_ids_from = [\"x\"]");
    let report = folder.prep(BUILD).done().json();
    assert_eq!(report["rejects"], json!({"filter_excluded": 2}));
    // A question and a paragraph of the other corpus, which no text of this one is like.
    assert_eq!(
        (&report["overlaps"]["queries"]["texts"], &report["overlaps"]["queries"]["equal"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(ids(&folder, "queries", "query_id"), ["d/de/q0", "d/de/q2", "d/en/q0", "d/en/q2"]);
    assert_eq!(ids(&folder, "passages", "text"), ["red it is", "green it is", "red it is", "green it is"]);
    assert_eq!(ids(&folder, "qrels", "passage_id"), ["d/de/p0", "d/en/p0", "d/de/p2", "d/en/p2"]);
    let rejects = parquet(&folder.path("d/rejects.parquet"));
    let refused = ["place", "reason", "raw"].map(|column| texts(&rejects, column)[0].clone().unwrap());
    assert_eq!(refused, ["d/de/q1", "filter_excluded", "Blue?"]);
    folder.prep("verify d --quiet").done();
    let manifest: Value = serde_json::from_slice(&fs::read(folder.path("d/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["eval_is_trained_on"], true);
}

#[test]
fn what_excludes_must_be_there_and_be_read_for_its_ids_alone() {
    let contexts = ["red it is", "blue it is", "green it is"];
    let questions = ["Red?", "Blue?", "Green?"];
    for (split, found) in [
        ("[split]\nexclude_ids_from = [\"y\"]", "no corpus is called `y`"),
        ("[split]\nexclude_ids_from = [\"d\", \"x\"]", "corpus `d` would leave all of itself out"),
        ("[split]\nmax_overlap = 0.5", "neither `eval` nor `exclude_ids_from`"),
    ] {
        folder(contexts, questions, &["q1"], split).prep(BUILD).failed_with(&["setting `split", found]);
    }
}

/// q1 is held out. Its text is that of q0, but for case and white space; no id says so.
#[test]
fn a_held_out_question_that_is_trained_on_fails_the_build() {
    let contexts = ["red it is", "blue it is", "green it is"];
    let questions = ["What  colour is IT?", "what colour is it?", "Green?"];
    folder(contexts, questions, &["q1"], HELD_OUT).prep(BUILD).failed_with(&[
        "2 of 2 held-out questions stand in training texts, too, more than `max_overlap` = 1/100 allows (de 1, en 1)",
        "hint: ",
    ]);
    let folder = folder(contexts, questions, &["q1"], &format!("[split]\nmax_overlap = 1\n{HELD_OUT}"));
    let report = folder.prep(BUILD).done().json();
    let queries = json!({"texts": 2, "equal": 2, "grams": 0, "languages": {"de": 1, "en": 1}});
    let passages = json!({"texts": 2, "equal": 0, "grams": 0, "languages": {}});
    assert_eq!(report["overlaps"], json!({"queries": queries, "passages": passages}));
    let manifest: Value = serde_json::from_slice(&fs::read(folder.path("d/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["overlaps"], report["overlaps"]);
    let text = folder.prep("build-shards p.toml --data data --out d --quiet --force").done().stdout;
    assert!(text.contains("2 of 2 queries and 0 of 2 passages of eval stand in training texts"), "{text}");
}

#[test]
fn thirteen_words_in_a_row_are_too_many() {
    let words: Vec<&str> = LONG.split(' ').collect();
    let questions = ["Red?", "Blue?", "Green?"];
    for (n_shared, expected) in [(12, 0), (13, 2)] {
        let shared = words[..n_shared].join(" ");
        let (train, held_out) = (format!("red {shared} x"), format!("blue {shared}, y"));
        let contexts = [train.as_str(), held_out.as_str(), "green it is"];
        let split = format!("[split]\nmax_overlap = 1\n{HELD_OUT}");
        let report = folder(contexts, questions, &["q1"], &split).prep(BUILD).done().json();
        assert_eq!(report["overlaps"]["passages"]["grams"], expected, "{n_shared} words");
        assert_eq!(report["overlaps"]["passages"]["equal"], 0);
    }
}

/// Articles of XQuAD-R share next to nothing, and what the split of the pipelines holds out stays below the bound.
#[test]
fn pipelines_that_ship_hold_out_what_is_not_trained_on() {
    let test = "pipelines_that_ship_hold_out_what_is_not_trained_on";
    let Some(data) = real_corpora(test) else { return };
    let folder = Folder::new();
    for name in ["xquad-r-split", "squad-es-it"] {
        let pipeline = repository().join(format!("pipelines/{name}.toml"));
        let build = format!(
            "build-shards {} --data {} --out {name} --quiet --json --set batches.steps=2",
            pipeline.display(),
            data.display()
        );
        let report = folder.prep(&build).done().json();
        for table in ["queries", "passages"] {
            let overlap = &report["overlaps"][table];
            let [texts, equal, grams] = ["texts", "equal", "grams"].map(|key| overlap[key].as_u64().unwrap());
            println!("{name} {table}: {equal} equal and {grams} alike of {texts}");
            assert!(0 < texts && (equal + grams) * 100 <= texts, "{name}: {overlap}");
        }
    }
}
