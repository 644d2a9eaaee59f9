use std::path::PathBuf;

use clap::Args;
use prep::shards::{Dataset, Lengths, Summary};

use super::Common;
use super::output::{self, Outcome, count, fields, table};
use super::reproduce::{Steps, batch_json, describe};

/// Show what is in a dataset, one of its batches, or where a question occurs
#[derive(Args)]
pub(super) struct Inspect {
    /// Dataset directory
    dataset: PathBuf,
    /// Show the batch at this step (or at steps N..M, without M)
    #[arg(long, value_name = "N[..M]", conflicts_with = "query")]
    step: Option<Steps>,
    /// Show the steps and rows where a question occurs: an id of `corpus/queries`, or of a group
    #[arg(long, value_name = "ID")]
    query: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Inspect {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let progress = self.common.start()?;
        let dataset = Dataset::open(&self.dataset)?;
        let json = self.common.json;
        if let Some(Steps(steps)) = self.step {
            let batches = prep::shards::reproduce(&dataset, steps, &progress)?;
            return Ok(Outcome::done(if json {
                output::json(&batches.iter().map(batch_json).collect::<Vec<_>>())
            } else {
                batches.iter().map(describe).collect::<Vec<_>>().join("\n")
            }));
        }
        if let Some(id) = &self.query {
            let found = prep::shards::occurrences(&dataset, id, &progress)?;
            if json {
                return Ok(Outcome::done(output::json(&found)));
            }
            let rows: Vec<_> = found
                .iter()
                .map(|o| {
                    vec![
                        o.query_id.clone(),
                        o.step.to_string(),
                        o.row.to_string(),
                        o.source.clone(),
                        o.pool.clone(),
                        o.positive_id.clone(),
                    ]
                })
                .collect();
            let text = table(&["query", "step", "row", "source", "pool", "positive"], &rows);
            return Ok(Outcome::done(format!(
                "{text}{} rows in {} batches\n",
                rows.len(),
                dataset.plan().steps()
            )));
        }
        let summary = prep::shards::summary(&dataset, &progress)?;
        Ok(Outcome::done(if json { output::json(&summary) } else { describe_summary(&summary) }))
    }
}

fn describe_summary(summary: &Summary) -> String {
    let sizes: Vec<u64> = summary.pools.values().copied().collect();
    let range = match (sizes.iter().min(), sizes.iter().max()) {
        (Some(min), Some(max)) => format!("{} of {} to {} examples", sizes.len(), count(*min), count(*max)),
        _ => "none".to_owned(),
    };
    let split =
        if summary.eval_is_trained_on { "none: everything is in train and eval" } else { "train and eval" };
    let mut text = fields(&[
        ("id", summary.dataset_id.to_string()),
        ("groups", count(summary.groups)),
        ("split", split.to_owned()),
        ("batches", format!("{} of {} rows", count(summary.steps), summary.batch_size)),
        ("pools", range),
        (
            "masked pairs per batch",
            summary.masked_pairs.map_or("unknown: train/ is gone".to_owned(), |l| lengths(&l)),
        ),
        ("rejects", output::reasons(&summary.rejects)),
        ("size", output::bytes(summary.bytes)),
    ]);
    let rows: Vec<_> = summary
        .languages
        .iter()
        .map(|(lang, l)| {
            vec![
                lang.clone(),
                count(l.queries),
                count(l.eval_queries),
                lengths(&l.query_chars),
                count(l.passages),
                count(l.eval_passages),
                lengths(&l.passage_chars),
            ]
        })
        .collect();
    text.push('\n');
    text.push_str(&table(
        &["language", "queries", "in eval", "characters", "passages", "in eval", "characters"],
        &rows,
    ));
    text.push_str("  characters: smallest, middle, 95th percentile, greatest; mean\n\n");
    let rows: Vec<_> = summary
        .batches
        .iter()
        .map(|(name, n)| {
            let share = if summary.steps == 0 { 0.0 } else { *n as f64 * 100.0 / summary.steps as f64 };
            vec![name.clone(), count(*n), format!("{share:.1} %")]
        })
        .collect();
    text.push_str(&table(&["source", "batches", "share"], &rows));
    text
}

fn lengths(l: &Lengths) -> String {
    format!("{} {} {} {}; {:.1}", l.min, l.median, l.p95, l.max, l.mean)
}
