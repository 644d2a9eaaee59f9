//! Records in files of a folder, `rows-000000.EXTENSION` and so on. Each holds whole batches, so that whoever
//! reads one has batches.

use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::{io, iter};

use super::output::{Output, open};
use super::row::Row;
use super::{Encoded, ReadBack, Writer};
use crate::error::{Error, Result};

/// Rows of a file, where a batch does not have more.
const ROWS: usize = 50_000;

pub(super) struct Numbered {
    folder: PathBuf,
    extension: &'static str,
    /// What a file ends with.
    trailer: &'static [u8],
    n_files: u64,
    /// The last one, and its rows.
    open: Option<(Output, usize)>,
}

impl Numbered {
    pub(super) fn create(folder: &Path, extension: &'static str, trailer: &'static [u8]) -> Self {
        Self { folder: folder.to_owned(), extension, trailer, n_files: 0, open: None }
    }

    fn close(&mut self) -> Result<()> {
        let Some((mut file, _)) = self.open.take() else { return Ok(()) };
        file.write(self.trailer)?;
        file.finish()
    }
}

impl Writer for Numbered {
    fn append(&mut self, batch: Encoded) -> Result<()> {
        let Encoded::Records { bytes, ends } = batch else { unreachable!("records") };
        if self.open.as_ref().is_some_and(|(_, n_rows)| ROWS < n_rows + ends.len()) {
            self.close()?;
        }
        let (file, n_rows) = match &mut self.open {
            Some(open) => open,
            none => {
                let path = path(&self.folder, self.n_files, self.extension);
                self.n_files += 1;
                none.insert((Output::create(&path)?, 0))
            }
        };
        *n_rows += ends.len();
        file.write(&bytes)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.close()
    }
}

fn path(folder: &Path, number: u64, extension: &str) -> PathBuf {
    folder.join(format!("rows-{number:06}.{extension}"))
}

/// A file that is read.
pub(super) type Input = BufReader<Box<dyn Read>>;

/// The rows that `next` reads from each file in turn, until it has none left.
pub(super) fn read(
    folder: &Path,
    extension: &'static str,
    next: impl FnMut(&mut Input) -> io::Result<Option<Row<'static>>> + 'static,
) -> ReadBack {
    let mut reader = Reader { folder: folder.to_owned(), extension, next, n_files: 0, open: None };
    Box::new(iter::from_fn(move || reader.row().transpose()))
}

struct Reader<F> {
    folder: PathBuf,
    extension: &'static str,
    next: F,
    n_files: u64,
    /// The last one, and the rows that were read of it.
    open: Option<(PathBuf, Input, u64)>,
}

impl<F: FnMut(&mut Input) -> io::Result<Option<Row<'static>>>> Reader<F> {
    fn row(&mut self) -> Result<Option<Row<'static>>> {
        loop {
            if let Some((path, file, n_rows)) = &mut self.open
                && let Some(row) = (self.next)(file).map_err(|e| broken(e, path, *n_rows))?
            {
                *n_rows += 1;
                return Ok(Some(row));
            }
            let path = path(&self.folder, self.n_files, self.extension);
            if !path.exists() {
                return Ok(None);
            }
            let file = open(&path)?;
            self.n_files += 1;
            self.open = Some((path, file, 0));
        }
    }
}

fn broken(e: io::Error, path: &Path, row: u64) -> Error {
    match e.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Error::export(path, format!("row {row}: {e}")),
        _ => Error::io("read", path)(e),
    }
}

/// For content that is not what we write.
pub(super) fn invalid(found: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, found.into())
}
