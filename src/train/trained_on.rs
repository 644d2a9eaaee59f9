//! The dataset of a run, as its folder remembers it.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checkpoint;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::shards::Dataset;

const FILE: &str = "dataset.json";

/// The dataset that a run was trained on: what it is, and where it was when the run was last started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedOn {
    pub dataset_id: Digest,
    pub path: String,
}

impl TrainedOn {
    /// Writes it into the folder of a run.
    pub(super) fn write(dataset: &Dataset, run: &Path) -> Result<()> {
        let root = dataset.root();
        let path = fs::canonicalize(root).map_err(Error::io("find", root))?;
        let known =
            Self { dataset_id: dataset.manifest().dataset_id, path: path.to_string_lossy().into_owned() };
        let text = serde_json::to_string_pretty(&known).expect("plain data");
        checkpoint::replace(&run.join(FILE), format!("{text}\n").as_bytes())
    }

    /// Nothing where the run was begun by a version that did not write it.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Training`] for a file that says something else.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let known = serde_json::from_str(&text);
        known.map(Some).map_err(|e| Error::training(run, format!("{FILE} names no dataset: {e}")))
    }
}
