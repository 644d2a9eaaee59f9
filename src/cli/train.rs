use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::Args;
use prep::model::{DeviceName, Vocabulary};
use prep::pipeline::Override;
use prep::shards::{Dataset, Origin};
use prep::train::{Settings, TrainReport, TrainRequest, starting_encoder, train};

use super::Common;
use super::output::{self, Outcome, count, fields};

/// Train an encoder on the batches of a dataset
///
/// Takes the batches in the order of their steps, with a contrastive loss in which no passage that answers a question
/// is a negative of it. RUN gets settings.toml, metrics.jsonl, events for TensorBoard, checkpoints, and at the end
/// model/, a directory that sentence-transformers and transformers load. A run that was killed goes on with --resume,
/// to the same bytes; an interruption (Ctrl-C) ends it after a step, with a checkpoint. Every setting has a key, for
/// --config and --set; the flags below are the common ones. schemas/TRAIN.md specifies all of it.
#[derive(Args)]
pub(super) struct Train {
    /// Dataset directory
    dir: PathBuf,
    /// First weights: tiny, small, base, large, static, a model's directory, or a name on the hub
    #[arg(long, value_name = "MODEL")]
    init: Option<String>,
    /// Folder of the run [default: runs/<name of DIR>]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// tokenizer.json for a preset [default: the dataset's]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Steps to train [default: as many as the dataset has]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Seed of first weights and dropout
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Peak learning rate
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,
    /// Temperature of the loss
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Encode so many texts at a time; the gradients are those of the whole batch
    #[arg(long, value_name = "N")]
    micro_batch: Option<usize>,
    /// Encode so many tokens at a time; the gradients are those of the whole batch
    #[arg(long, value_name = "N")]
    batch_tokens: Option<usize>,
    /// Evaluate on the held-out part after every N steps, and keep the best checkpoint
    #[arg(long, value_name = "N")]
    eval_every: Option<u64>,
    /// Let passages that answer a question be its negatives, to measure what the mask is worth
    #[arg(long)]
    no_mask: bool,
    /// Derive batches from plan and corpus instead of reading train/; for any number of steps
    #[arg(long = "virtual")]
    derive: bool,
    /// Where to compute: cpu, cuda, cuda:N, or several for data parallel training, such as cuda:0,cuda:1; auto is the
    /// first GPU, if this program was built for one and there is one. On a GPU the network computes in bf16, unless
    /// `model.precision` is set
    #[arg(long, value_name = "DEVICE,...", value_delimiter = ',', default_value = "auto")]
    device: Vec<DeviceName>,
    /// Go on from the last checkpoint in RUN
    #[arg(long)]
    resume: bool,
    /// TOML file of settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a key of the settings, such as `checkpoint.every=100`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Override>,
    #[command(flatten)]
    common: Common,
}

