use prep::shards::Switches;

use super::output::count;
use super::page::Page;
use super::table::Table;

/// By language: what words there are to switch, and which are switched. Nothing without code switching.
pub(super) fn switches(switches: Option<&Switches>, page: Page) -> String {
    let Some(switches) = switches else { return String::new() };
    let mut table = ["words", "translated", "in batches", "switched", "share", "in switched batches"]
        .into_iter()
        .fold(Table::new().left("code switching"), Table::right)
        .left("by lexicon");
    for (lang, counts) in switches {
        let by: Vec<_> = counts.switched_by.iter().map(|(name, n)| format!("{name} {}", count(*n))).collect();
        let share = |of: u64| match of {
            0 => "-".to_owned(),
            of => format!("{:.1} %", counts.switched as f64 * 100.0 / of as f64),
        };
        table.row([
            lang.clone(),
            count(counts.words),
            count(counts.translated),
            count(counts.drawn),
            count(counts.switched),
            share(counts.drawn),
            share(counts.in_switched_batches),
            by.join(", "),
        ]);
    }
    format!("\n{}", table.on(page))
}
