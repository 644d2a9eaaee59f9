//! A curve of any length in a few hundred buckets, in one pass and in memory that does not grow with it.
//!
//! Each bucket keeps the least, the greatest and the mean value of its steps, so a spike of one step in a million is
//! still there to be drawn. A step without a number is a gap: it is counted, and never taken for 0.

use std::collections::BTreeMap;

/// More buckets than this are merged in pairs; a chart has about as many pixels.
const MAX_BUCKETS: usize = 360;
/// What is greater than this is no number that could be drawn.
const MAX_DRAWN: f64 = 1e100;

/// Values by step.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    /// Steps of one bucket: a power of two.
    width: u64,
    buckets: BTreeMap<u64, Bucket>,
    stats: Option<Stats>,
    gaps: u64,
}

/// The steps that fall together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    n: u64,
    sum: f64,
    pub(super) least: f64,
    pub(super) greatest: f64,
    /// Steps without a number.
    gaps: u64,
}

/// A curve in a few numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stats {
    pub(super) first: At,
    pub(super) last: At,
    /// The earliest of equal ones, here and below.
    pub(super) least: At,
    pub(super) greatest: At,
    n: u64,
    sum: f64,
}

/// A value and its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct At {
    pub(super) step: u64,
    pub(super) value: f64,
}

/// A bucket as it is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spot {
    /// The middle of its steps.
    pub(super) step: f64,
    pub(super) least: f64,
    pub(super) mean: f64,
    pub(super) greatest: f64,
}

impl Stats {
    pub(super) fn mean(&self) -> f64 {
        self.sum / self.n as f64
    }
}

impl Bucket {
    const EMPTY: Self = Self { n: 0, sum: 0.0, least: f64::INFINITY, greatest: f64::NEG_INFINITY, gaps: 0 };

    fn push(&mut self, value: f64) {
        self.add(Self { n: 1, sum: value, least: value, greatest: value, gaps: 0 });
    }

    fn add(&mut self, other: Self) {
        self.n += other.n;
        self.sum += other.sum;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
        self.gaps += other.gaps;
    }
}

impl Default for Curve {
    fn default() -> Self {
        Self { width: 1, buckets: BTreeMap::new(), stats: None, gaps: 0 }
    }
}

impl Curve {
    pub(super) fn push(&mut self, step: u64, value: Option<f64>) {
        let bucket = self.buckets.entry(step / self.width).or_insert(Bucket::EMPTY);
        match value.filter(|value| value.abs() <= MAX_DRAWN) {
            Some(value) => {
                bucket.push(value);
                let at = At { step, value };
                let stats = self.stats.get_or_insert(Stats {
                    first: at,
                    last: at,
                    least: at,
                    greatest: at,
                    n: 0,
                    sum: 0.0,
                });
                stats.last = at;
                stats.n += 1;
                stats.sum += value;
                if value < stats.least.value {
                    stats.least = at;
                }
                if stats.greatest.value < value {
                    stats.greatest = at;
                }
            }
            None => {
                bucket.gaps += 1;
                self.gaps += 1;
            }
        }
        while MAX_BUCKETS < self.buckets.len() {
            self.width *= 2;
            for (key, bucket) in std::mem::take(&mut self.buckets) {
                self.buckets.entry(key / 2).or_insert(Bucket::EMPTY).add(bucket);
            }
        }
    }

    /// Steps of one bucket.
    pub(super) fn width(&self) -> u64 {
        self.width
    }

    /// Nothing where no step has a number.
    pub(super) fn stats(&self) -> Option<Stats> {
        self.stats
    }

    /// How many steps have no number.
    pub(super) fn n_gaps(&self) -> u64 {
        self.gaps
    }

    /// The steps of buckets with a gap, and the stretches between buckets without a number.
    pub(super) fn drawn(&self) -> (Vec<Vec<Spot>>, Vec<f64>) {
        let (mut stretches, mut gaps) = (Vec::new(), Vec::new());
        let mut stretch: Vec<Spot> = Vec::new();
        let mut before: Option<u64> = None;
        for (&key, bucket) in &self.buckets {
            let step = key as f64 * self.width as f64 + (self.width - 1) as f64 / 2.0;
            if bucket.gaps != 0 {
                gaps.push(step);
            }
            let follows = before.is_some_and(|before| before + 1 == key);
            if (!follows || bucket.n == 0) && !stretch.is_empty() {
                stretches.push(std::mem::take(&mut stretch));
            }
            if bucket.n != 0 {
                let (least, greatest) = (bucket.least, bucket.greatest);
                stretch.push(Spot { step, least, mean: bucket.sum / bucket.n as f64, greatest });
            }
            before = Some(key);
        }
        if !stretch.is_empty() {
            stretches.push(stretch);
        }
        (stretches, gaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_steps_are_a_few_hundred_spots_and_no_spike_is_lost() {
        let mut curve = Curve::default();
        for step in 0..1_000_000 {
            curve.push(step, Some(if step == 777_777 { 99.0 } else { 1.0 }));
        }
        let (stretches, gaps) = curve.drawn();
        assert_eq!((stretches.len(), gaps.len()), (1, 0));
        assert!((150..=MAX_BUCKETS).contains(&stretches[0].len()), "{}", stretches[0].len());
        assert_eq!(curve.stats().unwrap().greatest, At { step: 777_777, value: 99.0 });
        let spikes: Vec<_> = stretches[0].iter().filter(|spot| 1.0 < spot.greatest).collect();
        assert_eq!(spikes.len(), 1);
        assert!((spikes[0].step - 777_777.0).abs() <= curve.width() as f64);
        assert_eq!((spikes[0].least, spikes[0].greatest), (1.0, 99.0));
    }

    #[test]
    fn what_is_no_number_is_a_gap() {
        let mut curve = Curve::default();
        for (step, value) in
            [Some(1.0), None, Some(f64::NAN), Some(3.0), Some(f64::INFINITY)].iter().enumerate()
        {
            curve.push(step as u64, *value);
        }
        let (stretches, gaps) = curve.drawn();
        assert_eq!(stretches.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(gaps, [1.0, 2.0, 4.0]);
        assert_eq!(curve.n_gaps(), 3);
        assert_eq!(curve.stats().unwrap().mean().to_string(), "2");
        let mut empty = Curve::default();
        empty.push(0, None);
        assert_eq!((empty.stats(), empty.drawn().0.len()), (None, 0));
    }

    #[test]
    fn steps_that_are_missing_part_the_line() {
        let mut curve = Curve::default();
        for step in [0, 1, 5, u64::MAX] {
            curve.push(step, Some(1.0));
        }
        assert_eq!(curve.drawn().0.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
    }
}
