//! Numbers as people read them: digits in groups, as many as matter, sizes with units.

/// What stands where there is no number.
pub(crate) const NONE: &str = "–";

/// Digits in groups of three.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i != 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many digits behind the point, and the whole part in groups of three.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let is_zero = text.bytes().all(|b| matches!(b, b'0' | b'.'));
    let sign = if value < 0.0 && !is_zero { "−" } else { "" };
    match whole.parse() {
        Ok(whole) => format!("{sign}{}{rest}", count(whole)),
        Err(_) => format!("{value:.digits$e}"),
    }
}

pub(crate) fn fixed_or_none(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| fixed(value, digits))
}

/// `a to b`.
pub(crate) fn interval(ends: Option<[f64; 2]>, digits: usize) -> String {
    ends.map_or_else(|| NONE.to_owned(), |[lo, hi]| format!("{} to {}", fixed(lo, digits), fixed(hi, digits)))
}

/// Four significant digits.
pub(crate) fn significant(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if (1000.0..1e9).contains(&size) {
        fixed(value, 0)
    } else if (1e-3..1000.0).contains(&size) {
        fixed(value, (3 - size.log10().floor() as i32).max(0) as usize)
    } else {
        format!("{value:.3e}").replace('-', "−")
    }
}

/// A size in bytes, to three digits.
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while 1024.0 <= value && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{n} B"),
        _ if value < 10.0 => format!("{value:.2} {}", UNITS[unit]),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// `1 batch`, `2 batches`.
pub(crate) fn of(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 13_090, 1_000_000].map(count).join(" "), "0 999 1,000 13,090 1,000,000");
        assert_eq!([0, 1023, 1024, 1_500_000].map(bytes).join(" "), "0 B 1023 B 1.00 KiB 1.43 MiB");
        assert_eq!(fixed(-1234.56, 1), "−1,234.6");
        assert_eq!(fixed(-0.00001, 2), "0.00");
        assert_eq!(fixed_or_none(None, 2), "–");
        let values = [0.0, 2.675_597, 0.000_066_67, 0.05, 138_868.9, 12.345, -4e12];
        assert_eq!(values.map(significant).join(" "), "0 2.676 6.667e−5 0.05000 138,869 12.35 −4.000e12");
    }
}
