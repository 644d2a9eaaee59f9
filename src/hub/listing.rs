//! Which files a commit holds, by the hub or, without one, by the cache.

use std::fs;
use std::path::Path;

use hf_hub::HFResult;
use hf_hub::repository::RepoTreeEntry;

use super::name::{HubName, is_plain_path};
use super::repository::{Info, Repository};
use super::verify::ContentHash;

/// Files on one page of the hub's listing. hf-hub asks for the next page wherever the hub says it is, with the token;
/// so there is none, and a longer listing is asked for by names.
const FILES_ON_A_PAGE: usize = 1000;

/// A file of the repository.
pub(super) struct ListedFile {
    /// Below the root of the repository, with `/`.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// Of the content, where the listing names one. For files in large storage hf-hub does not pass it on; the cache
    /// then names the file by it.
    pub(super) hash: Option<ContentHash>,
}

/// The commit that the revision stands for now, and its files; of a repository of many files those alone that
/// `is_wanted` says.
pub(super) fn on_hub(
    name: &HubName,
    repository: &Repository,
    is_wanted: &dyn Fn(&str) -> bool,
) -> HFResult<(String, Vec<ListedFile>)> {
    let Info { commit, paths } = repository.info(name.revision())?;
    let mut entries = repository.tree(&commit, FILES_ON_A_PAGE)?;
    if entries.len() == FILES_ON_A_PAGE {
        let paths = paths.into_iter().filter(|path| is_wanted(path)).collect();
        entries = repository.entries(&commit, paths)?;
    }
    let files = entries.into_iter().filter_map(|entry| match entry {
        // A path from elsewhere that would leave the cache is no file of a git repository.
        RepoTreeEntry::File { path, oid, size, lfs, .. } if is_plain_path(&path) => Some(match lfs {
            None => ListedFile { path, bytes: size, hash: ContentHash::of_text(&oid) },
            Some(large) => ListedFile {
                path,
                bytes: large.size.unwrap_or(size),
                hash: large.sha256.as_deref().and_then(ContentHash::of_text),
            },
        }),
        _ => None,
    });
    Ok((commit, files.collect()))
}

/// The commit that the revision stood for when it was fetched last, and what the cache holds of it.
pub(super) fn in_cache(name: &HubName, repository: &Repository) -> HFResult<(String, Vec<ListedFile>)> {
    let directory = repository.cached(name.revision())?;
    let commit = directory.file_name().map(|commit| commit.to_string_lossy().into_owned());
    let mut files = Vec::new();
    walk(&directory, "", &mut files)?;
    Ok((commit.unwrap_or_default(), files))
}

fn walk(folder: &Path, below: &str, files: &mut Vec<ListedFile>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), files)?;
        } else if let Ok(metadata) = fs::metadata(entry.path()) {
            // A link whose blob is gone has no metadata: the file is not there.
            files.push(ListedFile { path, bytes: metadata.len(), hash: None });
        }
    }
    Ok(())
}
