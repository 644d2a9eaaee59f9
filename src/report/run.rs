//! The folder of a run, read once and in little memory: its settings, its curves, some of its lines.
//!
//! `schemas/TRAIN.md`, section 6, says what the files hold. The trainer writes no step without a number, but others
//! write the same files: `null`, `NaN`, a field that is missing and a line that a crash has cut are gaps.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::curve::Curve;
use crate::error::{Error, Result};

pub(super) const METRICS: &str = "metrics.jsonl";
const EVALUATIONS: &str = "evaluations.jsonl";
pub(super) const SETTINGS: &str = "settings.toml";
/// Lines that are kept for the table, at most.
const MAX_LINES: usize = 24;

/// What a report says of a run.
pub(super) struct RunReport {
    /// Steps with a line.
    pub(super) n_steps: u64,
    pub(super) loss: Curve,
    pub(super) learning_rate: Curve,
    pub(super) gradient_norm: Curve,
    pub(super) tokens_per_sec: Curve,
    /// At even distances, and the last.
    pub(super) lines: Vec<Line>,
    pub(super) evaluations: Vec<Validated>,
    /// By dotted key.
    pub(super) settings: BTreeMap<String, String>,
    /// Lines that are no JSON of a step.
    pub(super) n_unreadable: u64,
}

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Line {
    pub(super) step: u64,
    pub(super) loss: Option<f64>,
    pub(super) learning_rate: Option<f64>,
    pub(super) gradient_norm: Option<f64>,
    pub(super) masked_pairs: Option<u64>,
    pub(super) examples_per_sec: Option<f64>,
    pub(super) tokens_per_sec: Option<f64>,
    pub(super) wait_fraction: Option<f64>,
}

/// A line of `evaluations.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Validated {
    pub(super) steps: u64,
    pub(super) map_mo: Option<f64>,
    pub(super) map_cr: Option<f64>,
    pub(super) map_mul: Option<f64>,
}

impl Validated {
    /// mAP of Mo, Cr and Mul, those that there are.
    pub(super) fn maps(&self) -> [Option<f64>; 3] {
        [self.map_mo, self.map_cr, self.map_mul]
    }

    /// What the trainer calls the best has the greatest of these.
    pub(super) fn mean(&self) -> Option<f64> {
        let maps: Vec<f64> = self.maps().into_iter().flatten().collect();
        (!maps.is_empty()).then(|| maps.iter().sum::<f64>() / maps.len() as f64)
    }
}

impl RunReport {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut run = Self {
            n_steps: 0,
            loss: Curve::default(),
            learning_rate: Curve::default(),
            gradient_norm: Curve::default(),
            tokens_per_sec: Curve::default(),
            lines: Vec::new(),
            evaluations: Vec::new(),
            settings: settings(&root.join(SETTINGS))?,
            n_unreadable: 0,
        };
        let mut kept = Kept::default();
        let unreadable = each_line(&root.join(METRICS), |line: Line| {
            run.n_steps += 1;
            run.loss.push(line.step, line.loss);
            run.learning_rate.push(line.step, line.learning_rate);
            run.gradient_norm.push(line.step, line.gradient_norm);
            run.tokens_per_sec.push(line.step, line.tokens_per_sec);
            kept.push(line);
        })?;
        run.lines = kept.finish();
        run.n_unreadable =
            unreadable + each_line(&root.join(EVALUATIONS), |line| run.evaluations.push(line))?;
        Ok(run)
    }

    /// The earliest evaluation with the greatest mean mAP.
    pub(super) fn best(&self) -> Option<(&Validated, f64)> {
        let scored = self.evaluations.iter().filter_map(|e| Some((e, e.mean()?)));
        scored.reduce(|best, next| if best.1 < next.1 { next } else { best })
    }
}

/// Lines at even distances: every second one is dropped whenever there are too many.
#[derive(Default)]
struct Kept {
    lines: Vec<Line>,
    last: Option<Line>,
    /// Lines between two that are kept: a power of two.
    distance: u64,
    n_seen: u64,
}

impl Kept {
    fn push(&mut self, line: Line) {
        if self.n_seen.is_multiple_of(self.distance.max(1)) {
            self.lines.push(line.clone());
        }
        if MAX_LINES < self.lines.len() {
            self.distance = self.distance.max(1) * 2;
            let mut n = 0;
            self.lines.retain(|_| {
                n += 1;
                n % 2 == 1
            });
        }
        self.last = Some(line);
        self.n_seen += 1;
    }

    fn finish(mut self) -> Vec<Line> {
        let last = self.last.filter(|last| self.lines.last().is_none_or(|line| line.step != last.step));
        self.lines.extend(last);
        self.lines
    }
}

/// Reads a file of JSON lines, where there is one; returns how many cannot be read.
fn each_line<T: DeserializeOwned>(path: &Path, mut take: impl FnMut(T)) -> Result<u64> {
    if !path.is_file() {
        return Ok(0);
    }
    let mut reader = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
    let (mut line, mut n_unreadable) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut line).map_err(Error::io("read", path))? != 0 {
        let text = String::from_utf8_lossy(&line);
        match serde_json::from_str(&text).or_else(|_| serde_json::from_str(&without_nan(&text))) {
            Ok(value) => take(value),
            Err(_) if text.trim().is_empty() => {}
            Err(_) => n_unreadable += 1,
        }
        line.clear();
    }
    Ok(n_unreadable)
}

/// Python writes what is no number as words that JSON does not know.
fn without_nan(line: &str) -> String {
    line.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")
}

/// The settings by dotted key; of a run that was begun by another program there may be none.
fn settings(path: &Path) -> Result<BTreeMap<String, String>> {
    if !path.is_file() {
        return Ok(BTreeMap::new());
    }
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let table: Table = text.parse().map_err(|e: toml::de::Error| {
        Error::report(path, format!("not the settings of a run: {}", e.message()))
    })?;
    let mut leaves = BTreeMap::new();
    collect_leaves("", &table, &mut leaves);
    Ok(leaves)
}

fn collect_leaves(before: &str, table: &Table, leaves: &mut BTreeMap<String, String>) {
    for (name, value) in table {
        let key = format!("{before}{name}");
        match value {
            Value::Table(inner) => collect_leaves(&format!("{key}."), inner, leaves),
            Value::String(text) => drop(leaves.insert(key, text.clone())),
            leaf => drop(leaves.insert(key, leaf.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_lines_are_evenly_apart_and_end_with_the_last() {
        let mut kept = Kept::default();
        for step in 0..1_000_001 {
            kept.push(serde_json::from_str(&format!("{{\"step\":{step}}}")).unwrap());
        }
        let steps: Vec<u64> = kept.finish().iter().map(|line| line.step).collect();
        assert!((MAX_LINES / 2..=MAX_LINES + 1).contains(&steps.len()), "{steps:?}");
        assert_eq!((steps[0], steps[1] * 2, steps.last()), (0, steps[2], Some(&1_000_000)));
    }
}
