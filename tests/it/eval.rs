//! `prep eval`: hand-worked rankings, an independent evaluator in Python, and what is refused.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::util::{Folder, parquet, real_corpora, repository, texts};

/// A language of a corpus: documents, questions with their texts, and (question, document, relevance).
#[derive(Clone, Copy)]
struct Language {
    tag: &'static str,
    documents: &'static [&'static str],
    questions: &'static [(&'static str, &'static str)],
    judgements: &'static [(&'static str, &'static str, i32)],
}

/// Two languages. `g` is asked in both and answered by aa/3 and ab/2; `h` is asked in aa alone and answered by aa/1 alone.
const TWO: &[Language] = &[
    Language {
        tag: "aa",
        documents: &["1", "2", "3"],
        questions: &[("g", "Was?"), ("h", "Wer?")],
        judgements: &[("g", "3", 1), ("h", "1", 1)],
    },
    Language {
        tag: "ab",
        documents: &["1", "2"],
        questions: &[("g", "What?")],
        judgements: &[("g", "2", 1), ("g", "1", 0)],
    },
];

const QUERIES: [&str; 3] = ["d/aa/g", "d/aa/h", "d/ab/g"];
const PASSAGES: [&str; 5] = ["d/aa/1", "d/aa/2", "d/aa/3", "d/ab/1", "d/ab/2"];

/// A dataset `d` of these languages, parallel: questions of one id are one group.
fn dataset(languages: &[Language], more: &str) -> Folder {
    let folder = Folder::new();
    for language in languages {
        let Language { tag, documents, questions, judgements } = language;
        let mut corpus = String::new();
        for id in *documents {
            writeln!(corpus, "{}", json!({"_id": id, "text": format!("Text {id} in {tag}.")})).unwrap();
        }
        folder.write(&format!("data/{tag}/corpus.jsonl"), corpus);
        let mut queries = String::new();
        for (id, text) in *questions {
            writeln!(queries, "{}", json!({"_id": id, "text": text})).unwrap();
        }
        folder.write(&format!("data/{tag}/queries.jsonl"), queries);
        let mut qrels = "query-id\tcorpus-id\tscore\n".to_owned();
        for (question, document, relevance) in *judgements {
            writeln!(qrels, "{question}\t{document}\t{relevance}").unwrap();
        }
        folder.write(&format!("data/{tag}/qrels/test.tsv"), qrels);
    }
    let tags: Vec<&str> = languages.iter().map(|language| language.tag).collect();
    folder.write(
        "p.toml",
        format!(
            "name = \"test\"\n[[corpora]]\nname = \"d\"\nformat = \"beir\"\npath = \"{{lang}}\"\nparallel = true\n\
             languages = {tags:?}\n[batches]\nstrategy = \"x-x-mono\"\nbatch_size = 1\n{more}\n"
        ),
    );
    folder.prep("build-shards p.toml --data data --out d --quiet").done();
    folder
}

/// `.npy`, version 1, of rows of f32.
fn npy(rows: &[Vec<f32>]) -> Vec<u8> {
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}\n",
        rows.len(),
        rows.first().map_or(0, Vec::len)
    );
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(rows.iter().flatten().flat_map(|x| x.to_le_bytes()));
    bytes
}

/// Writes `NAME.npy` and `NAME.ids.txt`.
fn write_rows(folder: &Folder, name: &str, ids: &[&str], rows: &[Vec<f32>]) {
    folder.write(&format!("{name}.npy"), npy(rows));
    folder.write(&format!("{name}.ids.txt"), ids.join("\n") + "\n");
}

/// [`TWO`] with embeddings of width 1, so that scores can be read off. For d/aa/g and d/aa/h (1): aa/1 .9, aa/3 .8,
/// ab/1 .7, and aa/2 and ab/2 .5 both. For d/ab/g (-1) the other way round.
pub fn two() -> Folder {
    let folder = dataset(TWO, "");
    write_rows(&folder, "q", &QUERIES, &[vec![1.0], vec![1.0], vec![-1.0]]);
    write_rows(&folder, "p", &PASSAGES, &[vec![0.9], vec![0.5], vec![0.8], vec![0.7], vec![0.5]]);
    folder
}

