//! A file that is written, compressed if its name ends in `.zst`, and flushed to the disk when it is done.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The level of zstd: its default; higher ones take several times as long for a few per cent.
const ZSTD_LEVEL: i32 = 3;

pub(super) struct Output {
    path: PathBuf,
    file: Compression,
}

enum Compression {
    None(BufWriter<File>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Output {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(Error::io("create", path))?);
        let file = if is_compressed(path) {
            Compression::Zstd(zstd::Encoder::new(file, ZSTD_LEVEL).map_err(Error::io("write", path))?)
        } else {
            Compression::None(file)
        };
        Ok(Self { path: path.to_owned(), file })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.file {
            Compression::None(file) => file.write_all(bytes),
            Compression::Zstd(file) => file.write_all(bytes),
        };
        written.map_err(Error::io("write", &self.path))
    }

    pub(super) fn finish(self) -> Result<()> {
        let file = match self.file {
            Compression::None(file) => Ok(file),
            Compression::Zstd(file) => file.finish(),
        };
        let flushed = file.and_then(|file| file.into_inner().map_err(std::io::IntoInnerError::into_error));
        flushed.and_then(|file| file.sync_all()).map_err(Error::io("write", &self.path))
    }
}

/// What [`Output`] wrote.
pub(super) fn open(path: &Path) -> Result<BufReader<Box<dyn Read>>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let file: Box<dyn Read> = if is_compressed(path) {
        Box::new(zstd::Decoder::new(file).map_err(Error::io("read", path))?)
    } else {
        Box::new(file)
    };
    Ok(BufReader::with_capacity(1 << 18, file))
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}
