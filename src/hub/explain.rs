//! What hf-hub says, in words of ours: what was asked, what was found, what to do.

use std::io;
use std::path::Path;

use hf_hub::HFError;

use super::HubName;
use super::name::Kind;
use crate::error::Error;

/// The error code with which the hub tells a repository that is not there from a revision that is not.
const REPOSITORY_NOT_FOUND: &str = "RepoNotFound";

/// hf-hub failed on something at `endpoint`.
pub(super) fn failure(name: &HubName, endpoint: &str, e: HFError) -> Error {
    let (found, hint) = match e {
        HFError::AuthRequired { context } | HFError::Forbidden { context } => (
            format!(
                "{endpoint} refuses it ({}{})",
                context.status.as_u16(),
                context.server_message.map(|message| format!(": {message}")).unwrap_or_default()
            ),
            format!(
                "a private or gated {} needs `HF_TOKEN`, and a gated one your consent at {endpoint}/{}; some \
                 hubs refuse a name that does not exist, too",
                name.kind().noun(),
                name.page()
            ),
        ),
        HFError::RevisionNotFound { context, .. }
            if context.as_ref().and_then(|context| context.error_code.as_deref())
                != Some(REPOSITORY_NOT_FOUND) =>
        {
            (
                format!("{endpoint} knows no revision `{}` of it (404)", name.revision()),
                "name a branch, a tag or a whole commit after the `@`".to_owned(),
            )
        }
        HFError::RevisionNotFound { .. } | HFError::RepoNotFound { .. } => (
            format!("{endpoint} knows no such {} (404)", name.kind().noun()),
            match name.kind() {
                Kind::Model => {
                    "check the name; a private model needs `HF_TOKEN`; a directory is named with a `/` or `./` \
                     before it"
                }
                Kind::Dataset => "check the name; a private dataset needs `HF_TOKEN`",
            }
            .to_owned(),
        ),
        HFError::EntryNotFound { path, .. } => (
            format!("`{path}` is listed at {endpoint}, and not there (404)"),
            "try again; a mirror (`HF_ENDPOINT`) may hold less than it lists".to_owned(),
        ),
        HFError::RateLimited { retry_after, .. } => (
            format!("{endpoint} refuses more requests for now (429)"),
            match retry_after {
                Some(wait) => format!("try again in {} seconds; `HF_TOKEN` raises the limit", wait.as_secs()),
                None => "try again later; `HF_TOKEN` raises the limit".to_owned(),
            },
        ),
        HFError::Http { context } => (
            format!(
                "{endpoint} answered {}{}",
                context.status,
                context.server_message.map(|message| format!(": {message}")).unwrap_or_default()
            ),
            elsewhere(),
        ),
        HFError::Request { source, .. } if source.is_decode() => {
            (format!("{endpoint} answered what no hub answers: {}", cause(&source)), elsewhere())
        }
        HFError::Request { source, .. } => {
            (format!("cannot reach {endpoint}: {}", cause(&source)), elsewhere())
        }
        HFError::Url(e) => (
            format!("the endpoint is no URL: {e}"),
            "write `HF_ENDPOINT` like https://huggingface.co".to_owned(),
        ),
        HFError::LocalEntryNotFound { .. } => (
            "it is not in the cache, and nothing else may be used".to_owned(),
            "fetch it once without `HF_HUB_OFFLINE`, or name a local path".to_owned(),
        ),
        HFError::CacheLockTimeout { .. } => {
            ("another program is fetching it".to_owned(), "wait until that is done".to_owned())
        }
        HFError::Io(e) => return cannot_write(name, "the cache", &e),
        other => (other.to_string(), elsewhere()),
    };
    Error::hub(name, found).with_hint(hint)
}

/// The operating system failed on a file of the cache.
pub(super) fn cache(name: &HubName, path: &Path, e: &io::Error) -> Error {
    cannot_write(name, &format!("`{}`", path.display()), e)
}

fn cannot_write(name: &HubName, what: &str, e: &io::Error) -> Error {
    Error::hub(name, format!("cannot use {what}: {e}"))
        .with_hint("`HF_HUB_CACHE` names another folder for the cache")
}

fn elsewhere() -> String {
    "check the network and `HF_ENDPOINT`; `HF_HUB_OFFLINE=1` takes what the cache holds; a local directory needs no \
     hub"
        .to_owned()
}

/// The innermost cause: the outer ones repeat the URL, which may be signed.
pub(super) fn cause(e: &dyn std::error::Error) -> String {
    let mut cause = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