const EVAL: &str = "eval d --embeddings q.npy p.npy --quiet --json";

#[track_caller]
fn close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{found} is no number"));
    assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
}

fn mean<const N: usize>(values: [f64; N]) -> f64 {
    values.iter().sum::<f64>() / N as f64
}

/// By hand.
///
/// d/aa/g: in aa, aa/1 .9, aa/3 .8, aa/2 .5: aa/3 is second, AP 1/2. In ab, ab/1 .7, ab/2 .5: AP 1/2. In all, aa/1, aa/3, ab/1,
/// then ab/2 and aa/2 tie at .5 and d/ab/2 is the greater id: ranks 2 and 4, AP (1/2 + 2/4) / 2 = 1/2, distance 2.
/// d/aa/h: aa/1 is first in aa and in all; nothing answers it in ab.
/// d/ab/g: in ab, ab/2 -.5 is first, AP 1. In aa, aa/2 -.5, aa/3 -.8, aa/1 -.9: AP 1/2. In all, ab/2 and aa/2 tie at -.5, ab/2
/// first: ab/2, aa/2, ab/1, aa/3: ranks 1 and 4, AP (1 + 2/4) / 2 = 3/4, distance 3.
#[test]
fn two_languages_worked_by_hand() {
    let folder = two();
    let seen = folder.prep(EVAL).done().json();
    let settings = &seen["settings"];
    let counts = |setting: &str, key: &str| settings[setting][key].as_u64().unwrap();
    // Mo: a (1/2 + 1) / 2, b 1. Of three values.
    close(&settings["Mo"]["means"]["mAP"]["macro"], mean([0.75, 1.0]));
    close(&settings["Mo"]["means"]["mAP"]["micro"], 2.5 / 3.0);
    // Cr: aa to ab 1/2 (of d/aa/g alone), ab to aa 1/2.
    close(&settings["Cr"]["means"]["mAP"]["macro"], 0.5);
    assert_eq!(counts("Cr", "cells"), 2);
    assert_eq!(counts("Cr", "queries"), 2);
    assert_eq!(counts("Cr", "queries_without_relevant"), 1);
    // Mul: a (1/2 + 1) / 2, b 3/4.
    close(&settings["Mul"]["means"]["mAP"]["macro"], 0.75);
    close(&settings["Mul"]["means"]["mAP"]["micro"], 2.25 / 3.0);
    // First ranks in Mul: 2, 1, 1.
    close(&settings["Mul"]["means"]["MRR@10"]["macro"], mean([0.75, 1.0]));
    // Of two, one and two relevant passages, none, one and one are first.
    close(&settings["Mul"]["means"]["R@1"]["macro"], mean([mean([0.0, 1.0]), 0.5]));
    close(&settings["Mul"]["means"]["R@10"]["macro"], 1.0);
    // d/aa/g: (1/log2 3 + 1/log2 5) / (1 + 1/log2 3); d/aa/h: 1; d/ab/g: (1 + 1/log2 5) / (1 + 1/log2 3).
    let (second, fourth) = (1.0 / 3.0_f64.log2(), 1.0 / 5.0_f64.log2());
    let (of_a, of_b) = ((second + fourth) / (1.0 + second), (1.0 + fourth) / (1.0 + second));
    close(&settings["Mul"]["means"]["nDCG@10"]["macro"], mean([mean([of_a, 1.0]), of_b]));
    // Only questions with two relevant passages have a distance.
    assert_eq!(seen["rank_distance"]["queries"], 2);
    close(&seen["rank_distance"]["macro"], 2.5);
    assert_eq!(seen["rank_distance"]["by_query_lang"], json!({"aa": 2.0, "ab": 3.0}));
    assert_eq!(seen["queries"], 3);
    assert_eq!(seen["groups"], 2);
    let cells: Vec<_> = seen["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| {
            format!(
                "{} {} {} {} {}",
                cell["setting"],
                cell["query_lang"],
                cell["passage_lang"],
                cell["queries"],
                cell["queries_without_relevant"]
            )
        })
        .collect();
    assert_eq!(
        cells.join(", ").replace('"', ""),
        "Mo aa aa 2 0, Mo ab ab 1 0, Cr aa ab 1 1, Cr ab aa 1 0, Mul aa null 2 0, Mul ab null 1 0"
    );
}

