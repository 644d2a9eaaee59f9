//! What `prep eval --json` wrote: the keys that a report shows. `schemas/EVAL.md`, section 4, says what they are.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::marker::PhantomData;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::error::{Error, Result};

/// The settings, in the order in which they are shown.
pub(super) const SETTINGS: [(&str, &str); 3] =
    [("Mo", "monolingual"), ("Cr", "cross-lingual"), ("Mul", "multilingual")];
/// The mean of the measure that pictures are of.
pub(super) const MAP: &str = "mAP";

/// What a path of a report may be.
pub(super) const WANTED: &str = "name a dataset directory (it has a manifest.json), the folder of a run (metrics.jsonl), or a \
                                 file with the output of `prep eval ... --json`";

#[derive(Debug, Deserialize)]
pub(super) struct Results {
    pub(super) dataset_id: String,
    pub(super) benchmark: String,
    pub(super) splits: String,
    pub(super) eval_is_trained_on: bool,
    pub(super) queries: u64,
    pub(super) groups: u64,
    pub(super) passages: u64,
    pub(super) languages: Vec<String>,
    pub(super) queries_in_run: Option<u64>,
    pub(super) settings: BTreeMap<String, Setting>,
    pub(super) rank_distance: Option<RankDistance>,
    pub(super) cells: Vec<Cell>,
    pub(super) bootstrap: Bootstrap,
    pub(super) comparison: Option<Comparison>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Setting {
    pub(super) queries: u64,
    pub(super) means: InOrder<Mean>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Mean {
    #[serde(rename = "macro")]
    pub(super) over_cells: Option<f64>,
    #[serde(rename = "micro")]
    pub(super) over_queries: Option<f64>,
    pub(super) interval: Option<[f64; 2]>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RankDistance {
    pub(super) queries: u64,
    #[serde(flatten)]
    pub(super) mean: Mean,
    pub(super) by_query_lang: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cell {
    pub(super) query_lang: String,
    /// Nothing: all.
    pub(super) passage_lang: Option<String>,
    pub(super) means: InOrder<Option<f64>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Bootstrap {
    pub(super) level: f64,
    pub(super) resamples: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Comparison {
    #[serde(rename = "mAP")]
    pub(super) map: BTreeMap<String, Difference>,
    pub(super) rank_distance: Option<Difference>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Difference {
    pub(super) this: f64,
    pub(super) other: f64,
    pub(super) difference: f64,
    pub(super) interval: Option<[f64; 2]>,
    pub(super) p_value: f64,
}

impl Results {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        serde_json::from_str(&text).map_err(|e| {
            Error::report(path, format!("not what `prep eval --json` prints: {e}")).with_hint(WANTED)
        })
    }

    /// The mean mAP of a setting.
    pub(super) fn map(&self, setting: &str) -> Option<Mean> {
        self.settings.get(setting)?.means.get(MAP).copied()
    }

    /// The mAP of a cell.
    pub(super) fn cell(&self, query_lang: &str, passage_lang: Option<&str>) -> Option<f64> {
        let is_it =
            |cell: &&Cell| cell.query_lang == query_lang && cell.passage_lang.as_deref() == passage_lang;
        *self.cells.iter().find(is_it)?.means.get(MAP)?
    }
}

/// A JSON object whose order says something, such as that of measures.
#[derive(Debug)]
pub(super) struct InOrder<T>(pub(super) Vec<(String, T)>);

impl<T> InOrder<T> {
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries(PhantomData)).map(Self)
    }
}
