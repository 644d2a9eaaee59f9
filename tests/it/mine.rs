//! `prep mine`, and datasets whose hard negatives it found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::Float32Type;
use parquet::arrow::ArrowWriter;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};

use crate::eval_oracle::python;
use crate::proof::replace_file;
use crate::util::{Folder, files, parquet, real_corpora, repository, texts};

/// Lists of a table with `query_id` and `passage_ids`.
fn lists(rows: &RecordBatch) -> BTreeMap<String, Vec<String>> {
    let queries = texts(rows, "query_id");
    let column = rows.column_by_name("passage_ids").unwrap();
    let list = |row: usize| -> Vec<String> {
        let items = column.as_list::<i32>().value(row);
        items.as_string::<i32>().iter().map(|id| id.unwrap().to_owned()).collect()
    };
    queries.into_iter().enumerate().map(|(row, query)| (query.unwrap(), list(row))).collect()
}

fn mined(folder: &Folder, name: &str) -> BTreeMap<String, Vec<String>> {
    lists(&parquet(&folder.path(name)))
}

/// Lists as written here.
fn expected(lists: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    lists.iter().map(|(query, ids)| ((*query).to_owned(), owned(ids))).collect()
}

// A corpus that can be searched by hand: two questions in two languages.

/// Passage 2 has the text of 1, which answers q1; 3 and 7 tie.
const ENGLISH: [&str; 7] =
    ["red fox", "red fox", "red moon", "red red fox den", "blue moon", "grey den", "red sun"];
const GERMAN: [&str; 2] = ["roter fuchs", "der mond"];

/// Dataset `d` of the passages above, `d/LANG/1` being the first of its language.
fn tiny() -> Folder {
    let folder = Folder::new();
    for (lang, passages, questions, judged) in
        [("en", &ENGLISH[..], ["red fox", "moon"], [1, 5]), ("de", &GERMAN[..], ["fuchs", "mond"], [1, 2])]
    {
        let lines = |texts: &[&str], id: &dyn Fn(usize) -> String| -> String {
            let line = |(n, text): (usize, &&str)| format!("{}\n", json!({"_id": id(n + 1), "text": text}));
            texts.iter().enumerate().map(line).collect()
        };
        folder.write(&format!("data/{lang}/corpus.jsonl"), lines(passages, &|n| n.to_string()));
        folder.write(&format!("data/{lang}/queries.jsonl"), lines(&questions, &|n| format!("q{n}")));
        let qrels = format!("q1\t{}\t1\nq2\t{}\t1\n", judged[0], judged[1]);
        folder.write(&format!("data/{lang}/qrels/test.tsv"), qrels);
    }
    folder.write(
        "p.toml",
        "name = \"tiny\"\n[[corpora]]\nname = \"d\"\nformat = \"beir\"\npath = \"{lang}\"\nparallel = true\n\
         languages = [\"de\", \"en\"]\n[batches]\nbatch_size = 2\nsteps = 12\n",
    );
    folder.prep("build-shards p.toml --data data --out d --quiet").done();
    folder
}

/// Of `red fox` and passages 4, 7 and 3, and of `moon` and passage 3.
const SCORES: [f64; 4] = [1.172_979, 0.383_783, 0.383_783, 1.191_367];

