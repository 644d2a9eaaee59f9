use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use prep::digest::Digest;
use prep::shards::{Batches, Change, Dataset, Diff as Difference, Pair, TableChanges, diff};
use serde_json::Value;

use super::Common;
use super::output::{self, Outcome, count, fields, table};

/// Show how two datasets differ, and why: settings, inputs, plan, texts, batches
///
/// Causes come first: what was asked for (pipeline), what was read (inputs), and what made it; then the plan, the corpus
/// and the batches that follow. Exit code 1 if the datasets differ, as of diff(1).
#[derive(Args)]
pub(super) struct Diff {
    /// Dataset directory
    a: PathBuf,
    /// Dataset directory to compare with
    b: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Lines of a list that are shown; `--json` has all.
const MAX_LINES: usize = 20;
/// Characters of a value.
const MAX_CHARS: usize = 60;

impl Diff {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let progress = self.common.start()?;
        let (a, b) = (Dataset::open(&self.a)?, Dataset::open(&self.b)?);
        let found = diff(Pair { a: &a, b: &b }, &progress)?;
        drop(progress);
        let failed = (!found.is_equal).then(|| "error: the datasets differ".to_owned());
        let text = if self.common.json { output::json(&found) } else { self.describe(&found) };
        Ok(Outcome { text, failed })
    }

    fn describe(&self, found: &Difference) -> String {
        let mut text = fields(&[
            ("a", format!("{}  {}", found.dataset_ids.a, self.a.display())),
            ("b", format!("{}  {}", found.dataset_ids.b, self.b.display())),
        ]);
        text.push_str(&format!("\n{}\n", verdict(found)));
        section(&mut text, "what made them", &found.tools);
        section(&mut text, "pipeline", &found.pipeline);
        section(&mut text, "inputs, by digest", &found.inputs);
        if found.is_equal {
            section(&mut text, "files, by digest", &found.files);
            return text;
        }
        section(&mut text, "plan", &found.plan);
        text.push_str(&describe_corpus(&found.corpus));
        text.push_str(&describe_batches(&found.batches));
        text
    }
}

/// In a sentence.
fn verdict(found: &Difference) -> String {
    if found.is_equal {
        let stored = if found.files.is_empty() { "" } else { ", stored in other files" };
        return format!("The same dataset: one plan, one corpus, the same batches{stored}.");
    }
    let is_same_corpus = found.corpus.iter().all(TableChanges::is_empty);
    let batches = &found.batches;
    match (found.plan.is_empty(), is_same_corpus) {
        (true, true) => {
            "Plan and corpus are the same, and yet batches differ: `prep verify` says which is wrong."
                .to_owned()
        }
        (true, false) if batches.differing.is_empty() => {
            "One plan and the same batches: the corpora differ where no batch looks.".to_owned()
        }
        (true, false) => "One plan: batches differ because texts do.".to_owned(),
        (false, _) if batches.differing.is_empty() => {
            "One begins with the batches of the other: only the number of steps differs, and the plan for it."
                .to_owned()
        }
        (false, true) => "One corpus: batches differ because they were planned otherwise.".to_owned(),
        (false, false) => "Plan and corpus both differ.".to_owned(),
    }
}

fn section(text: &mut String, title: &str, changes: &[Change]) {
    if changes.is_empty() {
        return;
    }
    let show = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), value_text);
    let rows: Vec<Vec<String>> = changes
        .iter()
        .take(MAX_LINES)
        .map(|change| vec![change.key.clone(), show(&change.a), show(&change.b)])
        .collect();
    text.push_str(&format!("\n{}", table(&[title, "a", "b"], &rows)));
    more(text, changes.len());
}

fn more(text: &mut String, n: usize) {
    if MAX_LINES < n {
        text.push_str(&format!("  and {} more\n", count((n - MAX_LINES) as u64)));
    }
}

