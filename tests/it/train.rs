//! `prep train`: what it writes, that it goes on after a crash to the same bytes, and what it refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::train_run::metrics;
use crate::util::{Folder, Ran, files, repository};

/// A folder with the demo dataset `d`, and a tokenizer of whole words for it.
pub fn folder() -> Folder {
    folder_with("")
}

/// The same, a fifth of the questions held out.
pub fn folder_with_held_out() -> Folder {
    folder_with("--set split.eval.by=group --set split.eval.fraction=0.2")
}

fn folder_with(sets: &str) -> Folder {
    let folder = Folder::new();
    let data = repository().join("data");
    let pipeline = repository().join("pipelines/demo.toml");
    let (pipeline, data) = (pipeline.display(), data.display());
    folder.prep(&format!("build-shards {pipeline} --data {data} --out d --quiet {sets}")).done();
    let mut words = BTreeSet::new();
    for entry in fs::read_dir(repository().join("data/demo")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        words.extend(text.split_whitespace().map(str::to_owned));
    }
    let words = ["<pad>", "<unk>"].map(str::to_owned).into_iter().chain(words);
    let vocab: serde_json::Map<String, Value> =
        words.zip(0..).map(|(word, id)| (word, Value::from(id))).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    });
    fs::write(folder.path("tokenizer.json"), tokenizer.to_string()).unwrap();
    folder
}

pub const TRAIN: &str =
    "train d --init tiny --tokenizer tokenizer.json --steps 8 --set checkpoint.every=2 --quiet";

/// Trains into `run` and kills it as soon as `file` of the run is there.
fn killed_at(folder: &Folder, run: &str, file: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_prep"))
        .args(format!("{TRAIN} --out {run} --eval-every 4").split(' '))
        .current_dir(folder.path(""))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let file = folder.path(&format!("{run}/{file}"));
    let begun = Instant::now();
    while !file.exists() && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_mins(2), "no {}", file.display());
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_run_that_is_killed_anywhere_goes_on_to_the_same_bytes() {
    let folder = folder_with_held_out();
    let train = format!("{TRAIN} --eval-every 4");
    folder.prep(&format!("{train} --out whole")).done();
    let results = |run: &str| {
        let evaluations = fs::read_to_string(folder.path(&format!("{run}/evaluations.jsonl"))).unwrap();
        (["model", "best"].map(|model| files(&folder.path(&format!("{run}/{model}")))), evaluations)
    };
    let whole = metrics(&folder, "whole");
    // Before its first step, in the middle of writing a checkpoint, behind one, in the middle of saving a model.
    let moments = [
        "settings.toml",
        "checkpoints/step-000000002.partial",
        "checkpoints/step-000000002.safetensors",
        "best.partial/config.json",
        "checkpoints/best.safetensors",
        "checkpoints/step-000000006.safetensors",
    ];
    for (n, file) in moments.into_iter().enumerate() {
        let run = format!("killed-{n}");
        killed_at(&folder, &run, file);
        folder.prep(&format!("{train} --out {run} --resume")).done();
        assert!(results("whole") == results(&run), "killed at {file}: the models differ");
        let lines = metrics(&folder, &run);
        assert_eq!(lines.len(), 8);
        for (step, (a, b)) in whole.iter().zip(&lines).enumerate() {
            assert_eq!(b["step"], step);
            for field in ["loss", "learning_rate", "gradient_norm", "masked_pairs"] {
                assert_eq!(a[field], b[field], "killed at {file}: {field} of step {step}");
            }
        }
        let left: Vec<String> = files(&folder.path(&run)).into_keys().collect();
        assert!(!left.iter().any(|name| name.contains("partial")), "killed at {file}: {left:?}");
    }
}

