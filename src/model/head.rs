//! From the vectors of a text's tokens to the vector of the text: pooling, perhaps a dense layer, unit length. These are
//! the modules of sentence-transformers, and this file reads and writes their folders.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::kernels::Pooling;

/// A dense layer behind the pooling, as LaBSE has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dense {
    pub width_in: usize,
    pub width_out: usize,
    pub has_bias: bool,
    pub is_tanh: bool,
}

/// What stands behind the transformer. The result is always of unit length.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub pooling: Pooling,
    pub dense: Option<Dense>,
    /// Longest text, in tokens; longer ones are cut.
    pub max_tokens: Option<usize>,
    /// Put before every question.
    pub query_prefix: String,
    /// Put before every passage.
    pub passage_prefix: String,
}

/// Where the weights of a dense layer lie below a model directory.
pub(super) const DENSE_FOLDER: &str = "2_Dense";
pub(super) const POOLING_FOLDER: &str = "1_Pooling";
const NORMALIZE_FOLDER: &str = "3_Normalize";

/// An entry of modules.json.
#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// What modules.json says stands where.
pub(super) struct Modules {
    pub(super) head: Head,
    /// Folder of the transformer or of the static embeddings, below the directory.
    pub(super) body: String,
    pub(super) is_static: bool,
    /// Folder of the dense layer.
    pub(super) dense: Option<String>,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            pooling: Pooling::Mean,
            dense: None,
            max_tokens: None,
            query_prefix: String::new(),
            passage_prefix: String::new(),
        }
    }
}

impl Modules {
    /// Reads modules.json and what it names. A directory of `transformers` has none: mean pooling then.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("modules.json");
        let mut read = Self { head: Head::default(), body: String::new(), is_static: false, dense: None };
        if !path.is_file() {
            return Ok(read);
        }
        let modules: Vec<Module> = serde_json::from_value(read_json(&path)?)
            .map_err(|e| Error::model(&path, format!("not a list of modules: {e}")))?;
        for (n, module) in modules.iter().enumerate() {
            // Releases differ in the packages that they name, not in the last part.
            let kind = module.kind.rsplit('.').next().unwrap_or_default();
            match (n, kind) {
                (0, "Transformer") => read.body.clone_from(&module.path),
                (0, "StaticEmbedding") => {
                    read.body.clone_from(&module.path);
                    read.is_static = true;
                }
                (_, "Pooling") => {
                    read.head.pooling = read_pooling(&directory.join(&module.path).join("config.json"))?;
                }
                (_, "Dense") => {
                    read.head.dense = Some(read_dense(&directory.join(&module.path).join("config.json"))?);
                    read.dense = Some(module.path.clone());
                }
                (_, "Normalize") => {}
                _ => {
                    let found =
                        format!("module {n} is a `{}`, which this program cannot compute", module.kind);
                    return Err(Error::model(&path, found));
                }
            }
        }
        let settings = directory.join(&read.body).join("sentence_bert_config.json");
        if settings.is_file() {
            let value = read_json(&settings)?;
            read.head.max_tokens =
                value.get("max_seq_length").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        }
        let settings = directory.join("config_sentence_transformers.json");
        if settings.is_file() {
            let value = read_json(&settings)?;
            let prompt = |names: &[&str]| {
                let prompts = value.get("prompts")?;
                names.iter().find_map(|name| prompts.get(name)?.as_str().map(str::to_owned))
            };
            read.head.query_prefix = prompt(&["query"]).unwrap_or_default();
            read.head.passage_prefix = prompt(&["passage", "document"]).unwrap_or_default();
        }
        Ok(read)
    }
}

