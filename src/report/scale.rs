//! From numbers to places: a range that begins and ends at round numbers, and the round numbers between.

use crate::number;

/// A range on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) lo: f64,
    pub(super) hi: f64,
    /// Between two ticks.
    step: f64,
}

impl Scale {
    /// The least round range that holds these values, with about so many ticks. It begins at 0 unless that would leave
    /// half of it empty.
    pub(super) fn around(values: impl IntoIterator<Item = f64>, n_ticks: u32) -> Self {
        let (lo, hi) = values
            .into_iter()
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), value| (lo.min(value), hi.max(value)));
        if hi < lo {
            return Self { lo: 0.0, hi: 1.0, step: 1.0 };
        }
        // Nor may the range be nothing: that of a constant, or of one but for rounding.
        let room = (hi.abs().max(lo.abs()) * 1e-9).max(f64::MIN_POSITIVE);
        let is_constant = hi - lo <= room;
        let (lo, hi) = match 0.0 < lo {
            true if is_constant || lo <= hi / 2.0 => (0.0, hi),
            false if is_constant => (lo, hi.max(0.0)),
            _ => (lo, hi),
        };
        let span = if lo < hi { hi - lo } else { 1.0 };
        let step = round_step(span / f64::from(n_ticks.max(1)));
        // Four steps of 5e-6 are a little less than 2e-5.
        let (lo, hi) = ((lo / step + 1e-9).floor() * step, (hi / step - 1e-9).ceil() * step);
        Self { lo, hi: if lo < hi { hi } else { lo + step }, step }
    }

    /// From one number to another, without rounding; ticks at round numbers between.
    pub(super) fn exactly(lo: f64, hi: f64, n_ticks: u32) -> Self {
        let hi = if lo < hi { hi } else { lo + 1.0 };
        Self { lo, hi, step: round_step((hi - lo) / f64::from(n_ticks.max(1))) }
    }

    /// The same with ticks at whole numbers.
    pub(super) fn whole(self) -> Self {
        Self { step: self.step.max(1.0), ..self }
    }

    /// 0 at the low end, 1 at the high one.
    pub(super) fn at(&self, value: f64) -> f64 {
        ((value - self.lo) / (self.hi - self.lo)).clamp(0.0, 1.0)
    }

    /// Round numbers within the range, and how they are written.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let first = (self.lo / self.step - 1e-6).ceil() as i64;
        let last = (self.hi / self.step + 1e-6).floor() as i64;
        (first..=last)
            .map(|n| n as f64 * self.step)
            .map(|value| (value, written(value, self.step, self.hi.abs().max(self.lo.abs()))))
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten: the least that is not below this.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powi(step.log10().floor() as i32);
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| step <= factor * power * (1.0 + 1e-9));
    factor.unwrap_or(10.0) * power
}

/// A tick, as short as tells it from its neighbours.
fn written(value: f64, step: f64, greatest: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e15).contains(&greatest) {
        let power = greatest.log10().floor() as i32;
        let digits = (power - step.log10().floor() as i32).max(0) as usize;
        return format!("{value:.digits$e}").replace('-', "−");
    }
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| 10.0 * unit <= greatest).unwrap_or((1.0, ""));
    let digits = (-(step / unit).log10().floor()).max(0.0) as usize;
    format!("{}{name}", number::fixed(value / unit, digits))
}

/// Moves places, ascending, apart until two neighbours are this far from each other, by as little as one pass down and
/// one up can; none beyond `end`.
pub(super) fn spread(places: &mut [f64], apart: f64, end: f64) {
    let mut least = f64::NEG_INFINITY;
    for place in places.iter_mut() {
        *place = place.max(least);
        least = *place + apart;
    }
    let mut greatest = end;
    for place in places.iter_mut().rev() {
        *place = place.min(greatest);
        greatest = *place - apart;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale) -> String {
        scale.ticks().into_iter().map(|(_, label)| label).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(Scale::around([0.3, 2.68], 4)), "0 1 2 3");
        assert_eq!(labels(Scale::around([0.0, 0.002], 4)), "0 0.0005 0.0010 0.0015 0.0020");
        assert_eq!(labels(Scale::around([0.0, 2e-5], 4)), "0 5.0e−6 1.0e−5 1.5e−5 2.0e−5");
        assert_eq!(labels(Scale::around([0.0, 204_965.0], 4)), "0 100k 200k 300k");
        assert_eq!(labels(Scale::exactly(0.0, 243.0, 5)), "0 50 100 150 200");
        assert_eq!(labels(Scale::exactly(0.0, 2.0, 5).whole()), "0 1 2");
    }

    #[test]
    fn any_numbers_have_a_scale() {
        for values in [vec![], vec![0.0], vec![5.0, 5.0], vec![-1e100, 1e100], vec![f64::NAN], vec![1e-300]] {
            let scale = Scale::around(values.clone(), 4);
            assert!(scale.lo < scale.hi, "{values:?}: {scale:?}");
            assert!(scale.ticks().len() <= 12, "{values:?}: {}", labels(scale));
            assert!(values.iter().all(|&value| value.is_nan() || (0.0..=1.0).contains(&scale.at(value))));
        }
    }

    #[test]
    fn labels_are_moved_apart() {
        let mut places = [10.0, 11.0, 12.0, 90.0, 99.0];
        spread(&mut places, 10.0, 100.0);
        assert_eq!(places.map(|place| place.to_string()), ["10", "20", "30", "90", "100"]);
    }
}
