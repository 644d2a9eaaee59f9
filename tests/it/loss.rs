//! The loss of `prep train`, worked again from vectors, judgements and the formulas of TRAIN.md.

use std::collections::BTreeMap;
use std::fs;

use candle_core::{Device, Tensor};
use prep::kernels::{Direction, GroupMask, InfoNce, info_nce};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::train::folder;
use crate::train_run::metrics;
use crate::util::Folder;

/// The form that Elmahdy, Lin and Ahmad print: each question against its own positive and all hard negatives.
///
/// ```python
/// import numpy as np
/// q = np.array([[1, 0], [.6, .8]])
/// p = np.array([[.8, .6], [0, 1], [.28, .96], [-.6, .8]])  # two positives, then a hard negative of each row
/// s = q @ p.T / .5
/// loss = lambda i, candidates: np.log(np.exp(s[i, candidates]).sum()) - s[i, i]
/// print(np.mean([loss(0, [0, 2, 3]), loss(1, [1, 2, 3])]))  # 0.6636023188413853
/// print(np.mean([loss(0, [0, 3]), loss(1, [1, 2, 3])]))  # the first negative answers question 0: 0.5198138415286263
/// ```
#[test]
fn the_papers_loss_is_that_of_numpy() {
    let queries = Tensor::new(&[[1.0, 0.0], [0.6, 0.8]], &Device::Cpu).unwrap();
    let passages = [[0.8, 0.6], [0.0, 1.0], [0.28, 0.96], [-0.6, 0.8]];
    let passages = Tensor::new(&passages, &Device::Cpu).unwrap();
    let answers = GroupMask::new([7, 8], [0, 1, 2, 3, 3], [7, 8, 7]).unwrap();
    for (mask, expected) in [(None, 0.663_602_318_841_385_3), (Some(answers), 0.519_813_841_528_626_3)] {
        let loss = InfoNce { temperature: 0.5, direction: Direction::OwnPositivePlusAllNegatives, mask };
        let found = info_nce(&queries, &passages, &loss).unwrap().to_scalar::<f64>().unwrap();
        assert!((found - expected).abs() < 1e-14, "{found} is not {expected}");
    }
}

/// The vectors of questions and passages, by id.
fn vectors(folder: &Folder, file: &str) -> BTreeMap<String, Vec<f64>> {
    let bytes = fs::read(folder.path(file)).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut vectors = BTreeMap::new();
    for (name, ids) in [("queries", "query_ids"), ("passages", "passage_ids")] {
        let tensor = tensors.tensor(name).unwrap();
        let (numbers, _) = tensor.data().as_chunks();
        let numbers: Vec<f64> = numbers.iter().map(|x| f32::from_le_bytes(*x).into()).collect();
        let ids = header.metadata().as_ref().unwrap()[ids].lines();
        vectors.extend(ids.map(str::to_owned).zip(numbers.chunks(tensor.shape()[1]).map(<[f64]>::to_vec)));
    }
    vectors
}

#[test]
fn each_form_is_that_of_its_formula_with_and_without_the_mask() {
    let folder = folder();
    folder.prep("train d --init tiny --tokenizer tokenizer.json --steps 1 --out first --quiet").done();
    folder.prep("eval d --model first/model --embeddings-out e.safetensors --quiet").done();
    let vectors = vectors(&folder, "e.safetensors");
    let batch = folder.prep("reproduce d --step 0 --json").done().json();
    let rows = batch[0]["rows"].as_array().unwrap();
    let of_rows = |field: &'static str| rows.iter().map(move |row| &row[field]);
    let flat = |field| of_rows(field).flat_map(|list| list.as_array().unwrap());
    let vector = |id: &Value| &vectors[id.as_str().unwrap()];
    let queries: Vec<_> = of_rows("query_id").map(vector).collect();
    let passages: Vec<_> = of_rows("positive_id").chain(flat("negative_ids")).map(vector).collect();
    let groups: Vec<_> = of_rows("group_id").collect();
    let answered: Vec<_> = of_rows("positive_group_ids").chain(flat("negative_group_ids")).collect();
    let n = queries.len();
    assert!(n < passages.len(), "there are hard negatives");

    let score =
        |i: usize, j: usize| queries[i].iter().zip(passages[j]).map(|(q, p)| q * p).sum::<f64>() / 0.05;
    let answers = |i: usize, j: usize| answered[j].as_array().unwrap().contains(groups[i]);
    let log_sum = |pairs: &mut dyn Iterator<Item = (usize, usize)>| {
        pairs.map(|(i, j)| score(i, j).exp()).sum::<f64>().ln()
    };
    for mask in [true, false] {
        let stands = |i: usize, j: usize| i == j || !(mask && answers(i, j));
        let to_passages = |first: usize| {
            let of_row = |i: usize| {
                let candidates = (0..passages.len()).filter(|&j| j == i || (first <= j && stands(i, j)));
                log_sum(&mut candidates.map(|j| (i, j))) - score(i, i)
            };
            (0..n).map(of_row).sum::<f64>() / n as f64
        };
        let of_column = |j: usize| {
            let candidates = (0..n).filter(|&i| stands(i, j));
            log_sum(&mut candidates.map(|i| (i, j))) - score(j, j)
        };
        let to_queries = (0..n).map(of_column).sum::<f64>() / n as f64;
        let forms = [
            ("query-to-passage", to_passages(0)),
            ("symmetric", f64::midpoint(to_passages(0), to_queries)),
            ("paper", to_passages(n)),
        ];
        for (form, expected) in forms {
            let run = format!("{form}-{mask}");
            folder
                .prep(&format!(
                    "train d --init first/model --steps 1 --quiet --out {run} --set loss.form={form} \
                     --set loss.mask={mask}"
                ))
                .done();
            let found = metrics(&folder, &run)[0]["loss"].as_f64().unwrap();
            // Components of vectors have an error of about 1e-7, scores of up to 20 one of about 1e-5.
            assert!((found - expected).abs() < 1e-4, "{form}, mask {mask}: {found} is not {expected}");
        }
    }
}
