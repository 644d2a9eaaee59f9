//! From shares to integer weights: exact where the integers stay small, else by largest remainders.
//!
//! Shares are big rationals, so no share is ever rounded before the one step that says it rounds.

use num_bigint::BigUint;
use num_integer::Integer;
use num_rational::Ratio;
use num_traits::{One, ToPrimitive, Zero};

pub(super) type Share = Ratio<BigUint>;

pub(super) fn share(n: u64) -> Share {
    Share::from_integer(n.into())
}

/// Shares as integers over their common denominator, divided by their greatest common divisor, when these sum to at
/// most `draws` or when the shares are `plain_sizes`; else `draws` apportioned by largest remainder.
pub(super) fn weights(shares: &[Share], draws: u64, plain_sizes: bool) -> Vec<u64> {
    exact(shares, if plain_sizes { u64::MAX } else { draws })
        .unwrap_or_else(|| largest_remainder(shares, draws))
}

fn exact(shares: &[Share], greatest_sum: u64) -> Option<Vec<u64>> {
    let denominator = shares.iter().fold(BigUint::one(), |lcm, share| lcm.lcm(share.denom()));
    let whole: Vec<BigUint> =
        shares.iter().map(|share| share.numer() * (&denominator / share.denom())).collect();
    let divisor = whole.iter().fold(BigUint::zero(), |gcd, n| gcd.gcd(n));
    if divisor.is_zero() {
        return Some(vec![0; shares.len()]);
    }
    let sum: BigUint = whole.iter().sum::<BigUint>() / &divisor;
    if BigUint::from(greatest_sum) < sum {
        return None;
    }
    whole.iter().map(|n| (n / &divisor).to_u64()).collect()
}

/// Hamilton's method: everyone gets the whole part of their quota, and one more by descending remainder, ties to the
/// earlier. No share above 0 is rounded to 0: it is lifted to 1, and what that costs is taken, one by one, from
/// whoever stands furthest above their quota (ties from the later). With more shares than draws each keeps its 1.
fn largest_remainder(shares: &[Share], draws: u64) -> Vec<u64> {
    let sum: Share = shares.iter().sum();
    let quotas: Vec<Share> = shares.iter().map(|s| s * share(draws) / &sum).collect();
    let floor = |quota: &Share| quota.to_integer().to_u64().expect("at most the draws, a u64");
    let mut weights: Vec<u64> =
        quotas.iter().map(|quota| if quota.is_zero() { 0 } else { floor(quota).max(1) }).collect();
    let given: u64 = weights.iter().sum();
    if given <= draws {
        let left = usize::try_from(draws - given).expect("fewer than the shares");
        let mut by_remainder: Vec<usize> =
            (0..shares.len()).filter(|&i| share(weights[i]) < quotas[i]).collect();
        by_remainder.sort_by(|&a, &b| quotas[b].fract().cmp(&quotas[a].fract()));
        for &i in by_remainder.iter().take(left) {
            weights[i] += 1;
        }
    } else {
        // How far above the quota, compared without negative numbers: b above a when w_b + q_a > w_a + q_b.
        for _ in 0..given - draws {
            let richest = (0..shares.len())
                .filter(|&i| 1 < weights[i])
                .max_by(|&a, &b| (share(weights[a]) + &quotas[b]).cmp(&(share(weights[b]) + &quotas[a])));
            let Some(i) = richest else { break };
            weights[i] -= 1;
        }
    }
    weights
}

/// `n^(q/p)`, the temperature `p/q`, as a fraction over 2^64: the integer root of `n^q * 2^(64 p)`, so that nobody's
/// `pow` decides a weight.
pub(super) fn root(n: u64, temperature: crate::pipeline::Ratio) -> Share {
    let degree = u32::try_from(temperature.numerator()).expect("checked when it was read");
    let power = u32::try_from(temperature.denominator()).expect("checked when it was read");
    let scaled = BigUint::from(n).pow(power) << (64 * u64::from(degree));
    Share::new(scaled.nth_root(degree), BigUint::one() << 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shares: &[(u64, u64)], draws: u64) -> Vec<u64> {
        let shares: Vec<_> = shares.iter().map(|&(n, d)| Share::new(n.into(), d.into())).collect();
        weights(&shares, draws, false)
    }

    #[test]
    fn small_integers_are_kept_exact() {
        assert_eq!(of(&[(1, 6), (1, 6), (1, 6), (1, 2)], 1000), [1, 1, 1, 3]);
        assert_eq!(of(&[(20, 1), (10, 1)], 1000), [2, 1]);
    }

    #[test]
    fn large_ones_are_apportioned_by_largest_remainder() {
        // Quotas 3.333.., 3.333.., 3.333..: the tie for the tenth goes to the earlier.
        assert_eq!(of(&[(1001, 3003), (1002, 3006), (1000, 3000)], 2), [1, 1, 1]);
        // By hand: 10 draws over 47.1 : 36.3 : 16.6 -> 4.71 3.63 1.66 -> 4 3 1, two left to .71 and .66.
        assert_eq!(of(&[(471, 10), (363, 10), (166, 10)], 10), [5, 3, 2]);
    }

    #[test]
    fn a_share_above_zero_is_never_rounded_to_zero() {
        // Quotas 0.01, 9.98, 0.01: both small ones are lifted, the large one pays.
        assert_eq!(of(&[(1, 1000), (998, 1000), (1, 1000)], 10), [1, 8, 1]);
        assert_eq!(of(&[(0, 1), (999, 1), (1001, 1)], 10), [0, 5, 5]);
    }

    #[test]
    fn a_root_is_exact_to_64_bits() {
        let temperature = "2".parse().unwrap();
        assert_eq!(root(16, temperature), share(4));
        // sqrt(2) * 2^64, from the On-Line Encyclopedia of Integer Sequences' digits (A002193).
        assert_eq!((root(2, temperature) * share(1_000_000_000)).to_integer(), 1_414_213_562_u64.into());
    }
}
