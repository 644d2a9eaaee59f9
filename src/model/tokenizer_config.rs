//! How long a text may be, as the tokenizer of a model directory says it.
//!
//! For a transformer that is `tokenizer_config.json`; for a StaticEmbedding, which has no such file, the truncation in
//! `tokenizer.json`. A model may set no limit at all. Texts are cut at their end; a model that keeps the end is refused,
//! and so is a `tokenizer_config.json` that contradicts `tokenizer.json`, out of which ids come.

use std::path::Path;

use super::Vocabulary;
use super::json_file::JsonFile;
use crate::error::{Error, Result};

pub(super) const FILE: &str = "tokenizer_config.json";
/// `transformers` takes a greater `model_max_length` for none: it writes 1e30 where it knows none.
const NONE_ABOVE: f64 = 1e20;

/// `folder` is that of tokenizer.json. `given` comes before the tokenizer's own limit, as in sentence-transformers.
pub(super) fn longest_of_transformer(
    folder: &Path,
    vocabulary: &Vocabulary,
    given: Option<usize>,
) -> Result<Option<usize>> {
    let config = JsonFile::read_if_there(&folder.join(FILE))?;
    match config.text("truncation_side")? {
        Some("right") => {}
        Some(_) => {
            return Err(config
                .refused("truncation_side", "and texts are cut at their end here")
                .with_hint(CUT));
        }
        // `transformers` follows tokenizer.json then.
        None => cuts_the_end(folder, vocabulary)?,
    }
    agrees(&config, vocabulary)?;
    if given.is_some() {
        return Ok(given);
    }
    let key = if config.get("model_max_length").is_some() { "model_max_length" } else { "max_len" };
    match config.get(key).and_then(serde_json::Value::as_f64) {
        Some(length) if NONE_ABOVE < length => Ok(None),
        _ => config.count(key),
    }
}

/// `folder` is that of tokenizer.json.
pub(super) fn longest_of_static(folder: &Path, vocabulary: &Vocabulary) -> Result<Option<usize>> {
    cuts_the_end(folder, vocabulary)?;
    Ok(vocabulary.truncation().map(|(max_tokens, _)| max_tokens))
}

const CUT: &str = "only a model that keeps the beginning of a long text can be computed: set it to `right`";

fn cuts_the_end(folder: &Path, vocabulary: &Vocabulary) -> Result<()> {
    match vocabulary.truncation() {
        Some((_, true)) => {
            let found = "`truncation.direction` is `Left`, and texts are cut at their end here";
            Err(Error::model(&folder.join("tokenizer.json"), found).with_hint(CUT))
        }
        _ => Ok(()),
    }
}

/// `transformers` makes BERT's normalizer of these keys, whatever tokenizer.json has.
fn agrees(config: &JsonFile, vocabulary: &Vocabulary) -> Result<()> {
    const KEYS: [(&str, &str); 3] = [
        ("do_lower_case", "lowercase"),
        ("strip_accents", "strip_accents"),
        ("tokenize_chinese_chars", "handle_chinese_chars"),
    ];
    if !config.text("tokenizer_class")?.is_some_and(|class| class.starts_with("BertTokenizer")) {
        return Ok(());
    }
    let Some(normalizer) = vocabulary.tokenizer().bert_normalizer() else { return Ok(()) };
    for (key, of_normalizer) in KEYS {
        if config.flag(key)?.is_some_and(|value| normalizer.get(of_normalizer) != Some(&value.into())) {
            let e = config.refused(key, "which `normalizer` of tokenizer.json contradicts");
            return Err(e.with_hint("`save_pretrained` of the tokenizer writes both files anew"));
        }
    }
    Ok(())
}
