//! Where the rows of a batch come from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::rows::Row;
use crate::shards::Manifest;

/// A corpus that rows of a batch come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CorpusRows {
    pub name: String,
    pub rows: u64,
    /// As the pipeline states them.
    pub source: Option<String>,
    pub licence: Option<String>,
    pub citation: Option<String>,
    /// Of the languages that stand in the batch, below the folder of the sources; `*` as in the pipeline.
    pub files: BTreeSet<String>,
}

/// By name.
pub(super) fn corpora(manifest: &Manifest, rows: &[Row]) -> Vec<CorpusRows> {
    let mut by_name: BTreeMap<&str, CorpusRows> = BTreeMap::new();
    for row in rows {
        let spec = spec(&manifest.pipeline, &row.dataset);
        let stated = |key: &str| spec[key].as_str().map(str::to_owned);
        let corpus = by_name.entry(&row.dataset).or_insert_with(|| CorpusRows {
            name: row.dataset.clone(),
            rows: 0,
            source: stated("source"),
            licence: stated("licence"),
            citation: stated("citation"),
            files: BTreeSet::new(),
        });
        corpus.rows += 1;
        corpus
            .files
            .extend([&row.query_lang, &row.positive_lang].into_iter().filter_map(|lang| file(spec, lang)));
    }
    by_name.into_values().collect()
}

/// What the pipeline says of a corpus.
fn spec<'a>(pipeline: &'a Value, name: &str) -> &'a Value {
    let corpora = pipeline["corpora"].as_array().into_iter().flatten();
    corpora.into_iter().find(|corpus| corpus["name"] == name).unwrap_or(&Value::Null)
}

fn file(spec: &Value, lang: &str) -> Option<String> {
    let own = spec["paths"][lang].as_str().map(str::to_owned);
    own.or_else(|| Some(spec["path"].as_str()?.replace("{lang}", lang)))
}
