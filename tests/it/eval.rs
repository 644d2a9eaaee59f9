//! `prep eval`: rankings worked by hand.

use std::fmt::Write;
use std::fs;

use serde_json::{Value, json};

use crate::util::Folder;

/// A language of a corpus: documents, questions with their texts, and (question, document, relevance).
#[derive(Clone, Copy)]
pub struct Language {
    pub tag: &'static str,
    pub documents: &'static [&'static str],
    pub questions: &'static [(&'static str, &'static str)],
    pub judgements: &'static [(&'static str, &'static str, i32)],
}

/// Two languages. `g` is asked in both and answered by aa/3 and ab/2; `h` is asked in aa alone and answered by aa/1 alone.
pub const TWO: &[Language] = &[
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

pub const QUERIES: [&str; 3] = ["d/aa/g", "d/aa/h", "d/ab/g"];
const PASSAGES: [&str; 5] = ["d/aa/1", "d/aa/2", "d/aa/3", "d/ab/1", "d/ab/2"];

/// A dataset `d` of these languages, parallel: questions of one id are one group.
pub fn dataset(languages: &[Language], more: &str) -> Folder {
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
pub fn npy(rows: &[Vec<f32>]) -> Vec<u8> {
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
pub fn write_rows(folder: &Folder, name: &str, ids: &[&str], rows: &[Vec<f32>]) {
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

pub const EVAL: &str = "eval d --embeddings q.npy p.npy --quiet --json";

#[track_caller]
pub fn close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{found} is no number"));
    assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
}

pub fn mean<const N: usize>(values: [f64; N]) -> f64 {
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
