//! A repository of either kind, as hf-hub speaks to it.

use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use hf_hub::progress::Progress;
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClientSync, HFError, HFRepositorySync, HFResult, RepoTypeDataset, RepoTypeModel, split_id};

use super::HubName;
use super::name::Kind;

/// hf-hub has a type for each kind. (It has one for any, too, which takes a dataset for a model where it looks for the
/// size of a file.)
pub(super) enum Repository {
    Model(HFRepositorySync<RepoTypeModel>),
    Dataset(HFRepositorySync<RepoTypeDataset>),
}

/// The same call for either kind.
macro_rules! of_either {
    ($repository:expr, $handle:ident => $call:expr) => {
        match $repository {
            Repository::Model($handle) => $call,
            Repository::Dataset($handle) => $call,
        }
    };
}

/// What the hub says of a revision.
pub(super) struct Info {
    /// 40 hexadecimal digits.
    pub(super) commit: String,
    /// Of all its files.
    pub(super) paths: Vec<String>,
}

impl Repository {
    pub(super) fn new(client: &HFClientSync, name: &HubName) -> Self {
        let (owner, repository) = split_id(name.repository());
        match name.kind() {
            Kind::Model => Self::Model(client.model(owner, repository)),
            Kind::Dataset => Self::Dataset(client.dataset(owner, repository)),
        }
    }

    /// The commit that a revision stands for now, and its files.
    pub(super) fn info(&self, revision: &str) -> HFResult<Info> {
        let (commit, siblings) = of_either!(self, handle => {
            let info = handle.info().revision(revision).send()?;
            (info.sha, info.siblings)
        });
        let commit = commit.unwrap_or_default();
        if !is_commit(&commit) {
            return Err(HFError::malformed_response(format!("the commit of `{revision}`")));
        }
        let paths = siblings.unwrap_or_default().into_iter().map(|file| file.rfilename);
        Ok(Info { commit, paths: paths.collect() })
    }

    /// The first entries of a commit's files and folders.
    pub(super) fn tree(&self, commit: &str, limit: usize) -> HFResult<Vec<RepoTreeEntry>> {
        of_either!(self, handle => handle.list_tree().revision(commit).recursive(true).limit(limit).send())
    }

    pub(super) fn entries(&self, commit: &str, paths: Vec<String>) -> HFResult<Vec<RepoTreeEntry>> {
        of_either!(self, handle => handle.get_paths_info().paths(paths).revision(commit).send())
    }

    /// The folder of a revision in the cache.
    pub(super) fn cached(&self, revision: &str) -> HFResult<PathBuf> {
        of_either!(self, handle => handle.snapshot_download().revision(revision).local_files_only(true).send())
    }

    /// Brings a file into the cache.
    pub(super) fn download(&self, commit: &str, path: &str, progress: Progress) -> HFResult<PathBuf> {
        of_either!(self, handle => handle.download_file().filename(path).revision(commit).progress(progress).send())
    }

    /// A part of a file.
    pub(super) fn bytes(&self, commit: &str, path: &str, range: Range<u64>) -> HFResult<Bytes> {
        of_either!(self, handle => handle.download_file_to_bytes().filename(path).revision(commit).range(range).send())
    }
}

/// Whether a revision is a commit, which stands for itself.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}
