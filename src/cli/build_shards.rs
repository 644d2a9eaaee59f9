use std::path::{Path, PathBuf};

use clap::Args;
use prep::corpus::{EqualIds, Overlap};
use prep::pipeline::{Override, Pipeline};
use prep::remote::{Target, is_remote};
use prep::shards::{BuildReport, BuildRequest, DryRun};

use super::Common;
use super::output::{self, Outcome, bytes, count, fields};
use super::page::Page;
use super::switches::switches;

/// Build a dataset of hybrid batches from source files
///
/// Reads the corpora that the pipeline names below DATA, makes pools and a plan of them, and writes corpus, batches
/// and held-out part to OUT as sharded Parquet. The dataset appears under its name complete or not at all.
#[derive(Args)]
pub(super) struct BuildShards {
    /// Pipeline file
    #[arg(default_value = "pipelines/demo.toml")]
    pipeline: PathBuf,
    /// Folder that the paths in the pipeline start from
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Dataset directory to write, or `s3://BUCKET/PATH` [default: out/<name of the pipeline>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed, instead of the pipeline's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Hugging Face tokenizer.json, instead of the pipeline's: batches then hold token ids, too
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Set a key of the pipeline, such as `batches.strategy=x-y`; corpora by name: `corpora.xquad-r.unit=paragraph`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Print the resolved pipeline, the plan's counts, expected bytes and masked pairs, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace a dataset at OUT, once the new one is complete
    #[arg(long)]
    force: bool,
    /// Fail at the first bad record
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    common: Common,
}

impl BuildShards {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let mut pipeline = Pipeline::from_file(&self.pipeline, &self.set)?;
        pipeline.seed = self.seed.unwrap_or(pipeline.seed);
        if self.tokenizer.is_some() {
            pipeline.tokenizer = None;
        }
        let out = self.out.clone().unwrap_or_else(|| Path::new("out").join(&pipeline.name));
        // A dataset for a store is put together here, and goes there whole.
        let target = match out.to_str().filter(|out| is_remote(out) && !self.dry_run) {
            Some(url) => Some(Target::open(url, self.force)?),
            None => None,
        };
        let request = BuildRequest {
            pipeline: &pipeline,
            data: &self.data,
            out: target.as_ref().map_or(&out, |target| &target.local),
            tokenizer: self.tokenizer.as_deref(),
            replace: self.force || target.is_some(),
            strict: self.strict,
            threads: self.common.threads(),
        };
        let progress = self.common.start()?;
        if self.dry_run {
            let run = prep::shards::dry_run(request, &progress)?;
            return Ok(Outcome::done(if self.common.json {
                output::json(&run)
            } else {
                describe_dry_run(&run)
            }));
        }
        let report = prep::shards::build(request, &progress)?;
        if let Some(target) = target {
            target.publish(&progress)?;
        }
        let text = if self.common.json { output::json(&report) } else { describe(&report, &out) };
        Ok(Outcome::done(text))
    }
}

fn describe(report: &BuildReport, out: &Path) -> String {
    let mut lines = vec![
        ("dataset", out.display().to_string()),
        ("id", report.dataset_id.to_string()),
        ("queries", count(report.queries as u64)),
        ("passages", count(report.passages as u64)),
        ("batches", format!("{} ({} rows)", count(report.steps), count(report.rows))),
        ("masked pairs", count(report.masked_pairs)),
    ];
    if let Some(overlaps) = &report.overlaps {
        let seen = |overlap: &Overlap| format!("{} of {}", count(overlap.seen()), count(overlap.texts));
        let (queries, passages) = (seen(&overlaps.queries), seen(&overlaps.passages));
        let found = format!("{queries} queries and {passages} passages of eval stand in training texts");
        lines.push(("overlap", found));
    }
    lines.push(("rejects", output::reasons(&report.rejects)));
    lines.push(("size", bytes(report.bytes)));
    lines.extend(report.equal_ids.iter().map(|equal| ("equal ids", equal_ids(equal))));
    fields(&lines) + &switches(report.code_switch.as_ref(), Page::stdout())
}

/// Nobody reads rejects and masks for what they do not hold: a hint where a translation may pass for a negative.
fn equal_ids(EqualIds { corpora: [a, b], groups }: &EqualIds) -> String {
    let n = count(*groups);
    format!(
        "{n} ids are in `{a}` and `{b}`: if they are the same questions, say `shares_ids_with = \"{a}\"` of `{b}`"
    )
}

fn describe_dry_run(run: &DryRun) -> String {
    let sources: Vec<_> = run.sources.iter().map(|(name, weight)| format!("{name} {weight}")).collect();
    let pipeline = serde_json::to_string_pretty(&run.pipeline).expect("a pipeline is plain data");
    let mut counts = vec![
        ("queries", count(run.queries as u64)),
        ("passages", count(run.passages as u64)),
        ("pools", count(run.pools as u64)),
        ("sources, by weight", sources.join(", ")),
        ("batches", format!("{} ({} rows)", count(run.steps), count(run.rows))),
        ("shards", format!("{} of {} batches", count(run.shards), count(run.steps_per_shard))),
        ("text in batches", bytes(run.text_bytes)),
        ("expected bytes", format!("{} in train/", bytes(run.expected_bytes))),
        ("masked pairs", count(run.masked_pairs)),
        ("rejects", output::reasons(&run.rejects)),
    ];
    counts.extend(run.equal_ids.iter().map(|equal| ("equal ids", equal_ids(equal))));
    let counts = fields(&counts);
    format!("{pipeline}\n\n{counts}{}", switches(run.code_switch.as_ref(), Page::stdout()))
}
