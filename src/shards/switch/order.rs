//! Whether the tables of words stand as they should: by their order they are found.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;

use crate::corpus::{CodeSwitch, Corpus};
use crate::pipeline::SwitchSides;
use crate::plan::Plan;
use crate::schema::Table;

/// The first row of each table that is not where it belongs, and what is wrong with it.
pub(in crate::shards) fn out_of_order(plan: &Plan, corpus: &Corpus) -> Vec<(Table, usize, String)> {
    let Some((setting, tables)) = plan.code_switch().zip(corpus.code_switch()) else { return Vec::new() };
    let words = words(setting.sides, corpus, tables).map(|(row, found)| (Table::Words, row, found));
    let lexicon = lexicon(tables).map(|(row, found)| (Table::Lexicon, row, found));
    words.into_iter().chain(lexicon).collect()
}

/// A row for each text whose side is switched, in the order of the corpus.
fn words(sides: SwitchSides, corpus: &Corpus, tables: &CodeSwitch) -> Option<(usize, String)> {
    let passages = corpus.texts(Table::Passages, "passage_id").iter().flatten();
    let queries = corpus.texts(Table::Queries, "query_id").iter().flatten();
    let passages = passages.filter(|_| sides.has_passages()).map(|id| ("passage", id));
    let queries = queries.filter(|_| sides.has_queries()).map(|id| ("query", id));
    let mut pairs = passages.chain(queries).zip(names_and_texts(tables.words())).enumerate();
    let (row, ((kind, id), _)) = pairs.find(|(_, (expected, found))| expected != found)?;
    Some((row, format!("is not of {kind} {id}")))
}

/// Words ascend, each once.
fn lexicon(tables: &CodeSwitch) -> Option<(usize, String)> {
    let words = names_and_texts(tables.lexicon());
    let (row, (_, (lang, word))) = (1..).zip(words.clone().zip(words.skip(1))).find(|(_, (a, b))| b <= a)?;
    Some((row, format!("{lang}, {word} does not come after the row before it")))
}

/// The first two columns.
fn names_and_texts(rows: &RecordBatch) -> impl Iterator<Item = (&str, &str)> + Clone {
    let names = rows.column(0).as_dictionary::<Int32Type>();
    let (values, texts) = (names.values().as_string::<i32>(), rows.column(1).as_string_view());
    (0..texts.len()).map(|row| (values.value(names.keys().value(row) as usize), texts.value(row)))
}
