//! An evaluation for people.

use prep::eval::{Comparison, Evaluation};

use super::eval::Report;
use super::output::count;
use super::page::Page;
use super::table::{Best, MARK, Table};

/// Differences less probable than this by chance have a better side.
const SIGNIFICANT: f64 = 0.05;

pub(super) fn describe(report: &Report, page: Page) -> String {
    let evaluation = report.evaluation;
    let mut lines = vec![
        ("dataset", report.dataset_id.to_string()),
        (
            "queries",
            format!("{} of {} groups", count(evaluation.queries as u64), count(evaluation.groups as u64)),
        ),
        (
            "passages",
            format!("{} in {} languages", count(evaluation.passages as u64), evaluation.languages.len()),
        ),
        ("ties", report.ties.to_owned()),
    ];
    if let Some(queries) = report.queries_in_run {
        lines.push(("run", format!("has {} of the queries", count(queries as u64))));
    }
    if evaluation.relevant_outside_pool != 0 {
        let n = count(evaluation.relevant_outside_pool);
        lines.push(("left out", format!("{n} judgements of passages that are not there")));
    }
    if report.eval_is_trained_on {
        let found = "the batches of this dataset hold these questions: this is no held-out score";
        lines.push(("beware", found.to_owned()));
    }
    let mut parts = vec![page.fields(&lines), settings(evaluation, page), matrix(evaluation, page)];
    parts.extend(report.comparison.map(|comparison| differences(comparison, page)));
    parts.join("\n")
}

/// A line a setting: counts, then macro means. Nothing is best here: the settings search different pools.
fn settings(evaluation: &Evaluation, page: Page) -> String {
    let mut table = Table::new().left("").right("cells").right("queries").right("without relevant");
    let names = evaluation.settings.values().next().map(|means| &means.means).into_iter().flatten();
    for (name, _) in names {
        table = table.right(name);
        if name == "mAP" {
            table = table.right("95 %").right("micro");
        }
    }
    for (setting, means) in &evaluation.settings {
        let mut row = vec![
            format!("{setting:?}"),
            means.cells.to_string(),
            count(means.queries),
            count(means.queries_without_relevant),
        ];
        for (name, mean) in &means.means {
            row.push(number(mean.over_cells, 4));
            if name == "mAP" {
                row.extend([interval(mean.interval, 4), number(mean.over_queries, 4)]);
            }
        }
        table.row(row);
    }
    let distance = match &evaluation.rank_distance {
        Some(distance) => format!(
            "rank distance {}, 95 % {}, micro {}, of {} queries",
            number(distance.mean.over_cells, 1),
            interval(distance.mean.interval, 1),
            number(distance.mean.over_queries, 1),
            count(distance.queries),
        ),
        None => "no rank distance: it takes queries with two relevant passages, and the ranks of all of them"
            .to_owned(),
    };
    table.on(page) + &page.note(&distance)
}

/// mAP by language of query (down) and passage (across): Mo on the diagonal, Cr beside it; Mul; rank distance.
fn matrix(evaluation: &Evaluation, page: Page) -> String {
    let mut passage_langs: Vec<&str> = Vec::new();
    let mut query_langs: Vec<&str> = Vec::new();
    for cell in &evaluation.cells {
        query_langs.push(&cell.query_lang);
        passage_langs.extend(cell.passage_lang.as_deref());
    }
    for langs in [&mut passage_langs, &mut query_langs] {
        langs.sort_unstable();
        langs.dedup();
    }
    let map = |query: &str, passage: Option<&str>| {
        let cell = evaluation
            .cells
            .iter()
            .find(|cell| cell.query_lang == query && cell.passage_lang.as_deref() == passage);
        number(cell.and_then(|cell| cell.means.first()).and_then(|(_, mean)| *mean), 4)
    };
    let columns = passage_langs.iter().fold(Table::new().left("mAP"), |table, lang| table.right(lang));
    let mut table = columns.right("all").right("rank distance");
    for query in query_langs {
        let mut row = vec![query.to_owned()];
        row.extend(passage_langs.iter().map(|passage| map(query, Some(passage))));
        row.push(map(query, None));
        let distances = evaluation.rank_distance.as_ref().map(|distance| &distance.by_query_lang);
        row.push(number(distances.and_then(|by_lang| by_lang.get(query).copied()), 1));
        table.row(row);
    }
    let all = passage_langs.len() + 1;
    (1..=all).for_each(|column| table.mark_best(column, Best::Greatest));
    table.mark_best(all + 1, Best::Smallest);
    let mut text = table.on(page) + &page.note("rows: language of the queries; columns: of the passages");
    if table.has_marks() {
        text.push_str(&page.note(&format!("{MARK} the best of its column; of rank distances the smallest")));
    }
    text
}

