//! Loops over slices that become vector instructions.
//!
//! A float sum in source order is a chain of additions, each of which waits for the one before. The sums here run in
//! [`LANES`] interleaved chains that are put together in a fixed order: the result follows from the values and their
//! number alone, on every machine.

use super::real::Real;

/// Independent chains of a sum; two registers of eight f32, to hide the latency of an addition.
const LANES: usize = 16;

/// Runs `work` with the widest vector instructions of this machine. Its closure must be `#[inline(always)]`, and so
/// must what that calls: only what is inlined is compiled for them.
#[inline(always)]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// The sum of `f` over slices of one length, side by side.
#[inline(always)]
pub(super) fn sum<T: Real, const N: usize>(slices: [&[T]; N], f: impl Fn([T; N]) -> T) -> T {
    fold(slices, T::zero(), |sum, values| sum + f(values), |a, b| a + b)
}

#[inline(always)]
pub(super) fn dot<T: Real>(left: &[T], right: &[T]) -> T {
    sum([left, right], |[a, b]| a * b)
}

/// The largest value; minus infinity of none.
#[inline(always)]
pub(super) fn maximum<T: Real>(values: &[T]) -> T {
    let larger = |a: T, b: T| if a < b { b } else { a };
    fold([values], T::of(f64::NEG_INFINITY), |largest, [value]| larger(largest, value), larger)
}

/// `into += values`, element by element.
#[inline(always)]
pub(super) fn add<T: Real>(into: &mut [T], values: &[T]) {
    for (into, &value) in into.iter_mut().zip(values) {
        *into += value;
    }
}

#[inline(always)]
fn fold<T: Real, const N: usize>(
    slices: [&[T]; N],
    start: T,
    step: impl Fn(T, [T; N]) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    let len = slices[0].len();
    assert!(slices.iter().all(|slice| slice.len() == len), "slices side by side have one length");
    let mut lanes = [start; LANES];
    let split = slices.map(|slice| slice.as_chunks::<LANES>());
    for i in 0..len / LANES {
        let chunks = split.map(|(chunks, _)| &chunks[i]);
        for (j, lane) in lanes.iter_mut().enumerate() {
            *lane = step(*lane, chunks.map(|chunk| chunk[j]));
        }
    }
    for (j, lane) in lanes.iter_mut().enumerate().take(len % LANES) {
        *lane = step(*lane, split.map(|(_, rest)| rest[j]));
    }
    let mut half = LANES / 2;
    while 0 < half {
        for i in 0..half {
            lanes[i] = join(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}
