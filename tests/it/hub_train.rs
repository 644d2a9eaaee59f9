//! `prep train --init ORG/NAME`, through the command line: a hub on a local port, then its cache alone.

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
    let files = files(&folder.path("run/model")).into_iter();
    files
        .map(|(path, bytes)| match path.ends_with(".safetensors") || path == "tokenizer.json" {
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
        .failed_with(&["error: cannot fetch model `org/encoder`: cannot reach http://", "HF_HUB_OFFLINE"]);
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
        &format!("error: cannot fetch model `{name}`: {endpoint} knows no such model (404)"),
        "hint: check the name; a private model needs `HF_TOKEN`",
    ]);
    server.change(|site| site.token = Some("another"));
    prep(&folder, &endpoint, false, &train(NAME)).failed_with(&[
        &format!("cannot fetch model `{NAME}`: {endpoint} refuses it (401: Invalid username or password.)"),
        "hint: a private or gated model needs `HF_TOKEN`",
    ]);
    assert!(!folder.path("x").exists());
}
