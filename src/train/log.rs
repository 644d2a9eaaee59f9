//! What a run says as it goes: `metrics.jsonl`, one line a step, and the same for TensorBoard.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::checkpoint;
use super::events::EventFile;
use crate::error::{Error, Result};

const METRICS: &str = "metrics.jsonl";

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
        let path = run.join(METRICS);
        if path.is_file() {
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            let mut kept = String::new();
            for line in BufReader::new(file).lines() {
                let line = line.map_err(Error::io("read", &path))?;
                // A line that a crash has cut short is of a step that will be taken again.
                let known = serde_json::from_str::<StepMetrics>(&line).is_ok_and(|known| known.step < steps);
                if known {
                    kept.push_str(&line);
                    kept.push('\n');
                }
            }
            checkpoint::replace(&path, kept.as_bytes())?;
        }
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
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

    /// Other numbers of a step, such as those of an evaluation, for TensorBoard.
    pub(super) fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<()> {
        self.events.scalars(step, scalars)
    }

    pub(super) fn flush(&mut self, run: &Path) -> Result<()> {
        self.flushed = Instant::now();
        self.metrics.flush().map_err(Error::io("write", &run.join(METRICS)))?;
        self.events.flush()
    }
}
