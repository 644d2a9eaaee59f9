//! Runs side by side: what came of them, their curves, and the settings in which they differ.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::Named;
use super::chart::{legend, look, sample_of_line};
use super::curve::{Curve, Stats};
use super::lines::{Line, line_chart};
use super::page;
use super::results::SETTINGS;
use super::run::RunReport;
use crate::number::{NONE, count, fixed, fixed_or_none, of, significant};

/// A curve that every run has.
struct Picture {
    heading: &'static str,
    curve: fn(&RunReport) -> &Curve,
    /// Whether a step says little beside its neighbours.
    is_noisy: bool,
}

const PICTURES: [Picture; 4] = [
    Picture { heading: "Loss", curve: |run| &run.loss, is_noisy: true },
    Picture { heading: "Learning rate", curve: |run| &run.learning_rate, is_noisy: false },
    Picture { heading: "Gradient norm", curve: |run| &run.gradient_norm, is_noisy: true },
    Picture { heading: "Tokens a second", curve: |run| &run.tokens_per_sec, is_noisy: true },
];

pub(super) fn body(runs: &[Named<RunReport>]) -> Markup {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    html! {
        h3 { "Runs" }
        (page::scrolled("Runs", &results(runs)))
        @for run in runs.iter().filter(|run| run.part.n_unreadable != 0) {
            p.note { bdi { (run.name) } ": " (of(run.part.n_unreadable, "line", "lines")) " could not be read." }
        }
        h3 { "Curves" }
        @if 1 < runs.len() { (legend(&names, sample_of_line)) }
        div.charts {
            @for picture in &PICTURES { (picture.figure(runs)) }
            @for (n, (setting, _)) in SETTINGS.iter().enumerate() { (validation(runs, n, setting)) }
        }
        @for (n, run) in runs.iter().enumerate() { (lines(n, run)) }
        (settings(runs))
    }
}

