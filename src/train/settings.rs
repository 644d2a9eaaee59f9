//! What a run may be told, each setting with a key: a TOML file, `--set`, and flags say the same things.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Device;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::schedule::Decay;
use super::start::Start;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::kernels::{Direction, InfoNce};
use crate::model::{Encoder, HeadPooling, Precision};
use crate::pipeline::{Override, read_toml};
use crate::shards::Dataset;

/// Settings of a run. What is left out has the value that stands here, or follows from the model and the dataset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Of everything that is drawn: first weights and dropout. The batches are the dataset's.
    pub seed: u64,
    /// Steps to train; by default as many as the dataset has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    pub model: ModelSettings,
    pub loss: LossSettings,
    pub optimizer: OptimizerSettings,
    pub batch: BatchSettings,
    pub checkpoint: CheckpointSettings,
    pub eval: EvalSettings,
}

/// How texts become vectors. What is left out is what the model's directory says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// Where the weights come from: tiny, small, base, large, static, a directory, or a name on the hub.
    pub init: String,
    /// How the vectors of a text's tokens become one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<HeadPooling>,
    /// Longer texts are cut to so many tokens, special ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Put before every question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_prefix: Option<String>,
    /// Put before every passage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passage_prefix: Option<String>,
    /// Of hidden states and attention probabilities, instead of the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// What the network computes in: f32, or on a GPU bf16, which is the default there; the weights that are updated are
    /// f32 in any case. A `static` encoder is f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Parameters that stay as they are: names of `transformers`, or beginnings of names up to a dot, such as
    /// `embeddings` or `encoder.layer.0`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
}

/// Which passages stand against a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LossForm {
    /// Each query against all positives and hard negatives of the batch.
    QueryToPassage,
    /// The mean of that and of its mirror image: each positive against all queries.
    Symmetric,
    /// Each query against its own positive and the hard negatives of all rows, as Elmahdy, Lin and Ahmad print it.
    Paper,
}

/// The contrastive loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LossSettings {
    /// Cosines are divided by it.
    pub temperature: f64,
    /// Which passages stand against a query.
    pub form: LossForm,
    /// Whether passages that answer a query's group are taken out of its negatives.
    pub mask: bool,
}

/// AdamW (Loshchilov and Hutter 2019); weight decay on matrices only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSettings {
    /// Peak learning rate; by default 2e-5 for a model that was trained before, 5e-4 for a preset, 1e-2 for `static`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// A matrix shrinks by this times the learning rate at every step.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Gradients of a greater norm are scaled down to it; `inf` scales nothing.
    pub clip_norm: f64,
    /// Of all steps: the learning rate rises over them in a line from 0.
    pub warmup_fraction: f64,
    /// How it falls then.
    pub decay: Decay,
}

/// How a batch is cut so that it fits into memory. Gradients are cached then: they are those of the whole batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// Texts that are encoded at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Tokens that are encoded at a time; a longer text goes alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
}

/// When the state of a run is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSettings {
    /// Steps between checkpoints.
    pub every: u64,
    /// How many of the last are kept, beside the best.
    pub keep: usize,
}

/// When the encoder is evaluated as it is trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalSettings {
    /// Steps between evaluations on the held-out part; by default there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            init: "small".to_owned(),
            pooling: None,
            max_tokens: None,
            query_prefix: None,
            passage_prefix: None,
            dropout: None,
            precision: None,
            frozen: Vec::new(),
        }
    }
}

impl Default for LossSettings {
    fn default() -> Self {
        Self { temperature: 0.05, form: LossForm::QueryToPassage, mask: true }
    }
}

impl Default for OptimizerSettings {
    fn default() -> Self {
        Self {
            learning_rate: None,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: 1.0,
            warmup_fraction: 0.1,
            decay: Decay::Linear,
        }
    }
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self { every: 500, keep: 2 }
    }
}

impl LossSettings {
    pub(super) fn info_nce(&self) -> InfoNce {
        let direction = match self.form {
            LossForm::QueryToPassage => Direction::QueryToPassage,
            LossForm::Symmetric => Direction::Symmetric,
            LossForm::Paper => Direction::OwnPositivePlusAllNegatives,
        };
        InfoNce { temperature: self.temperature, direction, mask: None }
    }
}

