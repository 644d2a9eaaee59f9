//! A network with values and a tokenizer: what is trained, evaluated, read and written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde_json::json;

use super::head::DENSE_FOLDER;
use super::json_file::{read_json, write_json};
use super::modules::Modules;
use super::params::Weights;
use super::weights::{Checkpoint, write_tensors};
use super::{
    Architecture, Body, Dense, Head, Mode, Network, Pooling, Tokens, Vocabulary, bag, tokenizer_config,
};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::kernels::Operand as _;
use crate::progress::Observer;

/// Tokens that are encoded at a time: what activations take stays within tens of MiB.
const TOKENS_AT_A_TIME: usize = 8192;

const TOKENIZER: &str = "tokenizer.json";

/// Texts to vectors of unit length.
#[derive(Clone, Debug)]
pub struct Encoder {
    pub(crate) network: Network,
    pub(crate) weights: Weights,
    pub(crate) vocabulary: Vocabulary,
}

/// What makes one vector of the tokens' vectors when a directory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSource {
    /// What the directory describes; the mean where it describes nothing.
    Described,
    /// BERT's pooler, [`HeadPooling::Pooler`](super::HeadPooling::Pooler), in place of pooling and dense layer.
    Pooler,
}

/// Which side of a pair a text is on: it decides the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Query,
    Passage,
}

impl Encoder {
    /// An encoder with seeded random weights.
    ///
    /// # Errors
    /// [`Error::Compute`] when memory cannot hold the weights.
    pub fn start(architecture: Architecture, head: Head, vocabulary: Vocabulary, seed: u64) -> Result<Self> {
        let network = Network::new(architecture, head);
        let values = network.declarations.iter().map(|(_, declared)| declared.start(seed));
        let weights = Weights::new(values.collect::<Result<_>>()?);
        Ok(Self { network, weights, vocabulary })
    }