/// By hand: everything ties, so ids decide, the greatest first. In a: 3, 2, 1, so g has rank 1 and h rank 3. In b: 2, 1.
/// In all: ab/2, ab/1, aa/3, aa/2, aa/1: g has ranks 1 and 3, AP (1 + 2/3) / 2 and distance 2; h has rank 5.
#[test]
fn constant_embeddings_are_ranked_by_id() {
    let folder = dataset(TWO, "");
    write_rows(&folder, "q", &QUERIES, &vec![vec![0.5; 7]; 3]);
    write_rows(&folder, "p", &PASSAGES, &vec![vec![0.25; 7]; 5]);
    let seen = folder.prep(EVAL).done().json();
    let map = |setting: &str| &seen["settings"][setting]["means"]["mAP"]["macro"];
    close(map("Mo"), mean([mean([1.0, 1.0 / 3.0]), 1.0]));
    close(map("Cr"), 1.0);
    close(map("Mul"), mean([mean([5.0 / 6.0, 0.2]), 5.0 / 6.0]));
    close(&seen["rank_distance"]["macro"], 2.0);
}

/// By hand: two queries, one passage in c and no question there. The cells of c are columns without a row.
#[test]
fn a_language_without_questions_is_searched() {
    let languages = &[
        Language {
            tag: "aa",
            documents: &["1", "2"],
            questions: &[("g", "Was denn?")],
            judgements: &[("g", "1", 2)],
        },
        Language { tag: "ce", documents: &["1"], questions: &[("g", "?")], judgements: &[("g", "1", 1)] },
    ];
    let folder = dataset(languages, "[filters]\nquery_chars = { min = 3 }");
    write_rows(&folder, "q", &["d/aa/g"], &[vec![1.0, 0.0]]);
    write_rows(
        &folder,
        "p",
        &["d/ce/1", "d/aa/2", "d/aa/1"],
        &[vec![1.0, 9.0], vec![2.0, 9.0], vec![3.0, 9.0]],
    );
    let seen = folder.prep(EVAL).done().json();
    let cells: Vec<_> = seen["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| format!("{} {}", cell["query_lang"], cell["passage_lang"]))
        .collect();
    assert_eq!(cells.join(", ").replace('"', ""), "aa aa, aa ce, aa null");
    // aa/1 3.0, aa/2 2.0, ce/1 1.0: ranks 1 and 3; gains 2 and 1.
    close(&seen["settings"]["Mul"]["means"]["mAP"]["macro"], 5.0 / 6.0);
    close(&seen["settings"]["Mul"]["means"]["nDCG@10"]["macro"], (2.0 + 0.5) / (2.0 + 1.0 / 3.0_f64.log2()));
    close(&seen["settings"]["Cr"]["means"]["mAP"]["macro"], 1.0);
}

/// By hand, with [`two`]: AP@1 in Mul is 0 for d/aa/g and 1 for the others (their first is relevant, divided by 1).
#[test]
fn cutoffs_give_recall_and_ap_at_k() {
    let seen = two().prep(&format!("{EVAL} --k 1,3")).done().json();
    let means = &seen["settings"]["Mul"]["means"];
    let names: Vec<_> = means.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.join(" "), "MRR@10 R@1 R@3 mAP mAP@1 mAP@3 nDCG@10");
    close(&means["mAP@1"]["macro"], mean([0.5, 1.0]));
    // Up to 3: d/aa/g (1/2) / 2, d/aa/h 1, d/ab/g 1 / 2.
    close(&means["mAP@3"]["macro"], mean([mean([0.25, 1.0]), 0.5]));
}

