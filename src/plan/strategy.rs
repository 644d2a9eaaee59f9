//! From pool sizes to a plan: which sources there are, and their integer weights.
//!
//! `schemas/SAMPLING.md`, section 4. The paper (Elmahdy, Lin and Ahmad 2024, arXiv 2408.10536) mixes monolingual and
//! cross-lingual batches half and half; LAReQA (Roy et al. 2020) names X-X, X-X-mono and X-Y.

use std::collections::{BTreeMap, BTreeSet};

use num_traits::Zero;

use super::apportion::{self, Share, share};
use super::{HardNegatives, PLAN_VERSION, Plan, PoolShare, Source};
use crate::error::{Error, Result};
use crate::pairs::PoolName;
use crate::pipeline::{Batches, NegativeSource, Ratio, Strategy, Weighting};

/// What a plan is made from: numbers and names, never text.
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest<'a> {
    pub seed: u64,
    /// Every pool with at least one example, and its size.
    pub pools: &'a [(PoolName, u64)],
    pub batches: &'a Batches,
    /// [`NegativeSource::SameContext`] where rows get none.
    pub negatives: NegativeSource,
}

/// Languages or pairs of languages that may stand in one family, with their pools.
type Family<'a> = BTreeMap<String, Vec<&'a (PoolName, u64)>>;

/// Resolves strategy and weights, once, into the integers of `plan.json`.
///
/// # Errors
/// [`Error::Setting`] when the strategy finds no pool, an explicit weighting misses a name or knows one too many, or a
/// batch would take more rows from a pool than the pool has examples.
pub fn make_plan(request: PlanRequest) -> Result<Plan> {
    let PlanRequest { seed, pools, batches, negatives } = request;
    check_weight_names(pools, batches)?;
    let pools: Vec<&(PoolName, u64)> = pools.iter().filter(|(name, _)| is_wanted(name, batches)).collect();
    let family = |mono: bool| -> Family {
        let mut family = Family::new();
        for &pool in pools.iter().filter(|(name, _)| name.is_monolingual() == mono) {
            family.entry(pool.0.key()).or_default().push(pool);
        }
        family
    };
    let (mono, cross) = (family(true), family(false));
    let whole = share(1);
    let sources = match batches.strategy {
        Strategy::XXMono => separate(&mono, batches, &whole)?,
        Strategy::Pair => separate(&cross, batches, &whole)?,
        Strategy::XX => vec![joint("x-x", &mono, batches, whole)?],
        Strategy::XY => vec![joint("x-y", &cross, batches, whole)?],
        Strategy::Hybrid => {
            let alpha = of_ratio(batches.alpha);
            check_hybrid(&alpha, &mono, &cross)?;
            let mut sources = if alpha.is_zero() { vec![] } else { separate(&mono, batches, &alpha)? };
            if alpha != whole {
                sources.push(joint("x-y", &cross, batches, whole - alpha)?);
            }
            sources
        }
    };
    let mut sources: Vec<Drawn> =
        sources.into_iter().filter(|s| !s.share.is_zero() && !s.pools.is_empty()).collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    let plain = matches!(batches.strategy, Strategy::XXMono | Strategy::Pair)
        && batches.language_weights == Weighting::Proportional;
    let shares: Vec<Share> = sources.iter().map(|source| source.share.clone()).collect();
    let weights = apportion::weights(&shares, batches.cycle_batches.get(), plain);
    let sources: Vec<Source> = sources
        .into_iter()
        .zip(weights)
        .map(|(source, weight)| Source { name: source.name, weight, pools: source.pools })
        .collect();
    if sources.is_empty() {
        let what = match batches.strategy {
            Strategy::XXMono | Strategy::XX => "language",
            _ => "language pair",
        };
        let found = format!("no {what} has examples for this strategy");
        return Err(Error::setting("batches.strategy", found).with_hint(
            "`x-y`, `pair` and `hybrid` need questions with translations; a monolingual corpus takes `x-x-mono`, and \
             texts that are questions and passages at once (translations, captions, words) take `x-y` or `pair`",
        ));
    }
    check_batch_size(&sources, batches.batch_size.get())?;
    let plan = Plan {
        version: PLAN_VERSION,
        seed,
        batch_size: batches.batch_size.get(),
        steps: steps(&sources, batches)?,
        hard_negatives: HardNegatives { k: batches.negatives, source: negatives },
        code_switch: None,
        sources,
    };
    plan.check().map_err(|found| Error::Plan { found })?;
    Ok(plan)
}

