//! From the vectors of a text's tokens to the vector of the text: pooling, perhaps a dense layer, unit length. These are
//! the modules of sentence-transformers; this file writes their folders, and `modules.rs` reads them.

use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::json_file::write_json;
use super::{modules, prompts};
use crate::error::{Error, Result};
use crate::kernels::Pooling;

/// A dense layer behind the pooling, as LaBSE has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dense {
    pub width_in: usize,
    pub width_out: usize,
    pub has_bias: bool,
    pub is_tanh: bool,
}

/// How the vectors of a text's tokens become one, as settings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeadPooling {
    /// Their mean.
    Mean,
    /// The first.
    Cls,
    /// The first through BERT's pooler, the dense layer with tanh that it was trained with. Its weights lie with the
    /// model's; it is saved as `cls` and a dense layer.
    Pooler,
}

/// What stands behind the transformer. The result is always of unit length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Head {
    pub pooling: Pooling,
    pub dense: Option<Dense>,
    /// Longest text, in tokens with special ones; longer ones are cut. Nothing: as long as there are positions.
    pub max_tokens: Option<usize>,
    /// Put before every question.
    pub query_prefix: String,
    /// Put before every passage.
    pub passage_prefix: String,
}

/// Where the weights of a dense layer lie below a directory that is written.
pub(super) const DENSE_FOLDER: &str = "2_Dense";
const POOLING_FOLDER: &str = "1_Pooling";
const NORMALIZE_FOLDER: &str = "3_Normalize";

impl From<Pooling> for HeadPooling {
    fn from(pooling: Pooling) -> Self {
        match pooling {
            Pooling::Mean => Self::Mean,
            Pooling::Cls => Self::Cls,
        }
    }
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
        let listed: Vec<Value> = kinds
            .iter()
            .enumerate()
            .map(|(n, (path, kind))| {
                json!({"idx": n, "name": n.to_string(), "path": path, "type": format!("{models}.{kind}")})
            })
            .collect();
        write_json(&directory.join(modules::FILE), &Value::Array(listed))?;
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
                write_json(&directory.join(modules::TRANSFORMER_FILES[0]), &config)?;
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
        // The library's `encode_document` looks for `document`; `passage` is what other models call it.
        let prompts = json!({
            "query": self.query_prefix, "document": self.passage_prefix, "passage": self.passage_prefix,
        });
        let config = json!({
            "prompts": prompts,
            "default_prompt_name": null,
            "similarity_fn_name": "cosine",
        });
        write_json(&directory.join(prompts::FILE), &config)
    }
}
