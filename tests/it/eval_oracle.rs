//! `prep eval` on made vectors of real sizes, against the same evaluation in numpy and trec_eval.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::eval::{EVAL, write_rows};
use crate::util::{Folder, parquet, real_corpora, repository, texts};

// Real sizes.

/// Numbers in [-0.5, 0.5) that look random: a counter through the crate's own mixer.
fn made(rows: usize, width: usize, seed: u64) -> Vec<Vec<f32>> {
    let number =
        |i: u64| (prep::keys::mix64(seed ^ prep::keys::mix64(i)) >> 40) as f32 / (1 << 24) as f32 - 0.5;
    (0..rows).map(|row| (0..width).map(|k| number((row * width + k) as u64 + 1)).collect()).collect()
}

/// The demo with a split, and the ids of its eval part in the order of its tables.
fn demo() -> (Folder, Vec<String>, Vec<String>) {
    let folder = Folder::new();
    let (pipeline, data) = (repository().join("pipelines/demo.toml"), repository().join("data"));
    let paths = [pipeline.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let split = ["--out", "d", "--quiet", "--set", "split.eval.by=title", "--set", "split.eval.fraction=0.5"];
    folder.prep_args(&[&["build-shards"][..], &paths, &split].concat()).done();
    let ids = |part: &str, table: &str, column: &str| -> Vec<String> {
        let table = parquet(&folder.path(&format!("d/{part}/{table}-00000.parquet")));
        texts(&table, column).into_iter().flatten().collect()
    };
    let (queries, passages) = (ids("eval", "queries", "query_id"), ids("eval", "passages", "passage_id"));
    (folder, queries, passages)
}

fn as_strs(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

#[test]
fn any_number_of_threads_prints_the_same_bytes() {
    let (folder, queries, passages) = demo();
    write_rows(&folder, "q", &as_strs(&queries), &made(queries.len(), 48, 1));
    write_rows(&folder, "p", &as_strs(&passages), &made(passages.len(), 48, 2));
    write_rows(&folder, "n", &as_strs(&queries), &made(queries.len(), 48, 3));
    let outputs: Vec<_> = [1, 2, 3, 8]
        .into_iter()
        .map(|threads| {
            let ran = folder
                .prep(&format!(
                    "{EVAL} --threads {threads} --against n.npy p.npy --run-out r.txt --per-query s.jsonl"
                ))
                .done();
            (ran.stdout, fs::read(folder.path("r.txt")).unwrap(), fs::read(folder.path("s.jsonl")).unwrap())
        })
        .collect();
    for output in &outputs[1..] {
        assert!(*output == outputs[0], "{}", output.0);
    }
}

/// `train` and `eval` are disjoint, and `all` is both.
#[test]
fn splits_say_what_is_evaluated() {
    let (folder, eval_queries, eval_passages) = demo();
    let ids = |table: &str, column: &str| -> Vec<String> {
        texts(&parquet(&folder.path(&format!("d/corpus/{table}-00000.parquet"))), column)
            .into_iter()
            .flatten()
            .collect()
    };
    let (queries, passages) = (ids("queries", "query_id"), ids("passages", "passage_id"));
    write_rows(&folder, "q", &as_strs(&queries), &made(queries.len(), 8, 1));
    write_rows(&folder, "p", &as_strs(&passages), &made(passages.len(), 8, 2));
    let all = folder.prep(&format!("{EVAL} --splits all")).done().json();
    assert_eq!(all["queries"], queries.len());
    assert_eq!(all["splits"], "all");
    folder.prep(EVAL).failed_with(&["ids that are none of the queries", "hint: "]);
    let rest = |ids: &[String], held_out: &[String]| -> Vec<String> {
        ids.iter().filter(|id| !held_out.contains(id)).cloned().collect()
    };
    let (queries, passages) = (rest(&queries, &eval_queries), rest(&passages, &eval_passages));
    write_rows(&folder, "q", &as_strs(&queries), &made(queries.len(), 8, 1));
    write_rows(&folder, "p", &as_strs(&passages), &made(passages.len(), 8, 2));
    let train = folder.prep(&format!("{EVAL} --splits train")).done().json();
    assert_eq!(train["queries"], all["queries"].as_u64().unwrap() - eval_queries.len() as u64);
    assert_eq!(train["relevant_outside_pool"], 0);
}

// The oracle: the same evaluation in numpy, and trec_eval.

/// A Python that can import these: `PREP_PYTHON`, else `python3`.
pub fn python(test: &str, modules: &str) -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("PREP_PYTHON").unwrap_or_else(|| "python3".into()));
    let found = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("{test}: skipped, `{}` cannot import {modules}; PREP_PYTHON names another", python.display());
    None
}