#[test]
fn the_summary_reads_well() {
    let text = two().prep("eval d --embeddings q.npy p.npy --quiet").done().stdout;
    let (_, text) = text.split_once('\n').unwrap();
    insta::assert_snapshot!(text);
}

/// Rows may come in any order and in any of the formats, and give the same bytes.
#[test]
fn every_file_format_gives_the_same_evaluation() {
    use std::collections::HashMap;

    use safetensors::tensor::{Dtype, TensorView, serialize};

    let folder = two();
    let expected = folder.prep(EVAL).done().stdout;
    // Rounded, so that every type holds them; their order is the same.
    let queries = [1.0_f32, 1.0, -1.0];
    let passages = [0.5_f32, 0.75, 0.875, 0.5, 0.625];
    let passage_ids = ["d/ab/2", "d/aa/3", "d/aa/1", "d/aa/2", "d/ab/1"];
    let as_bytes = |values: &[f32], dtype: Dtype| -> Vec<u8> {
        let each = |x: &f32| match dtype {
            Dtype::F64 => f64::from(*x).to_le_bytes().to_vec(),
            Dtype::F32 => x.to_le_bytes().to_vec(),
            Dtype::BF16 => x.to_le_bytes()[2..].to_vec(),
            // Sign, exponent less 127 plus 15, ten bits of fraction: exact for these.
            _ => {
                let bits = x.to_bits();
                let exponent = (bits >> 23 & 0xff) - 112;
                (((bits >> 16 & 0x8000) | exponent << 10 | bits >> 13 & 0x3ff) as u16).to_le_bytes().to_vec()
            }
        };
        values.iter().flat_map(each).collect()
    };
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64] {
        let (q, p) = (as_bytes(&queries, dtype), as_bytes(&passages, dtype));
        let tensors = [
            ("queries", TensorView::new(dtype, vec![3, 1], &q).unwrap()),
            ("passages", TensorView::new(dtype, vec![5, 1], &p).unwrap()),
        ];
        let ids = HashMap::from([
            ("query_ids".to_owned(), QUERIES.join("\n")),
            ("passage_ids".to_owned(), passage_ids.join("\n")),
        ]);
        folder.write("m.safetensors", serialize(tensors.clone(), Some(ids)).unwrap());
        assert_eq!(
            folder.prep("eval d --embeddings m.safetensors --quiet --json").done().stdout,
            expected,
            "{dtype:?}"
        );
        folder.write("f.safetensors", serialize(tensors.clone(), None).unwrap());
        folder.write("f.query_ids.txt", QUERIES.join("\n"));
        folder.write("f.passage_ids.txt", passage_ids.join("\r\n"));
        assert_eq!(folder.prep("eval d --embeddings f.safetensors --quiet --json").done().stdout, expected);
        let [(_, q), (_, p)] = tensors;
        let ids = HashMap::from([("ids".to_owned(), QUERIES.join("\n"))]);
        folder.write("q.safetensors", serialize([("x", q)], Some(ids)).unwrap());
        folder.write("p.safetensors", serialize([("y", p)], None).unwrap());
        folder.write("p.ids.txt", passage_ids.join("\n"));
        let ran = folder.prep("eval d --embeddings q.safetensors p.safetensors --quiet --json").done();
        assert_eq!(ran.stdout, expected);
    }
}

