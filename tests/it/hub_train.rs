//! `prep train --init ORG/NAME`, through the command line: a hub on a local port, then its cache alone.

use std::collections::BTreeMap;

use crate::hub_server::{HubServer, Site, Stored};
use crate::train::folder;
use crate::util::{Folder, Ran, files, prep_command};

const NAME: &str = "org/encoder";

/// Runs `prep` with a hub and a cache of the test's own.
fn prep(folder: &Folder, endpoint: &str, offline: bool, arguments: &str) -> Ran {
    let mut command = prep_command();
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_TOKEN_PATH"] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", endpoint).env("HF_HOME", folder.path("hf"));
    if offline {
        command.env("HF_HUB_OFFLINE", "1");
    }
    Ran::of(command.args(arguments.split(' ')).current_dir(folder.path("")).output().unwrap())
}

/// The model at `run/model`, as a repository.
fn stored(folder: &Folder) -> Vec<Stored> {
    as_stored(files(&folder.path("run/model")))
}

fn as_stored(files: BTreeMap<String, Vec<u8>>) -> Vec<Stored> {
    let files = files.into_iter();
    files
        .map(|(path, bytes)| match path.ends_with(".safetensors") || path.ends_with("tokenizer.json") {
            true => Stored::large(&path, bytes),
            false => Stored::small(&path, bytes),
        })
        .collect()
}

#[test]
fn a_name_trains_from_the_hub_and_again_from_the_cache() {
    let folder = folder();
    folder.prep("train d --init tiny --tokenizer tokenizer.json --steps 1 --out run --quiet").done();
    let server = HubServer::start(Site::new(NAME, stored(&folder)));
    let endpoint = server.endpoint();
    let train = |out: &str| format!("train d --init {NAME} --steps 2 --lr 1e-3 --out {out} --quiet");
    folder.prep("train d --init ./run/model --steps 2 --lr 1e-3 --out local --quiet").done();
    prep(&folder, &endpoint, false, &train("online")).done();
    drop(server);
    prep(&folder, &endpoint, false, &train("gone"))
        .failed_with(&["error: cannot fetch `org/encoder`: cannot reach http://", "HF_HUB_OFFLINE"]);
    prep(&folder, &endpoint, true, &train("cached")).done();
    let weights = |run: &str| files(&folder.path(&format!("{run}/model")));
    assert!(weights("local") == weights("online"), "the hub's model is another");
    assert!(weights("local") == weights("cached"), "the cache's model is another");
}

#[test]
fn what_a_hub_refuses_is_told() {
    let folder = folder();
    let train = |name: &str| format!("train d --init {name} --steps 1 --out x --quiet");
    let server = HubServer::start(Site::new(NAME, vec![]));
    let (name, endpoint) = ("org/encodr", server.endpoint());
    prep(&folder, &endpoint, false, &train(name)).failed_with(&[
        &format!("error: cannot fetch `{name}`: {endpoint} knows no such model (404)"),
        "hint: check the name; a private model needs `HF_TOKEN`",
    ]);
    server.change(|site| site.token = Some("another"));
    prep(&folder, &endpoint, false, &train(NAME)).failed_with(&[
        &format!("cannot fetch `{NAME}`: {endpoint} refuses it (401: Invalid username or password.)"),
        "hint: a private or gated model needs `HF_TOKEN`",
    ]);
    assert!(!folder.path("x").exists());
}

/// Static embeddings have no `config.json`. Their files lie at the root, or in the folder of the first module.
#[test]
fn static_embeddings_are_evaluated_from_the_hub() {
    let folder = folder();
    let train = "train d --init static --tokenizer tokenizer.json --set model.max_tokens=8 --steps 1 --out run --quiet";
    folder.prep(train).done();
    let expected = folder.prep("eval d --model run/model --json --quiet").done().stdout;
    let at_the_root = files(&folder.path("run/model"));
    let in_a_folder: BTreeMap<String, Vec<u8>> = at_the_root
        .iter()
        .map(|(path, bytes)| match path.as_str() {
            "modules.json" => {
                let modules = String::from_utf8(bytes.clone()).unwrap();
                (
                    path.clone(),
                    modules.replace(r#""path": """#, r#""path": "0_StaticEmbedding""#).into_bytes(),
                )
            }
            "model.safetensors" | "tokenizer.json" => (format!("0_StaticEmbedding/{path}"), bytes.clone()),
            _ => (path.clone(), bytes.clone()),
        })
        .collect();
    for files in [at_the_root, in_a_folder.clone()] {
        assert!(!files.contains_key("config.json"));
        drop(std::fs::remove_dir_all(folder.path("hf")));
        let server = HubServer::start(Site::new(NAME, as_stored(files)));
        let evaluate = format!("eval d --model {NAME} --json --quiet");
        assert_eq!(prep(&folder, &server.endpoint(), false, &evaluate).done().stdout, expected);
        assert_eq!(prep(&folder, &server.endpoint(), true, &evaluate).done().stdout, expected);
    }
    let refused = |lacking: &str, parts: &[&str]| {
        drop(std::fs::remove_dir_all(folder.path("hf")));
        let mut files = in_a_folder.clone();
        files.remove(lacking).unwrap();
        let server = HubServer::start(Site::new(NAME, as_stored(files)));
        prep(&folder, &server.endpoint(), false, &format!("eval d --model {NAME} --quiet"))
            .failed_with(parts);
    };
    refused(
        "0_StaticEmbedding/tokenizer.json",
        &["there is no `0_StaticEmbedding/tokenizer.json`", "hint: "],
    );
    refused("0_StaticEmbedding/model.safetensors", &["there is neither `model.safetensors` nor", "hint: "]);
    refused("modules.json", &["there is no `config.json`", "hint: "]);
}
