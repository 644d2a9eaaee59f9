//! Where a run's weights come from.

use super::settings::Settings;
use crate::error::{Error, Result};
use crate::model::{
    Encoder, Head, HeadPooling, HeadSource, Pooling, Precision, Preset, Vocabulary, training_texts,
};
use crate::progress::Observer;
use crate::shards::{Dataset, Part};

/// The longest text of a preset, in tokens: as many as it has positions.
const PRESET_MAX_TOKENS: usize = 512;

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

/// The encoder that a run on `dataset` begins with. `vocabulary` is for presets, which have none of their own. The
/// tokens of a `static` one weigh as rare as they are in the texts that may be trained on.
///
/// # Errors
/// [`Error::Model`] when a directory cannot be read, [`Error::Setting`] when a preset has no vocabulary or the settings do
/// not fit the model, [`Error::Dataset`] when the corpus of the dataset cannot be read.
pub fn starting_encoder(
    dataset: &Dataset,
    settings: &Settings,
    vocabulary: Option<Vocabulary>,
    observer: &dyn Observer,
) -> Result<Encoder> {
    let model = &settings.model;
    let encoder = match Start::of(&model.init) {
        Start::Preset(preset) => {
            if model.pooling == Some(HeadPooling::Pooler) {
                let found = format!("preset `{}` has no pooler", preset.name());
                return Err(Error::setting("model.pooling", found).with_hint("say `mean` or `cls`"));
            }
            let vocabulary = vocabulary.ok_or_else(|| {
                Error::setting(
                    "--tokenizer",
                    format!("preset `{}` has no tokenizer of its own", preset.name()),
                )
                .with_hint("`prep tokenizer train DIR` makes one; `--tokenizer FILE` names it")
            })?;
            let architecture = preset.architecture(vocabulary.len(), vocabulary.pad_id());
            let head = Head { max_tokens: Some(PRESET_MAX_TOKENS), ..Head::default() };
            let encoder = Encoder::start(architecture, head, vocabulary, settings.seed)?;
            if preset == Preset::Static {
                let corpora = [dataset.part(Part::Train)?];
                encoder.weighing_rare_tokens(&training_texts(&corpora), observer)?
            } else {
                encoder
            }
        }
        Start::Pretrained(directory) => {
            let head = match model.pooling {
                Some(HeadPooling::Pooler) => HeadSource::Pooler,
                _ => HeadSource::Described,
            };
            crate::model::open(&directory, head, observer)?
        }
    };
    if let Some(max_tokens) = model.max_tokens {
        check_max_tokens(&encoder, max_tokens)?;
    }
    let mut head = encoder.network().head().clone();
    head.pooling = match model.pooling {
        Some(HeadPooling::Mean) => Pooling::Mean,
        Some(HeadPooling::Cls) => Pooling::Cls,
        // The encoder has been read so.
        Some(HeadPooling::Pooler) | None => head.pooling,
    };
    head.max_tokens = model.max_tokens.or(head.max_tokens);
    head.query_prefix = model.query_prefix.clone().unwrap_or(head.query_prefix);
    head.passage_prefix = model.passage_prefix.clone().unwrap_or(head.passage_prefix);
    if encoder.network().is_static() {
        // It is exported as a StaticEmbedding, which is the mean of its tokens and nothing else.
        if head.pooling != Pooling::Mean {
            return Err(Error::setting("model.pooling", "a static encoder is the mean of its tokens"));
        }
        if model.precision == Some(Precision::Bf16) {
            return Err(Error::setting(
                "model.precision",
                "a static encoder has no product that bf16 would speed up",
            )
            .with_hint("leave it out, or say `f32`"));
        }
        if model.dropout.is_some_and(|dropout| 0.0 < dropout) {
            return Err(Error::setting("model.dropout", "a static encoder has no layer to drop out of"));
        }
    }
    Ok(encoder.with_head(head).with_dropout(model.dropout))
}

/// A limit that the encoder cannot keep is refused, not made smaller or greater.
fn check_max_tokens(encoder: &Encoder, max_tokens: usize) -> Result<()> {
    let refused = |found: String, hint: &str| Err(Error::setting("model.max_tokens", found).with_hint(hint));
    match encoder.network().architecture().max_tokens() {
        Some(positions) if positions < max_tokens => {
            let found = format!(
                "{max_tokens} is more than the {positions} tokens that the encoder has positions for"
            );
            return refused(found, &format!("set it to {positions} or less, or leave it out"));
        }
        _ => {}
    }
    match encoder.has_no_room(max_tokens) {
        Some(found) => refused(found, "texts need at least one token more"),
        None => Ok(()),
    }
}
