//! Where the rows of a batch come from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::rows::Row;
use crate::pipeline::{PASSAGE_LANG, QUERY_LANG, language};
use crate::shards::{Corpus, Manifest, card_corpora};

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
    let stated = card_corpora(&manifest.pipeline).into_iter().map(|corpus| (corpus.name, corpus));
    let stated: BTreeMap<&str, Corpus> = stated.collect();
    let mut by_name: BTreeMap<&str, CorpusRows> = BTreeMap::new();
    for row in rows {
        let known = stated.get(row.dataset.as_str());
        let corpus = by_name.entry(&row.dataset).or_insert_with(|| CorpusRows {
            name: row.dataset.clone(),
            rows: 0,
            source: known.and_then(|corpus| corpus.source).map(str::to_owned),
            licence: known.and_then(|corpus| corpus.licence).map(str::to_owned),
            citation: known.and_then(|corpus| corpus.citation).map(str::to_owned),
            files: BTreeSet::new(),
        });
        corpus.rows += 1;
        if let Some(known) = known {
            corpus.files.extend(files(known.spec, &row.query_lang, &row.positive_lang));
        }
    }
    by_name.into_values().collect()
}

/// Where questions and passages of these languages are from: a file of both, or one for each.
fn files(spec: &Value, query: &str, passage: &str) -> Vec<String> {
    let named = |key: &str| spec["paths"][key].as_str().map(str::to_owned);
    let of_pair = named(&format!("{query}:{passage}"));
    let (path, passages) = (spec["path"].as_str(), spec["files"]["corpus"].as_str());
    let of = |lang: &str| named(lang).or_else(|| Some(fill(path.or(passages)?, (lang, query, passage))));
    match of_pair {
        Some(file) => vec![file],
        None => [query, passage].into_iter().filter_map(of).collect(),
    }
}

fn fill(path: &str, (lang, query, passage): (&str, &str, &str)) -> String {
    language::fill(path, lang).replace(QUERY_LANG, query).replace(PASSAGE_LANG, passage)
}