/// A pool that an explicit weight of 0 leaves out counts nowhere: not for its language, and not for its family.
fn is_wanted(name: &PoolName, batches: &Batches) -> bool {
    let zero = |weighting: &Weighting, key: &str| match weighting {
        Weighting::Explicit(weights) => weights.get(key).is_some_and(|weight| weight.numerator() == 0),
        _ => false,
    };
    !zero(&batches.dataset_weights, &name.dataset) && !zero(&batches.language_weights, &name.key())
}

/// A mixture of two families, one of which is empty, would silently be something else than was asked for.
fn check_hybrid(alpha: &Share, mono: &Family, cross: &Family) -> Result<()> {
    let (missing, instead) = match (mono.is_empty(), cross.is_empty()) {
        (false, true) if *alpha != share(1) => ("cross-lingual", "x-x-mono"),
        (true, false) if !alpha.is_zero() => ("monolingual", "x-y"),
        _ => return Ok(()),
    };
    let found = format!("`hybrid` finds no {missing} pair of question and passage");
    Err(Error::setting("batches.strategy", found)
        .with_hint(format!("strategy `{instead}` does without them")))
}

/// A source before the weights of all of them are known.
struct Drawn {
    name: String,
    share: Share,
    pools: Vec<PoolShare>,
}

/// One source for each language or pair, with `total` divided between them.
fn separate(family: &Family, batches: &Batches, total: &Share) -> Result<Vec<Drawn>> {
    let shares = shares_of(family, batches)?;
    let sum: Share = shares.values().sum();
    family
        .iter()
        .filter(|(key, _)| !shares[key.as_str()].is_zero())
        .map(|(key, pools)| {
            let plain = batches.dataset_weights == Weighting::Proportional;
            let pools = with_weights(dataset_shares(pools, batches)?, batches, plain);
            Ok(Drawn { name: key.clone(), share: total * &shares[key.as_str()] / &sum, pools })
        })
        .collect()
}

/// One source over all languages or pairs.
fn joint(name: &str, family: &Family, batches: &Batches, total: Share) -> Result<Drawn> {
    let shares = shares_of(family, batches)?;
    let mut pools = Vec::new();
    for (key, of_key) in family {
        let within = dataset_shares(of_key, batches)?;
        let sum: Share = within.iter().map(|(_, share)| share).sum();
        for (pool, share) in within {
            if !sum.is_zero() {
                pools.push((pool, &shares[key.as_str()] * share / &sum));
            }
        }
    }
    let plain = batches.language_weights == Weighting::Proportional
        && batches.dataset_weights == Weighting::Proportional;
    let pools = with_weights(pools, batches, plain);
    let share = if pools.is_empty() { Share::zero() } else { total };
    Ok(Drawn { name: name.to_owned(), share, pools })
}

fn with_weights(mut pools: Vec<(&(PoolName, u64), Share)>, batches: &Batches, plain: bool) -> Vec<PoolShare> {
    pools.retain(|(_, share)| !share.is_zero());
    let mut named: Vec<_> =
        pools.into_iter().map(|((name, size), share)| (name.to_string(), *size, share)).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let shares: Vec<Share> = named.iter().map(|(_, _, share)| share.clone()).collect();
    let weights = apportion::weights(&shares, batches.cycle_rows.get(), plain);
    named.into_iter().zip(weights).map(|((name, size, _), weight)| PoolShare { name, weight, size }).collect()
}

/// The share of each language or pair of a family, by `language_weights`.
fn shares_of<'a>(family: &'a Family, batches: &Batches) -> Result<BTreeMap<&'a str, Share>> {
    // An explicit table that speaks of languages only says nothing about pairs, and the reverse: these are uniform.
    let silent = |weights: &BTreeMap<String, Ratio>| {
        let pairs = family.keys().any(|key| key.contains(':'));
        !weights.keys().any(|key| key.contains(':') == pairs)
    };
    family
        .iter()
        .map(|(key, pools)| {
            let n = pools.iter().map(|(_, size)| size).sum();
            let share = match &batches.language_weights {
                Weighting::Explicit(weights) if silent(weights) => share(1),
                weighting => weigh(weighting, key, n, "batches.language_weights")?,
            };
            Ok((key.as_str(), share))
        })
        .collect()
}

