use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use prep::shards::{Dataset, Lengths, Occurrence, Summary};

use super::Common;
use super::output::{self, Outcome, count};
use super::page::Page;
use super::reproduce::{Steps, batch_json, describe};
use super::switches::switches;
use super::table::Table;

/// Sources of a plan that are drawn from all languages or pairs of them.
const OF_ALL_LANGUAGES: [&str; 2] = ["x-x", "x-y"];

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
        let (json, page) = (self.common.json, Page::stdout());
        if let Some(Steps(steps)) = self.step {
            let batches = prep::shards::reproduce(&dataset, steps, &progress)?;
            return Ok(Outcome::done(if json {
                output::json(&batches.iter().map(batch_json).collect::<Vec<_>>())
            } else {
                describe(&batches, page)
            }));
        }
        if let Some(id) = &self.query {
            let found = prep::shards::occurrences(&dataset, id, &progress)?;
            return Ok(Outcome::done(if json {
                output::json(&found)
            } else {
                describe_occurrences(&found, dataset.plan().steps(), page)
            }));
        }
        let summary = prep::shards::summary(&dataset, &progress)?;
        Ok(Outcome::done(if json { output::json(&summary) } else { describe_summary(&summary, page) }))
    }
}

fn describe_occurrences(found: &[Occurrence], steps: u64, page: Page) -> String {
    let mut table =
        Table::new().right("step").right("row").left("source").left("pool").left("query").left("positive");
    for o in found {
        table.row([
            o.step.to_string(),
            o.row.to_string(),
            o.source.clone(),
            o.pool.clone(),
            o.query_id.clone(),
            o.positive_id.clone(),
        ]);
    }
    format!("{}{} rows in {} batches\n", table.on(page), count(found.len() as u64), count(steps))
}

fn describe_summary(summary: &Summary, page: Page) -> String {
    let sizes: Vec<u64> = summary.pools.values().copied().collect();
    let pools = match (sizes.iter().min(), sizes.iter().max()) {
        (Some(min), Some(max)) if min == max => format!("{} of {} examples", sizes.len(), count(*min)),
        (Some(min), Some(max)) => format!("{} of {} to {} examples", sizes.len(), count(*min), count(*max)),
        _ => "none".to_owned(),
    };
    let split =
        if summary.eval_is_trained_on { "none: everything is in train and eval" } else { "train and eval" };
    let masked_pairs = match &summary.masked_pairs {
        Some(l) => {
            format!("{:.1} a batch; min {}, median {}, p95 {}, max {}", l.mean, l.min, l.median, l.p95, l.max)
        }
        None => "unknown: train/ is gone".to_owned(),
    };
    let mut lines = vec![
        ("id", summary.dataset_id.to_string()),
        ("groups", count(summary.groups)),
        ("split", split.to_owned()),
        ("batches", format!("{} of {} rows", count(summary.steps), summary.batch_size)),
        ("pools", pools),
        ("masked pairs", masked_pairs),
    ];
    if let Some(mined) = &summary.mined {
        let Lengths { min, median, p95, max, mean } = mined.passages;
        let lengths = format!("{mean:.1} a list; min {min}, median {median}, p95 {p95}, max {max}");
        lines.push(("mined negatives", format!("of {} queries, {lengths}", count(mined.queries))));
    }
    lines.push(("rejects", output::reasons(&summary.rejects)));
    lines.push(("size", output::bytes(summary.bytes)));
    let fields = page.fields(&lines);
    let mut queries = side("queries");
    let mut passages = side("passages");
    for (lang, l) in &summary.languages {
        queries.row(side_row(lang, l.queries, l.eval_queries, &l.query_chars));
        passages.row(side_row(lang, l.passages, l.eval_passages, &l.passage_chars));
    }
    let mut sources = Table::new().left("source").right("batches").right("share");
    for (name, n) in languages_first(&summary.batches) {
        let share = if summary.steps == 0 { 0.0 } else { n as f64 * 100.0 / summary.steps as f64 };
        sources.row([name.to_owned(), count(n), format!("{share:.1} %")]);
    }
    [
        fields,
        queries.on(page),
        passages.on(page) + &page.note("min to mean: characters of a text"),
        sources.on(page) + &switches(summary.code_switch.as_ref(), page),
    ]
    .join("\n")
}

/// A table of questions or passages by language.
fn side(name: &str) -> Table {
    ["total", "in eval", "min", "median", "p95", "max", "mean"]
        .into_iter()
        .fold(Table::new().left(name), Table::right)
}

fn side_row(lang: &str, n: u64, n_eval: u64, chars: &Lengths) -> [String; 8] {
    let Lengths { min, median, p95, max, mean } = *chars;
    let counts = [n, n_eval, min, median, p95, max].map(count);
    let [n, n_eval, min, median, p95, max] = counts;
    [lang.to_owned(), n, n_eval, min, median, p95, max, format!("{mean:.1}")]
}

/// Sources by name, and last those that are of all languages at once.
fn languages_first(batches: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut sources: Vec<_> = batches.iter().map(|(name, n)| (&**name, *n)).collect();
    sources.sort_by_key(|(name, _)| OF_ALL_LANGUAGES.contains(name));
    sources
}