/// What is written is what was evaluated, in bytes that do not change.
#[test]
fn vectors_that_are_written_evaluate_as_their_model() {
    let folder = crate::train::folder();
    folder.prep("train d --init static --tokenizer tokenizer.json --steps 3 --out run --quiet").done();
    let evaluate = |system: &str, out: &str| {
        folder.prep(&format!("eval d {system} --embeddings-out {out} --quiet --json")).done().stdout
    };
    let of_model = evaluate("--model run/model", "e.safetensors");
    assert_eq!(evaluate("--embeddings e.safetensors", "again.safetensors"), of_model);
    let [bytes, again] =
        ["e.safetensors", "again.safetensors"].map(|name| fs::read(folder.path(name)).unwrap());
    assert!(bytes == again, "the files differ");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, n) in [("queries", 592), ("passages", 640)] {
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (safetensors::Dtype::F32, [n, 256].as_slice()));
    }
    folder.prep("eval d --model run/model --embeddings-out e.npy").failed_with(&[
        "setting `--embeddings-out`: `e.npy` does not end in `.safetensors`",
        "hint: `--embeddings` knows the format",
    ]);
}

// Runs.

/// What is written as a run and scored again is what was evaluated; trec_eval's columns are where they belong.
#[test]
fn a_full_run_scores_as_its_embeddings() {
    let folder = two();
    let mut expected = folder.prep(&format!("{EVAL} --run-out r.txt --qrels-out qrels.txt")).done().json();
    let run = fs::read_to_string(folder.path("r.txt")).unwrap();
    // By hand, see `two_languages_worked_by_hand`.
    assert_eq!(
        run.lines().take(5).collect::<Vec<_>>(),
        [
            "d/aa/g Q0 d/aa/1 1 0.9 prep",
            "d/aa/g Q0 d/aa/3 2 0.8 prep",
            "d/aa/g Q0 d/ab/1 3 0.7 prep",
            "d/aa/g Q0 d/ab/2 4 0.5 prep",
            "d/aa/g Q0 d/aa/2 5 0.5 prep"
        ]
    );
    let mut qrels: Vec<_> =
        fs::read_to_string(folder.path("qrels.txt")).unwrap().lines().map(str::to_owned).collect();
    qrels.sort();
    assert_eq!(
        qrels,
        [
            "d/aa/g 0 d/aa/3 1",
            "d/aa/g 0 d/ab/1 0",
            "d/aa/g 0 d/ab/2 1",
            "d/aa/h 0 d/aa/1 1",
            "d/ab/g 0 d/aa/3 1",
            "d/ab/g 0 d/ab/1 0",
            "d/ab/g 0 d/ab/2 1"
        ]
    );
    let seen = folder.prep("eval d --trec-run r.txt --quiet --json").done().json();
    expected["queries_in_run"] = json!(3);
    assert_eq!(seen, expected);
}

/// By hand: of each query the first two. d/aa/g: aa/1, aa/3: AP in all (1/2) / 2, in aa 1/2, in ab 0. d/aa/h: aa/1. d/ab/g
/// is not in the run: 0. No distances, as ranks are missing.
#[test]
fn what_a_run_lacks_is_not_found() {
    let folder = two();
    folder.write(
        "r.txt",
        "d/aa/g Q0 d/aa/3 7 0.8 x\nd/aa/g Q0 d/aa/1 9 0.9 x\n\nd/aa/h\tQ0\td/aa/1\t1\t1e3\tx\n",
    );
    let seen = folder.prep("eval d --trec-run r.txt --quiet --json").done().json();
    close(&seen["settings"]["Mul"]["means"]["mAP"]["macro"], mean([mean([0.25, 1.0]), 0.0]));
    close(&seen["settings"]["Mo"]["means"]["mAP"]["macro"], mean([mean([0.5, 1.0]), 0.0]));
    close(&seen["settings"]["Cr"]["means"]["mAP"]["macro"], 0.0);
    assert_eq!(seen["rank_distance"], Value::Null);
    assert_eq!(seen["queries_in_run"], 2);
}

