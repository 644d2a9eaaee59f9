//! Where the rows of a batch come from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::rows::Row;
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
        let languages = [&row.query_lang, &row.positive_lang];
        corpus.files.extend(languages.iter().filter_map(|lang| file(known?.spec, lang)));
    }
    by_name.into_values().collect()
}

fn file(spec: &Value, lang: &str) -> Option<String> {
    let own = spec["paths"][lang].as_str().map(str::to_owned);
    own.or_else(|| Some(spec["path"].as_str()?.replace("{lang}", lang)))
}
