//! What a dataset is: its facts, sources, languages, how long its texts are, what its batches are made of.

use std::path::Path;

use maud::{Markup, html};
use serde_json::Value;

use super::chart::unit;
use super::composition::Composition;
use super::curve::Curve;
use super::lines::{Line, line_chart};
use super::page;
use crate::error::Result;
use crate::number::{bytes, count, fixed};
use crate::plan::Sampler;
use crate::progress::Observer;
use crate::shards::{Dataset, Histogram, Language, Lengths, Manifest, Summary, reproduce, summary};

/// Steps that are looked through for an example of each kind of batch.
const EXAMPLES_WITHIN: u64 = 1_000;
const ROWS_OF_EXAMPLE: usize = 2;
/// Characters of an example; texts can be books.
const LONGEST_EXAMPLE: usize = 280;
/// Of a histogram, in pixels.
const BARS_WIDTH: f64 = 132.0;
const BARS_HEIGHT: f64 = 26.0;

/// What a report says of a dataset.
pub(super) struct DatasetReport {
    summary: Summary,
    manifest: Manifest,
    seed: u64,
    negatives: u32,
    composition: Composition,
    /// By step; nothing where train/ is gone.
    masked_pairs: Option<Curve>,
    examples: Vec<Example>,
}

/// A row of a batch.
struct Example {
    step: u64,
    source: String,
    query: Text,
    positive: Text,
}

struct Text {
    lang: String,
    text: String,
}

impl DatasetReport {
    pub(super) fn read(root: &Path, observer: &dyn Observer) -> Result<Self> {
        let dataset = Dataset::open(root)?;
        let summary = summary(&dataset, observer)?;
        let masked_pairs = dataset.index()?.map(|rows| {
            let mut curve = Curve::default();
            rows.iter().for_each(|row| curve.push(row.step, Some(row.masked_pairs.into())));
            curve
        });
        Ok(Self {
            summary,
            seed: dataset.plan().seed(),
            negatives: dataset.plan().hard_negatives().k,
            composition: Composition::of(dataset.plan()),
            masked_pairs,
            examples: examples(&dataset, observer)?,
            manifest: dataset.manifest().clone(),
        })
    }

    pub(super) fn id(&self) -> String {
        self.summary.dataset_id.to_string()
    }

    pub(super) fn body(&self) -> Markup {
        html! {
            (self.facts())
            h3 { "Sources" }
            (self.sources())
            h3 { "Languages and lengths" }
            (self.languages())
            h3 { "Batches" }
            div.charts {
                @if self.summary.steps != 0 { (self.composition.figure()) }
                @if let Some(curve) = &self.masked_pairs { (masked_pairs(curve)) }
            }
            @if !self.examples.is_empty() { (self.example_rows()) }
            h3 { "Rejects" }
            (self.rejects())
        }
    }

    fn facts(&self) -> Markup {
        let s = &self.summary;
        let said =
            |key: &str| self.manifest.pipeline["batches"][key].as_str().unwrap_or("unknown").to_owned();
        let held_out: u64 = s.languages.values().map(|l| l.eval_queries).sum();
        let split = if s.eval_is_trained_on {
            "none: everything is trained and evaluated on".to_owned()
        } else {
            format!("{} questions held out", count(held_out))
        };
        let queries: u64 = s.languages.values().map(|l| l.queries).sum();
        let passages: u64 = s.languages.values().map(|l| l.passages).sum();
        let masked = s.masked_pairs.map_or_else(
            || "unknown: train/ is gone".to_owned(),
            |l| format!("{} on average, {} at most", fixed(l.mean, 1), count(l.max)),
        );
        page::facts(&[
            ("batches", html! { (count(s.steps)) " of " (count(s.batch_size.into())) " rows" }),
            ("strategy", html! { (said("strategy")) ", seed " (self.seed) }),
            ("questions", html! { (count(queries)) " in " (count(s.groups)) " groups" }),
            ("passages", html! { (count(passages)) }),
            ("languages", html! { (s.languages.len()) }),
            ("split", html! { (split) }),
            ("hard negatives", html! { (self.negatives) " a row" }),
            ("masked pairs a batch", html! { (masked) }),
            ("rejects", html! { (count(s.rejects.values().sum())) }),
            ("size", html! { (bytes(s.bytes)) }),
            ("dataset id", html! { code { (self.id()) } }),
        ])
    }

