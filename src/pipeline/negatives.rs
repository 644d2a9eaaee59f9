//! `[negatives]`: where hard negatives come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where hard negatives come from; `batches.negatives` says how many a row gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Negatives {
    #[serde(default)]
    pub source: NegativeSource,
    /// With `mined`: what `prep mine` wrote, below `--data`; where nothing is there, as the path stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Negatives {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the candidates for hard negatives come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NegativeSource {
    /// The other passages of the positive's context, in its language.
    #[default]
    SameContext,
    /// The list of the question in a file of `prep mine`.
    Mined,
}
