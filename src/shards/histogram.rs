//! How lengths are spread: counts in classes that are equally wide on a logarithmic scale, since texts are ten
//! characters long or ten thousand.
//!
//! The classes are fixed, so that histograms of different datasets can be laid side by side.

/// Where the classes below 10 begin: whole numbers are too far apart there for ten classes to a power of ten.
const FIRST_STARTS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 8];
/// Where they begin from 10 on, ten times as far with each further power of ten: the preferred numbers R10.
const STARTS: [u64; 10] = [10, 13, 16, 20, 25, 32, 40, 50, 63, 79];

/// How many values lie in each class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    pub(super) fn of(values: &[u64]) -> Self {
        let mut counts = Vec::new();
        for &value in values {
            let class = class_of(value);
            if counts.len() <= class {
                counts.resize(class + 1, 0);
            }
            counts[class] += 1;
        }
        Self { counts }
    }

    /// Of each class up to the last that holds a value: its first value, the first value of the next, and the number of
    /// values in it.
    pub fn classes(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.counts.iter().enumerate().map(|(class, &n)| (start_of(class), start_of(class + 1), n))
    }
}

fn start_of(class: usize) -> u64 {
    if let Some(&start) = FIRST_STARTS.get(class) {
        return start;
    }
    let class = class - FIRST_STARTS.len();
    let power = 10_u64.saturating_pow((class / STARTS.len()) as u32);
    STARTS[class % STARTS.len()].saturating_mul(power)
}

fn class_of(value: u64) -> usize {
    let mut class = 0;
    while start_of(class + 1) <= value && start_of(class + 1) < u64::MAX {
        class += 1;
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_the_class_that_is_named_for_it() {
        for value in (0..2_000).chain([10_000_000, u64::MAX]) {
            let class = class_of(value);
            assert!(start_of(class) <= value, "{value}");
            assert!(value < start_of(class + 1) || start_of(class + 1) == u64::MAX, "{value}");
        }
        let counts: Vec<_> = Histogram::of(&[0, 7, 12, 12]).classes().filter(|(.., n)| *n != 0).collect();
        assert_eq!(counts, [(0, 1, 1), (6, 8, 1), (10, 13, 2)]);
    }
}
