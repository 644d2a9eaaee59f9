//! The pipelines of a folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Pipeline, read_toml};
use crate::error::{Error, Result};

impl Pipeline {
    /// The pipeline in a file, or those in a folder, by file name. Other TOML files (settings of the trainer, say) are passed
    /// over, and folders below are not looked into.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that cannot be listed; see [`Pipeline::from_file`] for the rest.
    pub fn all(path: &Path) -> Result<Vec<(PathBuf, Self)>> {
        if !path.is_dir() {
            return Ok(vec![(path.to_owned(), Self::from_file(path, &[])?)]);
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
            let file = entry.map_err(Error::io("list", path))?.path();
            if file.extension().is_some_and(|extension| extension == "toml") && names_corpora(&file)? {
                files.push(file);
            }
        }
        files.sort();
        let read = |file: PathBuf| Self::from_file(&file, &[]).map(|pipeline| (file, pipeline));
        files.into_iter().map(read).collect()
    }
}

fn names_corpora(file: &Path) -> Result<bool> {
    let text = fs::read_to_string(file).map_err(Error::io("read", file))?;
    let table: toml::Table = read_toml(&file.display().to_string(), &text, &[])?;
    Ok(table.contains_key("corpora"))
}