#[test]
fn a_run_that_is_none_is_refused_with_its_line() {
    let folder = two();
    for (line, found) in [
        (
            "d/aa/g Q0 d/aa/1 1 0.9",
            "`r.txt` at line 2: 5 fields: expected query, Q0, passage, rank, score, tag",
        ),
        ("d/aa/x Q0 d/aa/1 1 0.9 x", "at line 2: query `d/aa/x` is not in the dataset"),
        ("d/aa/g Q0 d/x/1 1 0.9 x", "at line 2: passage `d/x/1` is not in the dataset"),
        ("d/aa/g Q0 d/aa/1 1 nan x", "at line 2: score `nan` is not a finite number"),
        ("d/aa/h Q0 d/aa/1 1 0.5 x", "at line 2: passage `d/aa/1` a second time for its query"),
    ] {
        folder.write("r.txt", format!("d/aa/h Q0 d/aa/1 1 1.0 x\n{line}\n"));
        folder.prep("eval d --trec-run r.txt --quiet").failed_with(&[found]);
    }
}

#[test]
fn ids_with_white_space_do_not_go_into_trec_files() {
    let languages = &[Language {
        tag: "aa",
        documents: &["1 2"],
        questions: &[("g", "Was?")],
        judgements: &[("g", "1 2", 1)],
    }];
    let folder = dataset(languages, "");
    write_rows(&folder, "q", &["d/aa/g"], &[vec![1.0]]);
    write_rows(&folder, "p", &["d/aa/1 2"], &[vec![1.0]]);
    folder.prep(EVAL).done();
    for option in ["--run-out r.txt", "--qrels-out r.txt"] {
        folder.prep(&format!("{EVAL} {option}")).failed_with(&["id `d/aa/1 2` has white space"]);
        assert!(!folder.path("r.txt").exists());
    }
}

// Comparisons.

/// With itself there is no difference. With the negated queries, by hand: d/aa/g ranks aa/2, aa/3, aa/1 in aa, AP 1/2 as
/// before; d/aa/h has its passage last of three, AP 1/3; d/ab/g ranks ab/1, ab/2, AP 1/2.
#[test]
fn two_systems_are_compared_query_by_query() {
    let folder = two();
    folder.prep(&format!("{EVAL} --per-query one.jsonl")).done();
    let same = folder.prep(&format!("{EVAL} --against one.jsonl")).done().json();
    for difference in [
        &same["comparison"]["mAP"]["Mo"],
        &same["comparison"]["mAP"]["Mul"],
        &same["comparison"]["rank_distance"],
    ] {
        close(&difference["difference"], 0.0);
        close(&difference["p_value"], 1.0);
        assert_eq!(difference["interval"], json!([0.0, 0.0]));
    }
    write_rows(&folder, "n", &QUERIES, &[vec![-1.0], vec![-1.0], vec![1.0]]);
    let other = folder.prep(&format!("{EVAL} --against n.npy p.npy")).done().json();
    let mo = &other["comparison"]["mAP"]["Mo"];
    close(&mo["this"], 0.875);
    close(&mo["other"], mean([mean([0.5, 1.0 / 3.0]), 0.5]));
    close(&mo["difference"], 0.875 - mean([5.0 / 12.0, 0.5]));
    // Two groups have four signings; two of them are as far from 0 as the observed one unless the groups' shares are
    // equal. g gives (0 / 2 + (1 - 1/2)) / 2 = 1/4, h gives (1 - 1/3) / 2 / 2 = 1/6: p is a half, up to chance.
    let p = mo["p_value"].as_f64().unwrap();
    assert!((p - 0.5).abs() < 0.03, "{p}");
    // From files and from embeddings alike.
    folder.prep("eval d --embeddings n.npy p.npy --quiet --per-query n.jsonl").done();
    let from_file = folder.prep(&format!("{EVAL} --against n.jsonl")).done().json();
    assert_eq!(from_file, other);
}