/// Scores by the formula, and by this Python:
///
/// ```python
/// from math import log
/// docs = ["red fox", "red fox", "red moon", "red red fox den", "blue moon", "grey den", "red sun"]
/// k1, b, avg = .9, .4, 16 / 7
/// def score(q, d):
///     s = 0
///     for w in q.split():
///         n, f, l = sum(w in x.split() for x in docs), d.split().count(w), len(d.split())
///         s += log(1 + (7 - n + .5) / (n + .5)) * f * (k1 + 1) / (f + k1 * (1 - b + b * l / avg))
///     return s
/// print([score("red fox", docs[n - 1]) for n in (4, 7, 3)], score("moon", docs[2]))
/// ```
#[test]
fn bm25_ranks_by_the_formula_and_never_what_answers() {
    let folder = tiny();
    let report = folder.prep("mine d --out m.parquet --from bm25 --quiet --json").done().json();
    let found = parquet(&folder.path("m.parquet"));
    // 1 answers the first question, 2 has its text; 5 answers the second. Of a tie the greater id comes first.
    assert_eq!(
        lists(&found),
        expected(&[("d/en/q1", &["d/en/4", "d/en/7", "d/en/3"]), ("d/en/q2", &["d/en/3"])])
    );
    let scores = found.column_by_name("scores").unwrap().as_list::<i32>();
    let scores = scores.values().as_primitive::<Float32Type>().values();
    for (found, expected) in scores.iter().zip(SCORES) {
        assert!((f64::from(*found) - expected).abs() < 1e-6, "{found}, not {expected}");
    }
    assert_eq!(scores.len(), 4);
    let counts = |queries: u64, with: u64, negatives: u64, answers: u64| {
        json!({"queries": queries, "with_negatives": with, "without_negatives": queries - with,
               "negatives": negatives, "answers_left_out": answers})
    };
    assert_eq!(report["languages"], json!({"de": counts(2, 0, 0, 2), "en": counts(2, 2, 4, 3)}));

    let manifest: Value = serde_json::from_slice(&fs::read(folder.path("d/manifest.json")).unwrap()).unwrap();
    let file = SerializedFileReader::new(File::open(folder.path("m.parquet")).unwrap()).unwrap();
    let pairs = file.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let pairs: BTreeMap<String, String> =
        pairs.into_iter().map(|pair| (pair.key, pair.value.unwrap_or_default())).collect();
    assert_eq!(pairs["prep.dataset_id"], manifest["dataset_id"].as_str().unwrap());
    assert_eq!(pairs["prep.mined_from"], "bm25");
    let settings: Value = serde_json::from_str(&pairs["prep.settings"]).unwrap();
    assert_eq!(settings, json!({"b": 0.4, "k1": 0.9, "margin": null, "per_query": null, "ranks": "1..101"}));
    let bytes = fs::read(folder.path("m.parquet")).unwrap();
    assert_eq!(report["digest"], blake3::hash(&bytes).to_hex().to_string());
}

/// The German `robot` is spelt as the English word for `Roboter`, which it is another concept than. By their stem, which
/// German's Snowball takes `er` and `ern` from, all three find one another.
#[test]
fn a_text_that_answers_in_another_language_is_no_hard_negative() {
    let folder = Folder::new();
    folder.write("data/de.txt", "Roboter\nrobot\nRobotern\n");
    folder.write("data/en.txt", "robot\ndrone\ncrane\n");
    folder.write(
        "p.toml",
        "name = \"words\"\n[[corpora]]\nname = \"d\"\nformat = \"word-lists\"\npath = \"{lang}.txt\"\n\
         languages = [\"de\", \"en\"]\n[batches]\nstrategy = \"x-y\"\nbatch_size = 1\n",
    );
    folder.prep("build-shards p.toml --data data --out d --quiet").done();
    folder.prep("mine d --out m.parquet --from bm25 --quiet").done();
    assert_eq!(
        mined(&folder, "m.parquet"),
        expected(&[
            ("d/de/1/w0", &["d/de/3/w0"]),
            ("d/de/2/w0", &["d/de/3/w0", "d/de/1/w0"]),
            ("d/de/3/w0", &["d/de/2/w0", "d/de/1/w0"]),
        ])
    );
}