/// A line a run.
fn results(runs: &[Named<RunReport>]) -> Markup {
    let names = [
        "steps",
        "first loss",
        "last loss",
        "lowest loss",
        "highest gradient norm",
        "highest learning rate",
        "tokens a second",
        "best mean mAP",
    ];
    let value = |stats: Option<Stats>, of: fn(&Stats) -> f64| {
        stats.map_or_else(|| NONE.to_owned(), |stats| significant(of(&stats)))
    };
    let at = |stats: Option<Stats>, of: fn(&Stats) -> super::curve::At| {
        html! {
            (stats.map_or_else(|| NONE.to_owned(), |stats| significant(of(&stats).value)))
            @if let Some(stats) = stats { br; span.at { "step " (count(of(&stats).step)) } }
        }
    };
    html! {
        table.numeric {
            thead { tr { th scope="col" { "run" } @for name in names { th scope="col" { (name) } } } }
            tbody {
                @for (n, Named { name, part: run }) in runs.iter().enumerate() {
                    tr {
                        th scope="row" { b class={ "number " (look(n)) } { (n + 1) } " " bdi { (name) } }
                        td { (count(run.n_steps)) }
                        td { (value(run.loss.stats(), |stats| stats.first.value)) }
                        td { (value(run.loss.stats(), |stats| stats.last.value)) }
                        td { (at(run.loss.stats(), |stats| stats.least)) }
                        td { (at(run.gradient_norm.stats(), |stats| stats.greatest)) }
                        td { (value(run.learning_rate.stats(), |stats| stats.greatest.value)) }
                        td { (value(run.tokens_per_sec.stats(), Stats::mean)) }
                        td {
                            @match run.best() {
                                Some((best, mean)) => { (fixed(mean, 4)) br; span.at { (of(best.steps, "step", "steps")) } }
                                None => { (NONE) }
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Picture {
    fn figure(&self, runs: &[Named<RunReport>]) -> Markup {
        let curves: Vec<&Curve> = runs.iter().map(|run| (self.curve)(&run.part)).collect();
        let widest = curves.iter().map(|curve| curve.width()).max().unwrap_or(1);
        let n_gaps: u64 = curves.iter().map(|curve| curve.n_gaps()).sum();
        let mut note = Vec::new();
        if 1 < widest {
            note.push(format!(
                "Mean of {} steps, and the band from the least to the greatest.",
                count(widest)
            ));
        }
        if n_gaps != 0 {
            note.push(format!("{} no number (×).", of(n_gaps, "step has", "steps have")));
        }
        let said = runs.iter().zip(&curves).enumerate().map(|(n, (run, curve))| {
            let said = curve.stats().map_or_else(|| "no number".to_owned(), describe);
            format!("{} {}: {said}.", n + 1, run.name)
        });
        let alt = format!("{} by step. {}", self.heading, said.collect::<Vec<_>>().join(" "));
        let lines = curves.iter().map(|curve| Line::of_curve(curve));
        let lines: Vec<Line> =
            lines.map(|line| if self.is_noisy { line.with_trend() } else { line }).collect();
        if lines.iter().any(Line::has_trend) {
            note.push("Bold: moving mean over a twentieth of a run.".to_owned());
        }
        page::figure(self.heading, &note.join(" "), &line_chart(&alt, &lines), &html! {})
    }
}

fn describe(stats: Stats) -> String {
    format!(
        "{} at step {}, {} at step {}, least {} at step {}, greatest {} at step {}",
        significant(stats.first.value),
        count(stats.first.step),
        significant(stats.last.value),
        count(stats.last.step),
        significant(stats.least.value),
        count(stats.least.step),
        significant(stats.greatest.value),
        count(stats.greatest.step)
    )
}

/// mAP of a setting on the held-out part, while the runs were trained; nothing where none was evaluated.
fn validation(runs: &[Named<RunReport>], setting: usize, name: &str) -> Markup {
    let points = |run: &RunReport| -> Vec<(u64, f64)> {
        run.evaluations.iter().filter_map(|e| Some((e.steps, e.maps()[setting]?))).collect()
    };
    let points: Vec<Vec<(u64, f64)>> = runs.iter().map(|run| points(&run.part)).collect();
    if points.iter().all(Vec::is_empty) {
        return html! {};
    }
    let steps: BTreeSet<u64> = points.iter().flatten().map(|(steps, _)| *steps).collect();
    let table = html! {
        table.numeric {
            thead {
                tr {
                    th scope="col" { "steps" }
                    @for run in runs { th scope="col" { bdi { (run.name) } } }
                }
            }
            tbody {
                @for steps in &steps {
                    tr {
                        th scope="row" { (count(*steps)) }
                        @for points in &points {
                            @let value = points.iter().find(|(at, _)| at == steps).map(|(_, value)| *value);
                            td { (fixed_or_none(value, 4)) }
                        }
                    }
                }
            }
        }
    };
    let heading = format!("mAP {name} on the held-out part");
    let last = runs.iter().zip(&points).enumerate().filter_map(|(n, (run, points))| {
        let (steps, value) = points.last()?;
        Some(format!("{} {}: {} after {} steps.", n + 1, run.name, fixed(*value, 4), count(*steps)))
    });
    let alt = format!("{heading}, by steps. {}", last.collect::<Vec<_>>().join(" "));
    let lines: Vec<Line> = points.iter().map(|points| Line::through(points.iter().copied())).collect();
    page::figure(&heading, "", &line_chart(&alt, &lines), &page::numbers(&heading, &table))
}

/// Some lines of `metrics.jsonl`: the table behind the curves of a run.
fn lines(n: usize, run: &Named<RunReport>) -> Markup {
    let names = [
        "step",
        "loss",
        "learning rate",
        "gradient norm",
        "masked pairs",
        "rows a second",
        "tokens a second",
        "waiting",
    ];
    let value = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), significant);
    let table = html! {
        table.numeric {
            thead { tr { @for name in names { th scope="col" { (name) } } } }
            tbody {
                @for line in &run.part.lines {
                    tr {
                        th scope="row" { (count(line.step)) }
                        td { (value(line.loss)) }
                        td { (value(line.learning_rate)) }
                        td { (value(line.gradient_norm)) }
                        td { (line.masked_pairs.map_or_else(|| NONE.to_owned(), count)) }
                        td { (value(line.examples_per_sec)) }
                        td { (value(line.tokens_per_sec)) }
                        td { (value(line.wait_fraction)) }
                    }
                }
            }
        }
    };
    let label = format!("steps of {}", run.name);
    html! {
        details {
            summary { "Numbers of " b class={ "number " (look(n)) } { (n + 1) } " " bdi { (run.name) } }
            (page::scrolled(&label, &table))
        }
    }
}

/// Every setting, those first in which runs differ.
fn settings(runs: &[Named<RunReport>]) -> Markup {
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.part.settings.keys()).collect();
    let differs = |key: &String| {
        let values: BTreeSet<Option<&String>> = runs.iter().map(|run| run.part.settings.get(key)).collect();
        1 < values.len()
    };
    let (differing, equal): (Vec<&String>, Vec<&String>) = keys.into_iter().partition(|key| differs(key));
    let table = |keys: &[&String]| {
        html! {
            table {
                thead {
                    tr {
                        th scope="col" { "setting" }
                        @for run in runs { th scope="col" { bdi { (run.name) } } }
                    }
                }
                tbody {
                    @for key in keys {
                        tr {
                            th scope="row" { code { (key) } }
                            @for run in runs {
                                td { (run.part.settings.get(*key).map_or(NONE, String::as_str)) }
                            }
                        }
                    }
                }
            }
        }
    };
    html! {
        @if !differing.is_empty() {
            h3 { "What the runs differ in" }
            (page::scrolled("Settings that differ", &table(&differing)))
        }
        @if !equal.is_empty() {
            details {
                summary { @if runs.len() == 1 { "Settings" } @else { "Settings that are equal" } }
                (page::scrolled("Settings", &table(&equal)))
            }
        }
    }
}
