//! Reading Parquet by position. The readers that arrow-rs makes of a `File` share its cursor, so that two row groups
//! read at once would read each other's bytes; these share nothing, and need a third of the system calls.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};

use crate::pairs::read_at;

/// Any number of threads may read one at once.
#[derive(Clone)]
pub(super) struct Positional {
    file: Arc<File>,
    length: u64,
}

impl Positional {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), length })
    }
}

impl Length for Positional {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Positional {
    type T = BufReader<BytesFrom>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        // Page headers are read through this: small, so a small buffer.
        Ok(BufReader::with_capacity(1024, BytesFrom { source: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut buffer = vec![0; length];
        read_at(&self.file, &mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// The bytes from a place on.
pub(super) struct BytesFrom {
    source: Positional,
    at: u64,
}

impl Read for BytesFrom {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.source.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let n = left.min(buffer.len());
        read_at(&self.source.file, &mut buffer[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
