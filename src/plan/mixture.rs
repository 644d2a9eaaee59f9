//! A mixture maps a position to (child, occurrence) so that every child gets exactly its weight in every cycle.
//!
//! Weighted drawing with a generator keeps shares only on average; a permuted cycle keeps them exactly, and position
//! 10^12 costs what position 0 costs.

use super::permute::Permutation;
use crate::keys::subkey;

/// The weights of a mixture, ready to be looked up. The name keys its permutations.
#[derive(Clone, Debug)]
pub(super) struct Mixture {
    seed: u64,
    name: String,
    /// Exclusive upper bound of each child's share of the cycle.
    upper: Vec<u64>,
    /// The permutation of the cycle that was asked for last: neighbouring positions mostly share theirs.
    cycle: Option<(u64, Permutation)>,
}

/// Which child a position belongs to, and the how-manieth draw of that child it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draw {
    pub(super) child: usize,
    pub(super) occurrence: u64,
}

impl Mixture {
    /// `weights` are positive and their sum fits 64 bits: [`super::Plan`] has checked it.
    pub(super) fn new(seed: u64, name: &str, weights: impl Iterator<Item = u64>) -> Self {
        let upper = weights
            .scan(0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        Self { seed, name: name.to_owned(), upper, cycle: None }
    }

    pub(super) fn draw(&mut self, x: u64) -> Draw {
        let total = *self.upper.last().expect("a plan has no empty mixture");
        if total == 1 {
            // One child, one draw a cycle: every position would have a key of its own, and the same answer.
            return Draw { child: 0, occurrence: x };
        }
        let (cycle, turn) = (x / total, x % total);
        let permutation = match self.cycle {
            Some((known, permutation)) if known == cycle => permutation,
            _ => Permutation::new(subkey(self.seed, "mixture", &self.name, cycle), total),
        };
        self.cycle = Some((cycle, permutation));
        let p = permutation.apply(turn);
        let child = self.upper.partition_point(|&upper| upper <= p);
        let lower = child.checked_sub(1).map_or(0, |before| self.upper[before]);
        let weight = self.upper[child] - lower;
        Draw { child, occurrence: cycle.wrapping_mul(weight).wrapping_add(p - lower) }
    }
}
