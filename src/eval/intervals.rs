//! What chance could have done: bootstrap intervals, and a paired randomisation test.
//!
//! The unit of both is the group: translations of one question are no independent observations. A resample draws as
//! many groups as there are, with replacement, and takes all queries of each; every statistic is computed from the
//! same resamples. The test swaps the two systems' scores of whole groups (Smucker, Allan and Carterette 2007).
//! Draws follow from [`subkey`], so intervals and p-values are the same wherever and however often they are computed.

use hashbrown::HashMap;
use rayon::prelude::*;

use super::product::{Left, products};
use crate::keys::{mix64, subkey};

/// Resamples of an interval, and of a test.
pub const RESAMPLES: u32 = 10_000;
/// Part of the resampled values that an interval holds.
pub const LEVEL: f64 = 0.95;

/// The most numbers that the weights of a block of resamples take: 32 MiB.
const MAX_WEIGHTS: usize = 1 << 22;
/// Resamples of a block.
const MAX_BLOCK: usize = 100;

/// A value of a query of a group, in a cell.
pub(super) struct Sample<C> {
    pub(super) cell: C,
    pub(super) group: u32,
    pub(super) value: f64,
}

/// A mean over cells of means over queries, taken apart by group.
pub(super) struct GroupedMean {
    parts: Vec<Part>,
}

/// Cells that have equally many queries of every group. They share their denominator in every resample, so that their
/// sums can be added up: a parallel corpus has one part, however many languages.
struct Part {
    n_cells: f64,
    /// By group.
    sums: Vec<f64>,
    /// By group.
    counts: Vec<u32>,
}

impl GroupedMean {
    /// Cells without a sample are no cells.
    pub(super) fn new<C: Copy + Ord>(n_groups: usize, mut samples: Vec<Sample<C>>) -> Self {
        samples.sort_by_key(|sample| sample.cell);
        let mut parts: Vec<Part> = Vec::new();
        let mut by_counts: HashMap<Vec<u32>, usize> = HashMap::new();
        for cell in samples.chunk_by(|a, b| a.cell == b.cell) {
            let mut counts = vec![0; n_groups];
            cell.iter().for_each(|sample| counts[sample.group as usize] += 1);
            let part = *by_counts.entry(counts).or_insert_with_key(|counts| {
                parts.push(Part { n_cells: 0.0, sums: vec![0.0; n_groups], counts: counts.clone() });
                parts.len() - 1
            });
            parts[part].n_cells += 1.0;
            cell.iter().for_each(|sample| parts[part].sums[sample.group as usize] += sample.value);
        }
        Self { parts }
    }

    /// What each group adds to the mean.
    fn contributions(&self) -> Vec<f64> {
        let n_cells: f64 = self.parts.iter().map(|part| part.n_cells).sum();
        let n_groups = self.parts.first().map_or(0, |part| part.sums.len());
        let mut contributions = vec![0.0; n_groups];
        for part in &self.parts {
            let n_queries: u32 = part.counts.iter().sum();
            for (contribution, sum) in contributions.iter_mut().zip(&part.sums) {
                *contribution += sum / f64::from(n_queries) / n_cells;
            }
        }
        contributions
    }
}

/// Percentile intervals of means over the same groups; none where there is no cell. A resample in which a cell has no
/// query does without that cell.
pub(super) fn bootstrap(means: &[&GroupedMean], n_groups: usize, seed: u64) -> Vec<Option<[f64; 2]>> {
    let mut columns: Vec<f64> = Vec::new();
    let mut n_columns = 0;
    let mut push = |column: &mut dyn Iterator<Item = f64>| {
        columns.extend(column);
        n_columns += 1;
        n_columns - 1
    };
    let mut column_of_counts: HashMap<&[u32], usize> = HashMap::new();
    // (cells, column of the sums, column of the counts) of each part of each mean
    let mut ratios: Vec<Vec<(f64, usize, usize)>> = Vec::new();
    for mean in means {
        let mut of_mean = Vec::new();
        for part in &mean.parts {
            let sums = push(&mut part.sums.iter().copied());
            let counts = *column_of_counts
                .entry(&part.counts)
                .or_insert_with(|| push(&mut part.counts.iter().map(|&n| f64::from(n))));
            of_mean.push((part.n_cells, sums, counts));
        }
        ratios.push(of_mean);
    }
    if n_columns == 0 {
        return vec![None; means.len()];
    }

    let block = (MAX_WEIGHTS / n_groups).clamp(1, MAX_BLOCK);
    let resampled: Vec<Vec<Option<f64>>> = (0..RESAMPLES as usize)
        .into_par_iter()
        .step_by(block)
        .flat_map_iter(|first| {
            let resamples = first..(first + block).min(RESAMPLES as usize);
            let n_resamples = resamples.len();
            let weights: Vec<f64> =
                resamples.flat_map(|resample| weights(n_groups, seed, resample as u64)).collect();
            let mut totals = vec![0.0; n_resamples * n_columns];
            products(Left::Rows(&weights), &columns, n_groups, std::iter::once(0..n_groups), &mut totals);
            let ratios = &ratios;
            (0..n_resamples).map(move |i| {
                let total = |column: usize| totals[column * n_resamples + i];
                ratios.iter().map(|of_mean| mean_of_ratios(of_mean, total)).collect()
            })
        })
        .collect();
    (0..means.len())
        .map(|mean| interval(resampled.iter().filter_map(|values| values[mean]).collect()))
        .collect()
}

fn mean_of_ratios(ratios: &[(f64, usize, usize)], total: impl Fn(usize) -> f64) -> Option<f64> {
    let (mut sum, mut n_cells) = (0.0, 0.0);
    for &(cells, sums, counts) in ratios {
        let n_queries = total(counts);
        if 0.0 < n_queries {
            sum += total(sums) / n_queries;
            n_cells += cells;
        }
    }
    (0.0 < n_cells).then(|| sum / n_cells)
}

