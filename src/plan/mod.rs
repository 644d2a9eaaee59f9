//! The plan: which example stands in which row of which batch, as a pure function of (plan, step).
//!
//! Sizes and names go in, integers come out. Nothing here reads text, touches a file, knows Arrow or keeps a state
//! that changes a result; it can be tested without data and written again from `schemas/SAMPLING.md`. [`Plan`] is
//! `plan.json`; [`Sampler`] is the same plan with its keys at hand.

mod apportion;
mod code_switch;
mod mixture;
mod permute;
mod strategy;

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::code_switch::{CodeSwitch, Side, Switching, TextKey, WordDraw};
use self::mixture::Mixture;
pub use self::permute::{Permutation, permute};
pub use self::strategy::{PlanRequest, make_plan};
use crate::error::{Error, Result};
use crate::keys::{mix64, subkey};
use crate::pipeline::NegativeSource;

/// The version of the sampling specification that this crate implements.
pub const PLAN_VERSION: u32 = 1;

/// The mixture over sources is keyed by this name, so no source may bear it.
pub const RESERVED_SOURCE_NAME: &str = "batches";

/// `plan.json`: everything that decides which rows a batch holds, in integers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    version: u32,
    seed: u64,
    batch_size: u32,
    steps: u64,
    hard_negatives: HardNegatives,
    /// Only where words are switched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code_switch: Option<CodeSwitch>,
    sources: Vec<Source>,
}

/// How many hard negatives a row gets, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HardNegatives {
    /// Hard negatives per row; fewer where a row has fewer candidates.
    pub k: u32,
    pub source: NegativeSource,
}

impl HardNegatives {
    /// Where candidates come from, if rows get any.
    #[must_use]
    pub fn candidates(self) -> Option<NegativeSource> {
        (self.k != 0).then_some(self.source)
    }
}

/// What one batch is drawn from: pools with weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub name: String,
    pub weight: u64,
    pub pools: Vec<PoolShare>,
}

/// One pool within a source: its share of the rows, and its size in examples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolShare {
    pub name: String,
    pub weight: u64,
    pub size: u64,
}

impl Plan {
    /// Reads `plan.json` and checks what every later step relies on: order, positive weights and sizes, no overflow.
    ///
    /// # Errors
    /// [`Error::Plan`] with what was found where.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let plan: Self = serde_json::from_slice(bytes).map_err(|e| Error::Plan { found: e.to_string() })?;
        plan.check().map_err(|found| Error::Plan { found })?;
        Ok(plan)
    }

    /// The bytes of `plan.json`: compact, keys in the specified order, one line feed at the end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a plan is plain data");
        bytes.push(b'\n');
        bytes
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.version != PLAN_VERSION {
            return Err(format!("version {}, this program reads {PLAN_VERSION}", self.version));
        }
        if self.batch_size == 0 {
            return Err("batch_size 0".to_owned());
        }
        if self.hard_negatives.k == 0 && self.hard_negatives.source != NegativeSource::SameContext {
            return Err("0 hard negatives, and not from `same-context`".to_owned());
        }
        self.code_switch.as_ref().map_or(Ok(()), CodeSwitch::check)?;
        check_shares("the plan", self.sources.iter().map(|s| (s.name.as_str(), s.weight)))?;
        for source in &self.sources {
            if source.name == RESERVED_SOURCE_NAME {
                return Err(format!("a source named `{RESERVED_SOURCE_NAME}`, which is reserved"));
            }
            check_shares(&source.name, source.pools.iter().map(|p| (p.name.as_str(), p.weight)))?;
            if let Some(pool) = source.pools.iter().find(|p| p.size == 0) {
                return Err(format!("pool `{}` of size 0", pool.name));
            }
        }
        Ok(())
    }

    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Rows of one batch.
    #[must_use]
    pub fn batch_size(&self) -> u32 {
        self.batch_size
    }

    /// Number of batches; the batch at any later step is defined all the same.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    #[must_use]
    pub fn hard_negatives(&self) -> HardNegatives {
        self.hard_negatives
    }

    /// Nothing where every text stands as in the corpus.
    #[must_use]
    pub fn code_switch(&self) -> Option<CodeSwitch> {
        self.code_switch
    }

    /// The same batches with words switched.
    ///
    /// # Errors
    /// [`Error::Plan`] for a share that is not between 0 and 1.
    pub fn with_code_switch(self, code_switch: CodeSwitch) -> Result<Self> {
        code_switch.check().map_err(|found| Error::Plan { found })?;
        Ok(Self { code_switch: Some(code_switch), ..self })
    }

    /// In ascending byte order of their names.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Names and sizes of all pools, in ascending byte order: the numbering of [`Row::pool`].
    #[must_use]
    pub fn pools(&self) -> Vec<(&str, u64)> {
        let mut pools: Vec<_> =
            self.sources.iter().flat_map(|s| s.pools.iter().map(|p| (p.name.as_str(), p.size))).collect();
        pools.sort_unstable();
        pools.dedup();
        pools
    }
}

