//! The tokenizer of an encoder: `tokenizer.json` of Hugging Face, known by the digest of its bytes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// A tokenizer and the file that it came from.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    bytes: Arc<[u8]>,
    digest: Digest,
    pad: (u32, String),
}

/// What is called padding in the vocabularies there are.
const PAD_TOKENS: [&str; 3] = ["<pad>", "[PAD]", "<PAD>"];

impl Vocabulary {
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Model`] when it is no tokenizer.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        Self::from_bytes(path, bytes)
    }

    /// The same from bytes; `path` is what errors call them.
    ///
    /// # Errors
    /// [`Error::Model`] when they are no tokenizer.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let mut tokenizer = Tokenizer::from_bytes(&bytes)
            .map_err(|e| Error::model(path, format!("not a tokenizer.json: {e}")))?;
        // Cutting and padding are the encoder's.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| Error::model(path, e.to_string()))?;
        let pad = PAD_TOKENS.iter().find_map(|name| Some((tokenizer.token_to_id(name)?, (*name).to_owned())));
        // Nothing is padded here, so any token would do; what reads the saved model wants one with a name.
        let pad = pad.or_else(|| Some((0, tokenizer.id_to_token(0)?)));
        let pad = pad.ok_or_else(|| Error::model(path, "has no tokens"))?;
        Ok(Self { tokenizer: Arc::new(tokenizer), digest: Digest::of(&bytes), bytes: bytes.into(), pad })
    }

    /// BLAKE3 of the file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Number of tokens, added ones included: one more than the greatest id.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokenizer.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn pad_id(&self) -> u32 {
        self.pad.0
    }

    #[must_use]
    pub fn pad_token(&self) -> &str {
        &self.pad.1
    }

    /// Ids of a text. One that is longer than `max_tokens` is cut before its closing special tokens.
    ///
    /// # Errors
    /// [`Error::Compute`] when the tokenizer fails on the text, or has nothing to say for it.
    pub fn encode(&self, text: &str, with_special: bool, max_tokens: usize) -> Result<Vec<u32>> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Compute { source };
        let plain = self.tokenizer.encode_fast(text, with_special).map_err(failed)?;
        let mut ids = plain.get_ids().to_vec();
        if max_tokens < ids.len() {
            let special = plain.get_special_tokens_mask();
            let closing = special.iter().rev().take_while(|&&is_special| is_special == 1).count();
            let end = ids.split_off(ids.len() - closing);
            ids.truncate(max_tokens.saturating_sub(closing));
            ids.extend(end);
        }
        if ids.is_empty() {
            // A text of which the tokenizer keeps nothing: one padding token stands for it, as a batch would hold.
            ids.push(self.pad.0);
        }
        Ok(ids)
    }

    /// Writes the tokenizer: the bytes that it was read from, or, where the reader has no other way to know, with its
    /// truncation set to `max_tokens`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn write(&self, path: &Path, max_tokens: Option<usize>) -> Result<()> {
        let Some(max_tokens) = max_tokens else {
            return fs::write(path, &self.bytes).map_err(Error::io("write", path));
        };
        let mut value: Value = serde_json::from_slice(&self.bytes).expect("it was read as JSON");
        value["truncation"] = serde_json::json!({
            "direction": "Right", "max_length": max_tokens, "strategy": "LongestFirst", "stride": 0,
        });
        value["padding"] = Value::Null;
        let text = serde_json::to_string(&value).expect("plain data");
        fs::write(path, text).map_err(Error::io("write", path))
    }
}
