//! Steps whose loss stands out.

use serde::Serialize;

use crate::train::StepMetrics;

/// Steps that say what is usual around one.
const WINDOW: usize = 50;
/// Fewer say nothing.
const LEAST: usize = 5;
/// Spikes that are listed.
const MAX_SPIKES: usize = 5;

/// What is usual around a step: medians of the batches of its kind before it, or, where there are hardly any, behind it.
/// Monolingual and cross-lingual batches have losses of their own, so neither is a spike among the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Usual {
    pub first_step: u64,
    pub last_step: u64,
    pub loss: f64,
    pub gradient_norm: f64,
}

/// A step whose loss is above what is usual.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spike {
    pub step: u64,
    pub loss: f64,
    pub usual_loss: f64,
}

/// A step of the run, and whether its batch is monolingual.
pub(super) type Step<'a> = (&'a StepMetrics, bool);

/// The steps whose loss is furthest above the median of those of their kind before, greatest first.
pub(super) fn spikes(steps: &[Step]) -> Vec<Spike> {
    let of = |at: usize| {
        let before = of_kind(steps[..at].iter().rev(), steps[at].1);
        let (step, loss) = (steps[at].0.step, steps[at].0.loss);
        let usual_loss = (LEAST <= before.len()).then(|| median(before.iter().map(|line| line.loss)))?;
        (usual_loss < loss).then_some(Spike { step, loss, usual_loss })
    };
    let mut spikes: Vec<Spike> = (0..steps.len()).filter_map(of).collect();
    spikes.sort_by(|a, b| (b.loss - b.usual_loss).total_cmp(&(a.loss - a.usual_loss)));
    spikes.truncate(MAX_SPIKES);
    spikes
}

/// Of the step at this place. One that is alone of its kind is as usual as itself.
pub(super) fn usual(steps: &[Step], at: usize) -> Usual {
    let (own, kind) = steps[at];
    let mut around = of_kind(steps[..at].iter().rev(), kind);
    around.reverse();
    if around.len() < LEAST {
        let behind = of_kind(steps[at + 1..].iter(), kind);
        around = if around.len() < behind.len() { behind } else { around };
    }
    if around.is_empty() {
        around.push(own);
    }
    Usual {
        first_step: around[0].step,
        last_step: around[around.len() - 1].step,
        loss: median(around.iter().map(|line| line.loss)),
        gradient_norm: median(around.iter().map(|line| line.gradient_norm)),
    }
}

/// The first of a kind.
fn of_kind<'a>(steps: impl Iterator<Item = &'a Step<'a>>, kind: bool) -> Vec<&'a StepMetrics> {
    steps.filter(|step| step.1 == kind).map(|step| step.0).take(WINDOW).collect()
}

/// The lower of two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(losses: &[f64]) -> Vec<StepMetrics> {
        let line = |(step, loss): (u64, &f64)| StepMetrics {
            step,
            loss: *loss,
            learning_rate: 0.1,
            gradient_norm: 2.0 * loss,
            examples_per_sec: 1.0,
            tokens_per_sec: 1.0,
            masked_pairs: 0,
            wait_fraction: 0.0,
        };
        (0..).zip(losses).map(line).collect()
    }

    #[test]
    fn a_spike_is_above_the_median_of_its_kind_before() {
        // Step 7 is 2.5 above the median of (5, 4, 3, 2, 2, 2, 2), which is 2; step 9 is 1 above that of nine. The 9 of
        // step 10 is of another kind, of which there is nothing to compare it with.
        let metrics = run(&[5.0, 4.0, 3.0, 2.0, 2.0, 2.0, 2.0, 4.5, 2.0, 3.0, 9.0]);
        let steps: Vec<Step> = metrics.iter().map(|line| (line, line.step != 10)).collect();
        let found: Vec<_> = spikes(&steps).iter().map(|spike| (spike.step, spike.usual_loss)).collect();
        assert_eq!(found, [(7, 2.0), (9, 2.0)]);
        let of_7 = usual(&steps, 7);
        assert_eq!((of_7.first_step, of_7.last_step, of_7.loss, of_7.gradient_norm), (0, 6, 2.0, 4.0));
        // The first steps have nothing before them.
        let of_1 = usual(&steps, 1);
        assert_eq!((of_1.first_step, of_1.last_step), (2, 9));
        assert_eq!((usual(&steps, 10).loss, usual(&steps, 10).first_step), (9.0, 10));
    }
}
