//! Model directories through `prep train` and `prep eval`: what the limit of a text is, whose tokens shards hold, and
//! what a directory or a setting may not say. What other libraries make of them is `sentence_transformers`.

use std::collections::HashMap;
use std::fs;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};

use crate::train::{folder, folder_with_held_out};
use crate::util::{Folder, files, repository};

fn json_of(folder: &Folder, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.path(name)).unwrap()).unwrap()
}

/// Macro mAP of `Mo`, `Cr` and `Mul`, as `prep eval` prints them.
fn evaluated(folder: &Folder, model: &str) -> [f64; 3] {
    let report = folder.prep(&format!("eval d --model {model} --json --quiet")).done().json();
    ["Mo", "Cr", "Mul"].map(|of| report["settings"][of]["means"]["mAP"]["macro"].as_f64().unwrap())
}

#[test]
fn a_static_model_is_evaluated_with_the_limit_it_was_trained_with() {
    let folder = folder_with_held_out();
    let train = "train d --init static --tokenizer tokenizer.json --set model.max_tokens=8 --steps 4 --eval-every 4 \
                 --quiet --out run";
    folder.prep(train).done();
    let lines = fs::read_to_string(folder.path("run/evaluations.jsonl")).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let in_training = ["map_mo", "map_cr", "map_mul"].map(|key| last[key].as_f64().unwrap());
    assert_eq!(evaluated(&folder, "run/model").map(f64::to_bits), in_training.map(f64::to_bits));
    // It goes along, and a setting comes before it.
    folder.prep("train d --init run/model --steps 1 --quiet --out again").done();
    let limit = |model: &str| {
        json_of(&folder, &format!("{model}/tokenizer.json"))["truncation"]["max_length"].clone()
    };
    assert_eq!([limit("run/model"), limit("again/model")], [8, 8]);
    folder.prep("train d --init run/model --set model.max_tokens=6 --steps 1 --quiet --out other").done();
    assert_eq!(limit("other/model"), 6);
    // Without one there is no limit, as in sentence-transformers.
    let mut tokenizer = json_of(&folder, "run/model/tokenizer.json");
    tokenizer["truncation"] = Value::Null;
    folder.write("run/model/tokenizer.json", tokenizer.to_string());
    folder.prep("train d --init run/model --steps 1 --quiet --out whole").done();
    assert_eq!(json_of(&folder, "whole/model/tokenizer.json")["truncation"], Value::Null);
    let settings = fs::read_to_string(folder.path("whole/settings.toml")).unwrap();
    assert!(!settings.contains("max_tokens"), "{settings}");
    assert_ne!(evaluated(&folder, "run/model").map(f64::to_bits), in_training.map(f64::to_bits));
}

#[test]
fn a_static_model_trains_on_shards_that_hold_its_own_tokens() {
    let folder = folder();
    let build = |out: &str| {
        let (pipeline, data) = (repository().join("pipelines/demo.toml"), repository().join("data"));
        let (pipeline, data) = (pipeline.display(), data.display());
        let tokenizer = "--tokenizer tokenizer.json --quiet";
        folder.prep(&format!("build-shards {pipeline} --data {data} --out {out} {tokenizer}")).done();
    };
    build("t");
    folder.prep("train t --init static --steps 1 --set model.max_tokens=9 --quiet --out run").done();
    let written = fs::read(folder.path("run/model/tokenizer.json")).unwrap();
    assert_ne!(written, fs::read(folder.path("tokenizer.json")).unwrap(), "it has a limit");
    folder.prep("train t --init run/model --steps 1 --quiet --out next").done();
    // Saved again, it is the same to the byte.
    assert_eq!(fs::read(folder.path("next/model/tokenizer.json")).unwrap(), written);
    // Another token is another tokenizer.
    let mut other = json_of(&folder, "run/model/tokenizer.json");
    let vocab = other["model"]["vocab"].as_object_mut().unwrap();
    let [first, second] = [2, 3].map(|id| vocab.iter().find(|(_, n)| **n == id).unwrap().0.clone());
    vocab.insert(first, json!(3));
    vocab.insert(second, json!(2));
    folder.write("run/model/tokenizer.json", other.to_string());
    folder.prep("train t --init run/model --steps 1 --quiet --out x").failed_with(&[
        "`t`: its batches hold tokens of tokenizer ",
        "hint: build the dataset with the encoder's",
    ]);
}

