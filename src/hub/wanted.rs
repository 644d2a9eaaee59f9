//! Which files of a repository an encoder needs.
//!
//! Configuration and tokenizer, what sentence-transformers writes beside them (`modules.json` and the folders it
//! names: pooling, dense layers, and a first module that does not lie at the root), and weights as safetensors, whole
//! or in shards. Pickles are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::HubName;
use super::listing::ListedFile;
use crate::error::{Error, Result};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const MODULES: &str = "modules.json";
const WEIGHTS: &str = "model.safetensors";
/// Of weights in shards: which tensor lies in which.
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// Fetched where they are there.
const SETTINGS: [&str; 7] = [
    CONFIG,
    TOKENIZER,
    MODULES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
];

/// The same of a module that has a folder, the first one above all.
const IN_A_FOLDER: [&str; 4] = [CONFIG, TOKENIZER, "tokenizer_config.json", "sentence_bert_config.json"];

/// A line of `modules.json`.
#[derive(Deserialize)]
struct Module {
    /// Empty, or a dot, for a module whose files lie at the root.
    path: String,
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Deserialize)]
struct WeightsIndex {
    /// Shard by tensor.
    weight_map: BTreeMap<String, String>,
}

/// Refuses, by names alone, a repository that has no encoder for us.
pub(super) fn check(name: &HubName, files: &[ListedFile]) -> Result<()> {
    let has = |path| find(files, path).is_some();
    if has(CONFIG) {
        return check_body(name, "", files);
    }
    if has(MODULES) {
        // Its first module has a folder, or is static embeddings, which have no configuration: [`weights`] looks.
        return Ok(());
    }
    Err(Error::hub(name, "there is no `config.json`")
        .with_hint("name the repository of a transformer or of static embeddings"))
}

/// Refuses a folder without weights or tokenizer.
fn check_body(name: &HubName, folder: &str, files: &[ListedFile]) -> Result<()> {
    let has = |file| find(files, &below(folder, file)).is_some();
    if !(has(WEIGHTS) || folder.is_empty() && has(WEIGHTS_INDEX)) {
        return Err(no_safetensors(name, folder, files));
    }
    if !has(TOKENIZER) {
        let found = format!("there is no `{}`", below(folder, TOKENIZER));
        return Err(Error::hub(name, found).with_hint(format!(
            "`AutoTokenizer.from_pretrained(\"{repository}\").save_pretrained(DIR)` of transformers writes one: put \
             it beside the weights and name that directory",
            repository = name.repository()
        )));
    }
    Ok(())
}

fn below(folder: &str, file: &str) -> String {
    if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") }
}

/// All but the weights and what belongs to single modules.
pub(super) fn settings(files: &[ListedFile]) -> Vec<&ListedFile> {
    let index = if find(files, WEIGHTS).is_none() { Some(WEIGHTS_INDEX) } else { None };
    SETTINGS.into_iter().chain(index).filter_map(|path| find(files, path)).collect()
}

