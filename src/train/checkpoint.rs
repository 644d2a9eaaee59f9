//! Checkpoints: all that a run's future follows from, in one file that is there whole or not at all.
//!
//! Weights, both moments, the number of steps done, and the digests of what the run stands on. A checkpoint is written
//! beside its name, a tensor at a time, flushed, and renamed. The last few are kept, and the best, which is a second name
//! of its file.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use safetensors::View;
use serde::{Deserialize, Serialize};

use super::frozen::Frozen;
use super::parameters::{Parameters, Stored};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::{Network, moved};

const FOLDER: &str = "checkpoints";
/// The key of the state in the file's metadata.
const STATE: &str = "prep";
const BEST: &str = "best";
/// What a file is called until it is whole.
pub(super) const PARTIAL: &str = "partial";

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Steps that are done.
    pub(super) steps: u64,
    pub(super) dataset_id: Digest,
    pub(super) tokenizer_digest: Digest,
    /// Of the weights that the run began with.
    pub(super) start_digest: Digest,
    /// Of the resolved settings.
    pub(super) settings_digest: Digest,
    /// The best mAP so far, and its step.
    pub(super) best: Option<(f64, u64)>,
}

fn name(steps: u64) -> String {
    format!("step-{steps:09}")
}

fn path(run: &Path, name: &str) -> PathBuf {
    run.join(FOLDER).join(format!("{name}.safetensors"))
}

/// Writes a checkpoint, and removes those that need not be kept.
pub(super) fn write(
    run: &Path,
    network: &Network,
    parameters: &Parameters,
    state: &State,
    keep: usize,
) -> Result<()> {
    let folder = run.join(FOLDER);
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let mut tensors = BTreeMap::new();
    for ((_, declared), stored) in network.parameters().iter().zip(parameters.stored()?) {
        let name = declared.name();
        tensors.insert(format!("value/{name}"), Bytes(stored.value));
        for (kind, moment) in ["first", "second"].into_iter().zip(stored.moments.into_iter().flatten()) {
            tensors.insert(format!("{kind}/{name}"), Bytes(moment.flatten_all()?));
        }
    }
    let text = serde_json::to_string(state).expect("plain data");
    let last = path(run, &name(state.steps));
    let partial = last.with_extension(PARTIAL);
    safetensors::serialize_to_file(tensors, Some([(STATE.to_owned(), text)].into()), &partial)
        .map_err(|e| Error::Compute { source: Box::new(e) })?;
    flush(&partial)?;
    // The best first: what is resumed from names it, so it must be there by then.
    if state.best.is_some_and(|(_, steps)| steps == state.steps) {
        let best = path(run, BEST);
        let partial_best = best.with_extension(PARTIAL);
        remove(&partial_best)?;
        // Where a file system has no links, twice.
        fs::hard_link(&partial, &partial_best)
            .or_else(|_| fs::copy(&partial, &partial_best).map(drop))
            .map_err(Error::io("write", &partial_best))?;
        flush(&partial_best)?;
        rename(&partial_best, &best)?;
    }
    rename(&partial, &last)?;
    let known = steps_of(run)?;
    for steps in known.iter().rev().skip(keep) {
        let old = path(run, &name(*steps));
        fs::remove_file(&old).map_err(Error::io("remove", &old))?;
    }
    Ok(())
}

/// The steps of all checkpoints of a run, ascending.
fn steps_of(run: &Path) -> Result<Vec<u64>> {
    let folder = run.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
        let name = entry.map_err(Error::io("list", &folder))?.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix("step-").and_then(|name| name.strip_suffix(".safetensors"));
        steps.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// The last checkpoint of a run, read.
pub(super) struct Saved {
    pub(super) state: State,
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

/// Reads the last checkpoint of a run, where there is one.
pub(super) fn last(run: &Path) -> Result<Option<Saved>> {
    let Some(&steps) = steps_of(run)?.last() else { return Ok(None) };
    let path = path(run, &name(steps));
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let broken = |found: String| Error::model(&path, found);
    let (_, metadata) =
        safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| broken(format!("no checkpoint: {e}")))?;
    let text = metadata.metadata().as_ref().and_then(|pairs| pairs.get(STATE));
    let text = text.ok_or_else(|| broken("no checkpoint: without the state of a run".to_owned()))?;
    let state: State = serde_json::from_str(text).map_err(|e| broken(format!("no checkpoint: {e}")))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
    Ok(Some(Saved { state, path, tensors }))
}

impl Saved {
    /// Values and moments.
    ///
    /// # Errors
    /// [`Error::Model`] when a tensor is missing, or has not as many numbers as the network's.
    pub(super) fn restore(&self, network: &Network, frozen: &Frozen) -> Result<Vec<Stored>> {
        let mut parameters = Vec::new();
        for (id, declared) in network.parameters().iter() {
            let get = |kind: &str| {
                let name = format!("{kind}/{}", declared.name());
                let found = match self.tensors.get(&name) {
                    Some(tensor) if tensor.elem_count() == declared.n_values() => return Ok(tensor.clone()),
                    Some(tensor) => {
                        format!("tensor `{name}` is {:?}, not {:?}", tensor.dims(), declared.shape)
                    }
                    None => format!("no tensor `{name}`"),
                };
                Err(Error::model(&self.path, found))
            };
            let moments = if frozen.has(id) { None } else { Some([get("first")?, get("second")?]) };
            parameters.push(Stored { value: get("value")?, moments });
        }
        Ok(parameters)
    }
}

/// A tensor of any device, brought here as its turn comes.
struct Bytes(Tensor);

impl View for Bytes {
    fn dtype(&self) -> safetensors::Dtype {
        View::dtype(&&self.0)
    }

    fn shape(&self) -> &[usize] {
        self.0.dims()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // Where a GPU has no room for a copy of the one, all that it lies in.
        let here = moved(&self.0, &Device::Cpu).unwrap_or_else(|_| self.0.clone());
        Cow::Owned(View::data(&&here).into_owned())
    }

    fn data_len(&self) -> usize {
        View::data_len(&&self.0)
    }
}

/// Writes a file beside its name, flushes it, and renames it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension(PARTIAL);
    fs::write(&partial, bytes).map_err(Error::io("write", &partial))?;
    flush(&partial)?;
    rename(&partial, path)
}

/// Puts a file, or the names in a folder, on the disk.
pub(super) fn flush(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("flush", path))
}

/// Gives a file or a folder its name, for good.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::io("write", to))?;
    flush(to.parent().expect("a file stands in a folder"))
}

fn remove(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_file(path).map_err(Error::io("remove", path))?;
    }
    Ok(())
}