fn check_shares<'a>(
    of: &str,
    shares: impl Iterator<Item = (&'a str, u64)>,
) -> std::result::Result<(), String> {
    let mut before: Option<&str> = None;
    let mut sum = 0_u64;
    for (name, weight) in shares {
        if before.is_some_and(|before| name <= before) {
            return Err(format!("`{name}` of {of} out of byte order, or twice"));
        }
        if weight == 0 {
            return Err(format!("`{name}` of {of} with weight 0"));
        }
        sum = sum.checked_add(weight).ok_or(format!("weights of {of} over 2^64"))?;
        before = Some(name);
    }
    if sum == 0 { Err(format!("nothing to draw from in {of}")) } else { Ok(()) }
}

/// One row of a batch, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Index into [`Plan::pools`].
    pub pool: usize,
    /// Index of the example in its pool, below the pool's size.
    pub example: u64,
    /// How often the pool had been used up before this row.
    pub pass: u64,
}

/// A batch in numbers: index into [`Plan::sources`], and its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draws {
    pub source: usize,
    pub rows: Vec<Row>,
}

/// A plan with its permutations at hand. Cloning is cheap; each thread has its own. What it remembers makes it
/// faster and never changes what it answers.
///
/// ```
/// # fn main() -> Result<(), prep::Error> {
/// let plan = prep::plan::Plan::from_json(br#"{"version":1,"seed":42,"batch_size":2,"steps":9,
///     "hard_negatives":{"k":0,"source":"same-context"},"sources":[{"name":"de","weight":1,
///     "pools":[{"name":"demo/de:de","weight":1,"size":10}]}]}"#)?;
/// let first = prep::plan::Sampler::new(&plan).batch(0);
/// assert_eq!(first.rows.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    seed: u64,
    batch_size: u32,
    negatives: u32,
    batches: Mixture,
    sources: Vec<(Mixture, Vec<usize>)>,
    pools: Vec<Pool>,
}

#[derive(Clone, Debug)]
struct Pool {
    name: String,
    size: u64,
    /// The permutation of the pass that was asked for last.
    pass: Option<(u64, Permutation)>,
    /// The key of that pass's hard negatives.
    negatives: Option<(u64, u64)>,
}

impl Sampler {
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let pools = plan.pools();
        let numbers: HashMap<&str, usize> =
            pools.iter().enumerate().map(|(i, (name, _))| (*name, i)).collect();
        let sources = plan.sources.iter().map(|source| {
            let weights = source.pools.iter().map(|p| p.weight);
            let mixture = Mixture::new(plan.seed, &source.name, weights);
            (mixture, source.pools.iter().map(|p| numbers[p.name.as_str()]).collect())
        });
        let pool =
            |&(name, size): &(&str, u64)| Pool { name: name.to_owned(), size, pass: None, negatives: None };
        Self {
            seed: plan.seed,
            batch_size: plan.batch_size,
            negatives: plan.hard_negatives.k,
            batches: Mixture::new(plan.seed, RESERVED_SOURCE_NAME, plan.sources.iter().map(|s| s.weight)),
            sources: sources.collect(),
            pools: pools.iter().map(pool).collect(),
        }
    }

    /// Index into [`Plan::sources`] of the source that the batch at `step` is drawn from.
    pub fn source(&mut self, step: u64) -> usize {
        self.batches.draw(step).child
    }

    /// The batch at any step, in numbers; the cost does not depend on the step.
    pub fn batch(&mut self, step: u64) -> Draws {
        let batch = self.batches.draw(step);
        let first = batch.occurrence.wrapping_mul(u64::from(self.batch_size));
        let (mixture, pools) = &mut self.sources[batch.child];
        let rows = (0..u64::from(self.batch_size)).map(|r| {
            let draw = mixture.draw(first.wrapping_add(r));
            let pool = pools[draw.child];
            let (pass, example) = self.pools[pool].example(self.seed, draw.occurrence);
            Row { pool, example, pass }
        });
        Draws { source: batch.child, rows: rows.collect() }
    }

    /// Positions, among the `candidates` of this row in byte order of passage id, of its hard negatives.
    pub fn hard_negatives(&mut self, row: Row, candidates: usize) -> impl Iterator<Item = usize> {
        let n = candidates as u64;
        let picks = u64::from(self.negatives).min(n);
        let pool = &mut self.pools[row.pool];
        let permutation = (0 < picks).then(|| {
            let key = pool.negatives_key(self.seed, row.pass).wrapping_add(row.example);
            Permutation::new(mix64(key), n)
        });
        permutation.into_iter().flat_map(move |permutation| {
            (0..picks)
                .map(move |i| usize::try_from(permutation.apply(i)).expect("below a count that is a usize"))
        })
    }
}

impl Pool {
    /// (pass, example) of the q-th row that is drawn from this pool.
    fn example(&mut self, seed: u64, q: u64) -> (u64, u64) {
        let (pass, at) = (q / self.size, q % self.size);
        let permutation = match self.pass {
            Some((known, permutation)) if known == pass => permutation,
            _ => Permutation::new(subkey(seed, "pool", &self.name, pass), self.size),
        };
        self.pass = Some((pass, permutation));
        (pass, permutation.apply(at))
    }

    fn negatives_key(&mut self, seed: u64, pass: u64) -> u64 {
        let key = match self.negatives {
            Some((known, key)) if known == pass => key,
            _ => subkey(seed, "negatives", &self.name, pass),
        };
        self.negatives = Some((pass, key));
        key
    }
}

#[cfg(test)]
mod tests;
