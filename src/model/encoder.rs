//! A network with values and a tokenizer: what is trained and evaluated. `directory.rs` reads and writes it.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde_json::json;

use super::params::Weights;
use super::{Architecture, Body, Compute, Head, Mode, Network, Tokens, Vocabulary};
use crate::digest::Digest;
use crate::error::Result;
use crate::kernels::Operand as _;
use crate::progress::Observer;

/// Tokens that are encoded at a time on the CPU: what activations take stays within tens of MiB.
const TOKENS_ON_CPU: usize = 8192;
/// And on a GPU, which needs many to be busy: within a few GiB.
const TOKENS_ON_GPU: usize = 1 << 17;

/// Texts to vectors of unit length.
#[derive(Clone, Debug)]
pub struct Encoder {
    pub(crate) network: Network,
    pub(crate) weights: Weights,
    pub(crate) vocabulary: Vocabulary,
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
    /// [`Error::Compute`](crate::Error::Compute) when memory cannot hold the weights.
    pub fn start(architecture: Architecture, head: Head, vocabulary: Vocabulary, seed: u64) -> Result<Self> {
        let network = Network::new(architecture, head);
        let values = network.declarations.iter().map(|(_, declared)| declared.start(seed));
        let weights = Weights::new(values.collect::<Result<_>>()?);
        Ok(Self { network, weights, vocabulary })
    }

    /// The same with other values.
    pub(crate) fn with_weights(&self, weights: Weights) -> Self {
        Self { weights, ..self.clone() }
    }

    /// The same, computing there and so.
    ///
    /// # Errors
    /// [`Error::Compute`](crate::Error::Compute) when the device has no room for the weights.
    pub fn on(self, compute: &Compute) -> Result<Self> {
        let weights = self.weights.on_device(compute.device())?.in_dtype(compute.dtype())?;
        Ok(Self { weights, ..self })
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
    /// [`Error::Compute`](crate::Error::Compute) when the tokenizer fails on a text.
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
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) when it fails on the text.
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
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) when it fails on a text, [`Error::Compute`](crate::Error::Compute).
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
        let on_cpu = self.weights.iter().all(|value| value.device().is_cpu());
        let most_tokens = if on_cpu { TOKENS_ON_CPU } else { TOKENS_ON_GPU };
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let mut n_tokens = 0;
            let fits = rest.iter().take_while(|&&n| {
                n_tokens += tokens[n].len();
                n_tokens <= most_tokens
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
}
