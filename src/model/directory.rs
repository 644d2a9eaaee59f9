//! An encoder as a directory of `transformers` or sentence-transformers: read with all that its settings say, and
//! written so that both libraries load it with the same vectors.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::head::DENSE_FOLDER;
use super::json_file::{read_json, write_json};
use super::modules::Modules;
use super::params::Weights;
use super::weights::{Checkpoint, write_tensors};
use super::{Architecture, Body, Dense, Encoder, Head, Network, Pooling, Vocabulary, bag, tokenizer_config};
use crate::error::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";

/// What makes one vector of the tokens' vectors when a directory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSource {
    /// What the directory describes; the mean where it describes nothing.
    Described,
    /// BERT's pooler, [`HeadPooling::Pooler`](super::HeadPooling::Pooler), in place of pooling and dense layer.
    Pooler,
}

impl Encoder {
    /// Reads a directory of `transformers` or sentence-transformers.
    ///
    /// # Errors
    /// [`Error::Model`] and [`Error::Tokenizer`], with the file and what is wrong with it.
    pub fn open(directory: &Path, source: HeadSource) -> Result<Self> {
        let modules = Modules::read(directory)?;
        let body = directory.join(&modules.body);
        let folder = tokenizer_folder(directory, &body)?;
        let vocabulary = Vocabulary::read(&folder.join(TOKENIZER))?;
        let mut head = modules.head;
        head.max_tokens = match modules.is_static {
            true => tokenizer_config::longest_of_static(&folder, &vocabulary)?,
            false => tokenizer_config::longest_of_transformer(&folder, &vocabulary, modules.max_seq_length)?,
        };
        let checkpoint = Checkpoint::open(&body)?;
        let architecture = match modules.is_static {
            true => static_architecture(&checkpoint, &body)?,
            false => {
                let path = body.join("config.json");
                Architecture::from_json(&read_json(&path)?).map_err(|found| Error::model(&path, found))?
            }
        };
        if architecture.vocab_size() < vocabulary.len() {
            let found = format!(
                "the tokenizer has {} tokens, the table of embeddings {} rows",
                vocabulary.len(),
                architecture.vocab_size()
            );
            return Err(Error::model(directory, found));
        }
        let dense = match (source, head.dense, modules.dense) {
            (HeadSource::Pooler, ..) => {
                let width = architecture.width();
                head.pooling = Pooling::Cls;
                head.dense = Some(Dense { width_in: width, width_out: width, has_bias: true, is_tanh: true });
                Some(pooler(&checkpoint, directory)?)
            }
            (HeadSource::Described, Some(dense), Some(folder)) => {
                Some(dense_layer(&directory.join(folder), dense, &architecture)?)
            }
            (HeadSource::Described, ..) => None,
        };
        let network = Network::new(architecture, head);
        let weights = network.read(&checkpoint, dense.as_ref())?;
        let encoder = Self { network, weights, vocabulary };
        match encoder.network.max_tokens().and_then(|max_tokens| encoder.has_no_room(max_tokens)) {
            Some(found) => Err(Error::model(directory, format!("cuts texts to {found}")).with_hint(
                "mend the limit in its sentence_bert_config.json, tokenizer_config.json or tokenizer.json",
            )),
            None => Ok(encoder),
        }
    }

