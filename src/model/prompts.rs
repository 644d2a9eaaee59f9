//! `config_sentence_transformers.json`: what is put before texts, and what their vectors are meant to be compared by.

use std::path::Path;

use serde_json::{Map, Value};

use super::json_file::JsonFile;
use crate::error::Result;

pub(super) const FILE: &str = "config_sentence_transformers.json";

/// What the file says.
pub(super) struct Prompts {
    pub(super) query: String,
    pub(super) passage: String,
    pub(super) similarity: Similarity,
}

/// How the library compares two vectors of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Similarity {
    Cosine,
    /// Ranks vectors of unit length as the cosine does: dot product, Euclidean distance.
    AsCosineOfUnits,
    Other,
}

impl Prompts {
    /// Of a directory that may be without the file.
    ///
    /// The first prompt that the file has for a role counts, an empty one too, in the order of the library's
    /// `encode_query` and `encode_document`. A file without any for the role was written for `encode`, which puts the
    /// default prompt before all texts.
    pub(super) fn read(directory: &Path) -> Result<(Self, JsonFile)> {
        let file = JsonFile::read_if_there(&directory.join(FILE))?;
        if file.text("model_type")?.is_some_and(|kind| kind != "SentenceTransformer") {
            return Err(file
                .refused("model_type", "not `SentenceTransformer`")
                .with_hint("only models that make one vector of a text are read"));
        }
        let none = Map::new();
        let prompts = match file.get("prompts") {
            None => &none,
            Some(Value::Object(prompts)) => prompts,
            Some(_) => return Err(file.refused("prompts", "not texts by name")),
        };
        if prompts.values().any(|prompt| !(prompt.is_string() || prompt.is_null())) {
            return Err(file.refused("prompts", "not texts by name"));
        }
        let named = |name: &str| prompts.get(name).map(|prompt| prompt.as_str().unwrap_or_default());
        let default = match file.text("default_prompt_name")? {
            None => "",
            // The library has these two, empty, where a file has not.
            Some(name @ ("query" | "document")) => named(name).unwrap_or_default(),
            Some(name) => named(name).ok_or_else(|| {
                let e = file.refused("default_prompt_name", "none of the names in `prompts`");
                e.with_hint("add that prompt, or set `default_prompt_name` to null")
            })?,
        };
        let of_role =
            |names: &[&str]| names.iter().find_map(|name| named(name)).unwrap_or(default).to_owned();
        let similarity = match file.text("similarity_fn_name")? {
            None | Some("cosine") => Similarity::Cosine,
            Some("dot" | "euclidean") => Similarity::AsCosineOfUnits,
            Some(_) => Similarity::Other,
        };
        let read = Self {
            query: of_role(&["query"]),
            passage: of_role(&["document", "passage", "corpus"]),
            similarity,
        };
        Ok((read, file))
    }
}
