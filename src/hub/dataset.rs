//! Files of a dataset repository.

use std::path::PathBuf;

use super::repository::is_commit;
use super::{Hub, HubName, HubOptions, bring};
use crate::error::Result;
use crate::progress::Observer;

/// The same dataset at the commit that its revision stands for now, or, offline, stood for when it was asked last.
///
/// # Errors
/// [`Error::Hub`](crate::Error::Hub) where there is no such dataset or revision, or no right to it.
pub(crate) fn pinned(name: &HubName, options: &HubOptions) -> Result<HubName> {
    if is_commit(name.revision()) {
        return Ok(name.clone());
    }
    let hub = Hub::open(name, options)?;
    let commit = match options.offline {
        true => hub.list(&|_| false)?.0,
        false => hub.repository.info(name.revision()).map_err(|e| hub.explained(e))?.commit,
    };
    hub.write_ref(&commit)?;
    Ok(name.at(&commit))
}

/// Fetches what is missing of the files that are wanted, checks all of them, and gives their paths in the repository and
/// in the cache, in the order of the former. None may be wanted.
///
/// # Errors
/// [`Error::Hub`](crate::Error::Hub): no such dataset or revision, no right to it, no network, a file that stays cut or
/// has another hash than the hub names, a cache that cannot be written.
pub(crate) fn fetch_files(
    name: &HubName,
    is_wanted: &dyn Fn(&str) -> bool,
    options: &HubOptions,
    observer: &dyn Observer,
) -> Result<Vec<(String, PathBuf)>> {
    let hub = Hub::open(name, options)?;
    let (commit, mut files) = hub.list(is_wanted)?;
    files.retain(|file| is_wanted(&file.path));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let transfer = hub.transfer(&commit);
    bring(&transfer, &format!("fetching {name}"), &files.iter().collect::<Vec<_>>(), observer)?;
    let directory = transfer.directory();
    Ok(files.into_iter().map(|file| (file.path.clone(), directory.join(&file.path))).collect())
}
