//! `[split]`: what is not trained on.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::Ratio;

/// What is held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// Without it nothing is held out: everything that is not excluded is trained and evaluated on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval: Option<EvalSplit>,
    /// Leave out every question whose id occurs in one of these corpora, with its translations and paragraphs: what may
    /// not be trained on when those corpora are the evaluation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_ids_from: Vec<String>,
    /// Greatest share of held-out questions, or of held-out passages, that stand in training texts too, before the build
    /// fails: equal after normalisation, or with 13 words in a row in common. Default 0.01.
    #[serde(default = "default_max_overlap")]
    pub max_overlap: Ratio,
}

fn default_max_overlap() -> Ratio {
    Ratio::new(1, 100)
}

impl SplitSpec {
    /// The corpora whose ids it asks for.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let held_out = self.eval.as_ref().and_then(|eval| eval.ids_from.as_deref());
        held_out.into_iter().chain(self.exclude_ids_from.iter().map(String::as_str))
    }
}

/// The held-out side. A group with all its translations, and every question of a paragraph, falls on one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvalSplit {
    /// What `fraction` counts; `title` also keeps all paragraphs of a title together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SplitBy>,
    /// Share to hold out, between 0 and 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Ratio>,
    /// Instead: one of so many parts, which together hold everything out once. Which part a title (group, paragraph) is
    /// in follows from its name and the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<NonZeroU32>,
    /// With `folds`: which part to hold out, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<u32>,
    /// What is held out follows from it. Default: the seed of the pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Instead: hold out every question whose id occurs in the corpus of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids_from: Option<String>,
    /// Which passages evaluation searches.
    #[serde(default)]
    pub pool: EvalPool,
}

/// What the held-out fraction counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SplitBy {
    Title,
    Group,
    Paragraph,
}

/// The passages that evaluation searches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvalPool {
    /// Those that are held out.
    #[default]
    Eval,
    /// Every passage of the corpus.
    All,
}
