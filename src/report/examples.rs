//! A few rows of batches, so that whoever reads a report sees what is trained on.

use maud::{Markup, html};

use super::page;
use crate::error::Result;
use crate::number::count;
use crate::pairs::PoolName;
use crate::plan::Sampler;
use crate::progress::Observer;
use crate::shards::{Dataset, reproduce};

/// Steps that are looked through for an example of each kind of batch.
const EXAMPLES_WITHIN: u64 = 1_000;
const ROWS_OF_EXAMPLE: usize = 2;
/// Characters of an example; texts can be books.
const LONGEST_EXAMPLE: usize = 280;

/// A row of a batch.
pub(super) struct Example {
    step: u64,
    source: String,
    query: Text,
    positive: Text,
}

struct Text {
    lang: String,
    text: String,
    /// As it stands in the corpus, where words of it were switched.
    original: Option<String>,
}

/// The first rows of the first batch of each kind: of one language, and of two.
pub(super) fn read(dataset: &Dataset, observer: &dyn Observer) -> Result<Vec<Example>> {
    let plan = dataset.plan();
    let mut sampler = Sampler::new(plan);
    let pools = plan.pools();
    let is_within = |pool: usize| pools[pool].0.parse::<PoolName>().is_ok_and(|name| name.is_monolingual());
    let mut examples = Vec::new();
    let mut seen = Vec::new();
    for step in 0..plan.steps().min(EXAMPLES_WITHIN) {
        let kind = sampler.batch(step).rows.first().map(|row| is_within(row.pool));
        if seen.contains(&kind) {
            continue;
        }
        seen.push(kind);
        for batch in reproduce(dataset, step..step + 1, observer)? {
            for row in batch.rows_json().iter().take(ROWS_OF_EXAMPLE) {
                let said = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
                let text = |side: &str| Text {
                    lang: said(&format!("{side}_lang")),
                    text: shortened(&said(side)),
                    original: row[format!("{side}_original")].as_str().map(shortened),
                };
                examples.push(Example {
                    step,
                    source: batch.source.clone(),
                    query: text("query"),
                    positive: text("positive"),
                });
            }
        }
    }
    Ok(examples)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_EXAMPLE) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

pub(super) fn table(examples: &[Example]) -> Markup {
    let table = html! {
        table.examples {
            caption { "Rows of batches" }
            thead {
                tr { @for name in ["step", "source", "question", "its passage"] { th scope="col" { (name) } } }
            }
            tbody {
                @for example in examples {
                    tr {
                        td { (count(example.step)) }
                        td { (example.source) }
                        @for Text { lang, text, original } in [&example.query, &example.positive] {
                            td {
                                span.lang { (lang) } " " (page::quoted(text, lang))
                                @if let Some(original) = original {
                                    br; span.lang { "was" } " " (page::quoted(original, lang))
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    page::scrolled("Rows of batches", &table)
}
