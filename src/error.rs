//! Everything that can go wrong, with the fields that somebody needs to mend it.
//!
//! A message is a lower-case phrase without a full stop: what was attempted, on what, what was found. What to do
//! about it is [`Error::hint`], printed on a line of its own.

use std::io;
use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    /// A pipeline file that does not say what a pipeline file may say.
    #[error("cannot read `{file}`{}: {found}", position(*.line_column))]
    PipelineFile { file: String, line_column: Option<(usize, usize)>, found: String },

    /// A setting that contradicts another, or what the data can give.
    #[error("setting `{key}`: {found}")]
    Setting { key: String, found: String, hint: Option<String> },

    /// A source file that cannot be read as what it is said to be. Nothing of it is used.
    #[error("cannot read source `{file}`{}: {found}", .place.as_ref().map(|p| format!(" at {p}")).unwrap_or_default())]
    Source { file: String, place: Option<String>, found: String, hint: Option<String> },

    /// A tokenizer file that cannot be used.
    #[error("cannot use tokenizer `{}`: {found}", path.display())]
    Tokenizer { path: PathBuf, found: String, hint: Option<String> },

    /// More bad records than the pipeline allows.
    #[error("{bad} of {records} records are bad, more than `max_rejects` = {allowed} allows; the first: `{}` at {}: {} ({})", .first.source, .first.place, .first.detail, .first.reason)]
    Rejects { bad: u64, records: u64, allowed: String, first: Box<FirstReject> },

    /// `plan.json` that breaks the rules of a plan.
    #[error("cannot use plan.json: {found}")]
    Plan { found: String },

    /// A dataset directory that is not what its manifest, its plan and its corpus say.
    #[error("`{}`: {found}", path.display())]
    Dataset { path: PathBuf, found: String, hint: Option<String> },

    /// A model that cannot be read, or is beyond this program.
    #[error("model `{}`: {found}", path.display())]
    Model { path: PathBuf, found: String, hint: Option<String> },

    /// A run that must not go on.
    #[error("{}{found}", .path.as_ref().map(|path| format!("run `{}` ", path.display())).unwrap_or_default())]
    Training { path: Option<PathBuf>, found: String, hint: Option<String> },

    /// An operation on tensors failed.
    #[error("cannot compute")]
    Compute { source: Box<dyn std::error::Error + Send + Sync> },

    /// A model or dataset that a hub does not give, or not as it should be.
    #[error("cannot fetch `{name}`: {found}")]
    Hub { name: String, found: String, hint: Option<String> },

    /// A dataset that does not get into a store.
    #[error("cannot publish `{url}`: {found}")]
    Publish { url: String, found: String, hint: Option<String> },

    /// Embeddings, a run or scores that cannot be evaluated.
    #[error("cannot evaluate `{}`{}: {found}", path.display(), .place.as_ref().map(|p| format!(" at {p}")).unwrap_or_default())]
    Evaluate { path: PathBuf, place: Option<String>, found: String, hint: Option<String> },

    /// What a format cannot hold, or what was read back and is not what was written.
    #[error("cannot export to `{}`: {found}", path.display())]
    Export { path: PathBuf, found: String, hint: Option<String> },

    /// What a report cannot show.
    #[error("cannot report on `{}`: {found}", path.display())]
    Report { path: PathBuf, found: String, hint: Option<String> },

    /// The query engine failed on a plan of ours.
    #[error("cannot {action}")]
    Engine { action: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

/// The first of the bad records, as an example.
#[derive(Debug)]
pub struct FirstReject {
    pub source: String,
    pub place: String,
    pub reason: String,
    pub detail: String,
}

impl Error {
    /// For `map_err` on an operation on a file: `cannot {action} {path}`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn model(path: &Path, found: impl Into<String>) -> Self {
        Self::Model { path: path.to_owned(), found: found.into(), hint: None }
    }

    pub(crate) fn training(run: &Path, found: impl Into<String>) -> Self {
        Self::Training { path: Some(run.to_owned()), found: found.into(), hint: None }
    }

    pub(crate) fn dataset(path: &Path, found: impl Into<String>) -> Self {
        Self::Dataset { path: path.to_owned(), found: found.into(), hint: None }
    }

    pub(crate) fn setting(key: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), found: found.into(), hint: None }
    }

    pub(crate) fn source(file: &str, found: impl Into<String>) -> Self {
        Self::Source { file: file.to_owned(), place: None, found: found.into(), hint: None }
    }

    #[cfg(feature = "hub")]
    pub(crate) fn hub(name: &(impl ToString + ?Sized), found: impl Into<String>) -> Self {
        Self::Hub { name: name.to_string(), found: found.into(), hint: None }
    }

    pub(crate) fn export(path: &Path, found: impl Into<String>) -> Self {
        Self::Export { path: path.to_owned(), found: found.into(), hint: None }
    }

    pub(crate) fn evaluate(path: &Path, found: impl Into<String>) -> Self {
        Self::Evaluate { path: path.to_owned(), place: None, found: found.into(), hint: None }
    }

    pub(crate) fn report(path: &Path, found: impl Into<String>) -> Self {
        Self::Report { path: path.to_owned(), found: found.into(), hint: None }
    }

    /// For `map_err` on reading or writing Parquet at `path`, where the cause may be the disk.
    pub(crate) fn parquet(
        action: &'static str,
        path: &Path,
    ) -> impl Fn(parquet::errors::ParquetError) -> Self {
        let path = path.to_owned();
        move |e| match disk_error(&e) {
            Some(kind) => Self::Io { action, path: path.clone(), source: kind },
            None => Self::Dataset { path: path.clone(), found: e.to_string(), hint: None },
        }
    }

    /// The same error with this hint, where the variant carries one.
    #[must_use]
    pub(crate) fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Setting { hint, .. }
        | Self::Source { hint, .. }
        | Self::Tokenizer { hint, .. }
        | Self::Dataset { hint, .. }
        | Self::Model { hint, .. }
        | Self::Hub { hint, .. }
        | Self::Publish { hint, .. }
        | Self::Evaluate { hint, .. }
        | Self::Export { hint, .. }
        | Self::Report { hint, .. }
        | Self::Training { hint, .. } = &mut self
        {
            *hint = Some(text.into());
        }
        self
    }

    /// The same error of a file that is to appear elsewhere, under the name by which the user knows it.
    #[must_use]
    pub(crate) fn seen_at(mut self, hidden: &Path, shown: &Path) -> Self {
        if let Self::Io { path, .. }
        | Self::Dataset { path, .. }
        | Self::Evaluate { path, .. }
        | Self::Export { path, .. } = &mut self
            && let Ok(rest) = path.strip_prefix(hidden)
        {
            *path = if rest.as_os_str().is_empty() { shown.to_owned() } else { shown.join(rest) };
        }
        self
    }

    /// What to do about it, where we know.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Setting { hint, .. }
            | Self::Source { hint, .. }
            | Self::Tokenizer { hint, .. }
            | Self::Dataset { hint, .. }
            | Self::Model { hint, .. }
            | Self::Hub { hint, .. }
            | Self::Publish { hint, .. }
            | Self::Evaluate { hint, .. }
            | Self::Export { hint, .. }
            | Self::Report { hint, .. }
            | Self::Training { hint, .. } => hint.clone(),
            Self::Rejects { .. } => Some(
                "mend the source, or raise `max_rejects` in the pipeline: the refused records are then listed in \
                 rejects.parquet"
                    .to_owned(),
            ),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("the disk is full: free some space, or name another `--out`; nothing was left behind".to_owned())
                }
                io::ErrorKind::FileTooLarge => {
                    Some("a limit on file sizes is in force (`ulimit -f`); nothing was left behind".to_owned())
                }
                io::ErrorKind::PermissionDenied => Some("check the owner and the mode of the path".to_owned()),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A copy of the operating system's error at the bottom of a Parquet error, if there is one.
fn disk_error(e: &parquet::errors::ParquetError) -> Option<io::Error> {
    let parquet::errors::ParquetError::External(inner) = e else { return None };
    let inner = inner.downcast_ref::<io::Error>()?;
    Some(
        inner
            .raw_os_error()
            .map_or_else(|| io::Error::new(inner.kind(), inner.to_string()), io::Error::from_raw_os_error),
    )
}

fn position(line_column: Option<(usize, usize)>) -> String {
    line_column.map(|(line, column)| format!(" at line {line} column {column}")).unwrap_or_default()
}
