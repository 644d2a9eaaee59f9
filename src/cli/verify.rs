use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::output::{self, Outcome, count, fields};

/// Prove a dataset: file digests, every batch derived anew and compared, the dataset id
///
/// Names the file, step and row of everything that differs; exit code 1 if anything does.
#[derive(Args)]
pub(super) struct Verify {
    /// Dataset directory
    dataset: PathBuf,
    #[command(flatten)]
    common: Common,
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let progress = self.common.start()?;
        let seen = prep::shards::verify(&self.dataset, &progress)?;
        drop(progress);
        let n = seen.findings.len();
        let failed =
            (n != 0).then(|| format!("error: {n} difference{} found", if n == 1 { "" } else { "s" }));
        if self.common.json {
            return Ok(Outcome { text: output::json(&seen), failed });
        }
        let mut text = String::new();
        for finding in &seen.findings {
            let step = finding.step.map(|step| format!(" step {step}")).unwrap_or_default();
            let row = finding.row.map(|row| format!(" row {row}")).unwrap_or_default();
            text.push_str(&format!("{}{step}{row}: {}\n", finding.path, finding.found));
        }
        if failed.is_none() {
            text.push_str(&fields(&[
                ("verified", self.dataset.display().to_string()),
                ("id", seen.dataset_id.map(|id| id.to_string()).unwrap_or_default()),
                ("files", count(seen.files as u64)),
                ("batches", count(seen.batches)),
            ]));
        }
        Ok(Outcome { text, failed })
    }
}
