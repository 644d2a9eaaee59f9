use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use prep::shards::{Batch, Dataset};
use serde_json::json;

use super::Common;
use super::output::{self, Outcome};
use super::page::Page;
use super::progress::Progress;

/// Derive batches anew, from plan.json and corpus/ alone or from the original sources
///
/// Prints rows and digest, and compares with the index where there is one; exit code 1 if they differ. The cost does
/// not depend on the step, and train/ may be deleted.
#[derive(Args)]
pub(super) struct Reproduce {
    /// Dataset directory
    dataset: PathBuf,
    /// Step, or steps N..M without M
    #[arg(long, value_name = "N[..M]")]
    step: Steps,
    #[cfg(feature = "pipeline")]
    /// Start from the source files below DATA instead of corpus/
    #[arg(long, value_name = "DATA")]
    from_sources: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// `N` or `N..M`.
#[derive(Clone, Debug)]
pub(super) struct Steps(pub(super) Range<u64>);

impl FromStr for Steps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<u64>().map_err(|_| format!("`{part}` is not a step"));
        let range = match text.split_once("..") {
            Some((first, end)) => number(first)?..number(end)?,
            None => {
                let step = number(text)?;
                step..step.checked_add(1).ok_or("the last step is 2^64 - 2")?
            }
        };
        if range.is_empty() { Err(format!("`{text}` holds no step")) } else { Ok(Self(range)) }
    }
}

impl Reproduce {
    fn derive(&self, dataset: &Dataset, progress: &Progress) -> prep::Result<Vec<Batch>> {
        let Steps(steps) = self.step.clone();
        #[cfg(feature = "pipeline")]
        if let Some(data) = &self.from_sources {
            let threads = self.common.threads();
            return prep::shards::reproduce_from_sources(dataset, data, steps, threads, progress);
        }
        prep::shards::reproduce(dataset, steps, progress)
    }

    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let progress = self.common.start()?;
        let dataset = Dataset::open(&self.dataset)?;
        let batches = self.derive(&dataset, &progress)?;
        drop(progress);
        let differing: Vec<_> =
            batches.iter().filter(|b| b.agrees() == Some(false)).map(|b| b.step.to_string()).collect();
        let failed = (!differing.is_empty())
            .then(|| format!("error: the index says something else of step {}", differing.join(", ")));
        let text = if self.common.json {
            output::json(&batches.iter().map(batch_json).collect::<Vec<_>>())
        } else {
            describe(&batches, Page::stdout())
        };
        Ok(Outcome { text, failed })
    }
}

pub(super) fn batch_json(batch: &Batch) -> serde_json::Value {
    json!({
        "step": batch.step,
        "source": batch.source,
        "digest": batch.digest,
        "masked_pairs": batch.masked_pairs,
        "index_digest": batch.index.as_ref().map(|index| index.digest),
        "agrees_with_index": batch.agrees(),
        "rows": batch.rows_json(),
    })
}

/// Batches for people, with a blank line between them.
pub(super) fn describe(batches: &[Batch], page: Page) -> String {
    let batches: Vec<_> = batches.iter().map(|batch| describe_batch(batch, page)).collect();
    batches.join("\n")
}

fn describe_batch(batch: &Batch, page: Page) -> String {
    let mut text = String::new();
    for row in batch.rows_json() {
        let field = |name: &str| row[name].as_str().unwrap_or_default().trim();
        text.push_str(&page.line(&format!(
            "{:>4}  {}  example {}",
            row["row"],
            field("pool"),
            row["example"]
        )));
        // Where words are switched, a text is followed by what stands in the corpus.
        let mut line = |mark: char, id: &str, now: &str, before: Option<&str>| {
            text.push_str(&page.line(&format!("      {mark} {id}  {}", now.trim())));
            if let Some(before) = before {
                text.push_str(&page.line(&format!("        was: {}", before.trim())));
            }
        };
        line('?', field("query_id"), field("query"), row["query_original"].as_str());
        line('+', field("positive_id"), field("positive"), row["positive_original"].as_str());
        let negatives = row["negative_ids"].as_array().into_iter().flatten().enumerate();
        for ((at, id), negative) in negatives.zip(row["negatives"].as_array().into_iter().flatten()) {
            let (id, negative) = (id.as_str().unwrap_or_default(), negative.as_str().unwrap_or_default());
            line('-', id, negative, row["negatives_original"][at].as_str());
        }
    }
    let verdict = match (batch.agrees(), &batch.index) {
        (Some(true), _) => "equals the index".to_owned(),
        (_, Some(index)) => format!("DIFFERS: the index says {}", index.digest),
        (_, None) => "no index to compare with".to_owned(),
    };
    text.push_str(&page.fields(&[
        ("step", batch.step.to_string()),
        ("source", batch.source.clone()),
        ("masked pairs", batch.masked_pairs.to_string()),
        ("digest", format!("{} ({verdict})", batch.digest)),
    ]));
    text
}
