//! mAP on the held-out part, while an encoder is trained.

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::eval::{Benchmark, Measure, Scores, Setting, encode, macro_means};
use crate::model::Encoder;
use crate::progress::Observer;
use crate::shards::{Dataset, Part};

/// What the encoder of so many steps scores: the mAP of each setting that the held-out part has questions for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Validated {
    /// Steps that are done.
    pub(super) steps: u64,
    #[serde(flatten)]
    pub(super) map: Map,
}

/// Macro means, as `prep eval` has them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Map {
    #[serde(rename = "map_mo", skip_serializing_if = "Option::is_none")]
    pub(super) mo: Option<f64>,
    #[serde(rename = "map_cr", skip_serializing_if = "Option::is_none")]
    pub(super) cr: Option<f64>,
    #[serde(rename = "map_mul", skip_serializing_if = "Option::is_none")]
    pub(super) mul: Option<f64>,
}

impl Map {
    /// Those that there are, by name.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [("map_mo", self.mo), ("map_cr", self.cr), ("map_mul", self.mul)];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// What makes an encoder the best: the mean of those that there are.
    pub(super) fn mean(&self) -> Option<f64> {
        let values: Vec<f64> = self.named().map(|(_, value)| value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}

/// The held-out part, read once.
pub(super) struct Validation(Benchmark);

impl Validation {
    /// # Errors
    /// [`Error::Setting`] for a dataset that holds nothing out, and those of [`Benchmark::read`].
    pub(super) fn read(dataset: &Dataset) -> Result<Self> {
        if dataset.manifest().eval_is_trained_on {
            let found =
                "the dataset holds nothing out: the best encoder would be the one that remembers most";
            return Err(Error::setting("eval.every", found).with_hint(
                "`[split.eval]` in the pipeline holds a part out; `prep eval` scores a run afterwards",
            ));
        }
        Ok(Self(Benchmark::read(dataset, Part::Eval)?))
    }

    /// # Errors
    /// Those of [`encode`].
    pub(super) fn score(&self, encoder: &Encoder, observer: &dyn Observer) -> Result<Map> {
        let embeddings = encode(&self.0, encoder, observer)?;
        let scores = Scores::of_embeddings(&self.0, &embeddings, &[Measure::Ap], &Device::Cpu, observer)?;
        let means = macro_means(&self.0, &scores);
        let of = |setting| means.get(&setting)?.first().copied();
        Ok(Map { mo: of(Setting::Mo), cr: of(Setting::Cr), mul: of(Setting::Mul) })
    }
}