/// Changes a key of a file of a model.
fn set(folder: &Folder, file: &str, key: &str, value: Value) {
    let mut config = json_of(folder, file);
    config[key] = value;
    folder.write(file, config.to_string());
}

/// A copy of a model, at `m`.
fn copy(folder: &Folder, from: &str) {
    drop(fs::remove_dir_all(folder.path("m")));
    for (name, bytes) in files(&folder.path(from)) {
        folder.write(&format!("m/{name}"), bytes);
    }
}

#[test]
fn the_limit_of_a_transformer_is_that_of_its_settings_or_its_tokenizer() {
    let folder = folder();
    folder.prep("train d --init tiny --tokenizer tokenizer.json --steps 1 --quiet --out run").done();
    let (bert, tokenizer) = ("m/sentence_bert_config.json", "m/tokenizer_config.json");
    // What a run that begins with it takes for its limit.
    let limit = || {
        drop(fs::remove_dir_all(folder.path("x")));
        folder.prep("train d --init m --steps 1 --quiet --out x").done();
        let settings = fs::read_to_string(folder.path("x/settings.toml")).unwrap();
        settings.lines().find_map(|line| line.strip_prefix("max_tokens = ")?.parse::<u32>().ok())
    };
    copy(&folder, "run/model");
    set(&folder, bert, "max_seq_length", json!(20));
    assert_eq!(limit(), Some(20), "sentence-transformers' own setting comes first");
    set(&folder, bert, "max_seq_length", Value::Null);
    set(&folder, tokenizer, "model_max_length", json!(16));
    assert_eq!(limit(), Some(16), "release 6 writes it there alone");
    set(&folder, tokenizer, "model_max_length", json!(1e30));
    assert_eq!(limit(), Some(512), "that is none, and positions are a limit too");
    set(&folder, bert, "max_seq_length", json!(20));
    fs::remove_file(folder.path("m/modules.json")).unwrap();
    assert_eq!(limit(), Some(512), "a directory of transformers has no such setting");
    set(&folder, tokenizer, "model_max_length", json!(16));
    assert_eq!(limit(), Some(16));
    let refused = |parts: &[&str]| folder.prep("eval d --model m --quiet").failed_with(parts);
    set(&folder, tokenizer, "model_max_length", json!(-1));
    refused(&["m/tokenizer_config.json`: `model_max_length` is -1, not a positive integer"]);
    set(&folder, tokenizer, "model_max_length", json!(16));
    set(&folder, tokenizer, "truncation_side", json!("left"));
    refused(&[
        "m/tokenizer_config.json`: `truncation_side` is \"left\", and texts are cut at their end",
        "hint: ",
    ]);
    set(&folder, tokenizer, "truncation_side", Value::Null);
    // tokenizer.json says what a text's ids are, and may not be contradicted.
    let normalizer = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": true});
    set(&folder, "m/tokenizer.json", "normalizer", normalizer);
    set(&folder, tokenizer, "tokenizer_class", json!("BertTokenizer"));
    set(&folder, tokenizer, "do_lower_case", json!(true));
    folder.prep("eval d --model m --quiet").done();
    set(&folder, tokenizer, "do_lower_case", json!(false));
    refused(&[
        "m/tokenizer_config.json`: `do_lower_case` is false, which `normalizer` of tokenizer.json",
        "hint: ",
    ]);
    set(&folder, tokenizer, "do_lower_case", Value::Null);
    let left = json!({"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0});
    set(&folder, "m/tokenizer.json", "truncation", left);
    refused(&["m/tokenizer.json`: `truncation.direction` is `Left`, and texts are cut", "hint: "]);
}

#[test]
fn a_limit_that_cannot_be_kept_is_refused() {
    let folder = folder();
    let train = |more: &str| format!("train d --init tiny --steps 1 --quiet --out x {more}");
    folder.prep(&train("--tokenizer tokenizer.json --set model.max_tokens=513")).failed_with(&[
        "setting `model.max_tokens`: 513 is more than the 512 tokens that",
        "hint: set it to 512 or less",
    ]);
    let mut special = json_of(&folder, "tokenizer.json");
    let token = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let known = |id: &str, n: u32| json!({"id": id, "ids": [n], "tokens": [id]});
    special["post_processor"] = json!({"type": "TemplateProcessing",
        "single": [token("<pad>"), {"Sequence": {"id": "A", "type_id": 0}}, token("<unk>")],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<pad>": known("<pad>", 0), "<unk>": known("<unk>", 1)}});
    folder.write("special.json", special.to_string());
    folder.prep(&train("--tokenizer special.json --set model.max_tokens=2")).failed_with(&[
        "setting `model.max_tokens`: 2 tokens, which leaves no room beside 2 special ones",
        "hint: texts need at least one token more",
    ]);
    folder.prep(&train("--tokenizer special.json --set model.max_tokens=3")).done();
    set(&folder, "x/model/sentence_bert_config.json", "max_seq_length", json!(1));
    folder.prep("eval d --model x/model --quiet").failed_with(&[
        "model `x/model`: cuts texts to 1 tokens, which leaves no room",
        "hint: mend the limit",
    ]);
}

#[test]
fn a_dense_layer_of_another_width_is_refused() {
    let folder = folder();
    folder.prep("train d --init tiny --tokenizer tokenizer.json --steps 1 --quiet --out run").done();
    copy(&folder, "run/model");
    let module = |path: &str, kind: &str| json!({"path": path, "type": format!("sentence_transformers.models.{kind}")});
    let modules = [module("", "Transformer"), module("1_Pooling", "Pooling"), module("2_Dense", "Dense")];
    folder.write("m/modules.json", Value::from(modules.to_vec()).to_string());
    folder.write("m/2_Dense/config.json", json!({"in_features": 64, "out_features": 8}).to_string());
    folder.prep("eval d --model m --quiet").failed_with(&[
        "m/2_Dense/config.json`: `in_features` is 64, and the vectors that it takes have 128",
        "hint: a dense layer belongs to the transformer",
    ]);
}

/// A pooler is the dense layer that the export writes it as, with the weights that it came with.
#[test]
fn the_pooler_of_a_bert_is_a_dense_layer_with_tanh() {
    let folder = folder();
    folder.prep("train d --init tiny --tokenizer tokenizer.json --steps 1 --quiet --out run").done();
    copy(&folder, "run/model");
    // Far below what changes a weight in f32 that is not 0.
    let train = "train d --init m --set model.pooling=pooler --lr 1e-30 --steps 1 --quiet --out pooled";
    folder
        .prep(train)
        .failed_with(&["model `m`: has no `pooler.dense.weight`", "hint: `mean` and `cls` need no weights"]);
    let bytes = fs::read(folder.path("m/model.safetensors")).unwrap();
    let values = |n: usize, scale: f32| -> Vec<u8> {
        (0..n).flat_map(|i| (scale * ((i % 17) as f32 - 8.5)).to_le_bytes()).collect()
    };
    let (weight, bias) = (values(128 * 128, 0.02), values(128, 0.1));
    let mut tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
    tensors.push(("pooler.dense.weight".to_owned(), view(&[128, 128], &weight)));
    tensors.push(("pooler.dense.bias".to_owned(), view(&[128], &bias)));
    folder.write("m/model.safetensors", serialize(tensors, None::<HashMap<String, String>>).unwrap());
    folder.prep(train).done();

    let modules = json_of(&folder, "pooled/model/modules.json");
    let kind = |module: &Value| module["type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
    let kinds: Vec<String> = modules.as_array().unwrap().iter().map(kind).collect();
    assert_eq!(kinds, ["Transformer", "Pooling", "Dense", "Normalize"]);
    assert_eq!(json_of(&folder, "pooled/model/1_Pooling/config.json")["pooling_mode_cls_token"], true);
    let activation = &json_of(&folder, "pooled/model/2_Dense/config.json")["activation_function"];
    assert_eq!(activation, "torch.nn.modules.activation.Tanh");
    let dense = fs::read(folder.path("pooled/model/2_Dense/model.safetensors")).unwrap();
    let dense = SafeTensors::deserialize(&dense).unwrap();
    assert!(dense.tensor("linear.weight").unwrap().data() == weight);
    assert!(dense.tensor("linear.bias").unwrap().data() == bias);
    // The settings are those of the same run, and of it alone.
    let settings = fs::read_to_string(folder.path("pooled/settings.toml")).unwrap();
    assert!(settings.contains("pooling = \"pooler\""), "{settings}");
    folder.prep(&format!("{train} --resume --config pooled/settings.toml")).done();
    folder
        .prep("train d --init tiny --tokenizer tokenizer.json --set model.pooling=pooler --steps 1 --quiet --out x")
        .failed_with(&["setting `model.pooling`: preset `tiny` has no pooler", "hint: say `mean` or `cls`"]);
}