/// In one line, cut where it is long. Of a digest the beginning tells enough.
fn value_text(value: &Value) -> String {
    let text = match value {
        Value::String(text) if Digest::from_str(text).is_ok() => return format!("{}…", &text[..12]),
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn describe_corpus(tables: &[TableChanges]) -> String {
    let differing: Vec<&TableChanges> = tables.iter().filter(|table| !table.is_empty()).collect();
    if differing.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = differing
        .iter()
        .map(|t| {
            let columns: Vec<String> =
                t.columns.iter().map(|(name, n)| format!("{name} {}", count(*n))).collect();
            let numbers = [t.rows.a, t.rows.b, t.only.a, t.only.b, t.changed].map(count);
            [vec![t.table.clone()], numbers.to_vec(), vec![columns.join(", ")]].concat()
        })
        .collect();
    let mut text =
        format!("\n{}", table(&["corpus", "in a", "in b", "only a", "only b", "changed", "columns"], &rows));
    let languages: Vec<Vec<String>> = differing
        .iter()
        .flat_map(|t| {
            t.languages.iter().map(|(lang, n)| {
                let numbers = [n.only.a, n.only.b, n.changed].map(count);
                [vec![format!("{} {lang}", t.table)], numbers.to_vec()].concat()
            })
        })
        .collect();
    if !languages.is_empty() {
        text.push_str(&format!("\n{}", table(&["language", "only a", "only b", "changed"], &languages)));
    }
    let shown: Vec<_> = differing.iter().flat_map(|table| &table.shown).collect();
    if !shown.is_empty() {
        text.push('\n');
        for row in shown.iter().take(MAX_LINES) {
            text.push_str(&format!("  {}: {}\n", row.id, row.column));
            text.push_str(&format!("    a  {}\n    b  {}\n", value_text(&row.a), value_text(&row.b)));
        }
        let cells: u64 = differing.iter().flat_map(|table| table.columns.values()).sum();
        more(&mut text, usize::try_from(cells).unwrap_or(usize::MAX));
    }
    text
}

fn describe_batches(batches: &Batches) -> String {
    let both = batches.steps.a.min(batches.steps.b);
    let mut lines = vec![
        ("batches", format!("{} in a, {} in b", count(batches.steps.a), count(batches.steps.b))),
        ("equal", format!("{} of the {} steps that both have", count(batches.equal), count(both))),
    ];
    if !batches.differing.is_empty() {
        lines.push(("differ at", steps_text(batches)));
    }
    if !batches.compared.is_empty() {
        let rows = batches.changed_rows();
        let columns: Vec<String> =
            rows.columns.iter().map(|(name, n)| format!("{name} {}", count(*n))).collect();
        let of = format!("in the first {} of these", count(batches.compared.len() as u64));
        lines.push(("other pairs", format!("{} rows {of}", count(rows.other_pairs))));
        let same = match columns.is_empty() {
            true => "0 rows".to_owned(),
            false => format!("{} rows: {}", count(rows.same_pairs), columns.join(", ")),
        };
        lines.push(("same pair, changed", same));
    }
    let mut text = format!("\n{}", fields(&lines));
    let rows: Vec<Vec<String>> = batches
        .languages
        .iter()
        .filter(|(_, rows)| rows.a != rows.b)
        .map(|(lang, of)| {
            let numbers = [of.a.queries, of.b.queries, of.a.positives, of.b.positives].map(count);
            [vec![lang.clone()], numbers.to_vec()].concat()
        })
        .collect();
    if !rows.is_empty() {
        let header = ["rows by language", "queries in a", "in b", "passages in a", "in b"];
        text.push_str(&format!("\n{}", table(&header, &rows)));
    }
    text
}

/// `0..12, 15, 20..30`, in the notation of `--step`.
fn steps_text(batches: &Batches) -> String {
    let run = |steps: &std::ops::Range<u64>| match steps.end - steps.start {
        1 => steps.start.to_string(),
        _ => format!("{}..{}", steps.start, steps.end),
    };
    let mut text = batches.differing.iter().take(MAX_LINES).map(run).collect::<Vec<_>>().join(", ");
    if MAX_LINES < batches.differing.len() {
        text.push_str(&format!(" and {} more runs", count((batches.differing.len() - MAX_LINES) as u64)));
    }
    format!("{text} ({} steps)", count(batches.n_differing()))
}