fn read_pooling(path: &Path) -> Result<Pooling> {
    let config = read_json(path)?;
    if let Some(mode) = config.get("pooling_mode").and_then(Value::as_str) {
        return match mode {
            "mean" => Ok(Pooling::Mean),
            "cls" => Ok(Pooling::Cls),
            other => {
                Err(Error::model(path, format!("`pooling_mode` is `{other}`, neither `mean` nor `cls`")))
            }
        };
    }
    let object = config.as_object().ok_or_else(|| Error::model(path, "not a JSON object"))?;
    let is_on = |key: &str, default: bool| object.get(key).and_then(Value::as_bool).unwrap_or(default);
    let other = object.iter().find(|(key, value)| {
        key.starts_with("pooling_mode_")
            && !matches!(key.as_str(), "pooling_mode_cls_token" | "pooling_mode_mean_tokens")
            && value.as_bool() == Some(true)
    });
    if let Some((key, _)) = other {
        return Err(Error::model(path, format!("`{key}` is set; only mean and cls can be computed")));
    }
    let is_cls = is_on("pooling_mode_cls_token", false);
    match (is_cls, is_on("pooling_mode_mean_tokens", !is_cls)) {
        (true, false) => Ok(Pooling::Cls),
        (false, true) => Ok(Pooling::Mean),
        _ => Err(Error::model(
            path,
            "sets not exactly one of pooling_mode_cls_token, pooling_mode_mean_tokens",
        )),
    }
}

fn read_dense(path: &Path) -> Result<Dense> {
    #[derive(Deserialize)]
    struct Config {
        in_features: usize,
        out_features: usize,
        #[serde(default = "yes")]
        bias: bool,
        #[serde(default)]
        activation_function: String,
    }
    fn yes() -> bool {
        true
    }
    let config: Config =
        serde_json::from_value(read_json(path)?).map_err(|e| Error::model(path, e.to_string()))?;
    let is_tanh = match config.activation_function.rsplit('.').next().unwrap_or_default() {
        "Tanh" => true,
        "Identity" => false,
        other => {
            return Err(Error::model(path, format!("activation `{other}` is neither Tanh nor Identity")));
        }
    };
    Ok(Dense { width_in: config.in_features, width_out: config.out_features, has_bias: config.bias, is_tanh })
}

pub(super) fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|e| Error::model(path, format!("not JSON: {e}")))
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).expect("plain data");
    text.push('\n');
    fs::write(path, text).map_err(Error::io("write", path))
}

impl Head {
    /// Writes modules.json and the folders of pooling, dense layer and normalisation; the weights of a dense layer are
    /// left to the caller.
    pub(super) fn write(&self, directory: &Path, width: usize, is_static: bool) -> Result<()> {
        let models = "sentence_transformers.models";
        let mut kinds = if is_static {
            vec![("", "StaticEmbedding")]
        } else {
            vec![("", "Transformer"), (POOLING_FOLDER, "Pooling")]
        };
        if self.dense.is_some() {
            kinds.push((DENSE_FOLDER, "Dense"));
        }
        kinds.push((NORMALIZE_FOLDER, "Normalize"));
        let modules: Vec<Value> = kinds
            .iter()
            .enumerate()
            .map(|(n, (path, kind))| {
                json!({"idx": n, "name": n.to_string(), "path": path, "type": format!("{models}.{kind}")})
            })
            .collect();
        write_json(&directory.join("modules.json"), &Value::Array(modules))?;
        for (folder, _) in kinds.iter().filter(|(folder, _)| !folder.is_empty()) {
            let path = directory.join(folder);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        if !is_static {
            let config = json!({
                "word_embedding_dimension": width,
                "pooling_mode_cls_token": self.pooling == Pooling::Cls,
                "pooling_mode_mean_tokens": self.pooling == Pooling::Mean,
                "pooling_mode_max_tokens": false,
                "pooling_mode_mean_sqrt_len_tokens": false,
            });
            write_json(&directory.join(POOLING_FOLDER).join("config.json"), &config)?;
            if let Some(max_tokens) = self.max_tokens {
                let config = json!({"max_seq_length": max_tokens, "do_lower_case": false});
                write_json(&directory.join("sentence_bert_config.json"), &config)?;
            }
        }
        if let Some(dense) = self.dense {
            let config = json!({
                "in_features": dense.width_in,
                "out_features": dense.width_out,
                "bias": dense.has_bias,
                "activation_function":
                    if dense.is_tanh { "torch.nn.modules.activation.Tanh" } else { "torch.nn.modules.linear.Identity" },
            });
            write_json(&directory.join(DENSE_FOLDER).join("config.json"), &config)?;
        }
        let config = json!({
            "prompts": {"query": self.query_prefix, "passage": self.passage_prefix},
            "default_prompt_name": null,
            "similarity_fn_name": "cosine",
        });
        write_json(&directory.join("config_sentence_transformers.json"), &config)
    }
}
