//! How many texts each language has, and how long they are. The table is the chart: a small histogram stands beside its
//! numbers, in each row on the same axis.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::chart::unit;
use super::page;
use crate::number::count;
use crate::shards::{Histogram, Language, Lengths};

/// Of a histogram, in pixels.
const BARS_WIDTH: f64 = 144.0;
const BARS_HEIGHT: f64 = 26.0;
/// Of a label of the axis, which leaves out what would touch the one before.
const DIGIT_WIDTH: f64 = 6.0;

/// Questions and passages of each language.
pub(super) fn table(languages: &BTreeMap<String, Language>) -> Markup {
    let of = |histogram: fn(&Language) -> &Histogram| Bars::over(languages.values().map(histogram));
    let (queries, passages) = (of(|l| &l.query_histogram), of(|l| &l.passage_histogram));
    let names = ["all", "in eval", "characters", "median", "95 %", "greatest"];
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
                            th.begins[n == 0].bars[n == 2] scope="col" { (name) }
                        }
                    }
                }
            }
            tbody {
                @for (lang, l) in languages {
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

    /// Powers of ten; on a short axis two and five times them, too.
    fn axis(&self) -> Markup {
        let factors: &[u64] = if self.hi - self.lo < 1.6 { &[1, 2, 5] } else { &[1] };
        let ticks = (0..19).flat_map(|power| factors.iter().map(move |factor| factor * 10_u64.pow(power)));
        let within = ticks.filter(|&n| self.lo <= log(n) && log(n) <= self.hi);
        let (mut shown, mut free_from) = (Vec::new(), f64::NEG_INFINITY);
        for n in within {
            let half = count(n).len() as f64 * DIGIT_WIDTH / 2.0;
            if free_from <= self.at(n) - half {
                free_from = self.at(n) + half + DIGIT_WIDTH;
                shown.push(n);
            }
        }
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
