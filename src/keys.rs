//! Keys: every random decision in this crate is a pure function of one.
//!
//! Specified to the bit (`schemas/SAMPLING.md`, section 1). There is no generator with a state: the value at a
//! position follows from (seed, purpose, name, index), which makes resuming a seek and leaves nothing for thread order
//! to change.

use sha2::{Digest, Sha256};

/// The SplitMix64 finaliser (Steele, Lea and Flood 2014): a bijection of the 64-bit integers.
///
/// ```
/// assert_eq!(prep::keys::mix64(1), 0x5692161d100b05e5);
/// ```
#[must_use]
pub const fn mix64(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The key of one random decision: the first 8 bytes, little-endian, of
/// SHA-256(`prep.plan.v1` NUL purpose NUL name NUL seed:u64le index:u64le).
///
/// ```
/// assert_eq!(prep::keys::subkey(42, "mixture", "batches", 0), 0x693d31d6bb2cfb89);
/// ```
#[must_use]
pub fn subkey(seed: u64, purpose: &str, name: &str, index: u64) -> u64 {
    let digest = Sha256::new()
        .chain_update(b"prep.plan.v1\0")
        .chain_update(purpose)
        .chain_update(b"\0")
        .chain_update(name)
        .chain_update(b"\0")
        .chain_update(seed.to_le_bytes())
        .chain_update(index.to_le_bytes())
        .finalize();
    let mut key = [0; 8];
    key.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(key)
}
