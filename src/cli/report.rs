use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
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
        let page = report.page();
        drop(progress);
        replace(&self.out, page.as_bytes())
            .with_context(|| format!("cannot write `{}`", self.out.display()))?;
        let (datasets, runs, evaluations) = (report.n_datasets(), report.n_runs(), report.n_evaluations());
        Ok(Outcome::done(if self.common.json {
            output::json(&json!({
                "out": self.out.display().to_string(),
                "bytes": page.len(),
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
                ("size", bytes(page.len() as u64)),
            ])
        }))
    }

    /// Before anything is read. The ending keeps a slip of the keyboard from replacing what the page is made of.
    fn check_out(&self) -> prep::Result<()> {
        let out = self.out.display();
        let folder = folder_of(&self.out);
        let found = if self.out.extension().is_none_or(|extension| extension != "html") {
            format!("`{out}` does not end in `.html`")
        } else if self.out.is_dir() {
            format!("`{out}` is a folder")
        } else if !folder.is_dir() {
            format!("there is no folder `{}`", folder.display())
        } else {
            return Ok(());
        };
        Err(Error::Setting { key: "--out".to_owned(), found, hint: None })
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file beside its name, hidden, flushes it, and renames it; what fails leaves nothing behind.
fn replace(path: &Path, page: &[u8]) -> std::io::Result<()> {
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    hidden.push(".partial");
    let partial = folder_of(path).join(hidden);
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(page)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&partial)))
}
