//! The learning rate over the steps: up in a line, then down.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// In a line to 0 at the last step.
    Linear,
    /// Along half a cosine to 0 at the last step.
    Cosine,
    /// Not at all.
    Constant,
}

/// The learning rate as a fraction of its peak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) warmup_steps: u64,
    pub(super) steps: u64,
    pub(super) decay: Decay,
}

impl Schedule {
    /// The factor of step n, from 0; the same as `get_{linear,cosine,constant}_schedule_with_warmup` of `transformers`.
    pub(super) fn factor(self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64;
        }
        let left = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let done = (step - self.warmup_steps) as f64 / left;
        match self.decay {
            Decay::Linear => (1.0 - done).max(0.0),
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()),
            Decay::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [s.get_last_lr()[0] for ..] of transformers' schedules with 2 steps of warm-up in 6, peak 1.
    #[test]
    fn factors_are_those_of_transformers() {
        let factors = |decay| {
            let schedule = Schedule { warmup_steps: 2, steps: 6, decay };
            (0..7).map(|step| (schedule.factor(step) * 1e4).round() / 1e4).collect::<Vec<_>>()
        };
        assert_eq!(factors(Decay::Linear), [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_eq!(factors(Decay::Cosine), [0.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 0.0]);
        assert_eq!(factors(Decay::Constant), [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]);
    }
}
