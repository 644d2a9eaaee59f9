use std::path::PathBuf;

use clap::Args;
use prep::export::{Contents, ExportRequest, Format, export};
use prep::shards::{Dataset, Origin};

use super::Common;
use super::output::{self, Outcome, count, fields};
use super::reproduce::Steps;

/// Write the batches of a dataset as other frameworks read them
///
/// Batches keep their order, their rows and every column, so that what was written can be proved: `--verify` reads it
/// back and holds the digest of each batch against the dataset's. PATH appears whole or not at all. schemas/EXPORT.md
/// specifies the formats.
#[derive(Args)]
pub(super) struct Export {
    /// Dataset directory
    dataset: PathBuf,
    /// What to write
    #[arg(long, value_name = "FORMAT", value_enum)]
    to: Format,
    /// File or folder to write
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Steps A..B, without B [default: all]
    #[arg(long, value_name = "A..B")]
    steps: Option<Steps>,
    /// Hard negatives in every row, for trainers that want them, filled up with other passages of the batch that are no
    /// answers: the columns of `sentence-transformers` [default: all of the plan], at least so many of `tevatron` and
    /// `flag-embedding` [default: as they are]
    #[arg(long, value_name = "N")]
    negatives: Option<u32>,
    /// Read back what was written, and compare every batch
    #[arg(long)]
    verify: bool,
    /// Derive batches from plan and corpus instead of reading train/; for any steps
    #[arg(long = "virtual")]
    derive: bool,
    /// Replace an export that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

impl Export {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let progress = self.common.start()?;
        let dataset = Dataset::open(&self.dataset)?;
        let report = export(
            ExportRequest {
                dataset: &dataset,
                format: self.to,
                out: &self.out,
                steps: self.steps.as_ref().map(|Steps(steps)| steps),
                origin: if self.derive { Origin::Derived } else { Origin::Shards },
                negatives: self.negatives,
                verify: self.verify,
                replace: self.force,
                threads: self.common.threads(),
            },
            &progress,
        )?;
        drop(progress);
        if self.common.json {
            return Ok(Outcome::done(output::json(&report)));
        }
        let mut lines = vec![("exported", self.out.display().to_string())];
        match report.contents {
            Contents::Batches { first_step, steps, rows } => {
                lines.push(("steps", format!("{first_step}..{}", first_step + steps)));
                lines.push(("rows", count(rows)));
            }
            Contents::Evaluation { queries, passages } => {
                lines.push(("queries", count(queries)));
                lines.push(("passages", count(passages)));
            }
        }
        lines.push(("files", count(report.files)));
        lines.push(("bytes", count(report.bytes)));
        if report.verified {
            lines.push(("verified", "read back, it is what the dataset holds".to_owned()));
        }
        Ok(Outcome::done(fields(&lines)))
    }
}
