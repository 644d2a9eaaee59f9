use std::num::NonZero;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use prep::mine::{Bm25, Choice, DEFAULT_RANKS, MineReport, MineRequest, MinedQueries, Retriever, mine};
use prep::shards::Dataset;

use super::Common;
use super::output::{self, Outcome, bytes, count, fields};
use super::page::Page;
use super::table::Table;

/// Mine hard negatives: passages that a search ranks high for a question and that do not answer it
///
/// For every question that may be trained on, out of the passages that may be. What answers the question's group in any
/// language, or has the text of such a passage, is left out first. FILE is Parquet, and `prep build-shards` takes it:
/// `--set negatives.source=mined --set negatives.path=FILE`. schemas/SAMPLING.md, section 5, says how.
#[derive(Args)]
pub(super) struct Mine {
    /// Dataset directory
    dataset: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    retriever: From,
    /// Ranks A..B, from 1 and without B, of what was retrieved, without what answers the question
    #[arg(long, value_name = "A..B", default_value_t = Ranks(DEFAULT_RANKS))]
    ranks: Ranks,
    /// Leave out what scores more than the best passage that answers the question, less M; where none of these was
    /// retrieved the question gets none [default: leave out nothing]
    #[arg(long, value_name = "M", allow_negative_numbers = true, value_parser = finite)]
    margin: Option<f64>,
    /// The first K of what is left [default: all]
    #[arg(long, value_name = "K")]
    per_query: Option<NonZero<u32>>,
    /// With bm25: how soon further occurrences of a word count no more
    #[arg(long, value_name = "K1", default_value_t = Bm25::default().k1, value_parser = not_negative, conflicts_with = "run")]
    k1: f64,
    /// With bm25: how much the length of a passage counts, 0 to 1
    #[arg(long, value_name = "B", default_value_t = Bm25::default().b, value_parser = share, conflicts_with = "run")]
    b: f64,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// What finds passages.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct From {
    /// Where from
    #[arg(long, value_name = "SEARCH", value_enum)]
    from: Option<Search>,
    /// TREC run of any model over questions and passages of the dataset, as of `prep eval --splits train --run-out`
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Search {
    /// By words, among the passages of the question's language: segmented, folded, stemmed where Snowball knows it
    Bm25,
    /// What was judged for the question and is not relevant, as MIRACL has it
    Judgements,
}

/// `A..B`, from 1.
#[derive(Clone, Debug)]
struct Ranks(Range<usize>);

impl FromStr for Ranks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (first, end): (usize, usize) = parts.ok_or("ranks are written A..B, such as 10..100")?;
        match (first, first < end) {
            (0, _) => Err("ranks begin at 1".to_owned()),
            (_, false) => Err("holds no rank: B is not among them".to_owned()),
            (_, true) => Ok(Self(first..end)),
        }
    }
}

impl std::fmt::Display for Ranks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.0.start, self.0.end)
    }
}

fn finite(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n: &f64| n.is_finite()).ok_or_else(|| "not a finite number".to_owned())
}

fn not_negative(text: &str) -> Result<f64, String> {
    finite(text).ok().filter(|n| 0.0 <= *n).ok_or_else(|| "not a number from 0 on".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    not_negative(text).ok().filter(|n| *n <= 1.0).ok_or_else(|| "not a number from 0 to 1".to_owned())
}

impl Mine {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let progress = self.common.start()?;
        let dataset = Dataset::open(&self.dataset)?;
        let choice = Choice {
            ranks: self.ranks.0.clone(),
            margin: self.margin,
            per_query: self.per_query.map(|n| n.get() as usize),
        };
        let request = MineRequest {
            dataset: &dataset,
            from: match (&self.retriever.run, self.retriever.from) {
                (Some(path), _) => Retriever::Run(path),
                (None, Some(Search::Judgements)) => Retriever::Judgements,
                (None, _) => Retriever::Bm25(Bm25 { k1: self.k1, b: self.b }),
            },
            choice: &choice,
            out: &self.out,
            replace: self.force,
        };
        let report = mine(request, &progress)?;
        drop(progress);
        Ok(Outcome::done(if self.common.json { output::json(&report) } else { self.describe(&report) }))
    }

    fn describe(&self, report: &MineReport) -> String {
        let head = fields(&[
            ("mined", self.out.display().to_string()),
            ("dataset id", report.dataset_id.to_string()),
            ("size", bytes(report.bytes)),
        ]);
        let names = ["queries", "with negatives", "without", "negatives", "mean", "answers left out"];
        let mut table = names.into_iter().fold(Table::new().left("language"), Table::right);
        let mut all = MinedQueries::default();
        for (lang, queries) in &report.languages {
            table.row(row(lang, queries));
            all.queries += queries.queries;
            all.with_negatives += queries.with_negatives;
            all.without_negatives += queries.without_negatives;
            all.negatives += queries.negatives;
            all.answers_left_out += queries.answers_left_out;
        }
        if 1 < report.languages.len() {
            table.row(row("all", &all));
        }
        let page = Page::stdout();
        let note =
            "mean: negatives of a query that has any; answers: passages that answer it, before the last rank";
        format!("{head}\n{}{}", table.on(page), page.note(note))
    }
}

fn row(name: &str, queries: &MinedQueries) -> [String; 7] {
    let MinedQueries { queries: n, with_negatives, without_negatives, negatives, answers_left_out } =
        *queries;
    let mean = format!("{:.1}", queries.mean_negatives());
    let [n, with, without, negatives, answers] =
        [n, with_negatives, without_negatives, negatives, answers_left_out].map(count);
    [name.to_owned(), n, with, without, negatives, mean, answers]
}