#[test]
fn the_best_encoder_is_a_model_of_its_own() {
    let folder = folder_with_held_out();
    let run = "train d --init tiny --tokenizer tokenizer.json --steps 12 --lr 0.003 --eval-every 4 --quiet --out run";
    folder.prep(run).done();
    let lines = fs::read_to_string(folder.path("run/evaluations.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["steps"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 8, 12]);
    let mean = |values: [f64; 3]| values.iter().sum::<f64>() / 3.0;
    let of_line = |line: &Value| mean(["map_mo", "map_cr", "map_mul"].map(|key| line[key].as_f64().unwrap()));
    let evaluated = |model: &str| {
        let report = folder.prep(&format!("eval d --model run/{model} --json --quiet")).done().json();
        mean(["Mo", "Cr", "Mul"].map(|of| report["settings"][of]["means"]["mAP"]["macro"].as_f64().unwrap()))
    };
    let best = lines.iter().map(of_line).fold(0.0, f64::max);
    assert!((evaluated("best") - best).abs() < 1e-12, "{best}: {lines:?}");
    assert!((evaluated("model") - of_line(&lines[2])).abs() < 1e-12);
}

#[test]
fn batches_from_shards_and_from_the_plan_train_alike() {
    let folder = folder();
    folder.prep(&format!("{TRAIN} --out shards")).done();
    fs::remove_dir_all(folder.path("d/train")).unwrap();
    folder.prep(&format!("{TRAIN} --out derived --virtual")).done();
    assert!(files(&folder.path("shards/model")) == files(&folder.path("derived/model")), "the models differ");
}

#[test]
fn the_number_of_threads_does_not_show() {
    let folder = folder();
    for threads in [1, 3] {
        folder.prep(&format!("{TRAIN} --out with-{threads} --threads {threads}")).done();
    }
    let weights = |run: &str| files(&folder.path(&format!("{run}/model")));
    assert!(weights("with-1") == weights("with-3"), "the models differ");
}

#[test]
fn masked_pairs_are_those_of_the_index() {
    let folder = folder();
    let report = folder.prep(&format!("{TRAIN} --out run --json")).done().json();
    assert_eq!(report["steps"], 8);
    for (step, line) in metrics(&folder, "run").iter().enumerate() {
        let known = folder.prep(&format!("reproduce d --step {step} --json")).done().json();
        assert_eq!(line["masked_pairs"], known[0]["masked_pairs"], "step {step}");
    }
}

#[test]
fn a_loss_that_falls_and_a_model_that_is_evaluated() {
    let folder = folder();
    let train = "train d --init static --tokenizer tokenizer.json --steps 200 --virtual --quiet --out run";
    folder.prep(train).done();
    let losses: Vec<f64> =
        metrics(&folder, "run").iter().map(|line| line["loss"].as_f64().unwrap()).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(mean(&losses[150..]) < 0.8 * mean(&losses[..50]), "{losses:?}");
    let evaluated = folder.prep("eval d --model run/model --json --quiet").done().json();
    assert_eq!(evaluated["queries"], 592);
}

/// Shape and bytes of the tensors of a model, by name.
fn tensors(model: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(model.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let each = tensors.into_iter().map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())));
    each.collect()
}

#[test]
fn what_is_frozen_keeps_its_bytes_and_the_rest_is_trained() {
    let folder = folder();
    folder.prep("train d --init tiny --tokenizer tokenizer.json --steps 1 --out first --quiet").done();
    let train = "train d --init first/model --steps 4 --set checkpoint.every=1 --set checkpoint.keep=9 --lr 1e-3 \
                 --set optimizer.weight_decay=0.5 --set model.frozen=[\"embeddings\",\"encoder.layer.0.output\"]";
    let first = tensors(&folder.path("first/model"));
    let trained = |more: &str| {
        let report = folder.prep(&format!("{train} {more} --quiet --json")).done().json();
        let last = tensors(&folder.path("run/model"));
        assert!(first.keys().eq(last.keys()));
        let mut n_frozen = 0;
        for (name, (shape, bytes)) in &first {
            let frozen = name.starts_with("embeddings.") || name.starts_with("encoder.layer.0.output.");
            assert_eq!(*bytes == last[name].1, frozen, "{name}");
            n_frozen += if frozen { shape.iter().product::<usize>() } else { 0 };
        }
        assert_eq!(report["n_frozen"], n_frozen);
        last
    };
    trained("--out run --micro-batch 9");
    fs::remove_dir_all(folder.path("run")).unwrap();
    let last = trained("--out run");
    // Back to step 2, and on from there.
    for step in [3, 4] {
        fs::remove_file(folder.path(&format!("run/checkpoints/step-00000000{step}.safetensors"))).unwrap();
    }
    fs::remove_dir_all(folder.path("run/model")).unwrap();
    folder.prep(&format!("{train} --out run --quiet --resume")).done();
    assert!(tensors(&folder.path("run/model")) == last, "the models differ");
}

