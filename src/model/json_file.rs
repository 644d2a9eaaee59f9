//! A settings file of a model: one JSON object whose keys are read one by one, and refused by name.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// An object, and where it lies. `null` is as good as no value.
pub(super) struct JsonFile {
    path: PathBuf,
    values: Map<String, Value>,
}

impl JsonFile {
    pub(super) fn read(path: &Path) -> Result<Self> {
        match read_json(path)? {
            Value::Object(values) => Ok(Self { path: path.to_owned(), values }),
            _ => Err(Error::model(path, "not a JSON object")),
        }
    }

    /// Without keys where there is no such file.
    pub(super) fn read_if_there(path: &Path) -> Result<Self> {
        if path.is_file() { Self::read(path) } else { Ok(Self { path: path.to_owned(), values: Map::new() }) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.values.iter().filter(|(_, value)| !value.is_null())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a text", Value::as_str)
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<usize>> {
        let read = |value: &Value| value.as_u64().filter(|n| 0 < *n).and_then(|n| usize::try_from(n).ok());
        self.typed(key, "a positive integer", read)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let read = |value| read(value).ok_or_else(|| self.refused(key, &format!("not {what}")));
        self.get(key).map(read).transpose()
    }

    /// An error that names file, key and value; `why` follows them.
    pub(super) fn refused(&self, key: &str, why: &str) -> Error {
        let value = self.values.get(key).unwrap_or(&Value::Null);
        Error::model(&self.path, format!("`{key}` is {value}, {why}"))
    }
}

pub(super) fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|e| Error::model(path, format!("not JSON: {e}")))
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).expect("plain data");
    text.push('\n');
    fs::write(path, text).map_err(Error::io("write", path))
}
