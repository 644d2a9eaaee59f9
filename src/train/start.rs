//! Where a run's weights come from.

use super::settings::Settings;
use crate::error::{Error, Result};
use crate::model::{Encoder, Head, Preset, Vocabulary};
use crate::progress::Observer;

/// What `model.init` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Seeded random weights.
    Preset(Preset),
    /// A directory, or a name on the hub.
    Pretrained(String),
}

impl Start {
    /// A preset's name is a preset, unless it is written as a path: `./small`.
    #[must_use]
    pub fn of(init: &str) -> Self {
        init.parse::<Preset>().map_or_else(|_| Self::Pretrained(init.to_owned()), Self::Preset)
    }
}

/// The encoder that a run begins with. `vocabulary` is for presets, which have none of their own.
///
/// # Errors
/// [`Error::Model`] when a directory cannot be read, [`Error::Setting`] when a preset has no vocabulary or the settings do
/// not fit the model.
pub fn starting_encoder(
    settings: &Settings,
    vocabulary: Option<Vocabulary>,
    observer: &dyn Observer,
) -> Result<Encoder> {
    let model = &settings.model;
    let encoder = match Start::of(&model.init) {
        Start::Preset(preset) => {
            let vocabulary = vocabulary.ok_or_else(|| {
                Error::setting(
                    "model.tokenizer",
                    format!("preset `{}` has no tokenizer of its own", preset.name()),
                )
                .with_hint("`prep tokenizer train DIR` makes one; `--tokenizer FILE` names it")
            })?;
            let architecture = preset.architecture(vocabulary.len(), vocabulary.pad_id());
            Encoder::start(architecture, Head::default(), vocabulary, settings.seed)?
        }
        Start::Pretrained(model) => crate::model::open(&model, observer)?,
    };
    let mut head = encoder.network().head().clone();
    head.pooling = model.pooling.unwrap_or(head.pooling);
    head.max_tokens = model.max_tokens.or(head.max_tokens);
    head.query_prefix = model.query_prefix.clone().unwrap_or(head.query_prefix);
    head.passage_prefix = model.passage_prefix.clone().unwrap_or(head.passage_prefix);
    Ok(encoder.with_head(head).with_dropout(model.dropout))
}
