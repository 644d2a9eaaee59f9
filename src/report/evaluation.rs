//! Evaluations of one benchmark side by side. Those of another benchmark stand in a section of their own: their
//! numbers cannot be compared.

use maud::{Markup, html};

use super::Named;
use super::bars::{Bar, bars, dots};
use super::chart::{legend, look, sample_of_mark};
use super::heat;
use super::page;
use super::results::{Comparison, Difference, MAP, Mean, Results, SETTINGS};
use crate::number::{NONE, count, fixed, fixed_or_none, interval};

/// Digits of a mean, and of a rank distance.
const DIGITS: usize = 4;
const DIGITS_OF_RANKS: usize = 1;

/// `dataset` is the name of the dataset, where the report has it.
pub(super) fn body(evaluations: &[Named<Results>], dataset: Option<&str>) -> Markup {
    let first = &evaluations[0].part;
    html! {
        (page::facts(&[
            ("questions", html! { (count(first.queries)) " in " (count(first.groups)) " groups" }),
            ("passages", html! { (count(first.passages)) }),
            ("languages", html! { (first.languages.len()) }),
            ("part of the dataset", html! { (first.splits) }),
            ("dataset", html! { @match dataset { Some(name) => { bdi { (name) } }, None => { code { (first.dataset_id) } } } }),
            ("benchmark", html! { code { (first.benchmark) } }),
        ]))
        @for evaluation in evaluations.iter().filter(|evaluation| evaluation.part.eval_is_trained_on) {
            p.warning {
                strong { "Beware: " }
                bdi { (evaluation.name) }
                " was scored on questions that the batches of its dataset hold. This is no held-out score."
            }
        }
        @for evaluation in evaluations {
            @if let Some(n) = evaluation.part.queries_in_run {
                p.note { bdi { (evaluation.name) } ": the run has " (count(n)) " of the questions." }
            }
        }
        h3 { "Means" }
        (means(evaluations))
        h3 { "All measures" }
        (page::scrolled("All measures", &measures(evaluations)))
        @for evaluation in evaluations {
            @if let Some(comparison) = &evaluation.part.comparison {
                h3 { "Test of " bdi { (evaluation.name) } " against another" }
                (page::scrolled("Differences", &differences(comparison)))
                p.note { "p: paired randomisation test by question, two-sided." }
            }
        }
        h3 { "mAP by language" }
        (heat::maps(evaluations))
        (rank_distance(evaluations))
    }
}

/// Four small charts: mAP of each setting on one axis, and rank distance.
fn means(evaluations: &[Named<Results>]) -> Markup {
    let bar = |evaluation: &Named<Results>, mean: Option<Mean>, digits: usize| Bar {
        name: evaluation.name.clone(),
        value: mean.and_then(|mean| mean.over_cells),
        interval: mean.and_then(|mean| mean.interval),
        digits,
    };
    let of_setting = |setting: &str| -> Vec<Bar> {
        evaluations.iter().map(|e| bar(e, e.part.map(setting), DIGITS)).collect()
    };
    let distances: Vec<Bar> = evaluations
        .iter()
        .map(|e| bar(e, e.part.rank_distance.as_ref().map(|distance| distance.mean), DIGITS_OF_RANKS))
        .collect();
    let bootstrap = &evaluations[0].part.bootstrap;
    html! {
        div.charts.narrow {
            @for (setting, meaning) in SETTINGS {
                (page::figure(
                    &format!("{setting} mAP"), meaning,
                    &bars(&format!("{setting} mAP, {meaning}"), &of_setting(setting), Some(1.0)), &html! {},
                ))
            }
            @if distances.iter().any(|bar| bar.value.is_some()) {
                (page::figure(
                    "Rank distance", "language bias: lower is better",
                    &bars("Rank distance, lower is better", &distances, None), &html! {},
                ))
            }
        }
        p.note {
            "Means of the languages' means. Whiskers: " (fixed(bootstrap.level * 100.0, 0)) " % bootstrap intervals, "
            (count(bootstrap.resamples)) " resamples of questions."
        }
    }
}

