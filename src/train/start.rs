//! Where a run's weights come from.

use std::path::Path;

use super::settings::Settings;
use crate::error::{Error, Result};
use crate::model::{Encoder, Head, Preset, Vocabulary};

/// What `model.init` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Seeded random weights.
    Preset(Preset),
    /// A directory that is there.
    Directory(std::path::PathBuf),
    /// A name on the hub.
    Hub(String),
}

impl Start {
    /// A preset's name is a preset, what is a directory is one, and the rest are names on the hub.
    #[must_use]
    pub fn of(init: &str) -> Self {
        match init.parse::<Preset>() {
            Ok(preset) => Self::Preset(preset),
            Err(_) if Path::new(init).is_dir() => Self::Directory(init.into()),
            Err(_) => Self::Hub(init.to_owned()),
        }
    }
}

/// The encoder that a run begins with. `vocabulary` is for presets, which have none of their own.
///
/// # Errors
/// [`Error::Model`] when a directory cannot be read, [`Error::Setting`] when a preset has no vocabulary or the settings do
/// not fit the model.
pub fn starting_encoder(settings: &Settings, vocabulary: Option<Vocabulary>) -> Result<Encoder> {
    let model = &settings.model;
    let encoder = match Start::of(&model.init) {
        Start::Preset(preset) => {
            let vocabulary = vocabulary.ok_or_else(|| {
                Error::setting("model.tokenizer", format!("preset `{}` has no tokenizer of its own", preset.name()))
                    .with_hint("`prep tokenizer train DIR` makes one; `--tokenizer FILE` names it")
            })?;
            let architecture = preset.architecture(vocabulary.len(), vocabulary.pad_id());
            Encoder::start(architecture, Head::default(), vocabulary, settings.seed)?
        }
        Start::Directory(directory) => Encoder::open(&directory)?,
        Start::Hub(name) => {
            let found = format!("`{name}` is no preset and no directory");
            return Err(Error::setting("model.init", found));
        }
    };
    let mut head = encoder.network().head().clone();
    head.pooling = model.pooling.unwrap_or(head.pooling);
    head.max_tokens = model.max_tokens.or(head.max_tokens);
    head.query_prefix = model.query_prefix.clone().unwrap_or(head.query_prefix);
    head.passage_prefix = model.passage_prefix.clone().unwrap_or(head.passage_prefix);
    Ok(encoder.with_head(head).with_dropout(model.dropout))
}
