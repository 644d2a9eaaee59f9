//! `dropout`, with draws that follow from the key, the number of the token in the batch and the column.
//!
//! Nothing is kept for the gradient, which draws again; and a batch drops the same elements when it is cut into parts.

use candle_core::{Result, Shape, Tensor, bail};

use super::check::matrix;
use super::gpu::{Gpu, Memory, View, args};
use super::op::{Differentiable, Fused, Input, Op, evaluate};
use super::real::Real;
use super::rows::for_rows;
use super::tape::Operand;
use super::tiles::Flat;
use crate::keys::mix64;

const OP: &str = "dropout";

/// Which elements are dropped: a probability, and the key of the draws ([`subkey`](crate::keys::subkey) of step and
/// layer).
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// An element is kept iff the upper half of its draw is not below this: the probability in units of 2^-32.
    threshold: u64,
    /// What is kept is multiplied by this, 1 / (1 - probability).
    scale: f64,
    key: u64,
}

impl Dropout {
    /// # Errors
    /// When the probability is not in [0, 1).
    pub fn new(probability: f64, key: u64) -> Result<Self> {
        if !(0.0..1.0).contains(&probability) {
            bail!("{OP}: the probability must be at least 0 and below 1, found {probability}");
        }
        let threshold = (probability * 2_f64.powi(32)).round() as u64;
        Ok(Self { threshold, scale: 1.0 / (1.0 - probability), key })
    }

    /// Threshold, key and scale.
    pub(super) fn fields(self) -> (u64, u64, f64) {
        (self.threshold, self.key, self.scale)
    }

    /// The draws of a row of their own: `row` is mixed into the key.
    #[inline(always)]
    pub(super) fn of_row(self, row: u64) -> Self {
        Self { key: mix64(self.key.wrapping_add(row)), ..self }
    }

    /// What the element at `position` is multiplied by: 0, or 1 / (1 - probability).
    #[inline(always)]
    pub(super) fn factor<T: Real>(self, position: u64) -> T {
        let draw = mix64(self.key.wrapping_add(position)) >> 32;
        if draw < self.threshold { T::zero() } else { T::of(self.scale) }
    }
}

/// x: (T, D) -> (T, D). The element in column c of the batch's token t, which is row t - `first_token`, is kept iff
/// the upper half of `mix64(key + t D + c)` is at least `probability * 2^32`, and divided by 1 - probability.
///
/// # Errors
/// When x is not a contiguous matrix of floats.
pub fn dropout<V: Operand>(x: &V, dropout: Dropout, first_token: u64) -> Result<V> {
    matrix(OP, "x", x.tensor())?;
    x.apply1(Fused(DropoutOp { dropout, first_token }))
}

/// Dropout of the rows from a token of the batch on.
#[derive(Clone, Copy)]
pub(super) struct DropoutOp {
    pub(super) dropout: Dropout,
    pub(super) first_token: u64,
}

impl Op<1> for DropoutOp {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, [x]: [Input<'_, T>; 1]) -> Result<[(Vec<T>, Shape); 1]> {
        Ok([(self.forward(x.data, x.dims[1]), x.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x]: [View<'_>; 1]) -> Result<[(Memory, Shape); 1]> {
        let (_, width) = x.matrix();
        let y = gpu.allocate(x.dtype, x.len())?;
        let first_draw = self.first_token.wrapping_mul(width as u64);
        let flat = Flat::of(&[x]);
        gpu.launch(
            &flat.kernel(OP, OP)?,
            flat.dims(),
            &args![x, y, x.len(), first_draw, Some(self.dropout)],
        )?;
        Ok([(y, x.dims.into())])
    }
}

impl Differentiable<1> for DropoutOp {
    /// The same elements of the gradient are dropped.
    fn gradients(&self, _: [&Tensor; 1], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok(evaluate(self, [dy])?.map(Some))
    }
}

impl DropoutOp {
    /// Calls `f(column, factor)` for the columns of row t.
    #[inline(always)]
    pub(super) fn for_columns<T: Real>(self, t: usize, width: usize, mut f: impl FnMut(usize, T)) {
        let first = self.first_token.wrapping_add(t as u64).wrapping_mul(width as u64);
        for c in 0..width {
            f(c, self.dropout.factor(first.wrapping_add(c as u64)));
        }
    }

    pub(super) fn forward<T: Real>(self, x: &[T], width: usize) -> Vec<T> {
        let mut y = vec![T::zero(); x.len()];
        for_rows(
            &mut y,
            width,
            #[inline(always)]
            |t, y| {
                let x = &x[t * width..][..width];
                self.for_columns(t, width, |c, factor: T| y[c] = x[c] * factor);
            },
        );
        y
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gpu, check_gradients, one_to_three_threads, tensor, values};
    use super::*;

    fn half() -> Dropout {
        Dropout::new(0.5, 7).unwrap()
    }

    /// From the rule, in Python, with mix64 as in `keys.rs`: `[mix64(7 + 3 * 2 + c) >> 63 for c in range(6)]` for two
    /// rows from token 2, three columns wide.
    #[test]
    fn draws_follow_from_key_token_and_column() {
        let ones = tensor((2, 3), 1).ones_like().unwrap();
        let found = values(&dropout(&ones, half(), 2).unwrap());
        assert_eq!(found, [2.0, 0.0, 0.0, 2.0, 0.0, 2.0]);
    }

    #[test]
    fn parts_of_a_batch_drop_what_the_batch_drops() {
        let x = tensor((97, 13), 1);
        let whole = values(&dropout(&x, half(), 1000).unwrap());
        let mut parts = values(&dropout(&x.narrow(0, 0, 31).unwrap(), half(), 1000).unwrap());
        parts.extend(values(&dropout(&x.narrow(0, 31, 66).unwrap(), half(), 1031).unwrap()));
        assert_eq!(whole, parts);
    }

    /// Of 100,000 elements, each dropped with probability 0.1, five standard deviations are 474.
    #[test]
    fn drops_the_share_that_it_is_told_to() {
        let ones = tensor((1000, 100), 1).ones_like().unwrap();
        let found = values(&dropout(&ones, Dropout::new(0.1, 11).unwrap(), 0).unwrap());
        let dropped = found.iter().filter(|&&y| y == 0.0).count();
        assert!((9_526..=10_474).contains(&dropped), "{dropped}");
        assert!(found.iter().all(|&y| y == 0.0 || (y - 1.0 / 0.9).abs() < 1e-15));
    }

    #[test]
    fn gradients_are_finite_differences() {
        check_gradients(|i| dropout(&i[0], half(), 5), &[tensor((7, 9), 1)], 1e-8);
    }

    #[test]
    fn threads_do_not_show() {
        one_to_three_threads(&[tensor((700, 65), 1)], |i| dropout(&i[0], half(), 0));
    }

    #[test]
    fn a_gpu_computes_the_same() {
        for (rows, width) in [(1, 1), (3, 31), (67, 33), (11, 24), (45, 768)] {
            check_gpu(|i| dropout(&i[0], half(), u64::MAX / 2 + 77), &[tensor((rows, width), 1)], 1);
        }
    }

    #[test]
    fn refuses_a_probability_of_one() {
        assert!(Dropout::new(0.0, 0).is_ok());
        for probability in [1.0, -0.1, f64::NAN] {
            assert!(Dropout::new(probability, 0).is_err());
        }
    }
}