#[test]
fn ranks_margin_and_number_cut_the_list() {
    let folder = tiny();
    let q1 = |arguments: &str| {
        folder.prep(&format!("mine d --out m.parquet --force --quiet --from bm25 {arguments}")).done();
        mined(&folder, "m.parquet").remove("d/en/q1").unwrap_or_default()
    };
    assert_eq!(q1("--ranks 2..3"), ["d/en/7"]);
    assert_eq!(q1("--ranks 2..9 --per-query 1"), ["d/en/7"]);
    assert_eq!(q1("--per-query 2"), ["d/en/4", "d/en/7"]);
    // The passages that answer have 1.231, and 4 has 1.173.
    assert_eq!(q1("--margin 0.05"), ["d/en/4", "d/en/7", "d/en/3"]);
    assert_eq!(q1("--margin 0.06"), ["d/en/7", "d/en/3"]);
    assert_eq!(q1("--margin 0.06 --per-query 1"), ["d/en/7"]);
    folder
        .prep("mine d --out n.parquet --from bm25 --ranks 4..9")
        .failed_with(&["no question gets a hard negative", "hint: "]);
    assert!(!folder.path("n.parquet").exists());
}

/// As in MIRACL: passages that somebody read and found not relevant. One that answers by another judgement stays out.
#[test]
fn what_was_judged_not_relevant_is_mined() {
    let folder = tiny();
    folder.prep("mine d --from judgements --out none.parquet").failed_with(&[
        "no question gets a hard negative",
        "hint: its corpora have no judgements of relevance 0",
    ]);
    // 2 has the text of 1, which is relevant.
    folder.write("data/en/qrels/test.tsv", "q1\t1\t1\nq1\t2\t0\nq1\t3\t0\nq1\t7\t0\nq2\t5\t1\n");
    folder.prep("build-shards p.toml --data data --out d --force --quiet").done();
    folder.prep("mine d --from judgements --out judged.parquet --quiet").done();
    let negatives = &["d/en/7", "d/en/3"][..];
    assert_eq!(mined(&folder, "judged.parquet"), expected(&[("d/de/q1", negatives), ("d/en/q1", negatives)]));
    let sets = "--set negatives.source=mined --set negatives.path=judged.parquet --set batches.negatives=2";
    folder.prep(&format!("build-shards p.toml --data data --out again --quiet {sets}")).done();
    folder.prep("verify again --quiet").done();
}

#[test]
fn a_run_of_any_model_is_mined_across_languages() {
    let folder = tiny();
    folder.write(
        "run.trec",
        "d/en/q1 Q0 d/de/2 9 0.7 m\nd/en/q1 Q0 d/de/1 1 0.9 m\nd/en/q1 Q0 d/en/2 2 0.9 m\n\nd/en/q1 Q0 d/en/3 3 0.8 m\n\
         d/en/q1 Q0 d/en/7 3 0.8 m\nd/en/q1 Q0 d/en/1 3 0.75 m\nd/de/q2 Q0 d/en/6 1 1e-3 m\n",
    );
    let mine = |arguments: &str| {
        folder.prep(&format!("mine d --out m.parquet --force --quiet --run run.trec {arguments}")).done();
        mined(&folder, "m.parquet")
    };
    let first: (&str, &[&str]) = ("d/en/q1", &["d/en/7", "d/en/3", "d/de/2"]);
    assert_eq!(mine(""), expected(&[first, ("d/de/q2", &["d/en/6"])]));
    // 0.9 is the best that answers; of the other question nothing that answers was retrieved.
    assert_eq!(mine("--margin 0.15"), expected(&[("d/en/q1", &["d/de/2"])]));

    for (line, found) in [
        ("d/en/q9 Q0 d/en/1 1 1 m", "query `d/en/q9` is not in the dataset"),
        ("d/en/q1 Q0 d/en/x 1 1 m", "passage `d/en/x` is not in the dataset"),
        ("d/en/q1 Q0 d/en/1 1 1", "5 fields"),
        ("d/en/q1 Q0 d/en/1 1 inf m", "score `inf` is not a finite number"),
        ("d/en/q1 Q0 d/en/1 1 1 m\nd/en/q1 Q0 d/en/1 2 1 m", "passage `d/en/1` a second time"),
    ] {
        folder.write("bad.trec", line);
        folder.prep("mine d --out n.parquet --run bad.trec").failed_with(&[
            "`bad.trec` at line",
            found,
            "hint: ",
        ]);
    }
    folder.prep("mine d --out n.parquet --run none.trec").failed_with(&["cannot read `none.trec`"]);
    folder.prep("mine d --out m.parquet --from bm25").failed_with(&["is there already", "--force"]);
    for wrong in [
        "",
        "--from bm25 --run x",
        "--from bm25 --ranks 0..3",
        "--from bm25 --ranks 3..3",
        "--from bm25 --b 2",
        "--run x --k1 1",
    ] {
        assert_eq!(folder.prep(&format!("mine d --out n.parquet {wrong}")).code, Some(2), "{wrong}");
    }
    assert!(!folder.path("n.parquet").exists());
}

