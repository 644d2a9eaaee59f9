//! Two corpora with the same questions under the same ids: what answers one of them in either is no negative.

use std::fs;

use serde_json::{Value, json};

use crate::util::{Folder, parquet, squad, texts};

/// Dataset `a` in German and English, `b` in English and Spanish; question 1 is in both, 2 and 3 in one of them.
fn folder(of_b: &str) -> Folder {
    let folder = Folder::new();
    for (name, context, id) in [
        ("a/de", "Eis ist kalt", "2"),
        ("a/en", "ice is cold", "2"),
        ("b/en", "the ice is very cold", "3"),
        ("b/es", "el hielo", "3"),
    ] {
        let first = squad(context, &[("1", "is ice cold?", 0, &context[..3])]);
        let mut file: Value = serde_json::from_str(&first).unwrap();
        let other: Value = serde_json::from_str(&squad("fire", &[(id, "is fire cold?", 0, "fire")])).unwrap();
        file["data"][0]["paragraphs"].as_array_mut().unwrap().push(other["data"][0]["paragraphs"][0].clone());
        folder.write(&format!("data/{name}.json"), file.to_string());
    }
    let corpus = |name: &str, languages: [&str; 2], more: &str| {
        format!(
            "[[corpora]]\nname = \"{name}\"\nformat = \"squad\"\npath = \"{name}/{{lang}}.json\"\n\
             languages = {languages:?}\nunit = \"paragraph\"\n{more}\n"
        )
    };
    let (a, b) = (corpus("a", ["de", "en"], ""), corpus("b", ["en", "es"], of_b));
    folder.write(
        "p.toml",
        format!("name = \"test\"\n{a}{b}[batches]\nstrategy = \"x-x-mono\"\nbatch_size = 2\nsteps = 24\n"),
    );
    folder
}

const BUILD: &str = "build-shards p.toml --data data --out d -q --force";
const TIED: &str = "shares_ids_with = \"a\"";

fn qrels(folder: &Folder) -> Vec<String> {
    let rows = parquet(&folder.path("d/corpus/qrels-00000.parquet"));
    let (groups, passages) = (texts(&rows, "group_id"), texts(&rows, "passage_id"));
    groups.into_iter().zip(passages).map(|(g, p)| format!("{} {}", g.unwrap(), p.unwrap())).collect()
}

#[test]
fn an_answer_in_one_corpus_answers_the_same_question_in_the_other() {
    let folder = folder(TIED);
    let report = folder.prep(&format!("{BUILD} --json")).done().json();
    assert_eq!(report["equal_ids"], Value::Null);
    let own = [
        "a/1 a/de/p0",
        "a/1 a/en/p0",
        "a/2 a/de/p1",
        "a/2 a/en/p1",
        "b/1 b/en/p0",
        "b/1 b/es/p0",
        "b/3 b/en/p1",
        "b/3 b/es/p1",
    ];
    let others = ["a/1 b/en/p0", "a/1 b/es/p0", "b/1 a/de/p0", "b/1 a/en/p0"];
    let mut expected = [&own[..], &others[..]].concat();
    expected.sort_unstable();
    assert_eq!(qrels(&folder), expected);

    // Pools are what they were: examples of a dataset are its own.
    let plan: Value = serde_json::from_slice(&fs::read(folder.path("d/plan.json")).unwrap()).unwrap();
    let mut pools: Vec<String> = Vec::new();
    for source in plan["sources"].as_array().unwrap() {
        for pool in source["pools"].as_array().unwrap() {
            pools.push(format!("{} {}", pool["name"].as_str().unwrap(), pool["size"]));
        }
    }
    assert_eq!(pools, ["a/de:de 2", "a/en:en 2", "b/en:en 2", "b/es:es 2"]);

    // The groups of every row say what its passage answers in both.
    let rows = parquet(&folder.path("d/train/batches-00000.parquet"));
    let n_tied = texts(&rows, "positive_id").iter().flatten().filter(|id| id.ends_with("/p0")).count();
    assert!(0 < n_tied);
    folder.prep("verify d -q").done();
    folder.prep("reproduce d --step 3 --from-sources data").done();
    let masked = report["masked_pairs"].as_u64().unwrap();

    folder.write("p.toml", fs::read_to_string(folder.path("p.toml")).unwrap().replace(TIED, ""));
    let report = folder.prep(&format!("{BUILD} --json")).done().json();
    assert_eq!(qrels(&folder), own);
    assert_eq!(report["equal_ids"], json!([{"corpora": ["a", "b"], "groups": 1}]));
    assert!(report["masked_pairs"].as_u64().unwrap() < masked);
    let told = folder.prep(BUILD).done().stdout;
    assert!(
        told.contains(
            "1 ids are in `a` and `b`: if they are the same questions, say `shares_ids_with = \"a\"` of `b`"
        ),
        "{told}"
    );
}

/// The first hit of each question about ice is the other corpus's passage about ice.
#[test]
fn a_translation_from_the_other_corpus_is_no_mined_negative() {
    let mined = |of_b: &str| -> Vec<String> {
        let folder = folder(of_b);
        folder.prep(BUILD).done();
        folder.prep("mine d --from bm25 --out m.parquet -q").done();
        texts(&parquet(&folder.path("m.parquet")), "query_id").into_iter().flatten().collect()
    };
    assert_eq!(mined(""), ["a/en/1", "a/en/2", "b/en/1", "b/en/3"]);
    assert_eq!(mined(TIED), ["a/en/2", "b/en/3"]);
}

#[test]
fn ids_are_shared_with_one_other_parallel_corpus() {
    for (of_b, found) in [
        ("shares_ids_with = \"c\"", "no corpus is called `c`"),
        ("shares_ids_with = \"b\"", "names the corpus itself"),
        ("shares_ids_with = \"a\"\nparallel = false", "`b` is not parallel"),
    ] {
        folder(of_b).prep(BUILD).failed_with(&["setting `corpora.b.shares_ids_with`", found]);
    }
    // Line 7 of one file is no translation of line 7 of another.
    let lines = format!("{BUILD} --set corpora.b.format=bitext --set corpora.b.unit=sentence");
    folder(TIED).prep(&lines).failed_with(&["setting `corpora.b.shares_ids_with`: `b` has no ids"]);
    folder(TIED)
        .prep(&format!("{BUILD} --set corpora.a.shares_ids_with=b"))
        .failed_with(&["setting `corpora.a.shares_ids_with`", "`b` shares its ids with `a`"]);
}
