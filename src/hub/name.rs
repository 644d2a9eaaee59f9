//! What a user may write for a model on a hub.

use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

use crate::error::{Error, Result};

/// The revision of a name that has none.
pub const DEFAULT_REVISION: &str = "main";

/// A model (or dataset) on a hub: `organisation/name` or `name`, and after an `@` a branch, a tag or a commit.
///
/// ```
/// use prep::hub::HubName;
///
/// let name: HubName = "intfloat/multilingual-e5-small@refs/pr/2".parse()?;
/// assert_eq!((name.repository(), name.revision()), ("intfloat/multilingual-e5-small", "refs/pr/2"));
/// let name: HubName = "xlm-roberta-base".parse()?;
/// assert_eq!((name.repository(), name.revision()), ("xlm-roberta-base", "main"));
/// # Ok::<(), prep::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubName {
    kind: Kind,
    repository: String,
    revision: String,
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// The word for it, in the singular.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        }
    }

    /// What stands before its name in paths of the hub.
    fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

impl HubName {
    /// The dataset `organisation/name` at a branch, a tag or a commit.
    ///
    /// # Errors
    /// [`Error::Hub`] for what is no such name.
    pub fn dataset(repository: &str, revision: &str) -> Result<Self> {
        let name: Self = format!("{repository}@{revision}").parse()?;
        Ok(Self { kind: Kind::Dataset, ..name })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The same repository at another revision.
    pub(super) fn at(&self, revision: &str) -> Self {
        Self { revision: revision.to_owned(), ..self.clone() }
    }

    /// Where a hub shows it.
    pub(super) fn page(&self) -> String {
        format!("{}{}", self.kind.prefix(), self.repository)
    }
    /// `organisation/name`, or `name`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// A branch, a tag or a commit.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl FromStr for HubName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let found = if !repository.split('/').all(is_part_of_a_name) || 1 < repository.matches('/').count() {
            "not a name on a hub"
        } else if !is_revision(revision) {
            "not a branch, a tag or a commit after the `@`"
        } else {
            let (repository, revision) = (repository.to_owned(), revision.to_owned());
            return Ok(Self { kind: Kind::Model, repository, revision });
        };
        Err(Error::hub(text, found).with_hint("write `organisation/name` or `organisation/name@revision`"))
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.page())?;
        if self.revision == DEFAULT_REVISION { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// The hub's own rule. It bars `--`, with which the cache writes a `/`.
fn is_part_of_a_name(part: &str) -> bool {
    let at_the_edge = |c| c == '-' || c == '.';
    !part.is_empty()
        && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !part.starts_with(at_the_edge)
        && !part.ends_with(at_the_edge)
        && !part.contains("--")
        && !part.contains("..")
}

/// Git's rule for the name of a ref, as far as it keeps the name a path below `refs/` of the cache.
fn is_revision(revision: &str) -> bool {
    is_plain_path(revision)
        && revision.chars().all(|c| c.is_ascii_graphic() && !"~^:?*[\\@".contains(c))
        && !revision.starts_with('-')
}

/// Whether a path from elsewhere stays in the folder that it is joined to.
pub(super) fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && !path.ends_with('/')
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_a_hub_gives() {
        for name in [
            "bert-base-uncased",
            "org/name",
            "org/name@v1.0",
            "a/b@refs/pr/12",
            "sentence-transformers/LaBSE",
        ] {
            assert_eq!(name.parse::<HubName>().unwrap().to_string(), name);
        }
        assert_eq!("org/name@main".parse::<HubName>().unwrap().to_string(), "org/name");
    }

    #[test]
    fn what_would_leave_the_cache_or_mean_two_things_is_no_name() {
        for name in [
            "",
            "/",
            "a/",
            "/a",
            "a/b/c",
            "..",
            "a/..",
            "a--b/c",
            ".hidden/a",
            "a b/c",
            "a/b@",
            "a/b@../c",
            "a/b@/c",
            "a/b@c@d",
            "a/b@c/",
            "a/b@-c",
            "./a/b",
            "a/b@c d",
        ] {
            let e = name.parse::<HubName>().unwrap_err();
            assert!(e.hint().is_some(), "{name}: {e}");
        }
    }
}