impl Settings {
    /// The same, with what was left to the encoder and the dataset spelt out: what a run is begun with, and held against
    /// when it is resumed.
    pub(super) fn resolved(&self, encoder: &Encoder, dataset: &Dataset, device: &Device) -> Self {
        let mut resolved = self.clone();
        resolved.steps.get_or_insert(dataset.plan().steps());
        let head = encoder.network().head();
        resolved.model.pooling.get_or_insert(head.pooling.into());
        resolved.model.max_tokens = encoder.network().max_tokens();
        resolved.model.query_prefix = Some(head.query_prefix.clone());
        resolved.model.passage_prefix = Some(head.passage_prefix.clone());
        resolved.model.dropout = encoder.network().dropout();
        let is_plain = device.is_cpu() || encoder.network().is_static();
        resolved.model.precision.get_or_insert(if is_plain { Precision::F32 } else { Precision::Bf16 });
        resolved.optimizer.learning_rate.get_or_insert(match Start::of(&self.model.init) {
            _ if encoder.network().is_static() => 1e-2,
            Start::Preset(_) => 5e-4,
            Start::Pretrained(_) => 2e-5,
        });
        resolved
    }

    /// Of what decides the weights.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(&self.decisive()).expect("settings are plain data"))
    }

    /// The keys that decide the weights and have other values, such as `optimizer.beta1`.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let [these, those] = [self, other].map(|settings| {
            let mut leaves = BTreeMap::new();
            let table = Table::try_from(settings.decisive()).expect("settings are plain data");
            collect_leaves("", &table, &mut leaves);
            leaves
        });
        let keys: BTreeSet<&String> = these.keys().chain(those.keys()).collect();
        keys.into_iter().filter(|&key| these.get(key) != those.get(key)).cloned().collect()
    }

    /// When checkpoints are written and evaluations made decides no weight.
    fn decisive(&self) -> Self {
        Self { checkpoint: CheckpointSettings::default(), eval: EvalSettings::default(), ..self.clone() }
    }

    /// Reads settings from TOML, with these keys set to something else; `file` is what errors call the text.
    ///
    /// # Errors
    /// [`Error::PipelineFile`] with line and column, [`Error::Setting`] for a value that is out of range.
    pub fn from_toml(file: &str, text: &str, overrides: &[Override]) -> Result<Self> {
        let settings: Self = read_toml(file, text, overrides)?;
        settings.check()?;
        Ok(settings)
    }

    /// # Errors
    /// [`Error::Setting`] for the first value that is out of range.
    pub fn check(&self) -> Result<()> {
        let refuse = |key: &str, found: String| Err(Error::setting(key, found));
        let positive = |x: f64| x.is_finite() && 0.0 < x;
        let below_one = |x: f64| (0.0..1.0).contains(&x);
        let o = &self.optimizer;
        if !positive(self.loss.temperature) {
            return refuse("loss.temperature", format!("{} is not above 0", self.loss.temperature));
        }
        if let Some(lr) = o.learning_rate.filter(|&lr| !positive(lr)) {
            return refuse("optimizer.learning_rate", format!("{lr} is not above 0"));
        }
        if o.clip_norm.is_nan() || o.clip_norm <= 0.0 {
            return refuse("optimizer.clip_norm", format!("{} is not above 0", o.clip_norm));
        }
        if !(o.weight_decay.is_finite() && 0.0 <= o.weight_decay) {
            return refuse("optimizer.weight_decay", format!("{} is below 0", o.weight_decay));
        }
        if !positive(o.epsilon) {
            return refuse("optimizer.epsilon", format!("{} is not above 0", o.epsilon));
        }
        let fractions = [
            ("optimizer.beta1", o.beta1),
            ("optimizer.beta2", o.beta2),
            ("optimizer.warmup_fraction", o.warmup_fraction),
            ("model.dropout", self.model.dropout.unwrap_or(0.0)),
        ];
        if let Some((key, x)) = fractions.into_iter().find(|&(_, x)| !below_one(x)) {
            return refuse(key, format!("{x} is not from 0 to below 1"));
        }
        let counts = [
            ("steps", self.steps.map_or(1, |n| n)),
            ("model.max_tokens", self.model.max_tokens.map_or(1, |n| n as u64)),
            ("batch.micro_batch", self.batch.micro_batch.map_or(1, |n| n as u64)),
            ("batch.tokens", self.batch.tokens.map_or(1, |n| n as u64)),
            ("checkpoint.every", self.checkpoint.every),
            ("checkpoint.keep", self.checkpoint.keep as u64),
            ("eval.every", self.eval.every.unwrap_or(1)),
        ];
        match counts.into_iter().find(|&(_, n)| n == 0) {
            Some((key, _)) => refuse(key, "0 is not a positive number".to_owned()),
            None => Ok(()),
        }
    }
}

/// The values of a table and of the tables in it, by dotted key.
fn collect_leaves(before: &str, table: &Table, leaves: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = format!("{before}{name}");
        match value {
            Value::Table(inner) => collect_leaves(&format!("{key}."), inner, leaves),
            leaf => drop(leaves.insert(key, leaf.clone())),
        }
    }
}
