//! `--device`: several devices train one encoder, and what is not there is refused.

use serde_json::{Value, json};

use crate::train::{TRAIN, folder, folder_with_held_out};
use crate::train_run::metrics;
use crate::util::{files, repository};

/// Steps in f32 round differently on one device and on two; they must not drift apart.
fn assert_alike(a: &[Value], b: &[Value], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        for field in ["loss", "gradient_norm"] {
            let [a, b] = [a, b].map(|line| line[field].as_f64().unwrap());
            assert!((a - b).abs() <= tolerance * a.abs(), "{field}: {a} and {b}");
        }
        assert_eq!(a["masked_pairs"], b["masked_pairs"]);
        assert_eq!(a["learning_rate"], b["learning_rate"]);
    }
}

/// With dropout, whose draws follow from the number of a token in the whole batch, and with hard negatives, of which
/// rows may have different numbers.
#[test]
fn several_devices_train_as_one_does() {
    let folder = folder();
    let pipeline = repository().join("pipelines/demo.toml");
    let data = repository().join("data");
    let sets = "--set batches.negatives=2 --set batches.batch_size=8";
    let (pipeline, data) = (pipeline.display(), data.display());
    folder.prep(&format!("build-shards {pipeline} --data {data} --out hard --quiet {sets}")).done();
    for dataset in ["d", "hard"] {
        let train =
            format!("{TRAIN} --set model.dropout=0.1").replace("train d", &format!("train {dataset}"));
        folder.prep(&format!("{train} --out {dataset}-one --device cpu")).done();
        for (run, device) in
            [("two", "cpu,cpu"), ("four", "cpu,cpu,cpu,cpu"), ("parts", "cpu,cpu --micro-batch 3")]
        {
            let ran = folder.prep(&format!("{train} --out {dataset}-{run} --device {device} --json")).done();
            let (report, n_ranks) = (ran.json(), device.matches("cpu").count());
            assert_eq!(
                (&report["devices"], &report["precision"]),
                (&json!(vec!["cpu"; n_ranks]), &json!("f32"))
            );
            let [one, several] = ["one", run].map(|run| metrics(&folder, &format!("{dataset}-{run}")));
            assert_alike(&one, &several, 1e-3);
        }
    }
}

#[test]
fn several_devices_give_the_same_bytes_twice_and_after_a_resumption() {
    let folder = folder_with_held_out();
    let train = format!("{TRAIN} --device cpu,cpu --eval-every 4");
    let model = |run: &str| files(&folder.path(&format!("{run}/model")));
    folder.prep(&format!("{train} --out whole")).done();
    folder.prep(&format!("{train} --out again")).done();
    assert!(model("whole") == model("again"));
    // From the middle, with other devices than it began with: the same run, with other roundings.
    std::fs::rename(folder.path("again/checkpoints/step-000000006.safetensors"), folder.path("six")).unwrap();
    for (name, device) in [("same", "cpu,cpu"), ("other", "cpu")] {
        let checkpoints = folder.path(&format!("{name}/checkpoints"));
        std::fs::create_dir_all(&checkpoints).unwrap();
        std::fs::copy(folder.path("six"), checkpoints.join("step-000000006.safetensors")).unwrap();
        for file in ["settings.toml", "metrics.jsonl", "evaluations.jsonl"] {
            std::fs::copy(folder.path(&format!("whole/{file}")), folder.path(&format!("{name}/{file}")))
                .unwrap();
        }
        let resume = format!("{TRAIN} --eval-every 4 --resume --out {name} --device {device}");
        folder.prep(&resume).done();
    }
    assert!(model("whole") == model("same"));
    assert_alike(&metrics(&folder, "whole"), &metrics(&folder, "other"), 1e-3);
}

#[test]
fn devices_that_are_not_there_or_do_not_fit_are_refused() {
    let folder = folder();
    folder.prep(&format!("{TRAIN} --out run --device cpu,cpu,cpu")).failed_with(&[
        "`--device`",
        "3 devices cannot share batches of",
        "hint: the batch size must be a multiple",
    ]);
    folder.prep(&format!("{TRAIN} --out run --device cpu --set model.precision=bf16")).failed_with(&[
        "`model.precision`",
        "bf16 is for a GPU",
        "hint",
    ]);
    if cfg!(not(feature = "cuda")) {
        folder.prep(&format!("{TRAIN} --out run --device cuda:1")).failed_with(&[
            "`--device`",
            "`cuda:1`: this `prep` was built without the feature `cuda`",
            "--features cuda",
        ]);
    }
    let wrong = folder.prep(&format!("{TRAIN} --out run --device gpu"));
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("say `auto`, `cpu`, `cuda` or `cuda:N`"), "{}", wrong.stderr);
    assert!(!folder.path("run").exists());
}
