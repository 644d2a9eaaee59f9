//! A repository of either kind, as hf-hub speaks to it.

use hf_hub::{HFClientSync, HFError, HFRepositorySync, HFResult, RepoTypeAny, split_id};

use super::HubName;
use super::name::Kind;

/// What both kinds do alike, and what hf-hub has for each apart.
pub(super) struct Repository {
    client: HFClientSync,
    handle: HFRepositorySync<RepoTypeAny>,
    kind: Kind,
}

/// What the hub says of a revision.
pub(super) struct Info {
    /// 40 hexadecimal digits.
    pub(super) commit: String,
    /// Of all its files.
    pub(super) paths: Vec<String>,
}

impl Repository {
    pub(super) fn new(client: HFClientSync, name: &HubName) -> Self {
        let (owner, repository) = split_id(name.repository());
        let kind = match name.kind() {
            Kind::Model => RepoTypeAny::Model,
            Kind::Dataset => RepoTypeAny::Dataset,
        };
        let handle = client.repository(kind, owner, repository);
        Self { client, handle, kind: name.kind() }
    }

    pub(super) fn handle(&self) -> &HFRepositorySync<RepoTypeAny> {
        &self.handle
    }

    /// The commit that a revision stands for now, and its files.
    pub(super) fn info(&self, revision: &str) -> HFResult<Info> {
        let (owner, name) = (self.handle.owner(), self.handle.name());
        let (commit, siblings) = match self.kind {
            Kind::Model => {
                let info = self.client.model(owner, name).info().revision(revision).send()?;
                (info.sha, info.siblings)
            }
            Kind::Dataset => {
                let info = self.client.dataset(owner, name).info().revision(revision).send()?;
                (info.sha, info.siblings)
            }
        };
        let commit = commit.unwrap_or_default();
        if !is_commit(&commit) {
            return Err(HFError::malformed_response(format!("the commit of `{revision}`")));
        }
        let paths = siblings.unwrap_or_default().into_iter().map(|file| file.rfilename);
        Ok(Info { commit, paths: paths.collect() })
    }
}

/// Whether a revision is a commit, which stands for itself.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}
