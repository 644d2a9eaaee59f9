use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use prep::digest::Digest;
use prep::eval::{
    Benchmark, Comparison, Difference, Embeddings, Evaluation, Measure, RECALL_AT, Run, Scores, Setting,
    standard_measures,
};
use prep::shards::{Dataset, Part};
use serde::Serialize;

use super::Common;
use super::output::{self, Outcome, count, fields, table};
use super::progress::Progress;

/// Evaluate embeddings, or a run, on the held-out part of a dataset
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
struct Report<'a> {
    dataset_id: Digest,
    splits: Part,
    ties: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    queries_in_run: Option<usize>,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'a Comparison>,
}

impl Eval {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let progress = self.common.start()?;
        let dataset = Dataset::open(&self.dataset)?;
        let part = match self.splits {
            Split::Eval => Part::Eval,
            Split::Train => Part::Train,
            Split::All => Part::All,
        };
        let benchmark = Benchmark::read(&dataset, part)?;
        let (scores, queries_in_run) = self.scores(&benchmark, &progress)?;
        if let Some(path) = &self.qrels_out {
            prep::eval::write_qrels(&benchmark, path)?;
        }
        if let Some(path) = &self.per_query {
            scores.write(&benchmark, path)?;
        }
        let evaluation = prep::eval::evaluate(&benchmark, &scores, self.seed);
        let comparison = self.compare(&benchmark, &scores, &progress)?;
        drop(progress);
        let report = Report {
            dataset_id: dataset.manifest().dataset_id,
            splits: part,
            ties: "passage id descending",
            queries_in_run,
            evaluation: &evaluation,
            comparison: comparison.as_ref(),
        };
        Ok(Outcome::done(if self.common.json { output::json(&report) } else { describe(&report) }))
    }

    /// The scores of what is evaluated; of a run, also how many queries it has.
    fn scores(&self, benchmark: &Benchmark, progress: &Progress) -> prep::Result<(Scores, Option<usize>)> {
        if let Some(path) = &self.system.trec_run {
            let run = Run::read(benchmark, path)?;
            return Ok((Scores::of_run(benchmark, &run, &self.measures()), Some(run.n_queries())));
        }
        let embeddings = Embeddings::read(benchmark, &self.system.embeddings)?;
        let scores = Scores::of_embeddings(benchmark, &embeddings, &self.measures(), progress);
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
        let cutoffs: Vec<u32> = self.k.iter().map(|k| k.get()).collect();
        let mut measures = standard_measures(&cutoffs);
        measures.extend(cutoffs.into_iter().map(Measure::ApAt));
        measures
    }

    fn compare(
        &self,
        benchmark: &Benchmark,
        scores: &Scores,
        progress: &Progress,
    ) -> prep::Result<Option<Comparison>> {
        let other = match self.against.as_slice() {
            [] => return Ok(None),
            [file] if file.extension().is_some_and(|extension| extension == "jsonl") => {
                Scores::read(benchmark, file)?
            }
            files => {
                let embeddings = Embeddings::read(benchmark, files)?;
                Scores::of_embeddings(benchmark, &embeddings, &[Measure::Ap], progress)
            }
        };
        prep::eval::compare(benchmark, scores, &other, self.seed).map(Some)
    }
}

fn describe(report: &Report) -> String {
    let evaluation = report.evaluation;
    let mut text = fields(&[
        ("dataset", report.dataset_id.to_string()),
        (
            "queries",
            format!("{} of {} groups", count(evaluation.queries as u64), count(evaluation.groups as u64)),
        ),
        (
            "passages",
            format!("{} in {} languages", count(evaluation.passages as u64), evaluation.languages.len()),
        ),
        ("ties", report.ties.to_owned()),
    ]);
    if let Some(queries) = report.queries_in_run {
        text.push_str(&format!("run       has {} of the queries\n", count(queries as u64)));
    }
    if evaluation.relevant_outside_pool != 0 {
        text.push_str(&format!(
            "left out  {} judgements of passages that are not there\n",
            count(evaluation.relevant_outside_pool)
        ));
    }
    text.push('\n');
    text.push_str(&settings(evaluation));
    text.push('\n');
    text.push_str(&matrix(evaluation));
    if let Some(comparison) = report.comparison {
        text.push('\n');
        text.push_str(&differences(comparison));
    }
    text
}

