use std::fs;
use std::path::PathBuf;

use clap::Args;
use prep::Error;
use serde_json::json;

use super::Common;
use super::output::{self, Outcome, bytes, fields};

/// Make a page of datasets, runs and evaluations
///
/// One HTML file with everything in it, for any browser: what the datasets are, the curves of the runs, mAP by language,
/// means with intervals. Several of a kind stand side by side. The same files give the same bytes.
#[derive(Args)]
pub(super) struct Report {
    /// Dataset directories, folders of `prep train`, files with the output of `prep eval --json`
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// File to write; one that is there is replaced, once the page is complete
    #[arg(long, short, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    #[command(flatten)]
    common: Common,
}

impl Report {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let progress = self.common.start()?;
        self.check_out()?;
        let report = prep::report::Report::read(&self.paths, &progress)?;
        let n_bytes = report.write(&self.out)?;
        drop(progress);
        let (datasets, runs, evaluations) = (report.n_datasets(), report.n_runs(), report.n_evaluations());
        Ok(Outcome::done(if self.common.json {
            output::json(&json!({
                "out": self.out.display().to_string(),
                "bytes": n_bytes,
                "datasets": datasets,
                "runs": runs,
                "evaluations": evaluations,
            }))
        } else {
            fields(&[
                ("report", self.out.display().to_string()),
                ("datasets", datasets.to_string()),
                ("runs", runs.to_string()),
                ("evaluations", evaluations.to_string()),
                ("size", bytes(n_bytes)),
            ])
        }))
    }

    /// Before anything is read. The ending keeps a slip of the keyboard from replacing what the page is made of.
    fn check_out(&self) -> prep::Result<()> {
        let out = self.out.display();
        let found = if self.out.extension().is_none_or(|extension| extension != "html") {
            format!("`{out}` does not end in `.html`")
        } else if fs::symlink_metadata(&self.out).is_ok_and(|there| !there.is_file()) {
            format!("`{out}` is there, and is no file")
        } else {
            return Ok(());
        };
        Err(Error::Setting { key: "--out".to_owned(), found, hint: None })
    }
}
