//! What batches are drawn from as the steps go by: the share of each source in spans of steps.

use maud::{Markup, html};
use rayon::prelude::*;

use super::chart::{ACROSS, DOWN, Frame, chart, px, together, unit};
use super::page;
use super::scale::{Scale, spread};
use crate::number::{count, fixed};
use crate::pairs::PoolName;
use crate::plan::{Plan, Sampler, Source};

/// More spans say no more to the eye, and fill the table.
const MAX_SPANS: u64 = 24;
/// More bands cannot be told apart: the smallest sources share one.
const MAX_BANDS: usize = 24;
/// Of the name of a band.
const LINE_HEIGHT: f64 = 15.0;
/// Of the chart.
const LEAST_HEIGHT: f64 = 200.0;
const GREATEST_HEIGHT: f64 = 380.0;

/// Batches by source over the steps of a plan.
pub(super) struct Composition {
    /// In the plan's order.
    sources: Vec<(String, Kind)>,
    spans: Vec<Span>,
}

/// A run of steps.
struct Span {
    first: u64,
    end: u64,
    /// By source.
    batches: Vec<u64>,
}

/// What the rows of a source are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Question and passage of one language.
    Within,
    /// Of two.
    Across,
    /// Some of either.
    Mixed,
}

impl Kind {
    fn of(source: &Source) -> Self {
        let is_within = |name: &str| name.parse::<PoolName>().is_ok_and(|pool| pool.is_monolingual());
        let n_within = source.pools.iter().filter(|pool| is_within(&pool.name)).count();
        match n_within {
            0 => Self::Across,
            n if n == source.pools.len() => Self::Within,
            _ => Self::Mixed,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Within => "monolingual",
            Self::Across => "cross-lingual",
            Self::Mixed => "mixed",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Across => "across",
            Self::Mixed => "mixed",
        }
    }
}

/// Sources that are drawn as one.
struct Band {
    name: String,
    kind: Kind,
    /// By span, as a share of its batches.
    shares: Vec<f64>,
}

impl Composition {
    /// Spans are as short as leaves the rarest source a batch in each, if it is drawn evenly.
    pub(super) fn of(plan: &Plan) -> Self {
        let steps = plan.steps();
        let weights = plan.sources().iter().map(|source| u128::from(source.weight));
        let (rarest, sum) = (weights.clone().min().unwrap_or(1), weights.sum::<u128>().max(1));
        let n_of_rarest = u64::try_from(u128::from(steps) * rarest / sum).unwrap_or(MAX_SPANS);
        let n_spans = n_of_rarest.clamp(1, MAX_SPANS).min(steps);
        let bound = |span: u64| (u128::from(steps) * u128::from(span) / u128::from(n_spans.max(1))) as u64;
        let sampler = Sampler::new(plan);
        let spans = (0..n_spans).into_par_iter().map(|span| {
            let (first, end) = (bound(span), bound(span + 1));
            let mut sampler = sampler.clone();
            let mut batches = vec![0; plan.sources().len()];
            (first..end).for_each(|step| batches[sampler.source(step)] += 1);
            Span { first, end, batches }
        });
        let sources = plan.sources().iter().map(|source| (source.name.clone(), Kind::of(source)));
        Self { sources: sources.collect(), spans: spans.collect() }
    }

    fn batches_of(&self, source: usize) -> u64 {
        self.spans.iter().map(|span| span.batches[source]).sum()
    }

    /// From the top: monolingual first, cross-lingual last, where it is the broad foot of a hybrid plan.
    fn bands(&self) -> Vec<Band> {
        let mut by_size: Vec<usize> = (0..self.sources.len()).collect();
        by_size.sort_by_key(|&source| (std::cmp::Reverse(self.batches_of(source)), source));
        let n_alone = if self.sources.len() <= MAX_BANDS { self.sources.len() } else { MAX_BANDS - 1 };
        let (alone, others) = by_size.split_at(n_alone);
        let mut alone = alone.to_vec();
        alone.sort_by_key(|&source| (self.sources[source].1 != Kind::Within, source));
        let shares = |sources: &[usize]| {
            let of = |span: &Span| {
                let n: u64 = sources.iter().map(|&source| span.batches[source]).sum();
                n as f64 / (span.end - span.first) as f64
            };
            self.spans.iter().map(of).collect()
        };
        let mut bands: Vec<Band> = alone
            .iter()
            .map(|&source| {
                let (name, kind) = self.sources[source].clone();
                Band { name, kind, shares: shares(&[source]) }
            })
            .collect();
        if let Some(&first) = others.first() {
            let one_kind = others.iter().all(|&source| self.sources[source].1 == self.sources[first].1);
            let kind = if one_kind { self.sources[first].1 } else { Kind::Mixed };
            bands.push(Band { name: format!("{} others", others.len()), kind, shares: shares(others) });
        }
        bands
    }