fn differences(comparison: &Comparison, page: Page) -> String {
    let settings =
        comparison.map.iter().map(|(setting, d)| (format!("mAP {setting:?}"), d, 4, Best::Greatest));
    let distance =
        comparison.rank_distance.iter().map(|d| ("rank distance".to_owned(), d, 1, Best::Smallest));
    let header = ["this", "other", "difference", "95 %", "p"];
    let mut table = header.into_iter().fold(Table::new().left(""), Table::right);
    for (row, (name, d, digits, best)) in settings.chain(distance).enumerate() {
        let [this, other] = [d.this, d.other].map(|mean| number(Some(mean), digits));
        // A difference of rounding alone can be one that chance does not explain.
        let is_clear = d.p_value < SIGNIFICANT && this != other;
        let difference = format!("{:+.digits$}", d.difference);
        table.row([name, this, other, difference, interval(d.interval, digits), format!("{:.4}", d.p_value)]);
        if is_clear {
            let this_is_better = match best {
                Best::Greatest => d.other < d.this,
                Best::Smallest => d.this < d.other,
            };
            table.mark(row, if this_is_better { 1 } else { 2 });
        }
    }
    let draws = count(comparison.resamples.into());
    let mut text =
        table.on(page) + &page.note(&format!("p: paired randomisation test by question, {draws} draws"));
    if table.has_marks() {
        text.push_str(&page.note(&format!("{MARK} the better of the two, where p < {SIGNIFICANT}")));
    }
    text
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn interval(ends: Option<[f64; 2]>, digits: usize) -> String {
    ends.map_or_else(|| "-".to_owned(), |[lo, hi]| format!("{lo:.digits$} to {hi:.digits$}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prep::eval::{Difference, Setting};

    use super::*;

    fn difference(this: f64, other: f64, p_value: f64) -> Difference {
        Difference { this, other, difference: this - other, interval: None, p_value }
    }

    #[test]
    fn the_better_system_is_marked_where_chance_explains_too_little() {
        let map = BTreeMap::from([
            (Setting::Mo, difference(0.5, 0.25, 0.01)),
            (Setting::Cr, difference(0.5, 0.25, 0.05)),
            (Setting::Mul, difference(0.500_001, 0.5, 0.01)),
        ]);
        let rank_distance = Some(difference(7.0, 5.0, 0.001));
        let text = differences(
            &Comparison { map, rank_distance, resamples: 10_000, seed: 0 },
            Page { columns: None, is_styled: false },
        );
        let lines = [
            "                   this    other   difference  95 %       p",
            "  mAP Mo         0.5000*  0.2500      +0.2500     -  0.0100",
            "  mAP Cr         0.5000   0.2500      +0.2500     -  0.0500",
            "  mAP Mul        0.5000   0.5000      +0.0000     -  0.0100",
            "  rank distance     7.0      5.0*        +2.0     -  0.0010",
            "  p: paired randomisation test by question, 10,000 draws",
            "  * the better of the two, where p < 0.05",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }
}