    /// Writes a sentence-transformers directory, which `transformers` reads as well.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let network = &self.network;
        let is_static = network.is_static();
        let head = Head { max_tokens: network.max_tokens(), ..network.head.clone() };
        head.write(directory, network.architecture.width(), is_static)?;
        let (mut body, mut dense) = (BTreeMap::new(), BTreeMap::new());
        for ((id, declared), value) in network.declarations.iter().zip(self.weights.iter()) {
            let is_dense = network.dense.as_ref().is_some_and(|ids| ids.weight == id || ids.bias == Some(id));
            let into = if is_dense { &mut dense } else { &mut body };
            let parts = declared.parts.iter().map(|part| part.name.clone());
            into.extend(parts.zip(declared.split(value)?));
        }
        if let Body::Bag(bag) = &network.body {
            let scales = self.weights.get(bag.scales).unsqueeze(1)?;
            let table = self.weights.get(bag.words).broadcast_mul(&scales)?;
            body = BTreeMap::from([(bag::TABLE.to_owned(), table)]);
        } else {
            write_json(&directory.join("config.json"), &network.architecture.to_json())?;
        }
        write_tensors(&directory.join("model.safetensors"), body)?;
        if !dense.is_empty() {
            write_tensors(&directory.join(DENSE_FOLDER).join("model.safetensors"), dense)?;
        }
        let tokenizer = directory.join(TOKENIZER);
        if is_static {
            return self.vocabulary.write_cutting(&tokenizer, head.max_tokens);
        }
        self.vocabulary.write(&tokenizer)?;
        // What tokenizer.json says of sides would be followed otherwise.
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": self.vocabulary.pad_token(),
            "padding_side": "right",
            "truncation_side": "right",
        });
        if let Some(max_tokens) = head.max_tokens {
            config["model_max_length"] = max_tokens.into();
        }
        write_json(&directory.join(tokenizer_config::FILE), &config)
    }
}

/// Where tokenizer.json lies: beside the first module, or at the root.
fn tokenizer_folder(directory: &Path, body: &Path) -> Result<PathBuf> {
    let mut folders = [body, directory].into_iter();
    let found = folders.find(|folder| folder.join(TOKENIZER).is_file());
    found.map(Path::to_owned).ok_or_else(|| {
        let e = Error::model(directory, "holds no tokenizer.json");
        let inside = directory.join("model");
        e.with_hint(if inside.join(TOKENIZER).is_file() {
            format!("of a run, the model is `{}`", inside.display())
        } else {
            let files = "writes one beside other tokenizer files";
            format!("`AutoTokenizer.from_pretrained(..).save_pretrained(..)` {files}")
        })
    })
}

/// A StaticEmbedding has no config.json: its sizes are those of its table.
fn static_architecture(checkpoint: &Checkpoint, body: &Path) -> Result<Architecture> {
    let table = checkpoint.get(bag::TABLE)?;
    let table = table.ok_or_else(|| Error::model(body, format!("no tensor `{}`", bag::TABLE)))?;
    let (vocab_size, width) = table.dims2()?;
    Ok(Architecture::Static { vocab_size, width })
}

fn dense_layer(folder: &Path, dense: Dense, architecture: &Architecture) -> Result<Checkpoint> {
    let (width_in, width) = (dense.width_in, architecture.width());
    if width_in != width {
        let found = format!("`in_features` is {width_in}, and the vectors that it takes have {width}");
        return Err(Error::model(&folder.join("config.json"), found)
            .with_hint("a dense layer belongs to the transformer that it was trained with"));
    }
    Checkpoint::open(folder)
}

fn pooler(checkpoint: &Checkpoint, directory: &Path) -> Result<Checkpoint> {
    checkpoint.pooler()?.ok_or_else(|| {
        let e = Error::model(directory, "has no `pooler.dense.weight` and `pooler.dense.bias`");
        e.with_hint("`mean` and `cls` need no weights; a pooler lies with the BERT that was trained with it")
    })
}

impl Network {
    /// Values of all parameters from files.
    fn read(&self, body: &Checkpoint, dense: Option<&Checkpoint>) -> Result<Weights> {
        let values = self.declarations.iter().map(|(id, declared)| {
            match (&self.body, &self.dense, dense) {
                // A StaticEmbedding has its weights in its rows.
                (Body::Bag(bag), ..) if bag.scales == id => declared.start(0),
                (_, Some(ids), Some(dense)) if ids.weight == id || ids.bias == Some(id) => {
                    dense.value(declared)
                }
                _ => body.value(declared),
            }
        });
        Ok(Weights::new(values.collect::<Result<_>>()?))
    }
}