impl Train {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        static STOP: AtomicBool = AtomicBool::new(false);
        let settings = self.settings()?;
        let devices =
            self.device.iter().map(|&name| super::open_device(name)).collect::<prep::Result<Vec<_>>>()?;
        let dataset = Dataset::open(&self.dir)?;
        let tokenizer =
            self.tokenizer.clone().or_else(|| Some(self.dir.join("tokenizer.json")).filter(|p| p.is_file()));
        let vocabulary = tokenizer.map(|path| Vocabulary::read(&path)).transpose()?;
        let given = vocabulary.as_ref().map(Vocabulary::digest);
        let progress = self.common.start()?;
        let encoder = starting_encoder(&dataset, &settings, vocabulary, &progress)?;
        if let (Some(path), Some(given)) = (&self.tokenizer, given)
            && given != encoder.vocabulary().digest()
        {
            let found = format!("`{}` is not the tokenizer of `{}`", path.display(), settings.model.init);
            let hint = Some("a pretrained model keeps its own; leave `--tokenizer` out".to_owned());
            return Err(prep::Error::Setting { key: "--tokenizer".to_owned(), found, hint }.into());
        }
        let out = self.out.clone().unwrap_or_else(|| {
            let name = fs::canonicalize(&self.dir).ok().and_then(|path| path.file_name().map(PathBuf::from));
            Path::new("runs").join(name.unwrap_or_else(|| "run".into()))
        });
        ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::Relaxed) {
                // What is on disk is whole at any moment.
                std::process::exit(1);
            }
            super::complain("prep: stopping after this step; a second interruption stops at once");
        })
        .context("cannot watch for interruptions")?;
        let request = TrainRequest {
            dataset: &dataset,
            settings: &settings,
            encoder: &encoder,
            out: &out,
            resume: self.resume,
            devices: &devices,
            origin: if self.derive { Origin::Derived } else { Origin::Shards },
            stop: &STOP,
        };
        let report = train(request, &progress)?;
        drop(progress);
        let failed = (!report.finished).then(|| {
            let (steps, out) = (report.steps, out.display());
            format!(
                "error: interrupted after {steps} steps of run `{out}`\nhint: `--resume` goes on from there"
            )
        });
        let text = if self.common.json { output::json(&report) } else { describe(&report, &out) };
        Ok(Outcome { text, failed })
    }

    /// The file's settings, then `--set`, then the flags.
    fn settings(&self) -> anyhow::Result<Settings> {
        let (file, text) = match &self.config {
            None => ("settings".to_owned(), String::new()),
            Some(path) => {
                let text = fs::read_to_string(path);
                (
                    path.display().to_string(),
                    text.with_context(|| format!("cannot read `{}`", path.display()))?,
                )
            }
        };
        let mut overrides = self.set.clone();
        // TOML's integers have a sign.
        let integer =
            |n: u64| i64::try_from(n).with_context(|| format!("{n} is too large: settings end at 2^63 - 1"));
        let mut flag = |key: &str, value: Option<toml::Value>| {
            overrides.extend(value.map(|value| Override::new(key, value)));
        };
        flag("model.init", self.init.clone().map(Into::into));
        flag("steps", self.steps.map(integer).transpose()?.map(Into::into));
        flag("seed", self.seed.map(integer).transpose()?.map(Into::into));
        flag("optimizer.learning_rate", self.lr.map(Into::into));
        flag("eval.every", self.eval_every.map(integer).transpose()?.map(Into::into));
        flag("loss.temperature", self.temperature.map(Into::into));
        flag("loss.mask", self.no_mask.then_some(false).map(Into::into));
        flag("batch.micro_batch", self.micro_batch.map(|n| integer(n as u64)).transpose()?.map(Into::into));
        flag("batch.tokens", self.batch_tokens.map(|n| integer(n as u64)).transpose()?.map(Into::into));
        Ok(Settings::from_toml(&file, &text, &overrides)?)
    }
}

fn describe(report: &TrainReport, out: &Path) -> String {
    let done = if report.finished { "finished" } else { "interrupted" };
    let mut parameters = count(report.n_parameters as u64);
    if report.n_frozen != 0 {
        parameters.push_str(&format!(", of which {} frozen", count(report.n_frozen as u64)));
    }
    let devices: Vec<String> = report.devices.iter().map(DeviceName::to_string).collect();
    let mut lines = vec![
        ("run", out.display().to_string()),
        ("device", format!("{}, {}", devices.join(","), report.precision)),
        ("steps", format!("{} ({done})", count(report.steps))),
        ("parameters", parameters),
        ("examples/s", format!("{:.1}", report.examples_per_sec)),
        ("tokens/s", format!("{:.0}", report.tokens_per_sec)),
        ("waiting", format!("{:.1} % of the time", 100.0 * report.wait_fraction)),
    ];
    let mut by_op: Vec<(&str, f64)> =
        report.seconds_by_op.iter().map(|(op, secs)| (*op, secs.iter().sum())).collect();
    by_op.sort_by(|a, b| b.1.total_cmp(&a.1));
    let share = |(op, secs): &(&str, f64)| format!("{op} {:.0} %", 100.0 * secs / report.secs);
    if !by_op.is_empty() && 0.0 < report.secs {
        lines.push(("time", by_op.iter().take(5).map(share).collect::<Vec<_>>().join(", ")));
    }
    if let Some(last) = &report.last {
        lines.push(("last loss", format!("{:.4}", last.loss)));
    }
    fields(&lines)
}
