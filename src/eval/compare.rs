//! Two systems on one benchmark: the difference of their means, and whether chance explains it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::benchmark::Benchmark;
use super::intervals::{GroupedMean, RESAMPLES, Sample, bootstrap, p_value};
use super::scores::{Scores, Setting};
use super::{Mean, distances, samples, sums_by_cell};
use crate::error::{Error, Result};

/// What one system has over another, in mAP and in rank distance.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    #[serde(rename = "mAP")]
    pub map: BTreeMap<Setting, Difference>,
    pub rank_distance: Option<Difference>,
    /// Of the test and of the intervals.
    pub resamples: u32,
    pub seed: u64,
}

/// Of macro means.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Difference {
    pub this: f64,
    pub other: f64,
    /// `this` less `other`.
    pub difference: f64,
    /// Bootstrap interval of the difference.
    pub interval: Option<[f64; 2]>,
    /// Two-sided, of the paired randomisation test by groups.
    pub p_value: f64,
}

/// Compares AP and rank distance.
///
/// # Errors
/// [`Error::Setting`] when the two did not score the same queries in the same pools.
pub fn compare(benchmark: &Benchmark, this: &Scores, other: &Scores, seed: u64) -> Result<Comparison> {
    let both_complete = this.is_complete && other.is_complete;
    for (query, (this, other)) in this.queries.iter().zip(&other.queries).enumerate() {
        let same_pools = this.pools.iter().map(|(pool, _)| pool).eq(other.pools.iter().map(|(pool, _)| pool));
        let same_distances = this.rank_distance.is_some() == other.rank_distance.is_some();
        if !same_pools || (both_complete && !same_distances) {
            let found = format!("query `{}` is scored in other pools there", benchmark.query_id(query));
            return Err(Error::setting("--against", found)
                .with_hint("both must be of the same part of the same dataset"));
        }
    }
    let mut map = BTreeMap::new();
    for setting in Setting::ALL {
        // AP is the first measure of all scores.
        let of = |scores| samples(benchmark, scores, setting, 0);
        if let Some(difference) = difference(benchmark.n_groups(), of(this), of(other), seed) {
            map.insert(setting, difference);
        }
    }
    let rank_distance = if both_complete {
        difference(benchmark.n_groups(), distances(benchmark, this), distances(benchmark, other), seed)
    } else {
        None
    };
    Ok(Comparison { map, rank_distance, resamples: RESAMPLES, seed })
}

fn difference<C: Copy + Ord>(
    n_groups: usize,
    this: Vec<Sample<C>>,
    other: Vec<Sample<C>>,
    seed: u64,
) -> Option<Difference> {
    let macro_mean = |samples: &[_]| Mean::of(sums_by_cell(samples).into_values(), None).over_cells;
    let (this_mean, other_mean) = (macro_mean(&this)?, macro_mean(&other)?);
    let pairs = this.into_iter().zip(other).map(|(this, other)| {
        assert!(this.cell == other.cell && this.group == other.group, "the pools were compared");
        Sample { value: this.value - other.value, ..this }
    });
    let differences = GroupedMean::new(n_groups, pairs.collect());
    Some(Difference {
        this: this_mean,
        other: other_mean,
        difference: this_mean - other_mean,
        interval: bootstrap(&[&differences], n_groups, seed)[0],
        p_value: p_value(&differences, seed),
    })
}
