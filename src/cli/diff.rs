use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use prep::digest::Digest;
use prep::shards::{Batches, Change, Dataset, Diff as Difference, Pair, TableChanges, diff};
use serde_json::Value;

use super::Common;
use super::output::{self, Outcome, count};
use super::page::Page;
use super::table::Table;

/// Show how two datasets differ, and why: settings, inputs, plan, texts, batches
///
/// Causes come first: what was asked for (pipeline), what was read (inputs), and what made it; then the plan, the corpus
/// and the batches that follow. Ids, and the digests of the index, are believed: `prep verify` proves them. Exit code 1
/// if the datasets differ, as of diff(1).
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
        let text = match self.common.json {
            true => output::json(&found),
            false => self.describe(&found, Page::stdout()),
        };
        Ok(Outcome { text, failed })
    }

    fn describe(&self, found: &Difference, page: Page) -> String {
        let ids = page.fields(&[
            ("a", format!("{}  {}", found.dataset_ids.a, self.a.display())),
            ("b", format!("{}  {}", found.dataset_ids.b, self.b.display())),
        ]);
        let mut parts = vec![ids, page.paragraph("", verdict(found))];
        parts.extend(section("what made them", &found.tools, page));
        parts.extend(section("pipeline", &found.pipeline, page));
        parts.extend(section("inputs, by digest", &found.inputs, page));
        if found.is_equal {
            parts.extend(section("files, by digest", &found.files, page));
        } else {
            parts.extend(section("plan", &found.plan, page));
            parts.extend(describe_corpus(&found.corpus, page));
            parts.extend(describe_batches(&found.batches, page));
        }
        parts.join("\n")
    }
}

/// In a sentence.
fn verdict(found: &Difference) -> &'static str {
    if found.is_equal {
        return match found.files.is_empty() {
            true => "The same dataset: one plan, one corpus, the same batches.",
            false => "The same dataset, stored in other files: one plan, one corpus, the same batches.",
        };
    }
    let is_same_corpus = found.corpus.iter().all(TableChanges::is_empty);
    let are_same_texts = found.corpus.iter().all(|table| table.is_empty() || table.is_of_code_switching());
    let are_same_batches = found.batches.differing.is_empty();
    match (found.plan.is_empty(), is_same_corpus) {
        (true, true) => {
            "Plan and corpus are the same, and yet batches differ: `prep verify` says which is wrong."
        }
        (true, false) if are_same_batches => {
            "One plan and the same batches: the corpora differ where no batch looks."
        }
        (true, false) if are_same_texts => {
            "One plan and the same texts: batches differ because the words to switch or their translations do."
        }
        (true, false) => "One plan: batches differ because texts do.",
        (false, _) if are_same_batches => "One begins with the batches of the other: their number differs.",
        (false, true) => "One corpus: batches differ because they were planned otherwise.",
        (false, false) => "Plan and corpus both differ.",
    }
}

/// A table of what changed, if anything did.
fn section(title: &str, changes: &[Change], page: Page) -> Option<String> {
    let show = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), value_text);
    let mut table = Table::new().left(title).left("a").left("b");
    for change in changes.iter().take(MAX_LINES) {
        table.row([change.key.clone(), show(&change.a), show(&change.b)]);
    }
    (!changes.is_empty()).then(|| table.on(page) + &more(changes.len(), page))
}

fn more(n: usize, page: Page) -> String {
    match n.checked_sub(MAX_LINES) {
        None | Some(0) => String::new(),
        Some(n) => page.note(&format!("and {} more: `--json` has them", count(n as u64))),
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

/// Both, from a little before the first character that is another.
fn where_they_differ(a: &Value, b: &Value) -> (String, String) {
    let (Value::String(a), Value::String(b)) = (a, b) else { return (value_text(a), value_text(b)) };
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let skipped = if same < MAX_CHARS / 2 { 0 } else { same - MAX_CHARS / 4 };
    let shown = |text: &str| {
        let rest: String = text.chars().skip(skipped).collect();
        format!("{}{}", if skipped == 0 { "" } else { "…" }, value_text(&Value::String(rest)))
    };
    (shown(a), shown(b))
}

fn describe_corpus(tables: &[TableChanges], page: Page) -> Vec<String> {
    let differing: Vec<&TableChanges> = tables.iter().filter(|table| !table.is_empty()).collect();
    if differing.is_empty() {
        return Vec::new();
    }
    let names = ["in a", "in b", "only a", "only b", "changed"];
    let mut rows = names.into_iter().fold(Table::new().left("corpus"), Table::right).left("columns");
    let names = ["only a", "only b", "changed"];
    let mut languages = names.into_iter().fold(Table::new().left("language").left("table"), Table::right);
    for t in &differing {
        let columns: Vec<String> =
            t.columns.iter().map(|(name, n)| format!("{name} {}", count(*n))).collect();
        let [in_a, in_b, only_a, only_b, changed] =
            [t.rows.a, t.rows.b, t.only.a, t.only.b, t.changed].map(count);
        rows.row([t.table.clone(), in_a, in_b, only_a, only_b, changed, columns.join(", ")]);
        for (lang, n) in &t.languages {
            let [only_a, only_b, changed] = [n.only.a, n.only.b, n.changed].map(count);
            languages.row([lang.clone(), t.table.clone(), only_a, only_b, changed]);
        }
    }
    let mut parts = vec![rows.on(page)];
    if differing.iter().any(|table| !table.languages.is_empty()) {
        parts.push(languages.on(page));
    }
    let shown: Vec<_> = differing.iter().flat_map(|table| &table.shown).collect();
    if !shown.is_empty() {
        let mut text = String::new();
        for row in shown.iter().take(MAX_LINES) {
            text.push_str(&page.line(&format!("  {}: {}", row.id, row.column)));
            let (a, b) = where_they_differ(&row.a, &row.b);
            text.push_str(&page.line(&format!("    a  {a}")));
            text.push_str(&page.line(&format!("    b  {b}")));
        }
        let n_cells: u64 = differing.iter().flat_map(|table| table.columns.values()).sum();
        parts.push(text + &more(usize::try_from(n_cells).unwrap_or(usize::MAX), page));
    }
    parts
}

fn describe_batches(batches: &Batches, page: Page) -> Vec<String> {
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
        let n = count(batches.compared.len() as u64);
        lines.push(("other pairs", format!("{} rows, in the first {n} of these", count(rows.other_pairs))));
        let same = match columns.is_empty() {
            true => "0 rows".to_owned(),
            false => format!("{} rows: {}", count(rows.same_pairs), columns.join(", ")),
        };
        lines.push(("same pair, changed", same));
    }
    let mut parts = vec![page.fields(&lines)];
    let names = ["queries in a", "in b", "passages in a", "in b"];
    let mut table = names.into_iter().fold(Table::new().left("rows by language"), Table::right);
    let changed: Vec<_> = batches.languages.iter().filter(|(_, rows)| rows.a != rows.b).collect();
    for (lang, of) in &changed {
        let [queries_a, queries_b, passages_a, passages_b] =
            [of.a.queries, of.b.queries, of.a.positives, of.b.positives].map(count);
        table.row([(*lang).clone(), queries_a, queries_b, passages_a, passages_b]);
    }
    if !changed.is_empty() {
        parts.push(table.on(page));
    }
    parts
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