/// One digest whatever batches are beside; another where a text or a judgement differs. Its value is that of EVAL.md's
/// words in Python:
///
/// ```python
/// n = lambda k: k.to_bytes(8, "little")
/// s = lambda t: n(len(t.encode())) + t.encode()
/// rows = lambda rs: n(len(rs)) + b"".join(s(str(c)) for r in rs for c in r)
/// q = [("d/aa/g", "d/g", "aa", "Was?"), ("d/ab/g", "d/g", "ab", "What?"), ("d/aa/h", "d/h", "aa", "Wer?")]
/// p = [(f"d/{l}/{i}", l, f"Text {i} in {l}.") for l, ids in (("aa", "123"), ("ab", "12")) for i in ids]
/// j = [(0, 2, 1), (0, 4, 1), (1, 0, 1)]
/// blake3.blake3(rows(q) + rows(p) + rows(j) + s("0")).hexdigest()
/// ```
#[test]
fn what_can_be_compared_has_one_digest() {
    let digest = |folder: &Folder| {
        folder.write("run.txt", "");
        folder.prep("eval d --trec-run run.txt --json --quiet").done().json()["benchmark"].clone()
    };
    let known = digest(&two());
    assert_eq!(known, "ac48522dd4e0a7bfbab4a26757fd9c2c1608718fc867c15a7809e177f16dda6b");
    assert_eq!(digest(&dataset(TWO, "steps = 3")), known);
    let [of_a, of_b] = TWO else { panic!("two languages") };
    let asked = Language { questions: &[("g", "Which?")], ..*of_b };
    assert_ne!(digest(&dataset(&[*of_a, asked], "")), known);
    let judged = Language { judgements: &[("g", "2", 2), ("g", "1", 0)], ..*of_b };
    assert_ne!(digest(&dataset(&[*of_a, judged], "")), known);
}

