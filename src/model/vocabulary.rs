//! The tokenizer of an encoder: a [`Tokenizer`] that knows how long a text may be, and what stands for padding.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::value::RawValue;
use tokenizers::TruncationDirection;

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

    /// The tokenizer itself.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Where the file's truncation cuts a text, in tokens, and whether it keeps the text's end instead of its beginning.
    pub(super) fn truncation(&self) -> Option<(usize, bool)> {
        let truncation = self.tokenizer.truncation()?;
        Some((truncation.max_length, truncation.direction == TruncationDirection::Left))
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

    /// Writes the bytes that it was read from.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.tokenizer.json()).map_err(Error::io("write", path))
    }

    /// Writes the tokenizer with its truncation set, which is all that limits the texts of a StaticEmbedding. The rest
    /// is the text that was read, so no number in it is rounded.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn write_cutting(&self, path: &Path, max_tokens: Option<usize>) -> Result<()> {
        let mut file: BTreeMap<String, &RawValue> =
            serde_json::from_slice(self.tokenizer.json()).expect("it was read as a JSON object");
        let raw = |value: &serde_json::Value| RawValue::from_string(value.to_string()).expect("it is JSON");
        let truncation = raw(&max_tokens.map_or(serde_json::Value::Null, |max_tokens| {
            serde_json::json!({
                "direction": "Right", "max_length": max_tokens, "strategy": "LongestFirst", "stride": 0,
            })
        }));
        let padding = raw(&serde_json::Value::Null);
        file.insert("truncation".to_owned(), &truncation);
        file.insert("padding".to_owned(), &padding);
        let text = serde_json::to_string(&file).expect("plain data");
        fs::write(path, text).map_err(Error::io("write", path))
    }
}