#[test]
fn what_cannot_be_frozen_is_refused() {
    let folder = folder();
    let frozen = |names: &str| format!("{TRAIN} --out x --set model.frozen={names}");
    refused(
        &folder,
        &frozen(r#"["encoder.layer.2"]"#),
        &[
            "setting `model.frozen`: `encoder.layer.2` names no parameter",
            "hint: there are `encoder.layer.0`, `encoder.layer.1`",
        ],
    );
    let key = "encoder.layer.0.attention.self.key";
    refused(
        &folder,
        &frozen(&format!(r#"["{key}"]"#)),
        &[
            "names `encoder.layer.0.attention.self.key.weight` and not `encoder.layer.0.attention.self.query.weight`, \
             `encoder.layer.0.attention.self.value.weight`; they are trained as one parameter",
            "hint: name all of them, or none",
        ],
    );
    refused(&folder, &frozen(r#"["embeddings","encoder"]"#), &["nothing is left to train"]);
    assert!(!folder.path("x").exists(), "a refusal leaves no folder");
}

fn refused(folder: &Folder, arguments: &str, parts: &[&str]) -> Ran {
    folder.prep(arguments).failed_with(parts)
}

#[test]
fn what_would_train_wrong_is_refused() {
    let folder = folder();
    folder.prep(&format!("{TRAIN} --out run")).done();
    refused(&folder, &format!("{TRAIN} --out run"), &["run `run` holds a run already", "hint: `--resume`"]);
    refused(&folder, &format!("{TRAIN} --out other --resume"), &["run `other` holds nothing to resume"]);
    assert!(!folder.path("other").exists());
    refused(
        &folder,
        &format!("{TRAIN} --out x --eval-every 2"),
        &["setting `eval.every`: the dataset holds nothing out", "hint: `[split.eval]`"],
    );
    refused(
        &folder,
        &format!("{TRAIN} --out run --resume --lr 1 --set eval.every=3 --seed 1"),
        &[
            "run `run` was begun with other settings of `optimizer.learning_rate`, `seed`\n",
            "hint: a run goes on with the settings that it began with: `--config run/settings.toml`",
        ],
    );
    let set = |item: &str| format!("{TRAIN} --out x --set {item}");
    refused(&folder, &set("loss.temperature=0"), &["setting `loss.temperature`: 0 is not above 0"]);
    refused(&folder, &set("optimizer.beta1=1"), &["setting `optimizer.beta1`: 1 is not from 0 to below 1"]);
    refused(&folder, &set("loss.heat=1"), &["setting `loss.heat`: unknown field `heat`"]);
    // Of several keys the one that is wrong.
    let several = "train d --init tiny --set optimizer.beta1=high --lr 0.1 --out x";
    refused(&folder, several, &["setting `optimizer.beta1`: invalid type: string \"high\", expected f64"]);
    refused(
        &folder,
        "train d --init tokenizer.json --out x",
        &["model `tokenizer.json`: is not a directory"],
    );
    refused(&folder, "train d --init tiny --out x", &["preset `tiny` has no tokenizer of its own", "hint: "]);
    refused(&folder, "train d --init ./nowhere --out x", &["model `./nowhere`: is not a directory"]);
    let train = "train d --init tiny --tokenizer tokenizer.json --steps 297 --out x --quiet";
    refused(&folder, train, &["has 296 batches", "hint: `--virtual`"]);
    // A batch that is not what the index names.
    let seed = format!("{TRAIN} --out x");
    let pipeline = repository().join("pipelines/demo.toml");
    let (pipeline, data) = (pipeline.display().to_string(), repository().join("data"));
    let build = format!("build-shards {pipeline} --data {} --out e --seed 2 --quiet", data.display());
    folder.prep(&build).done();
    let alone = format!(
        "{} --set batches.negatives=0 --set batches.batch_size=1",
        build.replace("--out e", "--out f")
    );
    folder.prep(&alone).done();
    refused(
        &folder,
        &seed.replace("train d", "train f"),
        &["has a loss of 0 at step 0: no question of its batch has a negative", "hint: "],
    );
    fs::copy(folder.path("e/train/index.parquet"), folder.path("d/train/index.parquet")).unwrap();
    refused(&folder, &seed, &["the batch at step 0 is not the one that the index names", "hint: "]);
}

#[test]
fn a_static_encoder_is_the_mean_that_it_is_exported_as() {
    let folder = folder();
    let train = "train d --init static --tokenizer tokenizer.json --steps 2 --out x --quiet --set";
    let found = &["setting `model.pooling`: a static encoder is the mean of its tokens"];
    refused(&folder, &format!("{train} model.pooling=cls"), found);
    refused(
        &folder,
        &format!("{train} model.dropout=0.1"),
        &["setting `model.dropout`: a static encoder has no"],
    );
}

#[test]
fn settings_are_kept_as_they_were_resolved() {
    let folder = folder();
    folder.prep(&format!("{TRAIN} --out run --set model.max_tokens=500")).done();
    let kept = fs::read_to_string(folder.path("run/settings.toml")).unwrap();
    for line in
        ["steps = 8", "learning_rate = 0.0005", "pooling = \"mean\"", "max_tokens = 500", "dropout = 0.0"]
    {
        assert!(kept.lines().any(|kept| kept == line), "no `{line}` in:\n{kept}");
    }
    fs::remove_file(folder.path("run/checkpoints/step-000000008.safetensors")).unwrap();
    let before = files(&folder.path("run/model"));
    // What was the default may be said aloud.
    folder
        .prep(&format!(
            "{TRAIN} --out run --resume --set model.max_tokens=500 --set model.dropout=0 --lr 5e-4"
        ))
        .done();
    assert!(files(&folder.path("run/model")) == before, "the models differ");
    refused(&folder, "eval d --model run --quiet", &["hint: of a run, the model is `run/model`"]);
}

#[test]
fn a_run_goes_on_from_the_weights_that_it_began_with() {
    let folder = folder();
    folder.prep(&format!("{TRAIN} --out first")).done();
    folder.prep(&format!("{TRAIN} --out second --seed 1")).done();
    let train = "train d --init m --steps 4 --set checkpoint.every=2 --quiet --out run";
    let copy = |from: &str| {
        fs::create_dir_all(folder.path("m")).unwrap();
        for name in ["model.safetensors", "config.json", "tokenizer.json"] {
            fs::copy(folder.path(&format!("{from}/model/{name}")), folder.path(&format!("m/{name}")))
                .unwrap();
        }
    };
    copy("first");
    let other = "train d --init m --steps 4 --quiet --out x --tokenizer";
    folder.write("other.json", fs::read_to_string(folder.path("tokenizer.json")).unwrap() + "\n");
    refused(
        &folder,
        &format!("{other} other.json"),
        &["setting `--tokenizer`: `other.json` is not the tokenizer of `m`"],
    );
    folder.prep(train).done();
    copy("second");
    refused(&folder, &format!("{train} --resume"), &["run `run` was begun with first encoder", "hint: "]);
    copy("first");
    folder.prep(&format!("{train} --resume")).done();
    // The same weights in another network: a norm that divides by a little more, and one more drop.
    for (key, value) in [("layer_norm_eps", 1e-6), ("hidden_dropout_prob", 0.1)] {
        let path = folder.path("m/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config[key] = Value::from(value);
        fs::write(&path, config.to_string()).unwrap();
        // The run says its dropout itself, so that no setting differs.
        let resume = format!("{train} --resume --set model.dropout=0");
        refused(&folder, &resume, &["run `run` was begun with first encoder", "hint: "]);
        copy("first");
    }
}

/// A byte of a text, changed where the file itself still reads.
#[test]
fn a_corpus_that_is_not_that_of_the_manifest_is_neither_trained_nor_evaluated_on() {
    let folder = folder();
    for table in ["corpus/queries", "eval/passages"] {
        let path = folder.path(&format!("d/{table}-00000.parquet"));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let found = "queries-00000.parquet`: is not the file that the manifest names";
    refused(&folder, &format!("{TRAIN} --out x --virtual"), &[found, "hint: `prep verify`"]);
    let found = "passages-00000.parquet`: is not the file that the manifest names";
    folder.prep(&format!("{TRAIN} --out run")).done();
    refused(&folder, "eval d --model run/model --quiet", &[found, "hint: `prep verify`"]);
}

#[test]
fn a_pickle_is_not_opened() {
    let folder = folder();
    fs::create_dir(folder.path("m")).unwrap();
    fs::copy(folder.path("tokenizer.json"), folder.path("m/tokenizer.json")).unwrap();
    fs::write(folder.path("m/config.json"), r#"{"model_type": "bert"}"#).unwrap();
    fs::write(folder.path("m/pytorch_model.bin"), "\u{80}").unwrap();
    refused(&folder, "eval d --model m --quiet", &["m/pytorch_model.bin`: is a pickle", "hint: convert it"]);
}
