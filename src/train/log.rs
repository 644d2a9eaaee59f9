//! What a run says as it goes: `metrics.jsonl`, one line a step, `evaluations.jsonl`, one line an evaluation, and the same
//! for TensorBoard.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::checkpoint;
use super::events::EventFile;
use super::validation::Validated;
use crate::error::{Error, Result};

const METRICS: &str = "metrics.jsonl";
const EVALUATIONS: &str = "evaluations.jsonl";

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    pub step: u64,
    pub loss: f64,
    pub learning_rate: f64,
    /// Of all gradients together, before clipping.
    pub gradient_norm: f64,
    pub examples_per_sec: f64,
    /// Tokens of texts; there is no padding.
    pub tokens_per_sec: f64,
    pub masked_pairs: u64,
    /// Of the step's time, spent waiting for its batch.
    pub wait_fraction: f64,
}

/// The logs of a run, open to be continued.
pub(super) struct Log {
    metrics: BufWriter<File>,
    events: EventFile,
    flushed: Instant,
}

/// What a log may hold back: whoever watches a run sees it move.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

impl Log {
    /// Opens the logs; lines of steps from `steps` on, which a resumed run will take again, are cut off.
    pub(super) fn open(run: &Path, steps: u64) -> Result<Self> {
        keep_lines(&run.join(METRICS), |known: StepMetrics| known.step < steps)?;
        keep_lines(&run.join(EVALUATIONS), |known: Validated| known.steps <= steps)?;
        let file = append_to(&run.join(METRICS))?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let mut events = EventFile::create(&run.join(format!("events.out.tfevents.{started}.prep.{steps}")))?;
        events.restart(steps)?;
        Ok(Self { metrics: BufWriter::new(file), events, flushed: Instant::now() })
    }

    pub(super) fn step(&mut self, run: &Path, metrics: &StepMetrics) -> Result<()> {
        let line = serde_json::to_string(metrics).expect("plain data");
        writeln!(self.metrics, "{line}").map_err(Error::io("write", &run.join(METRICS)))?;
        self.events.scalars(
            metrics.step,
            &[
                ("train/loss", metrics.loss),
                ("train/learning_rate", metrics.learning_rate),
                ("train/gradient_norm", metrics.gradient_norm),
                ("train/tokens_per_sec", metrics.tokens_per_sec),
                ("train/examples_per_sec", metrics.examples_per_sec),
                ("train/masked_pairs", metrics.masked_pairs as f64),
                ("train/wait_fraction", metrics.wait_fraction),
            ],
        )?;
        if FLUSH_AFTER <= self.flushed.elapsed() {
            self.flush(run)?;
        }
        Ok(())
    }

    /// An evaluation, which stands under the last step that the encoder has seen.
    pub(super) fn validated(&mut self, run: &Path, validated: &Validated) -> Result<()> {
        let path = run.join(EVALUATIONS);
        let line = serde_json::to_string(validated).expect("plain data");
        writeln!(append_to(&path)?, "{line}").map_err(Error::io("write", &path))?;
        let tags = validated.map.named().map(|(name, value)| (format!("eval/{name}"), value));
        let tags: Vec<(String, f64)> = tags.collect();
        let scalars: Vec<(&str, f64)> = tags.iter().map(|(tag, value)| (tag.as_str(), *value)).collect();
        self.events.scalars(validated.steps - 1, &scalars)
    }

    pub(super) fn flush(&mut self, run: &Path) -> Result<()> {
        self.flushed = Instant::now();
        self.metrics.flush().map_err(Error::io("write", &run.join(METRICS)))?;
        self.events.flush()
    }
}

/// What the log of a run says.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// In order.
    pub steps: Vec<StepMetrics>,
    /// Lines that are no step: cut short by a crash, or damaged.
    pub unread_lines: usize,
}

/// The log of a run; empty where it has none.
///
/// # Errors
/// [`Error::Io`] when the log cannot be read.
pub fn read_metrics(run: &Path) -> Result<Metrics> {
    let path = run.join(METRICS);
    if !path.is_file() {
        return Ok(Metrics::default());
    }
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let read: Vec<Option<StepMetrics>> = lines.map(|line| serde_json::from_slice(line).ok()).collect();
    let unread_lines = read.iter().filter(|line| line.is_none()).count();
    Ok(Metrics { steps: read.into_iter().flatten().collect(), unread_lines })
}

fn append_to(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("open", path))
}

/// Cuts a file of JSON lines, where there is one, down to those that are kept. A line that a crash has cut short is of a
/// step that will be taken again.
fn keep_lines<T: DeserializeOwned>(path: &Path, keep: impl Fn(T) -> bool) -> Result<()> {
    if !path.is_file() {
        return Ok(());
    }
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut kept = String::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(Error::io("read", path))?;
        if serde_json::from_str(&line).is_ok_and(&keep) {
            kept.push_str(&line);
            kept.push('\n');
        }
    }
    checkpoint::replace(path, kept.as_bytes())
}
