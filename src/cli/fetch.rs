use std::path::PathBuf;

use clap::Args;
use prep::corpus::{Input, fetch_sources};
use prep::pipeline::{Override, Pipeline};

use super::Common;
use super::output::{self, Outcome, bytes};
use super::page::Page;
use super::table::Table;

/// Fetch the sources of a pipeline that lie elsewhere, ahead of a build
///
/// Files of `hf://datasets/ORG/NAME@REVISION/PATH` come into the cache that other programs share (`HF_HUB_CACHE`), those of
/// `s3://BUCKET/KEY` and `https://HOST/PATH` into `PREP_CACHE`, by default ~/.cache/prep. What is there is checked and not
/// fetched again; a transfer that was cut goes on. With `HF_HUB_OFFLINE=1` builds then need no network.
#[derive(Args)]
pub(super) struct Fetch {
    /// Pipeline file
    pipeline: PathBuf,
    /// Folder that the other paths in the pipeline start from
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Set a key of the pipeline, as `prep build-shards` takes it
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Override>,
    #[command(flatten)]
    common: Common,
}

impl Fetch {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let pipeline = Pipeline::from_file(&self.pipeline, &self.set)?;
        let progress = self.common.start()?;
        let inputs = fetch_sources(&pipeline, &self.data, &progress)?;
        drop(progress);
        Ok(Outcome::done(if self.common.json { output::json(&inputs) } else { describe(&inputs) }))
    }
}

fn describe(inputs: &[Input]) -> String {
    if inputs.is_empty() {
        return "all sources of this pipeline lie in the data folder\n".to_owned();
    }
    let mut table = Table::new().left("source").right("size").left("digest");
    for input in inputs {
        table.row([input.name.clone(), bytes(input.bytes), input.digest.clone()]);
    }
    table.on(Page::stdout())
}