    pub(super) fn figure(&self) -> Markup {
        let steps = self.spans.last().map_or(0, |span| span.end);
        let kinds = [Kind::Within, Kind::Across, Kind::Mixed].map(|kind| {
            let of_kind = (0..self.sources.len()).filter(|&source| self.sources[source].1 == kind);
            (kind, of_kind.map(|source| self.batches_of(source)).sum::<u64>())
        });
        let said: Vec<String> = kinds
            .iter()
            .filter(|(_, n)| *n != 0)
            .map(|(kind, n)| format!("{} % {}", fixed(*n as f64 * 100.0 / steps as f64, 1), kind.name()))
            .collect();
        let note = format!("Share of the batches, by source: {}.", said.join(", "));
        let alt = format!("{note} Of {} steps, in {} spans.", count(steps), self.spans.len());
        let behind = page::numbers("batches by source and steps", &self.table());
        page::figure("Composition over the steps", &note, &self.chart(&alt, steps), &behind)
    }

    fn chart(&self, alt: &str, steps: u64) -> Markup {
        let bands = self.bands();
        // So that the name of the narrowest band stands beside it.
        let share = |band: &Band| band.shares.iter().sum::<f64>() / band.shares.len() as f64;
        let narrowest = bands.iter().map(share).fold(1.0, f64::min);
        let height = (LINE_HEIGHT / narrowest).clamp(LEAST_HEIGHT, GREATEST_HEIGHT);
        let x = Scale::exactly(0.0, steps as f64, 5).whole();
        let mut above = vec![0.0; self.spans.len()];
        let (mut parts, mut middles) = (Vec::new(), Vec::new());
        for (n, band) in bands.iter().enumerate() {
            let below: Vec<f64> =
                above.iter().zip(&band.shares).map(|(above, share)| above + share).collect();
            let class = format!("piece {} {}", band.kind.class(), if n % 2 == 0 { "even" } else { "odd" });
            let outline = self.outline(&above, &below, &x);
            parts.push(html! { path class=(class) d=(outline) { title { (band.name) } } });
            let last = |places: &[f64]| places.last().copied().unwrap_or(0.0);
            middles.push(f64::midpoint(last(&above), last(&below)) * height);
            above = below;
        }
        spread(&mut middles, LINE_HEIGHT, height - LINE_HEIGHT / 3.0);
        let names = bands.iter().zip(middles).map(|(band, middle)| {
            html! { text.name x="100%" dx="10" y=(px(middle + 4.0)) { (band.name) } }
        });
        let ticks: Vec<_> = x.ticks().into_iter().map(|(value, label)| (x.at(value), label)).collect();
        let percents = [0, 25, 50, 75, 100].map(|p| (f64::from(p) / 100.0, format!("{p} %")));
        let frame = Frame { alt, height, x: &ticks, y: &percents, x_name: "step", class: "of-bands" };
        chart(&frame, &together(parts), &together(names))
    }

    /// The outline of a band: along its upper edge, and back along the lower.
    fn outline(&self, above: &[f64], below: &[f64], x: &Scale) -> String {
        let place =
            |step: u64, down: f64| format!("{} {}", unit(x.at(step as f64) * ACROSS), unit(down * DOWN));
        let forth = self.spans.iter().zip(above);
        let back = self.spans.iter().zip(below).rev();
        let forth = forth.flat_map(|(span, &down)| [place(span.first, down), place(span.end, down)]);
        let back = back.flat_map(|(span, &down)| [place(span.end, down), place(span.first, down)]);
        format!("M{}z", forth.chain(back).collect::<Vec<_>>().join("L"))
    }

    fn table(&self) -> Markup {
        html! {
            table.numeric {
                caption { "Batches by source; columns begin at the step above them" }
                thead {
                    tr {
                        th scope="col" { "source" }
                        th.text scope="col" { "kind" }
                        th scope="col" { "all" }
                        @for span in &self.spans { th scope="col" { (count(span.first)) } }
                    }
                }
                tbody {
                    @for (source, (name, kind)) in self.sources.iter().enumerate() {
                        tr {
                            th scope="row" { (name) }
                            td.text { (kind.name()) }
                            td { (count(self.batches_of(source))) }
                            @for span in &self.spans { td { (count(span.batches[source])) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composition(sources: usize, steps: u64) -> Composition {
        let source = |n: usize| {
            let pool = format!(r#"{{"name":"d/l{n:03}:en","weight":1,"size":9}}"#);
            format!(r#"{{"name":"l{n:03}","weight":1,"pools":[{pool}]}}"#)
        };
        let sources: Vec<String> = (0..sources).map(source).collect();
        let plan = format!(
            r#"{{"version":1,"seed":1,"batch_size":4,"steps":{steps},"hard_negatives":{{"k":0,"source":"same-context"}},
               "sources":[{}]}}"#,
            sources.join(",")
        );
        Composition::of(&Plan::from_json(plan.as_bytes()).unwrap())
    }

    #[test]
    fn spans_hold_every_step_once_and_bands_every_batch() {
        for (sources, steps) in [(1, 1), (3, 10), (110, 1_000), (2, 0), (12, 300)] {
            let composition = composition(sources, steps);
            let batches: u64 = (0..sources).map(|source| composition.batches_of(source)).sum();
            assert_eq!(batches, steps);
            let bands = composition.bands();
            assert!(bands.len() <= MAX_BANDS);
            for span in 0..composition.spans.len() {
                let sum: f64 = bands.iter().map(|band| band.shares[span]).sum();
                assert!((sum - 1.0).abs() < 1e-9, "{sources} sources, {steps} steps: {sum}");
            }
        }
    }
}
