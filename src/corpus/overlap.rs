//! How much of the held-out part stands in training texts too.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Held-out texts of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overlap {
    /// Held-out texts.
    pub texts: u64,
    /// Of these, equal to a training text after normalisation.
    pub equal: u64,
    /// Of the others, with 13 words in a row in common with a training text.
    pub grams: u64,
    /// Seen texts by language.
    pub languages: BTreeMap<String, u64>,
}

/// What of the held-out part training sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overlaps {
    pub queries: Overlap,
    pub passages: Overlap,
}

impl Overlap {
    /// Held-out texts that training sees.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.equal + self.grams
    }
}
