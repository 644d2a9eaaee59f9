//! Lines over steps: the mean of each bucket, behind it the band from its least value to its greatest, and where that
//! is noise to the eye, its moving mean in front.

use maud::{Markup, html};

use super::chart::{Frame, chart, look, path_through, px, together};
use super::curve::{Curve, Spot};
use super::scale::{Scale, spread};

const HEIGHT: f64 = 190.0;
/// Between the numbers at the ends of lines.
const LINE_HEIGHT: f64 = 14.0;

/// A moving mean is over this part of a line,
const TREND: usize = 20;
/// if the line has as many spots as this at least.
const SPOTS_FOR_TREND: usize = 60;

/// A line of a chart. Its number is its place in the chart.
pub(super) struct Line {
    stretches: Vec<Vec<Spot>>,
    /// (step, moving mean) of the stretches.
    trend: Vec<Vec<(f64, f64)>>,
    /// Steps that have no number.
    gaps: Vec<f64>,
}

impl Line {
    pub(super) fn of_curve(curve: &Curve) -> Self {
        let (stretches, gaps) = curve.drawn();
        Self { stretches, trend: Vec::new(), gaps }
    }

    /// The same with its moving mean, unless it is short.
    pub(super) fn with_trend(mut self) -> Self {
        let n_spots = self.spots().count();
        if SPOTS_FOR_TREND <= n_spots {
            let reach = n_spots / TREND / 2;
            self.trend = self.stretches.iter().map(|stretch| moving_mean(stretch, reach)).collect();
        }
        self
    }

    pub(super) fn has_trend(&self) -> bool {
        !self.trend.is_empty()
    }

    /// Through a few points, whatever lies between their steps.
    pub(super) fn through(points: impl IntoIterator<Item = (u64, f64)>) -> Self {
        let spot = |(step, value): (u64, f64)| Spot {
            step: step as f64,
            least: value,
            mean: value,
            greatest: value,
        };
        let stretch: Vec<Spot> = points.into_iter().map(spot).collect();
        Self {
            stretches: if stretch.is_empty() { vec![] } else { vec![stretch] },
            trend: vec![],
            gaps: vec![],
        }
    }

    fn spots(&self) -> impl Iterator<Item = &Spot> {
        self.stretches.iter().flatten()
    }

    fn steps(&self) -> impl Iterator<Item = f64> {
        self.spots().map(|spot| spot.step).chain(self.gaps.iter().copied())
    }
}

/// The chart of lines that share their axes.
pub(super) fn line_chart(alt: &str, lines: &[Line]) -> Markup {
    let last = lines.iter().flat_map(Line::steps).fold(0.0, f64::max);
    let x = Scale::exactly(0.0, last, 5).whole();
    let y = Scale::around(lines.iter().flat_map(Line::spots).flat_map(|spot| [spot.least, spot.greatest]), 4);
    let ticks = |scale: &Scale| -> Vec<(f64, String)> {
        scale.ticks().into_iter().map(|(value, label)| (scale.at(value), label)).collect()
    };
    let place = |spot: &Spot, value: f64| (x.at(spot.step), y.at(value));
    let bands = lines.iter().enumerate().map(|(n, line)| {
        let wide =
            line.stretches.iter().filter(|stretch| stretch.iter().any(|spot| spot.least < spot.greatest));
        let bands = wide.map(|stretch| {
            let above = stretch.iter().map(|spot| place(spot, spot.greatest));
            let below = stretch.iter().rev().map(|spot| place(spot, spot.least));
            path_through(above.chain(below))
        });
        html! { @for band in bands { path class={ "band " (look(n)) } d={ (band) "z" } {} } }
    });
    let strokes = lines.iter().enumerate().map(|(n, line)| {
        let means = line.stretches.iter();
        let means = means.map(|stretch| path_through(stretch.iter().map(|spot| place(spot, spot.mean))));
        let trend = line.trend.iter();
        let trend =
            trend.map(|trend| path_through(trend.iter().map(|&(step, mean)| (x.at(step), y.at(mean)))));
        html! {
            @for stroke in means { path.line.(look(n)).raw[line.has_trend()] d=(stroke) {} }
            @for stroke in trend { path.line.(look(n)) d=(stroke) {} }
        }
    });
    let stretched = together(bands.chain(strokes));
    let gaps = lines.iter().flat_map(|line| &line.gaps).map(|&step| {
        html! { text.gap.middle x=(super::chart::percent(x.at(step))) y=(px(HEIGHT - 4.0)) { "×" } }
    });
    let ends = if lines.len() < 2 { vec![] } else { end_labels(lines, &y) };
    let placed = together(gaps.chain(ends));
    let frame =
        Frame { alt, height: HEIGHT, x: &ticks(&x), y: &ticks(&y), x_name: "step", class: "of-lines" };
    chart(&frame, &stretched, &placed)
}

/// Of each spot the mean of it and of so many on either side, as far as there are any.
fn moving_mean(stretch: &[Spot], reach: usize) -> Vec<(f64, f64)> {
    let mean = |spots: &[Spot]| spots.iter().map(|spot| spot.mean).sum::<f64>() / spots.len() as f64;
    let around = |(n, spot): (usize, &Spot)| {
        let end = (n + reach + 1).min(stretch.len());
        (spot.step, mean(&stretch[n.saturating_sub(reach)..end]))
    };
    stretch.iter().enumerate().map(around).collect()
}

/// The number of each line beside its end.
fn end_labels(lines: &[Line], y: &Scale) -> Vec<Markup> {
    let mut ends: Vec<(f64, usize)> = lines
        .iter()
        .enumerate()
        .filter_map(|(n, line)| Some(((1.0 - y.at(line.spots().last()?.mean)) * HEIGHT, n)))
        .collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut places: Vec<f64> = ends.iter().map(|(place, _)| *place).collect();
    spread(&mut places, LINE_HEIGHT, HEIGHT);
    let label = |(place, (_, n)): (f64, (f64, usize))| {
        html! { text class={ "number " (look(n)) } x="100%" dx="8" y=(px(place + 4.0)) { (n + 1) } }
    };
    places.into_iter().zip(ends).map(label).collect()
}