// The demo, a quarter of which is held out.

const SPLIT: &str = "--set split.eval.by=title --set split.eval.fraction=0.25 --set batches.steps=40";
const MINED: &str = "--set batches.negatives=3 --set negatives.source=mined --set negatives.path=m.parquet";

/// `build-shards` of the demo pipeline.
fn build(folder: &Folder, arguments: &str) -> crate::util::Ran {
    let (pipeline, data) = (repository().join("pipelines/demo.toml"), repository().join("data"));
    folder.prep(&format!(
        "build-shards {} --data {} --quiet --json {SPLIT} {arguments}",
        pipeline.display(),
        data.display()
    ))
}

/// The demo `d`, what was mined from it in `m.parquet`, and `e`, which draws from that.
fn demo() -> Folder {
    let folder = Folder::new();
    build(&folder, "--out d").done();
    folder.prep("mine d --out m.parquet --from bm25 --quiet").done();
    build(&folder, &format!("--out e {MINED}")).done();
    folder
}

fn json_file(folder: &Folder, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.path(name)).unwrap()).unwrap()
}

#[test]
fn every_byte_is_the_same_for_any_number_of_threads() {
    let folder = Folder::new();
    build(&folder, "--out d").done();
    let mine = |out: &str, threads: u8| {
        folder.prep(&format!("mine d --out {out} --from bm25 --threads {threads} --quiet")).done();
        fs::read(folder.path(out)).unwrap()
    };
    let first = mine("1.parquet", 1);
    assert_eq!(mine("2.parquet", 2), first);
    assert_eq!(mine("5.parquet", 5), first);
    fs::remove_file(folder.path("d/corpus/lookup.bin")).unwrap();
    assert_eq!(mine("corpus.parquet", 3), first, "without the cache of the corpus");
}

/// Judged by the tables themselves.
#[test]
fn nothing_that_answers_and_nothing_held_out_is_mined() {
    let folder = demo();
    let [queries, passages, qrels] = ["queries", "passages", "qrels"]
        .map(|table| parquet(&folder.path(&format!("d/corpus/{table}-00000.parquet"))));
    let column = |rows: &RecordBatch, name: &str| -> Vec<String> {
        texts(rows, name).into_iter().map(Option::unwrap_or_default).collect()
    };
    let by = |rows: &RecordBatch, id: &str, name: &str| -> BTreeMap<String, String> {
        column(rows, id).into_iter().zip(column(rows, name)).collect()
    };
    let text_of = by(&passages, "passage_id", "text");
    let group_of = by(&queries, "query_id", "group_id");
    let (query_side, passage_side) =
        (by(&queries, "query_id", "split"), by(&passages, "passage_id", "split"));
    let relevant: Vec<(String, String)> =
        column(&qrels, "group_id").into_iter().zip(column(&qrels, "passage_id")).collect();
    let mut answers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (group, passage) in &relevant {
        answers.entry(group).or_default().insert(&text_of[passage]);
    }
    let mined = mined(&folder, "m.parquet");
    assert!(mined.len() > 400, "{}", mined.len());
    for (query, list) in &mined {
        assert_eq!(query_side[query], "train", "{query}");
        for passage in list {
            assert_eq!(passage_side[passage], "train", "{passage}");
            assert!(!answers[&*group_of[query]].contains(&*text_of[passage]), "{query}: {passage}");
            assert_eq!(query.split('/').nth(1), passage.split('/').nth(1), "of the question's language");
        }
    }
}

