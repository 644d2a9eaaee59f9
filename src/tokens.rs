//! Texts to token ids, by a Hugging Face `tokenizer.json`: one function from a text to numbers.
//!
//! A dataset holds whole texts, so what the file says of truncation and padding is not followed, and two files that
//! differ in these alone are one tokenizer; special tokens are added as it says. A file that draws at random (BPE with
//! dropout) is refused: the ids of a text must follow from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::{Map, Value};
use tokenizers::models::ModelWrapper;
use tokenizers::{Encoding, PostProcessor as _, TruncationParams};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// A tokenizer, and the bytes that it was read from.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    path: PathBuf,
    json: Arc<[u8]>,
    digest: Digest,
    truncation: Option<TruncationParams>,
}

impl Tokenizer {
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Tokenizer`] when it is something else.
    pub fn open(path: &Path) -> Result<Self> {
        let json = fs::read(path).map_err(Error::io("read tokenizer", path))?;
        let refused = |found: String, hint: &str| Error::Tokenizer {
            path: path.to_owned(),
            found,
            hint: Some(hint.to_owned()),
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(&json).map_err(|e| {
            let found = match known_kind(&json) {
                Some(kind) => format!("it is {kind}"),
                None => format!("it is no tokenizer.json: {e}"),
            };
            refused(found, "`save_pretrained` of a fast tokenizer of Hugging Face writes a tokenizer.json")
        })?;
        if let ModelWrapper::BPE(bpe) = inner.get_model()
            && let Some(dropout) = bpe.dropout.filter(|p| *p != 0.0)
        {
            let found = format!("`model.dropout` is {dropout}, so its ids are drawn at random");
            return Err(refused(found, "set `model.dropout` to null"));
        }
        let truncation = inner.get_truncation().cloned();
        inner.with_padding(None);
        inner.with_truncation(None).expect("no truncation contradicts nothing");
        let digest = Digest::of(&json);
        Ok(Self { inner: Arc::new(inner), path: path.to_owned(), json: json.into(), digest, truncation })
    }

    /// BLAKE3 of the file's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes of the file.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// What the file says of truncation; it is not followed here.
    pub(crate) fn truncation(&self) -> Option<&TruncationParams> {
        self.truncation.as_ref()
    }

    /// Whether both give every text the same ids: the files are equal but for truncation and padding.
    #[must_use]
    pub fn has_the_ids_of(&self, other: &Self) -> bool {
        let [this, other] = [self, other].map(|tokenizer| {
            let mut file: Map<String, Value> =
                serde_json::from_slice(&tokenizer.json).expect("it was read as a JSON object");
            file.retain(|key, _| !["truncation", "padding"].contains(&key.as_str()));
            file
        });
        this == other
    }

    /// The settings of BERT's normalizer, where the file has one.
    pub(crate) fn bert_normalizer(&self) -> Option<Value> {
        let file: Value = serde_json::from_slice(&self.json).expect("it was read as JSON");
        let normalizer = file.get("normalizer")?;
        (normalizer.get("type")? == "BertNormalizer").then(|| normalizer.clone())
    }

    /// How many special tokens a text gets beside its own.
    pub(crate) fn n_special(&self) -> usize {
        self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false))
    }

    /// V: one more than the greatest id, added tokens included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    /// The id of a token, a special one say.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The ids of a text with special tokens, neither cut nor padded.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when it has no token for a part of the text, and none for unknown ones.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encoding(text, true)?.get_ids().to_vec())
    }

    /// Ids, and which of them are special, with or without special tokens; neither cut nor padded.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(crate) fn encoding(&self, text: &str, with_special: bool) -> Result<Encoding> {
        self.inner.encode_fast(text, with_special).map_err(|e| Error::Tokenizer {
            path: self.path.clone(),
            found: format!("no ids for `{}`: {e}", text.chars().take(60).collect::<String>()),
            hint: None,
        })
    }

    /// The ids of each text, in their order; on the calling thread's rayon pool.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_all(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        texts.par_iter().map(|text| self.encode(text)).collect()
    }
}

/// What people name instead.
fn known_kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x80, 2..=5, ..] => Some("a Python pickle, which is never loaded"),
        [b'P', b'K', 3, 4, ..] => Some("a ZIP archive, as PyTorch's checkpoints are"),
        [0x1f, 0x8b, ..] => Some("compressed by gzip"),
        // A protocol buffer that begins with a message in field 1, which begins with a text in field 1: a piece.
        [0x0a, _, 0x0a, ..] => Some("a SentencePiece model"),
        _ => None,
    }
}
