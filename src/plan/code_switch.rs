//! Which words of a batch are replaced by translations, in numbers: pure functions of (seed, example, word).
//!
//! Code switching as of Litschko, Artemova and Plank (2023, arXiv 2305.05295): a share of the words of questions or
//! passages stands in another language. What a word is and which translations it has is in `corpus/`; here are only
//! draws (`schemas/SAMPLING.md`, section 6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Plan, Row};
use crate::keys::{mix64, subkey};
use crate::pipeline::{CodeSwitchSpec, SwitchKind, SwitchSides};

/// What is switched, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CodeSwitch {
    pub kind: SwitchKind,
    pub sides: SwitchSides,
    /// Of each word that has a translation: numerator and denominator.
    pub probability: (u64, u64),
    /// Of the batches: numerator and denominator.
    pub share: (u64, u64),
}

impl From<&CodeSwitchSpec> for CodeSwitch {
    fn from(spec: &CodeSwitchSpec) -> Self {
        let CodeSwitchSpec { kind, sides, probability, share, .. } = spec;
        Self {
            kind: *kind,
            sides: *sides,
            probability: (probability.numerator(), probability.denominator()),
            share: (share.numerator(), share.denominator()),
        }
    }
}

impl CodeSwitch {
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, (numerator, denominator)) in [("probability", self.probability), ("share", self.share)] {
            if denominator == 0 || denominator < numerator {
                return Err(format!("code_switch.{name} {numerator}/{denominator}, not between 0 and 1"));
            }
        }
        Ok(())
    }
}

/// A text of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Query,
    Positive,
    /// The hard negative of this number, from 0.
    Negative(u64),
}

/// The key of the draws of one text in one row.
#[derive(Clone, Copy, Debug)]
pub struct TextKey(u64);

/// A word that is switched: numbers to draw a language and a translation with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordDraw {
    language: u64,
    translation: u64,
}

/// The draws of a plan that has code switching.
#[derive(Clone, Debug)]
pub struct Switching {
    seed: u64,
    setting: CodeSwitch,
    batches: u64,
    pools: Vec<String>,
}

impl Switching {
    /// Nothing for a plan without code switching.
    #[must_use]
    pub fn new(plan: &Plan) -> Option<Self> {
        plan.code_switch.map(|setting| Self {
            seed: plan.seed,
            setting,
            batches: subkey(plan.seed, "code-switch", "batches", 0),
            pools: plan.pools().into_iter().map(|(name, _)| name.to_owned()).collect(),
        })
    }

    #[must_use]
    pub fn setting(&self) -> CodeSwitch {
        self.setting
    }

    /// Whether words of the batch at this step are switched at all.
    #[must_use]
    pub fn is_switched(&self, step: u64) -> bool {
        is_drawn(mix64(self.batches.wrapping_add(step)), self.setting.share)
    }

    /// The key of a text of a row; nothing where its side stays as it is.
    #[must_use]
    pub fn text(&self, row: Row, side: Side) -> Option<TextKey> {
        let (purpose, is_wanted) = match side {
            Side::Query => ("code-switch-query", self.setting.sides.has_queries()),
            Side::Positive => ("code-switch-passage", self.setting.sides.has_passages()),
            Side::Negative(_) => ("code-switch-negative", self.setting.sides.has_passages()),
        };
        is_wanted.then(|| {
            let pass = subkey(self.seed, purpose, &self.pools[row.pool], row.pass);
            let key = mix64(pass.wrapping_add(row.example));
            TextKey(match side {
                Side::Negative(number) => mix64(key.wrapping_add(number)),
                Side::Query | Side::Positive => key,
            })
        })
    }

    /// The draw of the word of this number among all words of its text, from 0; nothing where it stays.
    #[must_use]
    pub fn word(&self, text: TextKey, position: u64) -> Option<WordDraw> {
        let draw = |n: u64| mix64(text.0.wrapping_add(position.wrapping_mul(3)).wrapping_add(n));
        is_drawn(draw(0), self.setting.probability)
            .then(|| WordDraw { language: draw(1), translation: draw(2) })
    }
}

impl WordDraw {
    /// One of so many languages.
    #[must_use]
    pub fn language(self, n: usize) -> usize {
        one_of(self.language, n)
    }

    /// One of so many translations.
    #[must_use]
    pub fn translation(self, n: usize) -> usize {
        one_of(self.translation, n)
    }
}

/// Whether a draw from [0, 2^64) falls into this share of it.
fn is_drawn(draw: u64, (numerator, denominator): (u64, u64)) -> bool {
    u128::from(draw) * u128::from(denominator) < u128::from(numerator) << 64
}

fn one_of(draw: u64, n: usize) -> usize {
    usize::try_from((u128::from(draw) * n as u128) >> 64).expect("below a count that is a usize")
}
