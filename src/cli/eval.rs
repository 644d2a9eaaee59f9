use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use candle_core::Device;
use clap::{Args, ValueEnum};
use prep::Error;
use prep::digest::Digest;
use prep::eval::{
    Benchmark, Comparison, Embeddings, Evaluation, Measure, RECALL_AT, Run, Scores, standard_measures,
};
use prep::model::{Compute, DeviceName, HeadSource, Precision};
use prep::shards::{Dataset, Part};
use serde::Serialize;

use super::output::{self, Outcome};
use super::page::Page;
use super::progress::Progress;
use super::{Common, eval_text};

/// Evaluate a model, embeddings or a run on the held-out part of a dataset
///
/// Ranks all passages for every query, at full depth, and prints mAP within each language (Mo), from each language
/// into each other (Cr) and among all (Mul), recall, nDCG@10, MRR@10 and rank distance, with 95 % bootstrap intervals.
/// The score of a query and a passage is the dot product (f32) of their rows; equal scores are ranked by passage id,
/// descending. schemas/EVAL.md specifies all of it.
#[derive(Args)]
#[command(after_long_help = EMBEDDINGS_HELP)]
pub(super) struct Eval {
    /// Dataset directory
    dataset: PathBuf,
    #[command(flatten)]
    system: System,
    /// Part of the dataset to evaluate on
    #[arg(long, value_name = "PART", value_enum, default_value = "eval")]
    splits: Split,
    /// Cut-offs: recall at each, and AP@K (divided by min(relevant, K)) [default: recall at 1,10,100]
    #[arg(long, value_name = "K,...", value_delimiter = ',')]
    k: Vec<NonZero<u32>>,
    /// Test the difference to other embeddings, or to what `--per-query` wrote for them (.jsonl)
    #[arg(long, value_name = "FILES", num_args = 1..=2)]
    against: Vec<PathBuf>,
    /// Where to encode and rank: cpu, cuda or cuda:N; auto is the first GPU, if this program was built for one and there
    /// is one. The ranks of the same vectors are the same everywhere
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceName,
    /// What to encode in; bf16 is for a GPU, and rounds vectors to three digits
    #[arg(long, value_enum, value_name = "PRECISION", default_value = "f32")]
    precision: Precision,
    /// Seed of intervals and test
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Write what each query scores in each pool, a line of JSON each
    #[arg(long, value_name = "FILE")]
    per_query: Option<PathBuf>,
    /// Write the ranking over all languages as a TREC run
    #[arg(long, value_name = "FILE", conflicts_with = "trec_run")]
    run_out: Option<PathBuf>,
    /// Passages of each query in `--run-out`
    #[arg(long, value_name = "N", default_value = "1000", requires = "run_out")]
    run_depth: NonZero<u32>,
    /// Write the vectors as one file for `--embeddings`, such as X.safetensors
    #[arg(long, value_name = "FILE", conflicts_with = "trec_run")]
    embeddings_out: Option<PathBuf>,
    /// Write the judgements as TREC qrels, by query
    #[arg(long, value_name = "FILE")]
    qrels_out: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// What is evaluated.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct System {
    /// Encoder: a directory of sentence-transformers or transformers, such as RUN/model, or a name on the hub
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Embeddings: one file with both, or two files, queries first
    #[arg(long, value_name = "FILES", num_args = 1..=2)]
    embeddings: Vec<PathBuf>,
    /// TREC run; what it does not have is not found
    #[arg(long, value_name = "FILE")]
    trec_run: Option<PathBuf>,
}

const EMBEDDINGS_HELP: &str = "\
Embeddings:
  One file:   X.safetensors with tensors `queries` and `passages`; their ids, one a line, in its metadata under
              `query_ids` and `passage_ids`, or in X.query_ids.txt and X.passage_ids.txt
  Two files:  X.npy, or X.safetensors with one tensor; ids, one a line, in X.ids.txt (safetensors: or in the metadata
              under `ids`)
  Rows are in any order, f16, bf16 (safetensors), f32 or f64, and are not normalised. They must be those of the part
  that is evaluated: its query_id and passage_id columns.";

#[derive(Clone, Copy, ValueEnum)]
enum Split {
    /// What was held out (eval/); without a split, everything
    Eval,
    /// What may be trained on
    Train,
    /// The whole corpus
    All,
}

/// What `--json` prints.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    pub(super) dataset_id: Digest,
    pub(super) splits: Part,
    /// Whether batches may hold what is evaluated.
    pub(super) eval_is_trained_on: bool,
    pub(super) ties: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queries_in_run: Option<usize>,
    #[serde(flatten)]
    pub(super) evaluation: &'a Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) comparison: Option<&'a Comparison>,
}