    /// What the pipeline read, with where it is from and under which licence.
    fn sources(&self) -> Markup {
        let none = Vec::new();
        let corpora = self.manifest.pipeline["corpora"].as_array().unwrap_or(&none);
        let said = |corpus: &Value, key: &str| corpus[key].as_str().unwrap_or("not said").to_owned();
        let languages = |corpus: &Value| {
            let languages = corpus["languages"].as_array().into_iter().flatten();
            languages.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        };
        let table = html! {
            table {
                thead {
                    tr { @for name in ["corpus", "format", "languages", "licence", "source"] { th scope="col" { (name) } } }
                }
                tbody {
                    @for corpus in corpora {
                        tr {
                            th scope="row" { (said(corpus, "name")) }
                            td { (said(corpus, "format")) }
                            td { (languages(corpus)) }
                            td { (said(corpus, "licence")) }
                            td { (said(corpus, "source")) }
                        }
                    }
                }
            }
        };
        page::scrolled("Sources", &table)
    }

    /// The table is the chart: a histogram beside its numbers.
    fn languages(&self) -> Markup {
        let of = |histogram: fn(&Language) -> &Histogram| {
            Bars::over(self.summary.languages.values().map(histogram))
        };
        let (queries, passages) = (of(|l| &l.query_histogram), of(|l| &l.passage_histogram));
        let names = ["all", "held out", "characters", "median", "95 %", "greatest"];
        let side = |n: u64, n_eval: u64, bars: &Bars, histogram: &Histogram, l: &Lengths| {
            html! {
                td.begins { (count(n)) }
                td { (count(n_eval)) }
                td.bars { (bars.draw(histogram)) }
                td { (count(l.median)) }
                td { (count(l.p95)) }
                td { (count(l.max)) }
            }
        };
        let table = html! {
            table.numeric.languages {
                thead {
                    tr {
                        td {}
                        th.begins.group colspan="6" scope="colgroup" { "questions" }
                        th.begins.group colspan="6" scope="colgroup" { "passages" }
                    }
                    tr {
                        th scope="col" { "language" }
                        @for _ in 0..2 {
                            @for (n, name) in names.iter().enumerate() {
                                th scope="col" class=[(n == 0).then_some("begins")] { (name) }
                            }
                        }
                    }
                }
                tbody {
                    @for (lang, l) in &self.summary.languages {
                        tr {
                            th scope="row" { (lang) }
                            (side(l.queries, l.eval_queries, &queries, &l.query_histogram, &l.query_chars))
                            (side(l.passages, l.eval_passages, &passages, &l.passage_histogram, &l.passage_chars))
                        }
                    }
                }
                tfoot {
                    tr {
                        td {}
                        @for bars in [&queries, &passages] {
                            td colspan="2" {}
                            td.bars { (bars.axis()) }
                            td colspan="3" {}
                        }
                    }
                }
            }
        };
        html! {
            (page::scrolled("Languages and lengths", &table))
            p.note { "Lengths in characters (Unicode code points), on a logarithmic axis that the languages share." }
        }
    }

    fn example_rows(&self) -> Markup {
        let table = html! {
            table.examples {
                caption { "Rows of batches" }
                thead {
                    tr { @for name in ["step", "source", "question", "its passage"] { th scope="col" { (name) } } }
                }
                tbody {
                    @for example in &self.examples {
                        tr {
                            td { (count(example.step)) }
                            td { (example.source) }
                            @for Text { lang, text } in [&example.query, &example.positive] {
                                td { span.lang { (lang) } " " (page::quoted(text, lang)) }
                            }
                        }
                    }
                }
            }
        };
        page::scrolled("Rows of batches", &table)
    }

    fn rejects(&self) -> Markup {
        if self.summary.rejects.is_empty() {
            return html! { p { "No record was refused." } };
        }
        let table = html! {
            table.numeric {
                thead { tr { th scope="col" { "reason" } th scope="col" { "records" } } }
                tbody {
                    @for (reason, n) in &self.summary.rejects {
                        tr { th scope="row" { (reason) } td { (count(*n)) } }
                    }
                }
            }
        };
        html! {
            (page::scrolled("Rejects", &table))
            p.note { code { "rejects.parquet" } " holds them, with their places." }
        }
    }
}

