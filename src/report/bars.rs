//! Bars with intervals, and rows of marks.

use maud::{Markup, html};

use super::chart::{Frame, chart, look, mark, percent, px, together};
use super::scale::Scale;
use crate::number::{NONE, fixed, fixed_or_none, interval};

/// Of a bar with its name above, in pixels.
const ROW: f64 = 44.0;
const BAR: f64 = 12.0;
/// Of a row of marks.
const DOT_ROW: f64 = 22.0;

/// A value with its interval.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: Option<f64>,
    pub(super) interval: Option<[f64; 2]>,
    pub(super) digits: usize,
}

/// Bars from 0 to `end`, or to a round number.
pub(super) fn bars(heading: &str, bars: &[Bar], end: Option<f64>) -> Markup {
    let values = bars.iter().flat_map(|bar| bar.value.into_iter().chain(bar.interval.into_iter().flatten()));
    let scale = match end {
        Some(end) => Scale::exactly(0.0, end, 4),
        None => Scale::around(values.chain([0.0]), 4),
    };
    let drawn = bars.iter().enumerate().map(|(n, bar)| {
        let top = n as f64 * ROW;
        let place = |value: f64| percent(scale.at(value));
        let middle = top + 22.0 + BAR / 2.0;
        html! {
            text.name x="0" y=(px(top + 15.0)) { tspan class={ "number " (look(n)) } { (n + 1) } " " (bar.name) }
            text.value.end x="100%" y=(px(top + 15.0)) { (fixed_or_none(bar.value, bar.digits)) }
            @if let Some(value) = bar.value {
                rect class={ "area " (look(n)) } x="0" width=(place(value)) y=(px(top + 22.0)) height=(px(BAR)) {}
            }
            @if let Some([lo, hi]) = bar.interval {
                // On a halo, so that it is seen on the bar as well as beside it.
                @for class in ["whisker halo", "whisker"] {
                    g class=(class) {
                        line x1=(place(lo)) x2=(place(hi)) y1=(px(middle)) y2=(px(middle)) {}
                        @for end in [lo, hi] {
                            line x1=(place(end)) x2=(place(end)) y1=(px(middle - 4.0)) y2=(px(middle + 4.0)) {}
                        }
                    }
                }
            }
        }
    });
    let said = bars.iter().enumerate().map(|(n, bar)| match bar.value {
        Some(value) => {
            let value = fixed(value, bar.digits);
            format!("{} {}: {value}, interval {}.", n + 1, bar.name, interval(bar.interval, bar.digits))
        }
        None => format!("{} {}: {NONE}.", n + 1, bar.name),
    });
    let alt = format!("{heading}. {}", said.collect::<Vec<_>>().join(" "));
    let ticks: Vec<_> = scale.ticks().into_iter().map(|(value, label)| (scale.at(value), label)).collect();
    let height = bars.len() as f64 * ROW;
    let frame = Frame { alt: &alt, height, x: &ticks, y: &[], x_name: "", class: "of-bars" };
    chart(&frame, &html! {}, &together(drawn))
}

/// A row a name, in it a mark for each value.
pub(super) fn dots(alt: &str, rows: &[(String, Vec<Option<f64>>)]) -> Markup {
    let values = rows.iter().flat_map(|(_, values)| values.iter().copied().flatten());
    let scale = Scale::around(values.chain([0.0]), 5);
    let drawn = rows.iter().enumerate().map(|(n, (name, values))| {
        let middle = (n as f64 + 0.5) * DOT_ROW;
        html! {
            line.track x1="0" x2="100%" y1=(px(middle)) y2=(px(middle)) {}
            text.name.end x="-10" y=(px(middle + 4.0)) { (name) }
            @for (n, value) in values.iter().enumerate() {
                @if let Some(value) = value { (mark(n, scale.at(*value), middle)) }
            }
        }
    });
    let ticks: Vec<_> = scale.ticks().into_iter().map(|(value, label)| (scale.at(value), label)).collect();
    let height = rows.len() as f64 * DOT_ROW;
    let frame = Frame { alt, height, x: &ticks, y: &[], x_name: "", class: "of-dots" };
    chart(&frame, &html! {}, &together(drawn))
}