impl Eval {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let device = super::open_device(self.device)?;
        let progress = self.common.start()?;
        let dataset = Dataset::open(&self.dataset)?;
        let part = match self.splits {
            Split::Eval => Part::Eval,
            Split::Train => Part::Train,
            Split::All => Part::All,
        };
        if let Some(path) = &self.embeddings_out
            && path.extension().is_none_or(|extension| extension != "safetensors")
        {
            let found = format!("`{}` does not end in `.safetensors`", path.display());
            let hint = Some("`--embeddings` knows the format of a file by its name".to_owned());
            return Err(Error::Setting { key: "--embeddings-out".to_owned(), found, hint }.into());
        }
        let outputs = [
            ("--per-query", &self.per_query),
            ("--run-out", &self.run_out),
            ("--embeddings-out", &self.embeddings_out),
            ("--qrels-out", &self.qrels_out),
        ];
        // Now rather than after an hour of encoding.
        for (key, path) in outputs {
            let folder = path.as_deref().and_then(Path::parent).filter(|folder| *folder != Path::new(""));
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                let found = format!("there is no folder `{}`", folder.display());
                return Err(Error::Setting { key: key.to_owned(), found, hint: None }.into());
            }
        }
        let benchmark = Benchmark::read(&dataset, part)?;
        let (scores, queries_in_run) = self.scores(&benchmark, &device, &progress)?;
        if let Some(path) = &self.qrels_out {
            prep::eval::write_qrels(&benchmark, path)?;
        }
        if let Some(path) = &self.per_query {
            scores.write(&benchmark, path)?;
        }
        let evaluation = prep::eval::evaluate(&benchmark, &scores, self.seed);
        let comparison = self.compare(&benchmark, &scores, &device, &progress)?;
        drop(progress);
        let report = Report {
            dataset_id: dataset.manifest().dataset_id,
            eval_is_trained_on: part != Part::Eval || dataset.manifest().eval_is_trained_on,
            splits: part,
            ties: "passage id descending",
            queries_in_run,
            evaluation: &evaluation,
            comparison: comparison.as_ref(),
        };
        Ok(Outcome::done(if self.common.json {
            output::json(&report)
        } else {
            eval_text::describe(&report, Page::stdout())
        }))
    }

    /// The scores of what is evaluated; of a run, also how many queries it has.
    fn scores(
        &self,
        benchmark: &Benchmark,
        device: &Device,
        progress: &Progress,
    ) -> prep::Result<(Scores, Option<usize>)> {
        if let Some(path) = &self.system.trec_run {
            let run = Run::read(benchmark, path)?;
            return Ok((Scores::of_run(benchmark, &run, &self.measures()), Some(run.n_queries())));
        }
        let embeddings = match &self.system.model {
            Some(model) => {
                let encoder = prep::model::open(model, HeadSource::Described, progress)?;
                let compute = Compute::new(device.clone(), self.precision, "--precision")?;
                prep::eval::encode(benchmark, &encoder.on(&compute)?, progress)?
            }
            None => Embeddings::read(benchmark, &self.system.embeddings)?,
        };
        if let Some(path) = &self.embeddings_out {
            embeddings.write(benchmark, path)?;
        }
        let scores = Scores::of_embeddings(benchmark, &embeddings, &self.measures(), device, progress)?;
        if let Some(path) = &self.run_out {
            let depth = self.run_depth.get() as usize;
            prep::eval::write_run(benchmark, &embeddings, path, depth, progress)?;
        }
        Ok((scores, None))
    }

    fn measures(&self) -> Vec<Measure> {
        if self.k.is_empty() {
            return standard_measures(&RECALL_AT);
        }
        let cutoffs: BTreeSet<u32> = self.k.iter().map(|k| k.get()).collect();
        let cutoffs: Vec<u32> = cutoffs.into_iter().collect();
        let mut measures = standard_measures(&cutoffs);
        measures.extend(cutoffs.into_iter().map(Measure::ApAt));
        measures
    }

    fn compare(
        &self,
        benchmark: &Benchmark,
        scores: &Scores,
        device: &Device,
        progress: &Progress,
    ) -> prep::Result<Option<Comparison>> {
        let other = match self.against.as_slice() {
            [] => return Ok(None),
            [file] if file.extension().is_some_and(|extension| extension == "jsonl") => {
                Scores::read(benchmark, file)?
            }
            files => {
                let embeddings = Embeddings::read(benchmark, files)?;
                Scores::of_embeddings(benchmark, &embeddings, &[Measure::Ap], device, progress)?
            }
        };
        prep::eval::compare(benchmark, scores, &other, self.seed).map(Some)
    }
}