/// The share of each dataset within one language or pair, by `dataset_weights`.
fn dataset_shares<'a>(
    pools: &[&'a (PoolName, u64)],
    batches: &Batches,
) -> Result<Vec<(&'a (PoolName, u64), Share)>> {
    pools
        .iter()
        .map(|&pool| {
            let (name, size) = pool;
            Ok((pool, weigh(&batches.dataset_weights, &name.dataset, *size, "batches.dataset_weights")?))
        })
        .collect()
}

fn weigh(weighting: &Weighting, name: &str, n: u64, key: &str) -> Result<Share> {
    Ok(match weighting {
        Weighting::Uniform => share(1),
        Weighting::Proportional => share(n),
        Weighting::Temperature(t) => apportion::root(n, *t),
        Weighting::Explicit(weights) => of_ratio(*weights.get(name).ok_or_else(|| {
            Error::setting(key, format!("no number for `{name}`")).with_hint("0 leaves it out")
        })?),
    })
}

fn of_ratio(ratio: Ratio) -> Share {
    Share::new(ratio.numerator().into(), ratio.denominator().into())
}

/// A weight for a name that no pool bears is a slip of the pen, not a wish.
fn check_weight_names(pools: &[(PoolName, u64)], batches: &Batches) -> Result<()> {
    let keys: BTreeSet<String> = pools.iter().map(|(name, _)| name.key()).collect();
    let datasets: BTreeSet<String> = pools.iter().map(|(name, _)| name.dataset.clone()).collect();
    for (key, weighting, known) in [
        ("batches.language_weights", &batches.language_weights, keys),
        ("batches.dataset_weights", &batches.dataset_weights, datasets),
    ] {
        let Weighting::Explicit(weights) = weighting else { continue };
        if let Some(name) = weights.keys().find(|name| !known.contains(*name)) {
            let all: Vec<_> = known.iter().take(12).map(String::as_str).collect();
            let found = format!("no examples for `{name}`; there are {}", all.join(", "));
            return Err(Error::setting(key, found));
        }
    }
    Ok(())
}

/// A batch that takes more rows from a pool than the pool has examples repeats some of them in every step.
fn check_batch_size(sources: &[Source], batch_size: u32) -> Result<()> {
    for source in sources {
        let total: u128 = source.pools.iter().map(|pool| u128::from(pool.weight)).sum();
        for pool in &source.pools {
            if u128::from(pool.size) * total < u128::from(batch_size) * u128::from(pool.weight) {
                let found = format!(
                    "a batch of {batch_size} rows of source `{}` takes more rows from pool `{}` than its {} examples",
                    source.name, pool.name, pool.size
                );
                return Err(Error::setting("batches.batch_size", found)
                    .with_hint("take a smaller batch_size, other weights, or leave the language out"));
            }
        }
    }
    Ok(())
}

fn steps(sources: &[Source], batches: &Batches) -> Result<u64> {
    let steps = match batches.steps {
        Some(steps) => u128::from(steps.get()),
        None => epochs(sources, batches),
    };
    // Rows are counted in 64 bits, with room to spare.
    if u128::from(u64::MAX >> 1) < steps * u128::from(batches.batch_size.get()) {
        let found = format!("{steps} batches hold more rows than can be counted");
        return Err(Error::setting("batches.steps", found));
    }
    Ok(steps as u64)
}

fn epochs(sources: &[Source], batches: &Batches) -> u128 {
    let epochs = batches.epochs.map_or(1, std::num::NonZero::get);
    let examples: u128 =
        sources.iter().flat_map(|source| &source.pools).map(|pool| u128::from(pool.size)).sum();
    let epoch = examples.div_ceil(u128::from(batches.batch_size.get()));
    epoch.saturating_mul(u128::from(epochs)).min(u128::from(u64::MAX))
}
