//! The two float types of the kernels, and the elementary functions that a compiler can vectorise.
//!
//! f32 is what a model computes in. f64 is there so that gradients can be held against finite differences; its
//! functions are the platform's, exact to the last digits. The f32 functions have no branch and no call, so that a
//! loop over them becomes vector instructions: the platform's `expf` and `erff` take most of the time of a layer.

use std::ops::Neg;

use candle_core::WithDType;
use candle_core::cpu::erf::erf_f64;
use pulp::Simd;

/// f32 or f64.
pub(super) trait Real: WithDType + Neg<Output = Self> {
    /// The nearest value of this type.
    fn of(value: f64) -> Self;
    /// e^x. In f32 within 1e-7 of it, relatively; 0 below -87.3 and infinite above 88.3.
    fn exp(self) -> Self;
    /// The error function. In f32 within 1e-7 of it, absolutely.
    fn erf(self) -> Self;
    fn sqrt(self) -> Self;

    /// Elements that the machine computes with at once.
    type Vector<S: Simd>: Copy;
    /// A slice of as many elements as make whole vectors.
    fn vectors<S: Simd>(elements: &[Self]) -> &[Self::Vector<S>];
    fn vectors_mut<S: Simd>(elements: &mut [Self]) -> &mut [Self::Vector<S>];
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// `a * b + c`, in one rounding where the machine has an instruction for it.
    fn multiply_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
}

impl Real for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as Self
    }

    /// Cephes' `expf` (Moshier 1992): x = n ln 2 + r with |r| <= ln 2 / 2, and a polynomial for e^r.
    #[inline(always)]
    fn exp(self) -> Self {
        // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits; `round` is a call on older machines.
        const ROUND: f32 = 12_582_912.0;
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        let shifted = self * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = self - n * LN_2_HIGH - n * LN_2_LOW;
        let mut p = 1.987_569_1e-4;
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = p * r + coefficient;
        }
        let power_of_2 = Self::from_bits(shifted.to_bits().wrapping_add(127) << 23);
        let within = (p * r * r + r + 1.0) * power_of_2;
        // Not `clamp` on the argument: what is NaN must stay NaN, and e^-inf must be 0.
        if self < -87.3 {
            0.0
        } else if 88.3 < self {
            Self::INFINITY
        } else {
            within
        }
    }

    /// Juffa's two polynomials (2016, stackoverflow.com/a/35148199): x + x p(x^2) near 0, and 1 - e^q(|x|) beyond.
    /// Both are computed and one is taken. The single rational approximation of Eigen and XLA is shorter, but wrong by
    /// 4.6e-7 about |x| = 3.4.
    #[inline(always)]
    fn erf(self) -> Self {
        const NEAR: [f32; 5] =
            [4.991_194e-3, -2.676_813_5e-2, 1.128_199_3e-1, -3.761_253_4e-1, 1.283_791_7e-1];
        const FAR: [f32; 3] = [-1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1];
        let (size, square) = (self.abs(), self * self);
        let mut p = -5.967_617e-4;
        for coefficient in NEAR {
            p = p * square + coefficient;
        }
        let mut q = -1.728_534_7e-5 * size + 3.831_979_7e-4;
        q = q * square + (-3.883_964_4e-3 * size + 2.425_462_2e-2);
        for coefficient in FAR {
            q = q * size + coefficient;
        }
        let far = (1.0 - Real::exp(q * size - size)).copysign(self);
        if 0.927_734_4 < size { far } else { p * self + self }
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }

    type Vector<S: Simd> = S::f32s;

    #[inline(always)]
    fn vectors<S: Simd>(elements: &[Self]) -> &[S::f32s] {
        S::as_simd_f32s(elements).0
    }

    #[inline(always)]
    fn vectors_mut<S: Simd>(elements: &mut [Self]) -> &mut [S::f32s] {
        S::as_mut_simd_f32s(elements).0
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, value: Self) -> S::f32s {
        simd.splat_f32s(value)
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a, b, c)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    fn exp(self) -> Self {
        self.exp()
    }

    fn erf(self) -> Self {
        erf_f64(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }

    type Vector<S: Simd> = S::f64s;

    #[inline(always)]
    fn vectors<S: Simd>(elements: &[Self]) -> &[S::f64s] {
        S::as_simd_f64s(elements).0
    }

    #[inline(always)]
    fn vectors_mut<S: Simd>(elements: &mut [Self]) -> &mut [S::f64s] {
        S::as_mut_simd_f64s(elements).0
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, value: Self) -> S::f64s {
        simd.splat_f64s(value)
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::f64s, b: S::f64s, c: S::f64s) -> S::f64s {
        simd.mul_add_e_f64s(a, b, c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_of_f32_is_right_to_seven_digits() {
        for i in -87_000..=88_000 {
            let x = i as f32 * 1e-3;
            let expected = f64::from(x).exp();
            let error = (f64::from(Real::exp(x)) - expected).abs() / expected;
            assert!(error < 1e-7, "e^{x} is off by {error} of it");
        }
        assert_eq!(Real::exp(0_f32).to_bits(), 1_f32.to_bits());
    }

    #[test]
    fn exp_of_what_is_no_number_or_too_large() {
        assert_eq!(Real::exp(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(Real::exp(-1e4_f32).to_bits(), 0);
        assert!(Real::exp(1e4_f32).is_infinite());
        assert!(Real::exp(f32::NAN).is_nan());
        assert!(Real::erf(f32::NAN).is_nan());
    }

    #[test]
    fn erf_of_f32_is_right_to_seven_digits() {
        for i in -60_000..=60_000 {
            let x = i as f32 * 1e-4;
            let error = (f64::from(Real::erf(x)) - erf_f64(f64::from(x))).abs();
            assert!(error < 1e-7, "erf({x}) is off by {error}");
        }
    }
}