#[test]
fn per_query_scores_have_a_line_a_pool() {
    let folder = two();
    folder.prep(&format!("{EVAL} --per-query one.jsonl")).done();
    let text = fs::read_to_string(folder.path("one.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = lines
        .iter()
        .map(|line| {
            format!("{} {} {} {}", line["query_id"], line["passage_lang"], line["AP"], line["rank_distance"])
        })
        .collect();
    assert_eq!(
        names.join("\n").replace('"', ""),
        "d/aa/g aa 0.5 null\nd/aa/g ab 0.5 null\nd/aa/g null 0.5 2\nd/ab/g aa 0.5 null\nd/ab/g ab 1.0 null\n\
         d/ab/g null 0.75 3\nd/aa/h aa 1.0 null\nd/aa/h null 1.0 null"
    );
    let cut = text.lines().skip(1).collect::<Vec<_>>().join("\n");
    folder.write("cut.jsonl", cut);
    folder
        .prep(&format!("{EVAL} --against cut.jsonl"))
        .failed_with(&["setting `--against`: query `d/aa/g` is scored in other pools there"]);
    let digest = lines[0]["benchmark"].as_str().unwrap();
    for (from, to, found) in [
        ("\"d/aa/g\"", "\"x\"", "query `x` is not in the dataset"),
        (digest, &"0".repeat(64), "it is of benchmark 0000000000"),
        (":0.5", ":1.5", "AP is `1.5`"),
        (":0.5", ":1e999", "AP is `1e999`"),
        ("\"passage_lang\":\"aa\"", "\"passage_lang\":\"ce\"", "no passages in `ce`"),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        folder.write("other.jsonl", text.replacen(from, to, 1));
        let said = format!("`other.jsonl` at line 1: {found}");
        folder.prep(&format!("{EVAL} --against other.jsonl")).failed_with(&[&said]);
    }
    let first = text.lines().next().unwrap();
    folder.write("other.jsonl", format!("{text}{first}\n"));
    folder
        .prep(&format!("{EVAL} --against other.jsonl"))
        .failed_with(&["`other.jsonl` at line 9: query `d/aa/g` stands there twice with this pool"]);
}

// What is refused.

#[test]
fn embeddings_that_do_not_fit_are_refused_by_name() {
    let folder = two();
    let refused = |found: &str| folder.prep(EVAL).failed_with(&[found]);
    let good = || {
        write_rows(&folder, "q", &QUERIES, &[vec![1.0], vec![1.0], vec![-1.0]]);
    };

    write_rows(&folder, "q", &QUERIES[..2], &[vec![1.0], vec![1.0]]);
    refused("cannot evaluate `q.ids.txt`: no embedding of 1 of 3 queries: `d/ab/g`");
    write_rows(
        &folder,
        "q",
        &["d/aa/g", "d/aa/h", "d/ab/g", "x"],
        &[vec![1.0], vec![1.0], vec![1.0], vec![1.0]],
    );
    refused("1 ids that are none of the queries: `x`");
    write_rows(&folder, "q", &["d/aa/g", "d/aa/h", "d/aa/h"], &[vec![1.0], vec![1.0], vec![1.0]]);
    refused("`d/aa/h` stands there twice");
    write_rows(&folder, "q", &["d/aa/g"], &[vec![1.0], vec![1.0], vec![1.0]]);
    refused("1 ids for the 3 rows of `q.npy`");
    write_rows(&folder, "q", &QUERIES, &[vec![1.0, 0.0], vec![1.0, 0.0], vec![1.0, 0.0]]);
    refused("embeddings of passages are 1 wide, those of queries 2");
    write_rows(&folder, "q", &QUERIES, &[vec![1.0], vec![f32::NAN], vec![1.0]]);
    refused("query `d/aa/h`: number 0 of its embedding is NaN");
    write_rows(&folder, "q", &QUERIES, &[vec![1.0], vec![1.0], vec![f32::NEG_INFINITY]]);
    refused("query `d/ab/g`: number 0 of its embedding is -inf");
    write_rows(&folder, "q", &QUERIES, &[vec![f32::MAX], vec![1.0], vec![1.0]]);
    refused("their products leave f32");
    folder.write("q.npy", npy(&[]));
    refused("embeddings of passages are 1 wide, those of queries 0");
    good();
    fs::remove_file(folder.path("q.ids.txt")).unwrap();
    refused("there is no `q.ids.txt`");
    good();

    let bytes = npy(&[vec![1.0], vec![1.0], vec![1.0]]);
    folder.write("q.npy", &bytes[..bytes.len() - 1]);
    refused("are too few for 3 rows of 1 numbers");
    folder.write("q.npy", String::from_utf8_lossy(&bytes).replace("<f4", ">f4").as_bytes());
    refused("not an `.npy` file");
    let replaced = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        folder.write("q.npy", bytes);
    };
    replaced(b"<f4", b">f4");
    refused("its type is `>f4`, not `<f2`, `<f4` or `<f8`");
    replaced(b"False", b"True ");
    refused("its columns are contiguous, not its rows");
    replaced(b"(3, 1)", b"(3,)  ");
    refused("its shape is [3]: expected rows and columns");
    good();

    folder
        .prep("eval d --embeddings q.npy --quiet")
        .failed_with(&["one `.npy` file: expected queries and passages"]);
    folder
        .prep("eval d --embeddings p.toml p.npy --quiet")
        .failed_with(&["expected `.safetensors` or `.npy`"]);
    folder.write("x.safetensors", [255_u8; 16]);
    folder.prep("eval d --embeddings x.safetensors --quiet").failed_with(&["ends within its header"]);
    folder.prep("eval nothing --embeddings q.npy p.npy --quiet").failed_with(&["no manifest.json"]);
    assert_eq!(folder.prep("eval d").code, Some(2));
    assert_eq!(folder.prep(&format!("{EVAL} --trec-run r.txt")).code, Some(2));
    assert_eq!(folder.prep(&format!("{EVAL} --k 0")).code, Some(2));
    // Each cut-off has one column, however often it is named.
    let stdout = |k: &str| folder.prep(&format!("{EVAL} --k {k}")).done().stdout;
    assert_eq!(stdout("3,1,3"), stdout("1,3"));
    for output in ["--per-query", "--run-out", "--qrels-out", "--embeddings-out"] {
        folder
            .prep(&format!("{EVAL} {output} none/x.safetensors"))
            .failed_with(&[&format!("setting `{output}`: there is no folder `none`")]);
    }
}

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
