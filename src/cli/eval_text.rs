//! An evaluation for people.

use prep::eval::{Comparison, Difference, Evaluation, Setting};

use super::eval::Report;
use super::output::{count, fields, table};

pub(super) fn describe(report: &Report) -> String {
    let evaluation = report.evaluation;
    let mut text = fields(&[
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
    ]);
    if let Some(queries) = report.queries_in_run {
        text.push_str(&format!("run       has {} of the queries\n", count(queries as u64)));
    }
    if evaluation.relevant_outside_pool != 0 {
        text.push_str(&format!(
            "left out  {} judgements of passages that are not there\n",
            count(evaluation.relevant_outside_pool)
        ));
    }
    if report.eval_is_trained_on {
        text.push_str(
            "beware    the batches of this dataset hold these questions: this is no held-out score\n",
        );
    }
    text.push('\n');
    text.push_str(&settings(evaluation));
    text.push('\n');
    text.push_str(&matrix(evaluation));
    if let Some(comparison) = report.comparison {
        text.push('\n');
        text.push_str(&differences(comparison));
    }
    text
}

/// A line a setting: counts, then macro means.
fn settings(evaluation: &Evaluation) -> String {
    let mut header = vec!["", "cells", "queries", "without relevant"];
    let names = evaluation.settings.values().next().map(|means| &means.means).into_iter().flatten();
    for (name, _) in names {
        header.push(name);
        if name == "mAP" {
            header.extend(["95 %", "micro"]);
        }
    }
    let rows: Vec<Vec<String>> = evaluation
        .settings
        .iter()
        .map(|(setting, means)| {
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
            row
        })
        .collect();
    let mut text = table(&header, &rows);
    match &evaluation.rank_distance {
        Some(distance) => text.push_str(&format!(
            "  rank distance {}, 95 % {}, micro {}, of {} queries\n",
            number(distance.mean.over_cells, 1),
            interval(distance.mean.interval, 1),
            number(distance.mean.over_queries, 1),
            count(distance.queries),
        )),
        None => text.push_str(
            "  no rank distance: it takes queries with two relevant passages, and the ranks of all of them\n",
        ),
    }
    text
}

/// mAP by language of query (down) and passage (across): Mo on the diagonal, Cr beside it; Mul; rank distance.
fn matrix(evaluation: &Evaluation) -> String {
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
    let rows: Vec<Vec<String>> = query_langs
        .iter()
        .map(|query| {
            let mut row = vec![(*query).to_owned()];
            row.extend(passage_langs.iter().map(|passage| map(query, Some(passage))));
            row.push(map(query, None));
            let distance =
                evaluation.rank_distance.as_ref().and_then(|d| d.by_query_lang.get(*query).copied());
            row.push(number(distance, 1));
            row
        })
        .collect();
    let mut header = vec!["mAP"];
    header.extend(&passage_langs);
    header.extend(["all", "rank distance"]);
    let text = table(&header, &rows);
    format!("{text}  rows: language of the queries; columns: of the passages\n")
}

fn differences(comparison: &Comparison) -> String {
    let row = |name: String, d: &Difference, digits: usize| {
        vec![
            name,
            number(Some(d.this), digits),
            number(Some(d.other), digits),
            format!("{:+.digits$}", d.difference),
            interval(d.interval, digits),
            format!("{:.4}", d.p_value),
        ]
    };
    let settings =
        comparison.map.iter().map(|(setting, d): (&Setting, _)| row(format!("mAP {setting:?}"), d, 4));
    let distance = comparison.rank_distance.iter().map(|d| row("rank distance".to_owned(), d, 1));
    let rows: Vec<Vec<String>> = settings.chain(distance).collect();
    let text = table(&["", "this", "other", "difference", "95 %", "p"], &rows);
    format!(
        "{text}  p: paired randomisation test by question, {} draws\n",
        count(comparison.resamples.into())
    )
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn interval(ends: Option<[f64; 2]>, digits: usize) -> String {
    ends.map_or_else(|| "-".to_owned(), |[lo, hi]| format!("{lo:.digits$} to {hi:.digits$}"))
}
