//! The frame that every chart is drawn in: inline SVG, as wide as its place.
//!
//! Text must not shrink on a narrow screen, so nothing is scaled: places across are per cent, places down are pixels.
//! Only paths, which know no per cent, lie in an inner SVG of [`ACROSS`] x [`DOWN`] units that is stretched, with strokes
//! that are not.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

pub(super) const ACROSS: f64 = 1000.0;
pub(super) const DOWN: f64 = 1000.0;

/// Looks of series: colour, dashes, mark. Further ones begin again, and are told apart by their numbers.
const N_LOOKS: usize = 6;
/// Marks around (0, 0), as far apart in shape as can be.
const MARKS: [&str; N_LOOKS] = [
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "M-4-4h8v8h-8z",
    "M0-5.5L5 4H-5z",
    "M0-5.8L5.8 0L0 5.8L-5.8 0z",
    "M0 5.5L5-4H-5z",
    "M-1.5-5h3v3.5H5v3H1.5V5h-3V1.5H-5v-3h3.5z",
];

/// What surrounds the marks of a chart.
pub(super) struct Frame<'a> {
    /// What a screen reader says instead of the chart.
    pub(super) alt: &'a str,
    /// In pixels, without the labels below.
    pub(super) height: f64,
    /// Places across, from 0 to 1, and their labels.
    pub(super) x: &'a [(f64, String)],
    /// Places up, from 0 to 1, and theirs.
    pub(super) y: &'a [(f64, String)],
    pub(super) x_name: &'a str,
    /// Room for labels, beside those of the axes.
    pub(super) class: &'a str,
}

/// A chart: `stretched` lies in [`ACROSS`] x [`DOWN`] units, `placed` in per cent and pixels above it.
pub(super) fn chart(frame: &Frame, stretched: &Markup, placed: &Markup) -> Markup {
    let Frame { alt, height, x, y, x_name, class } = *frame;
    let below = height + 18.0;
    html! {
        div class={ "chart " (class) } {
            svg role="img" aria-label=(alt) width="100%" height=(px(height)) {
                g.grid {
                    @for (at, _) in y {
                        line x1="0" x2="100%" y1=(px(height * (1.0 - at))) y2=(px(height * (1.0 - at))) {}
                    }
                    @for (at, _) in x {
                        line x1=(percent(*at)) x2=(percent(*at)) y1=(px(height)) y2=(px(height + 4.0)) {}
                    }
                }
                g.labels {
                    @for (at, label) in y { text.end x="-8" y=(px(height * (1.0 - at) + 4.0)) { (label) } }
                    @for (at, label) in x { text.middle x=(percent(*at)) y=(px(below)) { (label) } }
                    @if !x_name.is_empty() { text.end x="100%" y=(px(below + 17.0)) { (x_name) } }
                }
                svg width="100%" height=(px(height)) viewBox={ "0 0 " (ACROSS) " " (DOWN) } preserveAspectRatio="none" {
                    (stretched)
                }
                (placed)
            }
        }
    }
}

/// The class that gives the n-th series, from 0, its look.
pub(super) fn look(n: usize) -> String {
    format!("s{}", n % N_LOOKS + 1)
}

/// The mark of the n-th series.
pub(super) fn mark(n: usize, across: f64, y: f64) -> Markup {
    html! {
        svg class={ "mark " (look(n)) } x=(percent(across)) y=(px(y)) overflow="visible" {
            path d=(MARKS[n % N_LOOKS]) {}
        }
    }
}

/// The series of a group of charts: what each looks like there, its number and its name.
pub(super) fn legend(names: &[&str], sample: fn(usize) -> Markup) -> Markup {
    html! {
        ol.legend {
            @for (n, name) in names.iter().enumerate() {
                li { (sample(n)) b.number.(look(n)) { (n + 1) } bdi { (name) } }
            }
        }
    }
}

pub(super) fn sample_of_line(n: usize) -> Markup {
    html! { svg.(look(n)) width="34" height="14" aria-hidden="true" { path.line d="M1 7H33" {} } }
}

pub(super) fn sample_of_mark(n: usize) -> Markup {
    html! { svg width="14" height="14" aria-hidden="true" { (mark(n, 0.5, 7.0)) } }
}

/// A path through these places (across, up), from 0 to 1.
pub(super) fn path_through(places: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (across, up) in places {
        let letter = if path.is_empty() { 'M' } else { 'L' };
        write!(path, "{letter}{} {}", unit(across * ACROSS), unit((1.0 - up) * DOWN))
            .expect("a string takes all");
    }
    // One place alone is a dot, which the round end of a line of no length makes.
    if path.matches(['M', 'L']).count() == 1 {
        path.push_str("h0");
    }
    path
}

/// A tenth of a unit is finer than a screen.
pub(super) fn unit(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

pub(super) fn px(value: f64) -> String {
    unit(value)
}

pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{}%", text.strip_suffix(".00").unwrap_or(&text))
}

/// Markup of many parts.
pub(super) fn together(parts: impl IntoIterator<Item = Markup>) -> Markup {
    PreEscaped(parts.into_iter().map(|part| part.0).collect())
}