/// What the settings, which lie in `directory` by now, name: weights or their shards, and the files of modules.
pub(super) fn weights<'a>(
    name: &HubName,
    directory: &Path,
    files: &'a [ListedFile],
) -> Result<Vec<&'a ListedFile>> {
    let mut wanted = Vec::new();
    let mut body_is_at_the_root = true;
    if find(files, MODULES).is_some() {
        let modules: Vec<Module> = read(name, directory, MODULES)?;
        if let Some(body) = modules.first().filter(|_| find(files, CONFIG).is_none()) {
            let folder = if body.path == "." { "" } else { &body.path };
            let config = below(folder, CONFIG);
            if !body.kind.ends_with(".StaticEmbedding") && find(files, &config).is_none() {
                return Err(Error::hub(name, format!("there is no `{config}`"))
                    .with_hint("name the repository of a transformer or of static embeddings"));
            }
            check_body(name, folder, files)?;
            body_is_at_the_root = folder.is_empty();
        }
        for Module { path, .. } in modules.into_iter().filter(|module| !["", "."].contains(&&*module.path)) {
            wanted.extend(IN_A_FOLDER.iter().filter_map(|file| find(files, &below(&path, file))));
            match find(files, &format!("{path}/{WEIGHTS}")) {
                Some(weights) => wanted.push(weights),
                None if files.iter().any(|file| is_pickle(&file.path, &path)) => {
                    return Err(no_safetensors(name, &path, files));
                }
                // Pooling and normalisation have no weights.
                None => {}
            }
        }
    }
    if !body_is_at_the_root {
        return Ok(wanted);
    }
    if let Some(whole) = find(files, WEIGHTS) {
        wanted.push(whole);
        return Ok(wanted);
    }
    let index: WeightsIndex = read(name, directory, WEIGHTS_INDEX)?;
    for shard in index.weight_map.into_values().collect::<BTreeSet<_>>() {
        let listed = find(files, &shard).filter(|_| is_shard(&shard));
        wanted.push(listed.ok_or_else(|| {
            Error::hub(name, format!("`{WEIGHTS_INDEX}` names `{shard}`, which is no safetensors file there"))
        })?);
    }
    Ok(wanted)
}

/// Whether [`settings`] or [`weights`] may ask for this path, or [`check`] for a reason.
pub(super) fn may_be_wanted(path: &str) -> bool {
    SETTINGS.contains(&path)
        || [WEIGHTS_INDEX, WEIGHTS].contains(&path)
        || is_shard(path)
        || is_pickle(path, "")
        || path.rsplit_once('/').is_some_and(|(folder, file)| {
            file == WEIGHTS || IN_A_FOLDER.contains(&file) || is_pickle(path, folder)
        })
}

fn find<'a>(files: &'a [ListedFile], path: &str) -> Option<&'a ListedFile> {
    files.iter().find(|file| file.path == path)
}

fn is_shard(path: &str) -> bool {
    path.ends_with(".safetensors") && !path.contains('/')
}

/// Whether this is `folder/pytorch_model*.bin`, as `torch.save` writes weights.
fn is_pickle(path: &str, folder: &str) -> bool {
    let (at, file) = path.rsplit_once('/').unwrap_or(("", path));
    at == folder && file.starts_with("pytorch_model") && file.ends_with(".bin")
}

fn no_safetensors(name: &HubName, folder: &str, files: &[ListedFile]) -> Error {
    let Some(pickle) = files.iter().find(|file| is_pickle(&file.path, folder)) else {
        return Error::hub(name, format!("there is neither `{WEIGHTS}` nor `{WEIGHTS_INDEX}`"))
            .with_hint("only weights as safetensors are read");
    };
    Error::hub(
        name,
        format!(
            "its weights are a pickle (`{}`), which can run any program when it is opened, and not safetensors",
            pickle.path
        ),
    )
    .with_hint(format!(
        "a conversion often waits as a pull request: try `{repository}@refs/pr/N`; or convert it where you trust it, \
         with `save_pretrained(DIR)` of transformers or sentence-transformers, and name that directory",
        repository = name.repository()
    ))
}

/// A checked file that is not what its name says is the repository's fault.
fn read<T: DeserializeOwned>(name: &HubName, directory: &Path, path: &str) -> Result<T> {
    let at = directory.join(path);
    let bytes = fs::read(&at).map_err(Error::io("read", &at))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::hub(name, format!("cannot read its `{path}`: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_by_names_asks_for_all_that_may_be_needed() {
        for path in [
            "config.json",
            "modules.json",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "0_StaticEmbedding/tokenizer.json",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "pytorch_model-00001-of-00002.bin",
        ] {
            assert!(may_be_wanted(path), "{path}");
        }
        for path in ["README.md", "onnx/model.onnx", "tf_model.h5", "checkpoint-1/optimizer.pt"] {
            assert!(!may_be_wanted(path), "{path}");
        }
    }
}