/// What a script printed as JSON.
fn python_json(python: &Path, script: &str, arguments: &[&Path]) -> Value {
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", repository().join("../shared/peers"));
    let output = command.arg("-c").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Means by `eval_map.py`, in f32 and f64, of the rows in `q.npy` and `p.npy`, which are in the order of the tables.
const ORACLE: &str = "
import json, sys
from pathlib import Path
import numpy as np, eval_map
q_ids, q_groups, q_langs, p_ids, p_langs, qrels = eval_map.read_tables(Path(sys.argv[1]), 'eval')
bench = eval_map.Benchmark(q_ids, q_groups, q_langs, p_ids, p_langs, qrels)
q, p = np.load(sys.argv[2]), np.load(sys.argv[3])
out = {}
for name, dtype in ('f32', np.float32), ('f64', np.float64):
    values, distances, _, unanswered = eval_map.numpy_engine(bench, q, p, dtype)
    out[name] = eval_map.summarise(values, distances, unanswered)
    out[name]['cells'] = {f'{s} {a} {b}': float(np.mean(c['AP'])) for s, cells in values.items() for (a, b), c in cells.items()}
print(json.dumps(out))
";

#[test]
fn the_numpy_oracle_agrees() {
    let test = "the_numpy_oracle_agrees";
    let (Some(_), Some(python)) = (real_corpora(test), python(test, "numpy, pyarrow.parquet")) else {
        return;
    };
    let (folder, queries, passages) = demo();
    let (n, m) = (queries.len(), passages.len());
    let integers = |rows: Vec<Vec<f32>>| -> Vec<Vec<f32>> {
        rows.into_iter().map(|row| row.into_iter().map(|x| (x * 5.0).round()).collect()).collect()
    };
    for (what, q, p) in [
        ("random", made(n, 32, 1), made(m, 32, 2)),
        ("tied", integers(made(n, 3, 3)), integers(made(m, 3, 4))),
        ("constant", vec![vec![1.0; 16]; n], vec![vec![0.5; 16]; m]),
    ] {
        write_rows(&folder, "q", &as_strs(&queries), &q);
        write_rows(&folder, "p", &as_strs(&passages), &p);
        let seen = folder.prep(&format!("{EVAL} --k 1,10,20,100")).done().json();
        let arguments = [folder.path("d"), folder.path("q.npy"), folder.path("p.npy")];
        let oracle = python_json(&python, ORACLE, &arguments.each_ref().map(PathBuf::as_path));
        let near = |found: &Value, expected: &Value, name: &str| {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            assert!((found - expected).abs() <= 1e-6, "{what}, {name}: {found} is not {expected}");
        };
        for dtype in ["f32", "f64"] {
            let oracle = &oracle[dtype];
            for setting in ["Mo", "Cr", "Mul"] {
                let means = &seen["settings"][setting]["means"];
                for (ours, theirs) in [
                    ("mAP", "AP"),
                    ("mAP@20", "AP@20"),
                    ("MRR@10", "RR@10"),
                    ("nDCG@10", "nDCG@10"),
                    ("R@1", "R@1"),
                    ("R@10", "R@10"),
                    ("R@100", "R@100"),
                ] {
                    let name = format!("{setting} {ours}");
                    near(&means[ours]["macro"], &oracle[setting][theirs], &name);
                    near(&means[ours]["micro"], &oracle[setting][format!("{theirs} micro")], &name);
                }
                assert_eq!(
                    seen["settings"][setting]["queries_without_relevant"],
                    oracle["unanswered"][setting]
                );
            }
            near(&seen["rank_distance"]["macro"], &oracle["rank_distance"], "rank distance");
            for cell in seen["cells"].as_array().unwrap() {
                let passage_lang = cell["passage_lang"].as_str().unwrap_or("*");
                let name = format!(
                    "{} {} {passage_lang}",
                    cell["setting"].as_str().unwrap(),
                    cell["query_lang"].as_str().unwrap()
                );
                near(&cell["means"]["mAP"], &oracle["cells"][&name], &name);
            }
        }
    }
}

/// The export of judgements, held against the tables of the dataset.
#[test]
fn pytrec_eval_reads_the_judgements() {
    let Some(python) = python("pytrec_eval_reads_the_judgements", "pytrec_eval") else { return };
    let (folder, _, _) = demo();
    folder.prep("export d --to trec-qrels --out exported.txt --verify --quiet").done();
    let script = "
import json, sys, pyarrow.parquet, pytrec_eval
qrels = pytrec_eval.parse_qrel(open(sys.argv[1]))
queries, judged = (pyarrow.parquet.read_table(path).to_pylist() for path in sys.argv[2:])
expected = {}
for row in judged:
    for query in queries:
        if query['group_id'] == row['group_id']:
            expected.setdefault(query['query_id'], {})[row['passage_id']] = row['relevance']
print(json.dumps([qrels == expected, len(qrels)]))
";
    let tables = ["queries", "qrels"].map(|table| folder.path(&format!("d/eval/{table}-00000.parquet")));
    let found = python_json(&python, script, &[&folder.path("exported.txt"), &tables[0], &tables[1]]);
    assert!(found[0] == true && found[1].as_u64().is_some_and(|n| 0 < n), "{found}");
}

/// trec_eval, over the files that are written for it.
#[test]
fn trec_eval_agrees() {
    let Some(python) = python("trec_eval_agrees", "pytrec_eval") else { return };
    let (folder, queries, passages) = demo();
    let integers = |rows: Vec<Vec<f32>>| -> Vec<Vec<f32>> {
        rows.into_iter().map(|row| row.into_iter().map(|x| (x * 5.0).round()).collect()).collect()
    };
    write_rows(&folder, "q", &as_strs(&queries), &integers(made(queries.len(), 3, 5)));
    write_rows(&folder, "p", &as_strs(&passages), &integers(made(passages.len(), 3, 6)));
    for depth in [1_000_000, 20] {
        folder.prep(&format!("{EVAL} --run-out r.txt --qrels-out qrels.txt --run-depth {depth}")).done();
        let seen = folder.prep("eval d --trec-run r.txt --quiet --json").done().json();
        let script = "
import json, sys, pytrec_eval
qrels, run = (parse(open(path)) for parse, path in zip((pytrec_eval.parse_qrel, pytrec_eval.parse_run), sys.argv[1:]))
result = pytrec_eval.RelevanceEvaluator(qrels, {'map', 'recall_10', 'ndcg_cut_10'}).evaluate(run)
print(json.dumps({m: sum(r[m] for r in result.values()) / len(qrels) for m in ('map', 'recall_10', 'ndcg_cut_10')}))
";
        let (qrels, run) = (folder.path("qrels.txt"), folder.path("r.txt"));
        let oracle = python_json(&python, script, &[&qrels, &run]);
        let means = &seen["settings"]["Mul"]["means"];
        for (ours, theirs) in [("mAP", "map"), ("R@10", "recall_10"), ("nDCG@10", "ndcg_cut_10")] {
            let (found, expected) =
                (means[ours]["micro"].as_f64().unwrap(), oracle[theirs].as_f64().unwrap());
            assert!((found - expected).abs() < 1e-9, "{ours} at depth {depth}: {found} is not {expected}");
        }
    }
}
