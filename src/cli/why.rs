use std::path::PathBuf;

use clap::Args;
use prep::model::HeadSource;
use prep::why::{CorpusRows, Row, Why as Explanation, WhyRequest, dataset_of, why};

use super::Common;
use super::output::{self, Outcome, count};
use super::page::Page;
use super::table::Table;

/// Explain a step of a run: from a loss spike to rows, sources, licences
///
/// Derives the batch of the step again, scores its rows with a model of the run, and names what is hard and what looks
/// wrong; then the corpora that the rows come from, with their files and licences. Without `--step`: the step whose loss
/// is furthest above the median of the 50 batches of its kind, monolingual or cross-lingual, before it; the first five of
/// a kind have none to be compared with, and are shown beside those behind them.
#[derive(Args)]
pub(super) struct Why {
    /// Folder of `prep train`
    run: PathBuf,
    /// Step to explain
    #[arg(long, value_name = "N")]
    step: Option<u64>,
    /// Where the dataset is, if it was moved
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
    /// Encoder that scores the rows [default: RUN/model, or else RUN/best, as far as they are there]
    #[arg(long, value_name = "MODEL", conflicts_with = "no_model")]
    model: Option<String>,
    /// Show the rows without scores
    #[arg(long)]
    no_model: bool,
    /// Rows to show; `--json` has all
    #[arg(long, value_name = "N", default_value = "10")]
    rows: usize,
    #[command(flatten)]
    common: Common,
}

impl Why {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let progress = self.common.start()?;
        let dataset = dataset_of(&self.run, self.dataset.as_deref())?;
        let model = self.model();
        let encoder = model
            .as_deref()
            .map(|model| prep::model::open(model, HeadSource::Described, &progress))
            .transpose()?;
        let request =
            WhyRequest { run: &self.run, dataset: &dataset, step: self.step, encoder: encoder.as_ref() };
        let found = why(request, &progress)?;
        drop(progress);
        Ok(Outcome::done(match self.common.json {
            true => output::json(&found),
            false => self.describe(&found, model.as_deref(), Page::stdout()),
        }))
    }

    /// What scores the rows.
    fn model(&self) -> Option<String> {
        let of_run = ["model", "best"].map(|name| self.run.join(name));
        let there =
            || of_run.iter().find(|folder| folder.is_dir()).map(|folder| folder.display().to_string());
        self.model.clone().or_else(|| there().filter(|_| !self.no_model))
    }

    fn describe(&self, found: &Explanation, model: Option<&str>, page: Page) -> String {
        let (metrics, usual) = (&found.metrics, &found.usual);
        let kind = if found.is_monolingual { "monolingual" } else { "cross-lingual" };
        let around =
            format!("median of the {kind} batches of steps {} to {}", usual.first_step, usual.last_step);
        let index = match found.agrees_with_index {
            Some(true) => "equals the index",
            Some(false) => "DIFFERS from the index: `prep verify` says where",
            None => "no index to compare with",
        };
        let languages: Vec<String> =
            found.languages.iter().map(|(pair, n)| format!("{pair} {}", count(*n))).collect();
        let mut lines = vec![
            ("step", metrics.step.to_string()),
            ("loss", format!("{}, usually {} ({around})", short(metrics.loss), short(usual.loss))),
            (
                "gradient norm",
                format!("{}, usually {}", short(metrics.gradient_norm), short(usual.gradient_norm)),
            ),
            ("learning rate", format!("{:.2e}", metrics.learning_rate)),
            ("dataset", found.dataset_id.to_string()),
            ("batch", format!("{} ({index})", found.digest)),
            ("source", format!("{}, {} masked pairs", found.source, found.masked_pairs)),
            ("languages", languages.join(", ")),
        ];
        if let (Some(loss), Some(model)) = (found.loss_now, model) {
            let then = "what it has learnt since the step is easy now";
            lines.push(("scored by", format!("{model}, mean loss {}: {then}", short(loss))));
        }
        if found.unread_lines != 0 {
            let lost = format!("damaged lines of metrics.jsonl, left out: {}", found.unread_lines);
            lines.push(("log", lost));
        }
        let mut text = page.fields(&lines);
        text.push_str(&format!("\n{}\n", corpora(&found.corpora, page)));
        let shown = found.rows.len().min(self.rows);
        let order = if found.loss_now.is_some() { ", greatest loss first" } else { "" };
        text.push_str(&format!("{shown} of {} rows{order}\n", found.rows.len()));
        found.rows[..shown].iter().for_each(|row| text.push_str(&describe_row(row, page)));
        let remarks = found.rows.iter().filter(|row| !row.remarks.is_empty()).count();
        if remarks != 0 {
            text.push_str(&format!("\n{remarks} rows of the batch have remarks (!)\n"));
        }
        if self.step.is_none() && !found.spikes.is_empty() {
            let mut table = Table::new().right("step that stands out").right("loss").right("usual");
            for spike in &found.spikes {
                table.row([spike.step.to_string(), short(spike.loss), short(spike.usual_loss)]);
            }
            text.push_str(&format!("\n{}", table.on(page)));
        }
        text
    }
}

/// Four decimals; a loss that has run away has hundreds of digits before them.
fn short(value: f64) -> String {
    if value.abs() < 1e6 { format!("{value:.4}") } else { format!("{value:.4e}") }
}

fn corpora(corpora: &[CorpusRows], page: Page) -> String {
    let stated = |text: &Option<String>| text.clone().unwrap_or_else(|| "not stated".to_owned());
    let mut text = String::new();
    for corpus in corpora {
        let files: Vec<&str> = corpus.files.iter().map(String::as_str).collect();
        text.push_str(&page.fields(&[
            ("corpus", format!("{}, {} rows", corpus.name, count(corpus.rows))),
            ("  source", stated(&corpus.source)),
            ("  licence", stated(&corpus.licence)),
            ("  citation", stated(&corpus.citation)),
            ("  files", files.join(", ")),
        ]));
    }
    text
}

fn describe_row(row: &Row, page: Page) -> String {
    let mut head = format!("{:>5}", row.row);
    if let (Some(loss), Some(rank)) = (row.loss, row.rank) {
        head.push_str(&format!("  loss {}, its passage at rank {rank}", short(loss)));
    }
    let mut text = page.line(&head);
    // Where words are switched, a text is followed by what stands in the corpus.
    let was = |original: &Option<String>| {
        original
            .as_ref()
            .map_or_else(String::new, |text| page.line(&format!("         was: {}", text.trim())))
    };
    text.push_str(&page.line(&format!("       ? {}  {}", row.query_id, row.query.trim())));
    text.push_str(&was(&row.query_original));
    text.push_str(&page.line(&format!("       + {}  {}", row.positive_id, row.positive.trim())));
    text.push_str(&was(&row.positive_original));
    if let Some(rival) = &row.rival {
        let what = if rival.is_hard_negative { "hard negative of row" } else { "of row" };
        let nearer = if rival.margin < 0.0 { "farther" } else { "nearer" };
        let place = format!("({what} {}, {nearer} by {:.4})", rival.row, rival.margin.abs());
        text.push_str(&page.line(&format!("       - {}  {place}  {}", rival.passage_id, rival.text.trim())));
        text.push_str(&was(&rival.original));
    }
    row.remarks.iter().for_each(|remark| text.push_str(&page.line(&format!("       ! {remark}"))));
    text
}
