//! The tokenizer of an encoder: a [`Tokenizer`] that knows how long a text may be, and what stands for padding.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::tokens::Tokenizer;

/// What an encoder reads texts with.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    tokenizer: Tokenizer,
    pad: (u32, String),
}

/// What is called padding in the vocabularies there are.
const PAD_TOKENS: [&str; 3] = ["<pad>", "[PAD]", "<PAD>"];

impl Vocabulary {
    /// # Errors
    /// As [`Tokenizer::open`], and [`Error::Tokenizer`] when it has no tokens.
    pub fn read(path: &Path) -> Result<Self> {
        let tokenizer = Tokenizer::open(path)?;
        let pad = PAD_TOKENS.iter().find_map(|name| Some((tokenizer.id(name)?, (*name).to_owned())));
        // Nothing is padded here, so any token would do; what reads the saved model wants one with a name.
        let pad = pad.or_else(|| Some((0, tokenizer.token(0)?)));
        let pad = pad.ok_or_else(|| Error::Tokenizer {
            path: path.to_owned(),
            found: "it has no tokens".to_owned(),
            hint: None,
        })?;
        Ok(Self { tokenizer, pad })
    }

    /// BLAKE3 of the file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.tokenizer.digest()
    }

    /// Number of tokens: [`Tokenizer::vocab_size`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokenizer.vocab_size()
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
    /// As [`Tokenizer::encode`].
    pub fn encode(&self, text: &str, with_special: bool, max_tokens: usize) -> Result<Vec<u32>> {
        let plain = self.tokenizer.encoding(text, with_special)?;
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
            return fs::write(path, self.tokenizer.json()).map_err(Error::io("write", path));
        };
        let mut value: Value = serde_json::from_slice(self.tokenizer.json()).expect("it was read as JSON");
        value["truncation"] = serde_json::json!({
            "direction": "Right", "max_length": max_tokens, "strategy": "LongestFirst", "stride": 0,
        });
        value["padding"] = Value::Null;
        let text = serde_json::to_string(&value).expect("plain data");
        fs::write(path, text).map_err(Error::io("write", path))
    }
}
