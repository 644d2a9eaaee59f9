//! `arrow`: the columns of `train/batches` as one Arrow IPC file, a record batch a batch.
//!
//! Texts are plain utf8, which every reader knows, where they are views in memory.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;

use super::{Encoded, ReadBack, Target, Writer, plain};
use crate::error::{Error, Result};
use crate::schema::Table;

/// Rows of a file that is read back, at a time, follow from its record batches: one is a batch.
pub(super) fn create(path: &Path, table: Table) -> Result<Target> {
    let schema = plain::schema(table);
    let file = File::create(path).map_err(Error::io("create", path))?;
    let file = FileWriter::try_new_buffered(file, &schema).map_err(broken("write", path))?;
    Ok(Target {
        encode: Box::new(move |batch| Ok(Encoded::Rows(plain::converted(batch, &schema)?))),
        writer: Box::new(Ipc { path: path.to_owned(), file }),
    })
}

struct Ipc {
    path: PathBuf,
    file: FileWriter<BufWriter<File>>,
}

impl Writer for Ipc {
    fn append(&mut self, batch: Encoded) -> Result<()> {
        let Encoded::Rows(rows) = batch else { unreachable!("record batches") };
        self.file.write(&rows).map_err(broken("write", &self.path))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.file.finish().map_err(broken("write", &self.path))?;
        let file = self.file.into_inner().map_err(broken("write", &self.path))?;
        let file = file.into_inner().map_err(|e| Error::io("write", &self.path)(e.into_error()))?;
        file.sync_all().map_err(Error::io("write", &self.path))
    }
}

pub(super) fn read(path: &Path) -> Result<ReadBack> {
    let path = path.to_owned();
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    let batches = FileReader::try_new_buffered(file, None).map_err(broken("read", &path))?;
    Ok(Box::new(batches.flat_map(move |batch| plain::rows(batch.map_err(broken("read", &path)), &path))))
}

fn broken(action: &'static str, path: &Path) -> impl FnOnce(ArrowError) -> Error {
    move |e| match e {
        ArrowError::IoError(_, source) => Error::io(action, path)(source),
        other => Error::export(path, other.to_string()),
    }
}
