//! A keyed permutation of any number of elements, without a table: the shuffle under every pass and every mixture.
//!
//! Owned, and pinned by test vectors: the shuffles of libraries change between versions (`schemas/SAMPLING.md`, 1).

use crate::keys::mix64;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const ROUNDS: usize = 8;

/// A keyed bijection of `[0, n)`: an eight-round Feistel network on an even number of bits, walked until it lands
/// below `n` (Black and Rogaway 2002). The round keys are computed once, so keep it to draw more than one value.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    round_keys: [u64; ROUNDS],
    half_bits: u32,
    n: u64,
}

impl Permutation {
    /// # Panics
    /// When `n` is 0: there is no permutation of nothing.
    #[must_use]
    pub fn new(key: u64, n: u64) -> Self {
        assert!(0 < n, "a permutation needs at least one element");
        let bits = u64::BITS - (n - 1).leading_zeros();
        let round_keys = std::array::from_fn(|r| mix64(key.wrapping_add(GOLDEN.wrapping_mul(r as u64 + 1))));
        Self { round_keys, half_bits: bits.div_ceil(2).max(4), n }
    }

    /// The image of `x`, which is below `n`.
    #[must_use]
    pub fn apply(&self, x: u64) -> u64 {
        debug_assert!(x < self.n, "{x} is outside [0, {})", self.n);
        if self.n == 1 {
            return 0;
        }
        let mask = (1 << self.half_bits) - 1;
        let mut x = x;
        loop {
            let (mut left, mut right) = (x >> self.half_bits, x & mask);
            for key in self.round_keys {
                (left, right) = (right, left ^ (mix64(right.wrapping_add(key)) & mask));
            }
            x = (left << self.half_bits) | right;
            if x < self.n {
                return x;
            }
        }
    }
}

/// `permute(key, n, x)` of the specification: the image of `x` under [`Permutation::new`]`(key, n)`.
///
/// ```
/// let images: Vec<u64> = (0..5).map(|x| prep::plan::permute(0, 10, x)).collect();
/// assert_eq!(images, [6, 1, 8, 5, 2]);
/// ```
#[must_use]
pub fn permute(key: u64, n: u64, x: u64) -> u64 {
    Permutation::new(key, n).apply(x)
}
