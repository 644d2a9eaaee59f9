//! Text for people: aligned columns. JSON for machines.

use std::fmt::Write;

pub(super) use prep::number::{bytes, count};
use serde::Serialize;

/// What a command prints, and whether it failed.
pub(super) struct Outcome {
    /// For stdout.
    pub(super) text: String,
    /// For stderr; exit code 1.
    pub(super) failed: Option<String>,
}

impl Outcome {
    pub(super) fn done(text: String) -> Self {
        Self { text, failed: None }
    }
}

/// One JSON value and a line feed.
pub(super) fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("results are plain data");
    text.push('\n');
    text
}

/// Lines of aligned columns: the first to the left, the others to the right.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let written = match column {
                0 => write!(text, "  {cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
            written.expect("a string takes all");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// `name: value` lines, values aligned.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<_> = fields.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect();
    lines.concat()
}

/// `reason n, reason n`, or `none`.
pub(super) fn reasons(rejects: &std::collections::BTreeMap<String, u64>) -> String {
    if rejects.is_empty() {
        return "none".to_owned();
    }
    let parts: Vec<_> = rejects.iter().map(|(reason, n)| format!("{reason} {}", count(*n))).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows =
            vec![vec!["de".to_owned(), "1".to_owned()], vec!["zh-Hant".to_owned(), "1,190".to_owned()]];
        assert_eq!(
            table(&["language", "n"], &rows),
            "  language      n\n  de            1\n  zh-Hant   1,190\n"
        );
    }
}