/// The first rows of the first batch of each kind: of one language, and of two.
fn examples(dataset: &Dataset, observer: &dyn Observer) -> Result<Vec<Example>> {
    let plan = dataset.plan();
    let mut sampler = Sampler::new(plan);
    let pools = plan.pools();
    let is_within =
        |pool: usize| pools[pool].0.parse::<crate::pairs::PoolName>().is_ok_and(|name| name.is_monolingual());
    let mut examples = Vec::new();
    let mut seen = Vec::new();
    for step in 0..plan.steps().min(EXAMPLES_WITHIN) {
        let kind = sampler.batch(step).rows.first().map(|row| is_within(row.pool));
        if seen.contains(&kind) {
            continue;
        }
        seen.push(kind);
        for batch in reproduce(dataset, step..step + 1, observer)? {
            for row in batch.rows_json().iter().take(ROWS_OF_EXAMPLE) {
                let said = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
                let text = |lang: &str, key: &str| Text { lang: said(lang), text: shortened(&said(key)) };
                examples.push(Example {
                    step,
                    source: batch.source.clone(),
                    query: text("query_lang", "query"),
                    positive: text("positive_lang", "positive"),
                });
            }
        }
    }
    Ok(examples)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_EXAMPLE) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

fn masked_pairs(curve: &Curve) -> Markup {
    let Some(stats) = curve.stats() else { return html! {} };
    let note = match curve.width() {
        1 => "Pairs of a batch that are no negatives, since the passage answers the question.".to_owned(),
        width => format!(
            "Pairs of a batch that are no negatives, since the passage answers the question: mean of {} steps, and \
             the band from the fewest to the most.",
            count(width)
        ),
    };
    let rows =
        [("fewest", stats.least), ("most", stats.greatest), ("first", stats.first), ("last", stats.last)];
    let table = html! {
        table.numeric {
            thead { tr { td {} th scope="col" { "pairs" } th scope="col" { "step" } } }
            tbody {
                @for (name, at) in rows {
                    tr { th scope="row" { (name) } td { (fixed(at.value, 0)) } td { (count(at.step)) } }
                }
                tr { th scope="row" { "mean" } td { (fixed(stats.mean(), 1)) } td {} }
            }
        }
    };
    let alt = format!(
        "Masked pairs by step: from {} to {}, {} on average.",
        fixed(stats.least.value, 0),
        fixed(stats.greatest.value, 0),
        fixed(stats.mean(), 1)
    );
    let chart = line_chart(&alt, &[Line::of_curve(curve)]);
    page::figure("Masked pairs", &note, &chart, &page::numbers("masked pairs", &table))
}

/// Small histograms with one axis.
struct Bars {
    /// Logarithms of the ends.
    lo: f64,
    hi: f64,
}

impl Bars {
    fn over<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        let classes = histograms.flat_map(Histogram::classes).filter(|(.., n)| *n != 0);
        let (lo, hi) = classes.fold((f64::INFINITY, 0.0_f64), |(lo, hi), (first, next, _)| {
            (lo.min(log(first)), hi.max(log(next)))
        });
        if lo < hi { Self { lo, hi } } else { Self { lo: 0.0, hi: 1.0 } }
    }

    fn at(&self, length: u64) -> f64 {
        (log(length) - self.lo) / (self.hi - self.lo) * BARS_WIDTH
    }

    /// Areas are numbers of texts, so a class that is twice as wide is half as high.
    fn draw(&self, histogram: &Histogram) -> Markup {
        let bars: Vec<(f64, f64, f64)> = histogram
            .classes()
            .filter(|(.., n)| *n != 0)
            .map(|(first, next, n)| (self.at(first), self.at(next), n))
            .map(|(from, to, n)| (from, to, n as f64 / (to - from)))
            .collect();
        let highest = bars.iter().map(|(.., height)| *height).fold(0.0, f64::max);
        html! {
            svg width=(BARS_WIDTH) height=(BARS_HEIGHT) aria-hidden="true" {
                @for (from, to, height) in bars {
                    @let height = (height / highest * BARS_HEIGHT).max(1.0);
                    rect x=(unit(from)) width=(unit((to - from - 0.7).max(0.5))) y=(unit(BARS_HEIGHT - height)) height=(unit(height)) {}
                }
            }
        }
    }

    /// Powers of ten.
    fn axis(&self) -> Markup {
        let powers = (0..19).map(|power| 10_u64.pow(power));
        let shown: Vec<u64> = powers.filter(|&n| self.lo <= log(n) && log(n) <= self.hi).collect();
        html! {
            svg.labels width=(BARS_WIDTH) height="16" aria-hidden="true" overflow="visible" {
                @for n in shown { text.middle x=(unit(self.at(n))) y="11" { (count(n)) } }
            }
        }
    }
}

/// Of a length; one of 0 is put to the left of 1.
fn log(length: u64) -> f64 {
    if length == 0 { -0.3 } else { (length as f64).log10() }
}
