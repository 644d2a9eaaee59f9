//! What a dataset is: its facts, sources, languages, how long its texts are, what its batches are made of.

use std::path::Path;

use maud::{Markup, html};
use serde_json::Value;

use super::composition::Composition;
use super::curve::Curve;
use super::examples::{self, Example};
use super::lengths;
use super::lines::{Line, line_chart};
use super::page;
use crate::error::Result;
use crate::number::{bytes, count, fixed};
use crate::pipeline::NegativeSource;
use crate::plan::HardNegatives;
use crate::progress::Observer;
use crate::shards::{Dataset, Manifest, Summary, summary};

/// What a report says of a dataset.
pub(super) struct DatasetReport {
    summary: Summary,
    manifest: Manifest,
    seed: u64,
    negatives: HardNegatives,
    composition: Composition,
    /// By step; nothing where train/ is gone.
    masked_pairs: Option<Curve>,
    examples: Vec<Example>,
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
            negatives: dataset.plan().hard_negatives(),
            composition: Composition::of(dataset.plan()),
            masked_pairs,
            examples: examples::read(&dataset, observer)?,
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
            (lengths::table(&self.summary.languages))
            h3 { "Batches" }
            div.charts {
                @if self.summary.steps != 0 { (self.composition.figure()) }
                @if let Some(curve) = &self.masked_pairs { (masked_pairs(curve)) }
            }
            @if !self.examples.is_empty() { (examples::table(&self.examples)) }
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
        let mined = match self.negatives.candidates() {
            Some(NegativeSource::Mined) => ", mined",
            _ => "",
        };
        page::facts(&[
            ("batches", html! { (count(s.steps)) " of " (count(s.batch_size.into())) " rows" }),
            ("strategy", html! { (said("strategy")) ", seed " (self.seed) }),
            ("questions", html! { (count(queries)) " in " (count(s.groups)) " groups" }),
            ("passages", html! { (count(passages)) }),
            ("languages", html! { (s.languages.len()) }),
            ("split", html! { (split) }),
            ("hard negatives", html! { (self.negatives.k) " a row" (mined) }),
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
    let chart = line_chart(&alt, &[Line::of_curve(curve).with_trend()]);
    page::figure("Masked pairs", &note, &chart, &page::numbers("masked pairs", &table))
}