/// How often each group is in a resample: draw i of n is group `floor(mix64(key + i) * n / 2^64)`.
fn weights(n_groups: usize, seed: u64, resample: u64) -> Vec<f64> {
    let key = subkey(seed, "eval-bootstrap", "groups", resample);
    let mut weights = vec![0.0; n_groups];
    for i in 0..n_groups as u64 {
        let draw = u128::from(mix64(key.wrapping_add(i))) * n_groups as u128;
        weights[(draw >> 64) as usize] += 1.0;
    }
    weights
}

/// Of n sorted values, number floor(n (1 - level) / 2) from either end, counted from 0.
fn interval(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.sort_unstable_by(f64::total_cmp);
    let outside = (values.len() as f64 * (1.0 - LEVEL) / 2.0) as usize;
    Some([*values.get(outside)?, *values.get(values.len().checked_sub(1 + outside)?)?])
}

/// The two-sided p-value of a mean of differences: how often it is as far from 0 with the sign of every group drawn
/// anew, the observed signs counted as one more draw. Differences of rounding (100 epsilon, as SciPy has it) are none.
pub(super) fn p_value(differences: &GroupedMean, seed: u64) -> f64 {
    let contributions = differences.contributions();
    let observed: f64 = contributions.iter().sum();
    let far = observed.abs() * (1.0 - 100.0 * f64::EPSILON);
    let as_far = (0..u64::from(RESAMPLES))
        .into_par_iter()
        .filter(|&resample| {
            let key = subkey(seed, "eval-signs", "groups", resample);
            let mut sum = 0.0;
            for (i, some) in contributions.chunks(64).enumerate() {
                let signs = mix64(key.wrapping_add(i as u64));
                for (j, contribution) in some.iter().enumerate() {
                    sum += if signs >> j & 1 == 1 { -contribution } else { *contribution };
                }
            }
            far <= f64::abs(sum)
        })
        .count();
    (1 + as_far) as f64 / (1 + u64::from(RESAMPLES)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[(char, u32, f64)]) -> Vec<Sample<char>> {
        values.iter().map(|&(cell, group, value)| Sample { cell, group, value }).collect()
    }

    /// Five groups; group 1 has two queries in cell a, and only groups 0 and 3 have one in b.
    const UNEVEN: [(char, u32, f64); 8] = [
        ('a', 0, 0.1),
        ('a', 1, 0.9),
        ('a', 1, 0.5),
        ('b', 0, 1.0),
        ('a', 2, 0.25),
        ('a', 3, 0.75),
        ('b', 3, 0.125),
        ('a', 4, 0.0),
    ];

    /// Expected values by `../shared/peers/sampling.py`, G = 5, S as above:
    ///
    /// ```text
    /// for b in range(10000):
    ///     k, w = subkey(42, "eval-bootstrap", "groups", b), [0] * 5
    ///     for i in range(5): w[mix64((k + i) % 2**64) * 5 >> 64] += 1
    ///     cells = []
    ///     for c in "ab":
    ///         n = sum(w[g] for d, g, _ in S if d == c)
    ///         if n: cells.append(sum(w[g] * v for d, g, v in S if d == c) / n)
    ///     means.append(sum(cells) / len(cells))
    /// means.sort(); print(means[250], means[-251])
    /// ```
    #[test]
    fn the_interval_is_the_one_that_python_draws() {
        let mean = GroupedMean::new(5, samples(&UNEVEN));
        let [lo, hi] = bootstrap(&[&mean], 5, 42)[0].unwrap();
        assert!((lo - 0.2).abs() < 1e-12 && (hi - 0.742_857_142_857_142_9).abs() < 1e-12, "{lo} to {hi}");
    }

    /// A statistic has the same interval alone and among others, and none where it has no cell.
    #[test]
    fn statistics_share_resamples_and_nothing_else() {
        let uneven = GroupedMean::new(5, samples(&UNEVEN));
        let one = GroupedMean::new(5, samples(&[('a', 2, 0.5)]));
        let none = GroupedMean::new(5, samples(&[]));
        let all = bootstrap(&[&none, &one, &uneven], 5, 42);
        assert_eq!(all[0], None);
        assert_eq!(all[1], Some([0.5, 0.5]));
        assert_eq!(all[2], bootstrap(&[&uneven], 5, 42)[0]);
    }

    /// Expected value by `../shared/peers/sampling.py`, D as below:
    ///
    /// ```text
    /// for b in range(10000):
    ///     bits = mix64(subkey(42, "eval-signs", "groups", b))
    ///     d = sum((-v if bits >> g & 1 else v) / 5 for g, v in D.items())
    ///     n += abs(d) >= 0.12 * (1 - 1e-12)
    /// print((1 + n) / 10001)
    /// ```
    ///
    /// Of all 32 signings it is exactly 6/32 = 0.1875.
    #[test]
    fn the_p_value_is_the_one_that_python_draws() {
        let differences = [('a', 0, 0.3), ('a', 1, -0.1), ('a', 2, 0.2), ('a', 3, 0.05), ('a', 4, 0.15)];
        let p = p_value(&GroupedMean::new(5, samples(&differences)), 42);
        assert!((p - 0.182_881_711_828_817_13).abs() < 1e-12, "{p}");
    }

    #[test]
    fn no_difference_has_a_p_value_of_one() {
        let same: Vec<_> = (0..70).map(|group| ('a', group, 0.0)).collect();
        assert!((p_value(&GroupedMean::new(70, samples(&same)), 1) - 1.0).abs() < 1e-12);
    }
}
