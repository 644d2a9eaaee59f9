//! Arrays of row numbers, in memory or still in a file.
//!
//! A build holds them in memory. To reproduce one batch of a large corpus only a few hundred of many millions are
//! needed, so these are read one by one from where they lie.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};

/// An array of u32.
#[derive(Clone, Debug)]
pub(crate) enum Numbers {
    Memory(Vec<u32>),
    Stored(Stored),
}

/// Little-endian numbers in a file.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) file: Arc<(File, PathBuf)>,
    /// First byte.
    pub(crate) offset: u64,
    /// Numbers, not bytes.
    pub(crate) len: usize,
}

impl Stored {
    fn read(&self, range: Range<usize>) -> Result<Vec<u32>> {
        let (file, path) = &*self.file;
        if range.end < range.start || self.len < range.end {
            let found = format!("row numbers {range:?} of {}: the file is damaged", self.len);
            return Err(Error::dataset(path, found));
        }
        let mut bytes = vec![0; range.len() * 4];
        read_at(file, &mut bytes, self.offset + range.start as u64 * 4).map_err(Error::io("read", path))?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect())
    }
}

/// Fills the buffer from a place of a file; any number of threads may do so at once.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}

impl Numbers {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(numbers) => numbers.len(),
            Self::Stored(stored) => stored.len,
        }
    }

    pub(crate) fn get(&self, at: usize) -> Result<u32> {
        match self {
            Self::Memory(numbers) => Ok(numbers[at]),
            Self::Stored(stored) => Ok(stored.read(at..at + 1)?[0]),
        }
    }

    pub(crate) fn range(&self, range: Range<usize>) -> Result<Cow<'_, [u32]>> {
        match self {
            Self::Memory(numbers) => Ok(Cow::Borrowed(&numbers[range])),
            Self::Stored(stored) => Ok(Cow::Owned(stored.read(range)?)),
        }
    }
}

/// A list of numbers for each of many things: list i is `items[starts[i]..starts[i + 1]]`.
#[derive(Clone, Debug)]
pub(crate) struct Lists {
    pub(crate) starts: Numbers,
    pub(crate) items: Numbers,
}

impl Lists {
    /// From (thing, item) pairs, which stand in order.
    pub(crate) fn from_sorted(n: usize, pairs: &[(u32, u32)]) -> Self {
        let mut starts = vec![0_u32; n + 1];
        for &(thing, _) in pairs {
            starts[thing as usize + 1] += 1;
        }
        for i in 0..n {
            starts[i + 1] += starts[i];
        }
        Self {
            starts: Numbers::Memory(starts),
            items: Numbers::Memory(pairs.iter().map(|&(_, item)| item).collect()),
        }
    }

    /// The other way round: for each of `n` items, the things that have it in their list, ascending.
    pub(crate) fn inverted(&self, n: usize) -> Result<Self> {
        let starts = self.starts.range(0..self.starts.len())?;
        let items = self.items.range(0..self.items.len())?;
        let mut pairs = Vec::with_capacity(items.len());
        for (thing, bounds) in (0..).zip(starts.windows(2)) {
            pairs.extend(items[bounds[0] as usize..bounds[1] as usize].iter().map(|&item| (item, thing)));
        }
        pairs.sort_unstable();
        Ok(Self::from_sorted(n, &pairs))
    }

    pub(crate) fn get(&self, i: usize) -> Result<Cow<'_, [u32]>> {
        let (start, end) = match &self.starts {
            Numbers::Memory(starts) => (starts[i], starts[i + 1]),
            Numbers::Stored(stored) => {
                let bounds = stored.read(i..i + 2)?;
                (bounds[0], bounds[1])
            }
        };
        self.items.range(start as usize..end as usize)
    }
}