    /// Reads a directory of `transformers` or sentence-transformers.
    ///
    /// # Errors
    /// [`Error::Model`] and [`Error::Tokenizer`], with the file and what is wrong with it.
    pub fn open(directory: &Path, source: HeadSource) -> Result<Self> {
        let modules = Modules::read(directory)?;
        let body = directory.join(&modules.body);
        let mut folders = [body.as_path(), directory].into_iter();
        let folder = folders.find(|folder| folder.join(TOKENIZER).is_file()).ok_or_else(|| {
            let e = Error::model(directory, "holds no tokenizer.json");
            let inside = directory.join("model");
            e.with_hint(if inside.join(TOKENIZER).is_file() {
                format!("of a run, the model is `{}`", inside.display())
            } else {
                let files = "writes one beside other tokenizer files";
                format!("`AutoTokenizer.from_pretrained(..).save_pretrained(..)` {files}")
            })
        })?;
        let vocabulary = Vocabulary::read(&folder.join(TOKENIZER))?;
        let mut head = modules.head;
        head.max_tokens = match modules.is_static {
            true => tokenizer_config::longest_of_static(folder, &vocabulary)?,
            false => tokenizer_config::longest_of_transformer(folder, &vocabulary, modules.max_seq_length)?,
        };
        let checkpoint = Checkpoint::open(&body)?;
        let architecture = if modules.is_static {
            let table = checkpoint.get(bag::TABLE)?;
            let table = table.ok_or_else(|| Error::model(&body, format!("no tensor `{}`", bag::TABLE)))?;
            let (vocab_size, width) = table.dims2()?;
            Architecture::Static { vocab_size, width }
        } else {
            let path = body.join("config.json");
            Architecture::from_json(&read_json(&path)?).map_err(|found| Error::model(&path, found))?
        };
        if architecture.vocab_size() < vocabulary.len() {
            let found = format!(
                "the tokenizer has {} tokens, the table of embeddings {} rows",
                vocabulary.len(),
                architecture.vocab_size()
            );
            return Err(Error::model(directory, found));
        }
        let dense = modules.dense.map(|folder| directory.join(folder));
        if let (Some(dense), Some(folder)) = (head.dense, &dense)
            && dense.width_in != architecture.width()
        {
            let found = format!(
                "`in_features` is {}, and the vectors that it takes have {}",
                dense.width_in,
                architecture.width()
            );
            let e = Error::model(&folder.join("config.json"), found);
            return Err(e.with_hint("a dense layer belongs to the transformer that it was trained with"));
        }
        let dense = match source {
            HeadSource::Described => dense.map(|folder| Checkpoint::open(&folder)).transpose()?,
            HeadSource::Pooler => {
                let pooler = checkpoint.pooler()?.ok_or_else(|| {
                    let e = Error::model(directory, "has no `pooler.dense.weight` and `pooler.dense.bias`");
                    e.with_hint("`mean` and `cls` need no weights; a pooler lies with the BERT that was trained with it")
                })?;
                let width = architecture.width();
                head.pooling = Pooling::Cls;
                head.dense = Some(Dense { width_in: width, width_out: width, has_bias: true, is_tanh: true });
                Some(pooler)
            }
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

    /// The same with other values.
    pub(crate) fn with_weights(&self, weights: Weights) -> Self {
        Self { weights, ..self.clone() }
    }

    /// The same with another pooling, other prefixes or another longest text.
    #[must_use]
    pub fn with_head(mut self, head: Head) -> Self {
        self.network.head = head;
        self
    }

    /// The same with this dropout everywhere, if one is given.
    #[must_use]
    pub fn with_dropout(mut self, dropout: Option<f64>) -> Self {
        if let Some(dropout) = dropout {
            self.network.set_dropout(dropout);
        }
        self
    }

    /// A static encoder whose tokens weigh their inverse document frequency in these texts,
    /// `ln((1 + N) / (1 + df)) + 1` with df of the N texts holding the token: the smoothed form of scikit-learn, in which
    /// a token that every text holds still weighs something. Other encoders stay as they are.
    ///
    /// # Errors
    /// [`Error::Compute`] when the tokenizer fails on a text.
    pub fn weighing_rare_tokens(mut self, texts: &[&str], observer: &dyn Observer) -> Result<Self> {
        let Body::Bag(bag) = &self.network.body else { return Ok(self) };
        observer.begin("weighing tokens", Some(texts.len() as u64));
        let ids: Vec<Vec<u32>> = texts
            .par_iter()
            .map(|text| {
                let mut ids = self.vocabulary.encode(text, false, usize::MAX)?;
                ids.sort_unstable();
                ids.dedup();
                observer.advance(1);
                Ok(ids)
            })
            .collect::<Result<_>>()?;
        let mut document_frequency = vec![0_u32; self.weights.get(bag.scales).dim(0)?];
        for &id in ids.iter().flatten() {
            document_frequency[id as usize] += 1;
        }
        let one_more = |n: u32| f64::from(n) + 1.0;
        let n_texts = one_more(texts.len() as u32);
        let scales: Vec<f32> =
            document_frequency.iter().map(|&df| (libm::log(n_texts / one_more(df)) + 1.0) as f32).collect();
        self.weights.set(bag.scales, Tensor::new(scales, &Device::Cpu)?);
        Ok(self)
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Of architecture, head and values: all that decides vectors beside the tokenizer.
    pub(crate) fn digest(&self) -> Result<Digest> {
        let network = &self.network;
        let described = json!({
            "architecture": network.architecture.to_json(),
            "head": network.head,
            "weights": self.weights.digest()?,
        });
        Ok(Digest::of(described.to_string().as_bytes()))
    }

    /// What is wrong with cutting texts to so many tokens, if anything is.
    pub(crate) fn has_no_room(&self, max_tokens: usize) -> Option<String> {
        let n_special = if self.network.is_static() { 0 } else { self.vocabulary.tokenizer().n_special() };
        (max_tokens <= n_special)
            .then(|| format!("{max_tokens} tokens, which leaves no room beside {n_special} special ones"))
    }

    /// Ids of a text with its prefix and the special tokens, cut to the longest text.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when it fails on the text.
    pub fn tokenise(&self, role: Role, text: &str) -> Result<Vec<u32>> {
        let head = &self.network.head;
        let prefix = match role {
            Role::Query => &head.query_prefix,
            Role::Passage => &head.passage_prefix,
        };
        let is_plain = self.network.is_static();
        let text = if prefix.is_empty() { text.to_owned() } else { format!("{prefix}{text}") };
        self.vocabulary.encode(&text, !is_plain, self.network.max_tokens().unwrap_or(usize::MAX))
    }

    /// (n, D) row by row: the vectors of the texts. Equal texts are encoded once, so their vectors are equal; no text's
    /// vector depends on the others.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when it fails on a text, [`Error::Compute`].
    pub fn encode(&self, role: Role, texts: &[&str], observer: &dyn Observer) -> Result<Vec<f32>> {
        let mut number: BTreeMap<&str, usize> = BTreeMap::new();
        let mut distinct = Vec::new();
        let of_text: Vec<usize> = texts
            .iter()
            .map(|&text| {
                *number.entry(text).or_insert_with(|| {
                    distinct.push(text);
                    distinct.len() - 1
                })
            })
            .collect();
        let tokens: Vec<Vec<u32>> =
            distinct.par_iter().map(|text| self.tokenise(role, text)).collect::<Result<_>>()?;
        // Texts of like length together: work is dealt by sequence.
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_by_key(|&n| (tokens[n].len(), n));
        let width = self.network.width();
        let mut vectors = vec![0.0; tokens.len() * width];
        observer.begin("encoding texts", Some(tokens.len() as u64));
        let weights = self.weights.constant();
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let mut n_tokens = 0;
            let fits = rest.iter().take_while(|&&n| {
                n_tokens += tokens[n].len();
                n_tokens <= TOKENS_AT_A_TIME
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            let packed = Tokens::pack(now.iter().map(|&n| tokens[n].as_slice()), 0)?;
            let encoded = self.network.forward(&weights, &packed, Mode::Evaluate)?;
            let encoded = encoded.tensor().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            for (&n, vector) in now.iter().zip(encoded.chunks(width)) {
                vectors[n * width..][..width].copy_from_slice(vector);
            }
            observer.advance(now.len() as u64);
            rest = later;
        }
        Ok(of_text.into_iter().flat_map(|n| vectors[n * width..][..width].iter().copied()).collect())
    }
}

impl Network {
    /// The longest text in tokens, special ones included, if there is a limit.
    #[must_use]
    pub fn max_tokens(&self) -> Option<usize> {
        // A directory may say more than there are positions for; a longer text has no vector then.
        [self.head.max_tokens, self.architecture.max_tokens()].into_iter().flatten().min()
    }

    /// Dropout of hidden states and of attention probabilities, where it is one number.
    pub(crate) fn dropout(&self) -> Option<f64> {
        match &self.body {
            Body::Bert(bert) => {
                let (hidden, attention) = (bert.config.hidden_dropout, bert.config.attention_dropout);
                (hidden.to_bits() == attention.to_bits()).then_some(hidden)
            }
            Body::T5(t5) => Some(t5.config.dropout),
            Body::Bag(_) => Some(0.0),
        }
    }

    /// Dropout of hidden states and of attention probabilities.
    fn set_dropout(&mut self, dropout: f64) {
        match &mut self.body {
            Body::Bert(bert) => {
                bert.config.hidden_dropout = dropout;
                bert.config.attention_dropout = dropout;
            }
            Body::T5(t5) => t5.config.dropout = dropout,
            Body::Bag(_) => {}
        }
    }

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
