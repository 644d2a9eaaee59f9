//! From text to a pipeline: TOML, and `--set` overrides.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::Pipeline;
use super::normalise::normalise;
use super::resolve::resolve;
use crate::error::{Error, Result};

/// `key=value` from the command line: a dotted key of the pipeline, and a value in TOML (or a bare word).
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    key: String,
    value: Value,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected `key=value`")?;
        let (key, value) = (key.trim(), value.trim());
        if key.split('.').any(str::is_empty) {
            return Err(format!("`{key}` is not a dotted key such as `batches.strategy`"));
        }
        let value = toml::from_str::<Table>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.to_owned()));
        Ok(Self { key: key.to_owned(), value })
    }
}

impl Override {
    /// A key with a value, as a flag sets it.
    #[must_use]
    pub fn new(key: &str, value: impl Into<Value>) -> Self {
        Self { key: key.to_owned(), value: value.into() }
    }

    /// Puts the value at its key; tables on the way are made, corpora are found by name or by number.
    fn apply(&self, table: &mut Table) -> Result<()> {
        let mut at = table;
        let mut keys = self.key.split('.').peekable();
        while let Some(key) = keys.next() {
            if keys.peek().is_none() {
                at.insert(key.to_owned(), self.value.clone());
                return Ok(());
            }
            let mut next = at.entry(key).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Array(items) = next {
                let name = keys.next().unwrap_or_default();
                let found = items.iter().enumerate().position(|(i, item)| {
                    item.get("name").and_then(Value::as_str) == Some(name) || i.to_string() == name
                });
                let Some(i) = found.filter(|_| keys.peek().is_some()) else {
                    return Err(self.error(format!("`{key}` has no entry `{name}` with a key to set")));
                };
                next = &mut items[i];
            }
            at = next
                .as_table_mut()
                .ok_or_else(|| self.error(format!("`{key}` is a value and has no keys")))?;
        }
        Ok(())
    }

    /// Takes the key out that this one is an alternative to: whoever sets `batches.steps` does not want the file's
    /// `epochs`.
    fn displace(&self, table: &mut Table) {
        const ALTERNATIVES: [(&str, &str, &str); 2] =
            [("batches", "steps", "epochs"), ("shards", "steps_per_shard", "target_bytes")];
        for (section, a, b) in ALTERNATIVES {
            for (set, other) in [(a, b), (b, a)] {
                if self.key == format!("{section}.{set}")
                    && let Some(section) = table.get_mut(section).and_then(Value::as_table_mut)
                {
                    section.remove(other);
                }
            }
        }
    }

    fn error(&self, found: String) -> Error {
        Error::setting(&self.key, found)
    }
}

/// Reads what a TOML text says, with these keys set to something else; `file` is what errors call it.
///
/// # Errors
/// [`Error::PipelineFile`] with line and column, [`Error::Setting`] for a key that cannot be set.
pub(crate) fn read_toml<T: DeserializeOwned>(file: &str, text: &str, overrides: &[Override]) -> Result<T> {
    let bad = |e: toml::de::Error| Error::PipelineFile {
        file: file.to_owned(),
        line_column: e.span().map(|span| line_column(text, span.start)),
        found: e.message().replace('\n', " "),
    };
    if overrides.is_empty() {
        return toml::from_str(text).map_err(bad);
    }
    let table: Table = toml::from_str(text).map_err(bad)?;
    let with = |overrides: &[&Override]| -> Result<Result<T, toml::de::Error>> {
        let mut table = table.clone();
        overrides.iter().for_each(|item| item.displace(&mut table));
        for item in overrides {
            item.apply(&mut table)?;
        }
        Ok(Value::Table(table).try_into())
    };
    let all: Vec<&Override> = overrides.iter().collect();
    let e = match with(&all)? {
        Ok(value) => return Ok(value),
        Err(e) => e,
    };
    // What is wrong in the text itself has a position; an override may also supply what the text lacks.
    if let Err(plain) = toml::from_str::<T>(text) {
        return Err(bad(plain));
    }
    let found = e.message().replace('\n', " ");
    // The one without which all would be well.
    let is_to_blame = |n: usize| {
        let rest: Vec<&Override> = all[..n].iter().chain(&all[n + 1..]).copied().collect();
        with(&rest).is_ok_and(|read| read.is_ok())
    };
    match (0..all.len()).find(|&n| is_to_blame(n)) {
        Some(n) => Err(all[n].error(found)),
        None => {
            let file = format!("{file}` with `--set {}", keys(overrides));
            Err(Error::PipelineFile { file, line_column: None, found })
        }
    }
}

impl Pipeline {
    /// Reads, overrides and checks a pipeline file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::PipelineFile`] with line and column when it says something
    /// else than a pipeline may say, [`Error::Setting`] when settings contradict one another.
    pub fn from_file(path: &Path, overrides: &[Override]) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io("read pipeline", path))?;
        let file = path.display().to_string();
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let found = format!("invalid UTF-8 at byte {}", e.valid_up_to());
            Error::PipelineFile { file: file.clone(), line_column: None, found }
        })?;
        Self::from_toml(&file, text, overrides)
    }

    /// The same from text; `file` is what errors call it.
    ///
    /// # Errors
    /// See [`Pipeline::from_file`].
    pub fn from_toml(file: &str, text: &str, overrides: &[Override]) -> Result<Self> {
        let mut pipeline = read_toml(file, text, overrides)?;
        normalise(&mut pipeline)?;
        resolve(pipeline)
    }

    /// Reads a resolved pipeline back from a manifest.
    ///
    /// # Errors
    /// [`Error::Setting`] when it is none.
    pub fn from_manifest(value: &serde_json::Value) -> Result<Self> {
        let pipeline = Self::deserialize(value).map_err(|e| {
            Error::setting("pipeline", format!("manifest.json holds no pipeline of this version: {e}"))
        })?;
        resolve(pipeline)
    }
}

fn keys(overrides: &[Override]) -> String {
    overrides.iter().map(|o| o.key.as_str()).collect::<Vec<_>>().join(" --set ")
}

/// Line and column, both from 1, of a byte.
fn line_column(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