#[test]
fn a_dataset_draws_from_what_was_mined_and_proves_it() {
    let folder = demo();
    let plan = json_file(&folder, "e/plan.json");
    assert_eq!(plan["hard_negatives"], json!({"k": 3, "source": "mined"}));
    let mined = mined(&folder, "m.parquet");
    assert_eq!(lists(&parquet(&folder.path("e/corpus/negatives-00000.parquet"))), mined);
    let digest = blake3::hash(&fs::read(folder.path("m.parquet")).unwrap()).to_hex().to_string();
    let manifest = json_file(&folder, "e/manifest.json");
    let input =
        manifest["inputs"].as_array().unwrap().iter().find(|input| input["name"] == "m.parquet").unwrap();
    assert_eq!(input["digest"], digest);
    assert_eq!(manifest["rejects"], json!({}));

    folder.prep("verify e --quiet").done();
    let batches = folder.prep("reproduce e --step 0..40 --json").done().json();
    let batches = batches.as_array().unwrap();
    let mut n_drawn = 0;
    for row in batches.iter().flat_map(|batch| batch["rows"].as_array().unwrap()) {
        let list = mined.get(row["query_id"].as_str().unwrap()).map_or(&[][..], Vec::as_slice);
        let drawn: Vec<&str> =
            row["negative_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        assert_eq!(drawn.len(), list.len().min(3));
        assert!(drawn.iter().all(|id| list.iter().any(|known| known == id)), "{row}");
        n_drawn += drawn.len();
    }
    assert!(0 < n_drawn);
    let digests = |ran: crate::util::Ran| -> Vec<Value> {
        ran.done().json().as_array().unwrap().iter().map(|batch| batch["digest"].clone()).collect()
    };
    let data = repository().join("data");
    let from_sources = format!("reproduce e --step 0..40 --json --from-sources {}", data.display());
    assert_eq!(digests(folder.prep(&from_sources)), digests(folder.prep("reproduce e --step 0..40 --json")));
    folder
        .prep("inspect e --quiet")
        .done()
        .stdout
        .lines()
        .find(|line| line.starts_with("mined negatives"))
        .unwrap();
    let found = folder.prep("diff d e --json --quiet").json();
    let keys: Vec<&str> =
        found["pipeline"].as_array().unwrap().iter().map(|change| change["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["batches.negatives", "negatives"]);

    let before = files(&folder.path("e"));
    build(&folder, &format!("--out e --force --threads 1 {MINED}")).done();
    assert!(files(&folder.path("e")) == before, "another build gives the same bytes");
    fs::remove_file(folder.path("e/corpus/lookup.bin")).unwrap();
    let without: Vec<Value> = digests(folder.prep("reproduce e --step 0..40 --json"));
    assert_eq!(without, batches.iter().map(|batch| batch["digest"].clone()).collect::<Vec<_>>());
    // The cache of the dataset that draws from contexts.
    fs::copy(folder.path("d/corpus/lookup.bin"), folder.path("e/corpus/lookup.bin")).unwrap();
    folder.prep("reproduce e --step 3").failed_with(&[
        "lookup.bin",
        "has not the hard negatives of the plan",
        "hint: ",
    ]);
    fs::remove_file(folder.path("m.parquet")).unwrap();
    folder.prep(&from_sources).failed_with(&["cannot read source `m.parquet`: no such file", "hint: "]);
}

/// An independent reader: `mined.py` follows schemas/SAMPLING.md and nothing of this crate.
#[test]
fn a_reader_in_python_derives_the_same_batches() {
    let Some(python) = python("a_reader_in_python_derives_the_same_batches", "blake3, pyarrow.parquet")
    else {
        return;
    };
    let folder = demo();
    let script = repository().join("tests/it/mined.py");
    let output = Command::new(python).arg(script).arg(folder.path("e")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["dataset_id"], json_file(&folder, "e/manifest.json")["dataset_id"]);
    let index = parquet(&folder.path("e/train/index.parquet"));
    assert_eq!(found["digests"], json!(texts(&index, "digest")));
    assert!(0 < found["with_negatives"].as_u64().unwrap());
}

/// In Thai and Chinese nothing but a dictionary finds the words that a question shares with a passage.
#[test]
fn questions_of_every_language_of_xquad_r_get_negatives() {
    let test = "questions_of_every_language_of_xquad_r_get_negatives";
    let Some(data) = real_corpora(test) else { return };
    let folder = Folder::new();
    let (pipeline, data) = (repository().join("pipelines/xquad-r.toml"), data.display());
    let sets = "--set batches.steps=2";
    folder.prep(&format!("build-shards {} --data {data} --out d --quiet {sets}", pipeline.display())).done();
    let report =
        folder.prep("mine d --out m.parquet --from bm25 --ranks 10..100 --quiet --json").done().json();
    let languages = report["languages"].as_object().unwrap();
    assert_eq!(languages.len(), 11);
    for (lang, counts) in languages {
        let [queries, with] = ["queries", "with_negatives"].map(|key| counts[key].as_u64().unwrap());
        println!("{lang}: {with} of {queries}");
        assert!(queries == 1190 && 1100 <= with, "{lang}: {counts}");
    }
}

/// A file of mined negatives with these lists.
fn write_lists(folder: &Folder, name: &str, lists: &[(&str, &[&str])]) {
    let mut items = ListBuilder::new(StringBuilder::new());
    for (_, ids) in lists {
        items.append_value(ids.iter().map(|id| Some(*id)));
    }
    let queries: ArrayRef = Arc::new(StringArray::from_iter_values(lists.iter().map(|(query, _)| query)));
    let rows = [("query_id", queries), ("passage_ids", Arc::new(items.finish()) as ArrayRef)];
    let rows = RecordBatch::try_from_iter(rows).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(folder.path(name)).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

const BUILD_TINY: &str = "build-shards p.toml --data data --out e --quiet --json --force --set batches.negatives=1 \
                          --set negatives.source=mined --set negatives.path=m.parquet";

#[test]
fn what_the_corpus_does_not_know_is_refused_and_kept() {
    let folder = tiny();
    // 5 answers q2 and is drawn for no row of it; that is the rule of every draw, and no fault of the file.
    let lists: [(&str, &[&str]); 4] = [
        ("d/en/q2", &["d/en/6", "d/en/5", "d/en/x", "d/en/6"]),
        ("d/en/q9", &["d/en/1"]),
        ("d/en/q2", &["d/en/1"]),
        ("d/de/q1", &["d/en/x"]),
    ];
    write_lists(&folder, "m.parquet", &lists);
    // Of 11 ids 5 are bad.
    folder.prep(BUILD_TINY).failed_with(&["5 of 11 records are bad", "`m.parquet` at row 1 passage 3"]);
    let report = folder.prep(&format!("{BUILD_TINY} --set max_rejects=0.5")).done().json();
    assert_eq!(report["rejects"], json!({"duplicate_id": 2, "unknown_passage": 2, "unknown_query": 1}));
    let rejects = parquet(&folder.path("e/rejects.parquet"));
    let rows = ["place", "reason", "raw"]
        .map(|column| texts(&rejects, column).into_iter().flatten().collect::<Vec<_>>());
    assert_eq!(rows[0], ["row 1 passage 3", "row 1 passage 4", "row 2", "row 3", "row 4 passage 1"]);
    assert_eq!(
        rows[1],
        ["unknown_passage", "duplicate_id", "unknown_query", "duplicate_id", "unknown_passage"]
    );
    assert_eq!(rows[2], ["d/en/x", "d/en/6", "d/en/q9", "d/en/q2", "d/en/x"]);
    let kept = mined(&folder, "e/corpus/negatives-00000.parquet");
    assert_eq!(kept, expected(&[("d/en/q2", &["d/en/6", "d/en/5"])]));
    folder.prep("verify e --quiet").done();
    let rows = parquet(&folder.path("e/train/batches-00000.parquet"));
    let negatives = rows.column_by_name("negative_ids").unwrap().as_list::<i32>();
    for (row, query) in texts(&rows, "query_id").into_iter().enumerate() {
        let drawn = negatives.value(row);
        let drawn: Vec<Option<&str>> = drawn.as_string::<i32>().iter().collect();
        let wanted: &[Option<&str>] =
            if query.as_deref() == Some("d/en/q2") { &[Some("d/en/6")] } else { &[] };
        assert_eq!(drawn, wanted, "row {row}");
    }
}

#[test]
fn a_list_of_what_is_held_out_is_left_out() {
    let folder = demo();
    // Mined where nothing was held out.
    let (pipeline, data) = (repository().join("pipelines/demo.toml"), repository().join("data"));
    let all = format!("build-shards {} --data {} --out all --quiet", pipeline.display(), data.display());
    folder.prep(&all).done();
    folder.prep("mine all --out m.parquet --force --from bm25 --quiet").done();
    let report = build(&folder, &format!("--out f {MINED}")).done().json();
    let n = report["rejects"]["held_out"].as_u64().unwrap();
    assert!(0 < n && report["rejects"].as_object().unwrap().len() == 1, "{report}");
    folder.prep("verify f --quiet").done();
    let kept = mined(&folder, "f/corpus/negatives-00000.parquet");
    assert_eq!(
        kept.keys().collect::<Vec<_>>(),
        mined(&folder, "e/corpus/negatives-00000.parquet").keys().collect::<Vec<_>>()
    );

    // A dataset that has them all the same does not verify.
    let rows = fs::read(folder.path("m.parquet")).unwrap();
    replace_file(&folder.path("f"), "corpus/negatives-00000.parquet", &rows);
    let ran = folder.prep("verify f").failed_with(&["difference"]);
    assert!(
        ran.stdout.contains("is held out") && ran.stdout.contains("`dataset_id` is not that of the content")
    );
}

#[test]
fn files_and_settings_that_do_not_fit_are_refused() {
    let folder = tiny();
    folder
        .prep(BUILD_TINY)
        .failed_with(&["cannot read source `m.parquet`: no such file", "hint: looked in `data`"]);
    write_lists(&folder, "m.parquet", &[("other/en/q1", &["other/en/1"])]);
    folder
        .prep(&format!("{BUILD_TINY} --set max_rejects=1"))
        .failed_with(&["no list of its 1 is of a question", "hint: mine from"]);
    folder.write("m.parquet", "no Parquet");
    folder.prep(BUILD_TINY).failed_with(&["cannot read source `m.parquet`: bad Parquet"]);
    fs::copy(folder.path("d/corpus/qrels-00000.parquet"), folder.path("m.parquet")).unwrap();
    folder.prep(BUILD_TINY).failed_with(&["`m.parquet`: no column `query_id`", "hint: "]);

    let build = "build-shards p.toml --data data --out e";
    for (sets, found) in [
        ("negatives.source=mined", "`negatives.path` names none"),
        ("negatives.path=m.parquet", "setting `negatives.path`: goes with"),
        ("negatives.source=mined --set negatives.path=m.parquet", "`batches.negatives` asks for none"),
        (
            "negatives.source=mined --set negatives.path=/m.parquet --set batches.negatives=1",
            "setting `negatives.path`: path `/m.parquet` leads out",
        ),
        (
            "negatives.source=mined --set negatives.path=s3://bucket/m.parquet --set batches.negatives=1",
            "setting `negatives.path`: `s3://bucket/m.parquet` is a URL",
        ),
        ("negatives.source=bm25", "unknown variant `bm25`"),
    ] {
        folder.prep(&format!("{build} --set {sets}")).failed_with(&[found]);
    }
}