/// A line a setting: counts, then macro means.
fn settings(evaluation: &Evaluation) -> String {
    let mut header = vec!["", "cells", "queries", "unanswerable"];
    let names = evaluation.settings.values().next().map(|means| &means.means).into_iter().flatten();
    for (name, _) in names {
        header.push(name);
        if name == "mAP" {
            header.extend(["95 %", "micro"]);
        }
    }
    let rows: Vec<Vec<String>> = evaluation
        .settings
        .iter()
        .map(|(setting, means)| {
            let mut row = vec![
                format!("{setting:?}"),
                means.cells.to_string(),
                count(means.queries),
                count(means.queries_without_relevant),
            ];
            for (name, mean) in &means.means {
                row.push(number(mean.over_cells, 4));
                if name == "mAP" {
                    row.extend([interval(mean.interval, 4), number(mean.over_queries, 4)]);
                }
            }
            row
        })
        .collect();
    let mut text = table(&header, &rows);
    match &evaluation.rank_distance {
        Some(distance) => text.push_str(&format!(
            "  rank distance {}, 95 % {}, micro {}, of {} queries\n",
            number(distance.mean.over_cells, 1),
            interval(distance.mean.interval, 1),
            number(distance.mean.over_queries, 1),
            count(distance.queries),
        )),
        None => text.push_str("  rank distance unknown: it takes the ranks of all relevant passages\n"),
    }
    text
}

/// mAP by language of query (down) and passage (across): Mo on the diagonal, Cr beside it; Mul; rank distance.
fn matrix(evaluation: &Evaluation) -> String {
    let mut passage_langs: Vec<&str> = Vec::new();
    let mut query_langs: Vec<&str> = Vec::new();
    for cell in &evaluation.cells {
        query_langs.push(&cell.query_lang);
        passage_langs.extend(cell.passage_lang.as_deref());
    }
    for langs in [&mut passage_langs, &mut query_langs] {
        langs.sort_unstable();
        langs.dedup();
    }
    let map = |query: &str, passage: Option<&str>| {
        let cell = evaluation
            .cells
            .iter()
            .find(|cell| cell.query_lang == query && cell.passage_lang.as_deref() == passage);
        number(cell.and_then(|cell| cell.means.first()).and_then(|(_, mean)| *mean), 4)
    };
    let rows: Vec<Vec<String>> = query_langs
        .iter()
        .map(|query| {
            let mut row = vec![(*query).to_owned()];
            row.extend(passage_langs.iter().map(|passage| map(query, Some(passage))));
            row.push(map(query, None));
            let distance =
                evaluation.rank_distance.as_ref().and_then(|d| d.by_query_lang.get(*query).copied());
            row.push(number(distance, 1));
            row
        })
        .collect();
    let mut header = vec!["mAP"];
    header.extend(&passage_langs);
    header.extend(["all", "rank distance"]);
    let text = table(&header, &rows);
    format!("{text}  rows: language of the queries; columns: of the passages\n")
}

fn differences(comparison: &Comparison) -> String {
    let row = |name: String, d: &Difference, digits: usize| {
        vec![
            name,
            number(Some(d.this), digits),
            number(Some(d.other), digits),
            format!("{:+.digits$}", d.difference),
            interval(d.interval, digits),
            format!("{:.4}", d.p_value),
        ]
    };
    let settings =
        comparison.map.iter().map(|(setting, d): (&Setting, _)| row(format!("mAP {setting:?}"), d, 4));
    let distance = comparison.rank_distance.iter().map(|d| row("rank distance".to_owned(), d, 1));
    let rows: Vec<Vec<String>> = settings.chain(distance).collect();
    let text = table(&["", "this", "other", "difference", "95 %", "p"], &rows);
    format!(
        "{text}  p: paired randomisation test by question, {} draws\n",
        count(comparison.resamples.into())
    )
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn interval(ends: Option<[f64; 2]>, digits: usize) -> String {
    ends.map_or_else(|| "-".to_owned(), |[lo, hi]| format!("{lo:.digits$} to {hi:.digits$}"))
}
