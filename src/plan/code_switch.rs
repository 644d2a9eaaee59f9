//! Which words of a batch are replaced by translations, in numbers: pure functions of (seed, example, word).
//!
//! Code switching as of Litschko, Artemova and Plank (2023, arXiv 2305.05295): a share of the words of questions or
//! passages stands in another language. What a word is and which translations it has is in `corpus/`; here are only
//! draws (`schemas/SAMPLING.md`, section 9).

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

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(code_switch: &str) -> Result<Plan, crate::error::Error> {
        let json = format!(
            r#"{{"version":1,"seed":42,"batch_size":1,"steps":9,"hard_negatives":{{"k":0,"source":"same-context"}},
                {code_switch}"sources":[{{"name":"de:en","weight":1,"pools":[{{"name":"demo/de:en","weight":1,"size":10}}]}}]}}"#
        );
        Plan::from_json(json.as_bytes())
    }

    fn half(sides: &str) -> Switching {
        let setting = format!(
            r#""code_switch":{{"kind":"multilingual","sides":"{sides}","probability":[1,2],"share":[1,2]}},"#
        );
        Switching::new(&plan(&setting).unwrap()).unwrap()
    }

    /// `python3 tests/it/code_switch.py --vectors`.
    #[test]
    fn draws_are_the_vectors_of_the_specification() {
        let switching = half("both");
        let steps: Vec<u64> = (0..16).filter(|&step| switching.is_switched(step)).collect();
        assert_eq!(steps, [0, 1, 5, 7, 9, 10, 14]);
        let row = Row { pool: 0, example: 7, pass: 3 };
        let draws = |side| {
            let key = switching.text(row, side).unwrap();
            let draw = |position| switching.word(key, position).map(|d| (d.language(3), d.translation(5)));
            (key.0, [0, 1, 2, 3].map(draw))
        };
        let [a, b, c, d] = [Some((0, 1)), Some((1, 0)), Some((1, 2)), Some((1, 2))];
        assert_eq!(draws(Side::Query), (0xe061_608a_1ce7_9f1f, [a, b, c, d]));
        assert_eq!(draws(Side::Positive), (0xb152_ebed_a56d_a955, [Some((0, 1)), None, None, None]));
        let expected = [None, Some((0, 0)), None, Some((0, 0))];
        assert_eq!(draws(Side::Negative(0)), (0x74c4_825d_e276_b2e4, expected));
        let expected = [None, Some((1, 3)), None, Some((1, 4))];
        assert_eq!(draws(Side::Negative(1)), (0xcca9_ff20_067f_30ae, expected));
    }

    #[test]
    fn sides_say_which_texts_have_draws() {
        let row = Row { pool: 0, example: 0, pass: 0 };
        let has = |sides: &str| {
            [Side::Query, Side::Positive, Side::Negative(3)].map(|side| half(sides).text(row, side).is_some())
        };
        assert_eq!(has("queries"), [true, false, false]);
        assert_eq!(has("passages"), [false, true, true]);
        assert_eq!(has("both"), [true; 3]);
    }

    #[test]
    fn shares_of_none_and_all_are_exact() {
        for draw in [0, 1, u64::MAX] {
            assert!(is_drawn(draw, (1, 1)) && is_drawn(draw, (u64::MAX, u64::MAX)));
            assert!(!is_drawn(draw, (0, 1)));
        }
        assert!(is_drawn((1 << 63) - 1, (1, 2)) && !is_drawn(1 << 63, (1, 2)));
        assert_eq!([one_of(0, 3), one_of(u64::MAX, 3), one_of(1 << 63, 2)], [0, 2, 1]);
    }

    #[test]
    fn a_plan_keeps_its_bytes_and_refuses_what_is_no_share() {
        let with =
            r#""code_switch":{"kind":"bilingual","sides":"queries","probability":[1,3],"share":[1,1]},"#;
        for code_switch in ["", with] {
            let bytes = plan(code_switch).unwrap().to_json();
            assert_eq!(Plan::from_json(&bytes).unwrap().to_json(), bytes);
            assert_eq!(String::from_utf8(bytes).unwrap().contains(with), !code_switch.is_empty());
        }
        for wrong in ["[3,2]", "[0,0]", "[1]", "[-1,2]", "[0.5,1]"] {
            assert!(plan(&with.replace("[1,3]", wrong)).is_err(), "{wrong}");
        }
    }
}
