//! Numbers and weightings as people write them, kept exact.
//!
//! A float in a pipeline is taken for the decimal that stands there: `0.1` is one tenth, not the nearest double.
//! From here to `plan.json` everything is a ratio of integers, so a plan does not depend on anyone's arithmetic.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

/// A non-negative rational number: written as a number (`0.5`, `2`) or as a fraction in quotes (`"1/3"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(num_rational::Ratio<u64>);

impl Ratio {
    /// # Panics
    /// When `denominator` is 0.
    #[must_use]
    pub fn new(numerator: u64, denominator: u64) -> Self {
        Self(num_rational::Ratio::new(numerator, denominator))
    }

    #[must_use]
    pub fn numerator(self) -> u64 {
        *self.0.numer()
    }

    #[must_use]
    pub fn denominator(self) -> u64 {
        *self.0.denom()
    }

    /// `self * n`, rounded to the nearest integer, halves up; none where that does not fit 64 bits.
    #[must_use]
    pub fn of(self, n: u64) -> Option<u64> {
        let (numerator, denominator) = (u128::from(self.numerator()), u128::from(self.denominator()));
        let product = numerator.checked_mul(n.into())?;
        let rounded_up = 2 * (product % denominator) >= denominator;
        u64::try_from(product / denominator + u128::from(rounded_up)).ok()
    }
}

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a non-negative number such as 0.5, 2 or \"1/3\"");
        if let Some((numerator, denominator)) = text.split_once('/') {
            let parse = |part: &str| part.trim().parse::<u64>().map_err(|_| bad());
            let (numerator, denominator) = (parse(numerator)?, parse(denominator)?);
            return if denominator == 0 { Err(bad()) } else { Ok(Self::new(numerator, denominator)) };
        }
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{decimals}");
        let scale = u32::try_from(decimals.len()).ok().and_then(|places| 10_u64.checked_pow(places));
        match (digits.parse::<u64>(), scale) {
            (Ok(numerator), Some(scale)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Self::new(numerator, scale))
            }
            _ => Err(bad()),
        }
    }
}

/// As an integer or a fraction, which reads back exactly.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.denominator() {
            1 => serializer.serialize_u64(self.numerator()),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RatioVisitor)
    }
}

struct RatioVisitor;

impl Visitor<'_> for RatioVisitor {
    type Value = Ratio;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a non-negative number such as 0.5, 2 or \"1/3\"")
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Ratio, E> {
        Ok(Ratio::new(v, 1))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Ratio, E> {
        v.to_string().parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Ratio, E> {
        // `{}` prints the shortest decimal that reads back as this double: what the file said.
        v.to_string().parse().map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Ratio, E> {
        v.parse().map_err(E::custom)
    }
}

impl JsonSchema for Ratio {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a non-negative number, or a fraction in quotes such as \"1/3\"",
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(/[1-9][0-9]*|\.[0-9]+)?$"}],
        })
    }
}

/// How often each language, ordered pair or dataset is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weighting {
    /// Equally often.
    Uniform,
    /// In proportion to its number of examples, n.
    Proportional,
    /// In proportion to n^(1/T): between proportional (T = 1) and uniform (T large).
    Temperature(Ratio),
    /// By these numbers, one for each name.
    Explicit(BTreeMap<String, Ratio>),
}

impl Serialize for Weighting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Uniform => serializer.serialize_str("uniform"),
            Self::Proportional => serializer.serialize_str("proportional"),
            Self::Temperature(t) => serializer.collect_str(&format_args!("temperature:{t}")),
            Self::Explicit(weights) => weights.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Weighting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WeightingVisitor)
    }
}

struct WeightingVisitor;

impl<'de> Visitor<'de> for WeightingVisitor {
    type Value = Weighting;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("\"uniform\", \"proportional\", \"temperature:T\" or a table of numbers")
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Weighting, E> {
        match v.split_once(':') {
            None if v == "uniform" => Ok(Weighting::Uniform),
            None if v == "proportional" => Ok(Weighting::Proportional),
            Some(("temperature", t)) => match t.parse::<Ratio>() {
                // Small numerators and denominators keep the exact roots affordable.
                Ok(t) if t.numerator() != 0 && t.numerator() <= 100 && t.denominator() <= 100 => {
                    Ok(Weighting::Temperature(t))
                }
                _ => Err(E::custom(format!("`{v}`: the temperature is a positive number such as 2 or 1.5"))),
            },
            _ => Err(E::invalid_value(de::Unexpected::Str(v), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Weighting, A::Error> {
        let mut weights = BTreeMap::new();
        while let Some((name, weight)) = map.next_entry()? {
            weights.insert(name, weight);
        }
        Ok(Weighting::Explicit(weights))
    }
}

impl JsonSchema for Weighting {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Weighting".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let ratio = generator.subschema_for::<Ratio>();
        json_schema!({
            "description": "uniform, proportional, temperature:T, or one number for each name",
            "anyOf": [
                {"type": "string", "pattern": r"^(uniform|proportional|temperature:[0-9./]+)$"},
                {"type": "object", "additionalProperties": ratio},
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_is_the_decimal_that_stands_in_the_file() {
        let of = |v: f64| RatioVisitor.visit_f64::<de::value::Error>(v).unwrap();
        assert_eq!(of(0.1), Ratio::new(1, 10));
        assert_eq!(of(0.35), Ratio::new(7, 20));
        assert_eq!("1/3".parse(), Ok(Ratio::new(1, 3)));
        for bad in ["-1", "1/0", "", "a", "1e3", "+2", "0.x"] {
            assert!(bad.parse::<Ratio>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_rounded_to_the_nearest_with_halves_up() {
        assert_eq!(Ratio::new(1, 5).of(48), Some(10)); // 9.6
        assert_eq!(Ratio::new(1, 2).of(5), Some(3)); // 2.5
        assert_eq!(Ratio::new(1, 5).of(2), Some(0)); // 0.4
    }
}