/// The table behind the bars: a line for each evaluation in each setting.
fn measures(evaluations: &[Named<Results>]) -> Markup {
    let first = evaluations.iter().find_map(|e| e.part.settings.values().next());
    let names: Vec<&str> =
        first.into_iter().flat_map(|s| s.means.0.iter().map(|(name, _)| name.as_str())).collect();
    let best = |setting: &str, name: &str| {
        let values = evaluations.iter().filter_map(|e| macro_mean(&e.part, setting, name));
        if evaluations.len() < 2 { None } else { values.reduce(f64::max) }
    };
    let cell = |value: Option<f64>, best: Option<f64>| {
        html! {
            @if value.is_some() && value == best { strong { (fixed_or_none(value, DIGITS)) span.hidden { " (best)" } } }
            @else { (fixed_or_none(value, DIGITS)) }
        }
    };
    html! {
        table.numeric {
            thead {
                tr {
                    th scope="col" { "setting" }
                    th.text scope="col" { "evaluation" }
                    th scope="col" { "questions" }
                    @for name in &names {
                        th scope="col" { (name) }
                        @if *name == MAP { th scope="col" { "interval" } th scope="col" { "micro" } }
                    }
                }
            }
            @for (setting, _) in SETTINGS {
                tbody {
                    @for (n, Named { name: evaluation, part: results }) in evaluations.iter().enumerate() {
                        @let means = results.settings.get(setting);
                        tr {
                            th scope="row" { (setting) }
                            td.text { b class={ "number " (look(n)) } { (n + 1) } " " bdi { (evaluation) } }
                            td { (means.map_or_else(|| NONE.to_owned(), |means| count(means.queries))) }
                            @for name in &names {
                                @let mean = means.and_then(|means| means.means.get(name).copied());
                                td { (cell(macro_mean(results, setting, name), best(setting, name))) }
                                @if *name == MAP {
                                    td { (interval(mean.and_then(|mean| mean.interval), DIGITS)) }
                                    td { (fixed_or_none(mean.and_then(|mean| mean.over_queries), DIGITS)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn macro_mean(results: &Results, setting: &str, name: &str) -> Option<f64> {
    results.settings.get(setting)?.means.get(name)?.over_cells
}

fn differences(comparison: &Comparison) -> Markup {
    let settings = SETTINGS
        .iter()
        .filter_map(|(setting, _)| Some((format!("mAP {setting}"), comparison.map.get(*setting)?, DIGITS)));
    let distance = comparison.rank_distance.iter().map(|d| ("rank distance".to_owned(), d, DIGITS_OF_RANKS));
    let rows: Vec<(String, &Difference, usize)> = settings.chain(distance).collect();
    html! {
        table.numeric {
            thead {
                tr {
                    td {}
                    @for name in ["this", "other", "difference", "interval", "p"] { th scope="col" { (name) } }
                }
            }
            tbody {
                @for (name, d, digits) in rows {
                    tr {
                        th scope="row" { (name) }
                        td { (fixed(d.this, digits)) }
                        td { (fixed(d.other, digits)) }
                        td { (fixed(d.difference, digits)) }
                        td { (interval(d.interval, digits)) }
                        td { (fixed(d.p_value, DIGITS)) }
                    }
                }
            }
        }
    }
}

/// Rank distance by the language of the question: a line a language, a mark an evaluation.
fn rank_distance(evaluations: &[Named<Results>]) -> Markup {
    let mut languages: Vec<&String> = evaluations
        .iter()
        .filter_map(|e| e.part.rank_distance.as_ref())
        .flat_map(|distance| distance.by_query_lang.keys())
        .collect();
    languages.sort_unstable();
    languages.dedup();
    if languages.is_empty() {
        return html! {
            p.note { "No rank distance: it takes questions with two relevant passages, and the ranks of all of them." }
        };
    }
    let of = |language: &str, results: &Results| {
        results.rank_distance.as_ref().and_then(|distance| distance.by_query_lang.get(language).copied())
    };
    let rows: Vec<(String, Vec<Option<f64>>)> = languages
        .iter()
        .map(|&language| (language.clone(), evaluations.iter().map(|e| of(language, &e.part)).collect()))
        .collect();
    let table = html! {
        table.numeric {
            thead {
                tr {
                    th scope="col" { "questions in" }
                    @for evaluation in evaluations { th scope="col" { bdi { (evaluation.name) } } }
                }
            }
            tbody {
                @for (language, values) in &rows {
                    tr {
                        th scope="row" { (language) }
                        @for value in values { td { (fixed_or_none(*value, DIGITS_OF_RANKS)) } }
                    }
                }
            }
            tfoot {
                tr {
                    th scope="row" { "mean" }
                    @for e in evaluations {
                        td { (fixed_or_none(e.part.rank_distance.as_ref().and_then(|d| d.mean.over_cells), DIGITS_OF_RANKS)) }
                    }
                }
                tr {
                    th scope="row" { "questions" }
                    @for e in evaluations {
                        td { (e.part.rank_distance.as_ref().map_or_else(|| NONE.to_owned(), |d| count(d.queries))) }
                    }
                }
            }
        }
    };
    let names: Vec<&str> = evaluations.iter().map(|evaluation| evaluation.name.as_str()).collect();
    let alt = "Rank distance by the language of the question; the table below has the numbers.";
    html! {
        h3 { "Rank distance by language" }
        @if 1 < evaluations.len() { (legend(&names, sample_of_mark)) }
        div.charts {
            (page::figure(
                "Rank distance",
                "How many ranks lie between the first and the last of the passages that answer a question, in a ranking \
                 over all languages. Lower is better.",
                &dots(alt, &rows),
                &page::numbers("rank distance by language", &table),
            ))
        }
    }
}
