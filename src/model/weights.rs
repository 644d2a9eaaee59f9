//! Weights in files: safetensors, under the names of `transformers`. A pickle is refused: to open one is to run it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::params::Declared;
use crate::error::{Error, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What a checkpoint of a model with a task's head puts before the names of its encoder.
const PREFIXES: [&str; 5] = ["", "bert.", "roberta.", "transformer.", "0.auto_model."];

/// The tensors of a checkpoint, in f32.
pub(super) struct Checkpoint {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the weights of a model directory: one file, or several with an index.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let single = directory.join(SINGLE);
        if single.is_file() {
            return Self::read(&single);
        }
        let index_path = directory.join(INDEX);
        if !index_path.is_file() {
            return Err(without_weights(directory));
        }
        let text = fs::read_to_string(&index_path).map_err(Error::io("read", &index_path))?;
        let index: ShardIndex = serde_json::from_str(&text)
            .map_err(|e| Error::model(&index_path, format!("not an index of weights: {e}")))?;
        let mut files: Vec<&String> = index.weight_map.values().collect();
        files.sort();
        files.dedup();
        let mut tensors = HashMap::new();
        for file in files {
            tensors.extend(Self::read(&directory.join(file))?.tensors);
        }
        Ok(Self { path: index_path, tensors })
    }

    /// Reads one safetensors file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|e| Error::model(path, format!("not a safetensors file: {e}")))?;
        Ok(Self { path: path.to_owned(), tensors })
    }

    /// BERT's pooler as a dense layer, where both tensors are there.
    pub(super) fn pooler(&self) -> Result<Option<Self>> {
        let mut tensors = HashMap::new();
        for kind in ["weight", "bias"] {
            let Some(tensor) = self.get(&format!("pooler.dense.{kind}"))? else { return Ok(None) };
            tensors.insert(format!("linear.{kind}"), tensor);
        }
        Ok(Some(Self { path: self.path.clone(), tensors }))
    }

    /// A tensor by name, in f32, where it is there.
    pub(super) fn get(&self, name: &str) -> Result<Option<Tensor>> {
        // TensorFlow's names of a norm's gain and shift, in old checkpoints of BERT.
        let old =
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        let names = PREFIXES.iter().flat_map(|prefix| [format!("{prefix}{name}"), format!("{prefix}{old}")]);
        let found = names.into_iter().find_map(|name| self.tensors.get(&name));
        found.map(|tensor| Ok(tensor.to_dtype(DType::F32)?)).transpose()
    }

    /// A tensor that must be there, of this shape.
    fn expect(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let Some(tensor) = self.get(name)? else {
            let mut there: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
            there.sort_unstable();
            there.truncate(5);
            let found = format!("no tensor `{name}`; there are {} and more", there.join(", "));
            return Err(Error::model(&self.path, found));
        };
        if tensor.dims() == shape {
            return Ok(tensor);
        }
        let found = format!("tensor `{name}` is {:?}, config.json makes it {shape:?}", tensor.dims());
        Err(Error::model(&self.path, found))
    }

    /// The value of a parameter.
    pub(super) fn value(&self, declared: &Declared) -> Result<Tensor> {
        let parts = declared.parts.iter().map(|part| self.expect(&part.name, &part.shape));
        declared.join(&parts.collect::<Result<Vec<_>>>()?)
    }
}

/// Says which files are there that are no safetensors.
fn without_weights(directory: &Path) -> Error {
    let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.ckpt"];
    let there = pickled.iter().find(|name| directory.join(name).is_file());
    match there {
        Some(name) => Error::Model {
            path: directory.join(name),
            found: "is a pickle: opening one runs whatever code it holds, so it is not opened".to_owned(),
            hint: Some(
                "convert it with `AutoModel.from_pretrained(..).save_pretrained(.., safe_serialization=True)`"
                    .to_owned(),
            ),
        },
        None => Error::model(directory, format!("holds neither {SINGLE} nor {INDEX}")),
    }
}

/// Writes named tensors as PyTorch's libraries like them: with the metadata `format: pt`.
pub(super) fn write_tensors(path: &Path, tensors: BTreeMap<String, Tensor>) -> Result<()> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|e| Error::model(path, format!("cannot be made: {e}")))?;
    fs::write(path, bytes).map_err(Error::io("write", path))
}
