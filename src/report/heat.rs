//! mAP by language of the question (down) and of the passage (across): a table whose cells are coloured. The numbers
//! stand in it, so colour is never all there is, and a screen reader reads it as the table that it is.

use maud::{Markup, html};

use super::Named;
use super::page;
use super::results::Results;
use super::scale::Scale;
use crate::number::{fixed, fixed_or_none};

/// Shades of the style sheet.
const N_SHADES: usize = 10;
const DIGITS: usize = 3;

/// Heat maps with one scale.
pub(super) fn maps(evaluations: &[Named<Results>]) -> Markup {
    let values = evaluations.iter().flat_map(|e| {
        let languages = &e.part.languages;
        let all = languages.iter().map(|query| e.part.cell(query, None));
        let cells = languages.iter().flat_map(|q| languages.iter().map(|p| e.part.cell(q, Some(p))));
        cells.chain(all).flatten().collect::<Vec<_>>()
    });
    let (lo, hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    let scale = if lo <= hi { Scale::around([lo, hi], 8) } else { Scale::exactly(0.0, 1.0, 8) };
    html! {
        p.note {
            "Rows: language of the question. Columns: language of the passages; "
            i { "all" } ": the ranking over all of them. Outlined: monolingual."
        }
        (key(&scale))
        div.maps { @for (n, evaluation) in evaluations.iter().enumerate() { (map(n, evaluation, &scale, 1 < evaluations.len())) } }
    }
}

fn shade(value: Option<f64>, scale: &Scale) -> Option<String> {
    let shade = |value: f64| ((scale.at(value) * N_SHADES as f64) as usize).min(N_SHADES - 1);
    value.map(|value| format!("h{}", shade(value)))
}

/// What the shades mean.
fn key(scale: &Scale) -> Markup {
    let bound = |shade: usize| scale.lo + (scale.hi - scale.lo) * shade as f64 / N_SHADES as f64;
    html! {
        ol.key aria-hidden="true" {
            @for shade in 0..N_SHADES { li class={ "h" (shade) } { (fixed(bound(shade), 2)) } }
        }
    }
}

fn map(n: usize, evaluation: &Named<Results>, scale: &Scale, is_one_of_many: bool) -> Markup {
    let results = &evaluation.part;
    let languages = &results.languages;
    let table = html! {
        table.heat {
            caption {
                @if is_one_of_many { b class={ "number " (super::chart::look(n)) } { (n + 1) } " " }
                bdi { (evaluation.name) }
            }
            thead {
                tr {
                    td {}
                    @for passage in languages { th scope="col" { (passage) } }
                    th.apart scope="col" { "all" }
                }
            }
            tbody {
                @for query in languages {
                    tr {
                        th scope="row" { (query) }
                        @for passage in languages {
                            @let value = results.cell(query, Some(passage));
                            td class={ (shade(value, scale).unwrap_or_default()) @if query == passage { " mo" } } {
                                (fixed_or_none(value, DIGITS))
                            }
                        }
                        @let value = results.cell(query, None);
                        td class={ "apart " (shade(value, scale).unwrap_or_default()) } { (fixed_or_none(value, DIGITS)) }
                    }
                }
            }
        }
    };
    page::scrolled(&format!("mAP by language: {}", evaluation.name), &table)
}
