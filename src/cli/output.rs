//! What a command gives: text for people, JSON for machines.

pub(super) use prep::number::{bytes, count};
use serde::Serialize;

use super::page::Page;

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

/// `name  value` lines for standard output, values aligned.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    Page::stdout().fields(fields)
}

/// `reason n, reason n`, or `none`.
pub(super) fn reasons(rejects: &std::collections::BTreeMap<String, u64>) -> String {
    if rejects.is_empty() {
        return "none".to_owned();
    }
    let parts: Vec<_> = rejects.iter().map(|(reason, n)| format!("{reason} {}", count(*n))).collect();
    parts.join(", ")
}
