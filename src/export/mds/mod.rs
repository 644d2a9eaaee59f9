//! `mds`: shards of MosaicML Streaming, version 2 of its format, compressed and with hashes.
//!
//! A shard ends before the sample that would make it larger than 64 MiB, as Streaming's `MDSWriter` has it; a
//! batch may go on in the next one. Shards are compressed on threads of their own, a few at a time.

mod index;
mod sample;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::vec;

use self::index::{Config, Index, Part, SHARD_BYTES, Shard, ZSTD_LEVEL};
use super::columns::Cells;
use super::row::Row;
use super::{Encoded, ReadBack, Target, Writer};
use crate::error::{Error, Result};

/// Shards that are compressed at a time, at most: what keeps a disk busy. Each takes up to 64 MiB of memory,
/// and what comes of it.
const COMPRESSING: usize = 8;

/// Bytes of a number in a shard.
const U32: usize = size_of::<u32>();

pub(super) fn create(folder: &Path) -> Target {
    let path = folder.to_owned();
    Target {
        encode: Box::new(move |batch| {
            Encoded::records(batch, |row, bytes| {
                sample::put(&row, bytes).map_err(|found| Error::export(&path, found))
            })
        }),
        writer: Box::new(Mds {
            folder: folder.to_owned(),
            config: Config::ours().json(),
            samples: Samples::default(),
            n_shards: 0,
            compressing: VecDeque::new(),
            done: Vec::new(),
        }),
    }
}

struct Mds {
    folder: PathBuf,
    /// As it stands in every shard.
    config: Vec<u8>,
    /// Those of the next shard.
    samples: Samples,
    n_shards: usize,
    /// Threads with a shard each, in their order.
    compressing: VecDeque<JoinHandle<Result<Shard>>>,
    /// All before them: a few kilobytes for 64 MiB.
    done: Vec<Shard>,
}

/// Samples one after another, and where each ends.
#[derive(Default)]
struct Samples {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Writer for Mds {
    fn append(&mut self, batch: Encoded) -> Result<()> {
        let Encoded::Records { bytes, ends } = batch else { unreachable!("records") };
        let mut start = 0;
        for end in ends {
            self.put(&bytes[start..end])?;
            start = end;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if !self.samples.ends.is_empty() {
            self.close()?;
        }
        while !self.compressing.is_empty() {
            self.wait()?;
        }
        let index = Index::of(std::mem::take(&mut self.done));
        write(&self.folder.join(index::NAME), &index.json())
    }
}

impl Mds {
    fn put(&mut self, sample: &[u8]) -> Result<()> {
        let n_samples = self.samples.ends.len();
        let n_bytes = head_bytes(n_samples + 1, &self.config) + self.samples.bytes.len() + sample.len();
        if n_samples != 0 && SHARD_BYTES < n_bytes {
            self.close()?;
        }
        self.samples.bytes.extend(sample);
        self.samples.ends.push(self.samples.bytes.len());
        Ok(())
    }

    /// Gives the shard to a thread.
    fn close(&mut self) -> Result<()> {
        if self.compressing.len() == COMPRESSING.min(rayon::current_num_threads()) {
            self.wait()?;
        }
        let samples = std::mem::take(&mut self.samples);
        let basename = format!("shard.{:05}.mds", self.n_shards);
        self.n_shards += 1;
        let (folder, config) = (self.folder.clone(), self.config.clone());
        let write = move || write_shard(&folder, basename, &config, &samples);
        self.compressing.push_back(thread::spawn(write));
        Ok(())
    }

    /// Until the first of the threads has written its shard.
    fn wait(&mut self) -> Result<()> {
        let Some(thread) = self.compressing.pop_front() else { return Ok(()) };
        self.done.push(thread.join().expect("a thread that writes does not panic")?);
        Ok(())
    }
}

impl Drop for Mds {
    /// No thread goes on to write when an export has failed.
    fn drop(&mut self) {
        self.compressing.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn write_shard(folder: &Path, basename: String, config: &[u8], samples: &Samples) -> Result<Shard> {
    let zip_basename = format!("{basename}.zstd");
    let path = folder.join(&zip_basename);
    let head = head(config, &samples.ends).map_err(|found| Error::export(&path, found))?;
    let raw = [head.as_slice(), &samples.bytes];
    let zip = compress(raw).map_err(Error::io("write", &path))?;
    write(&path, &zip)?;
    Ok(Shard {
        config: Config::ours(),
        raw_data: Part::of(basename, raw),
        samples: samples.ends.len(),
        zip_data: Part::of(zip_basename, [&zip]),
    })
}

/// What stands before the samples of a shard: how many they are, where each begins and the last ends, the
/// configuration.
fn head(config: &[u8], ends: &[usize]) -> Result<Vec<u8>, String> {
    let start = head_bytes(ends.len(), config);
    let mut head = Vec::with_capacity(start);
    head.extend(u32_of(ends.len())?.to_le_bytes());
    for end in [&0].into_iter().chain(ends) {
        head.extend(u32_of(start + end)?.to_le_bytes());
    }
    head.extend(config);
    Ok(head)
}

fn head_bytes(n_samples: usize, config: &[u8]) -> usize {
    (n_samples + 2) * U32 + config.len()
}

fn u32_of(n_bytes: usize) -> Result<u32, String> {
    u32::try_from(n_bytes).map_err(|_| format!("{n_bytes} bytes of a row; shards of this format end at 2^32"))
}

/// One frame that says how long it is, which readers ask for.
fn compress(parts: [&[u8]; 2]) -> std::io::Result<Vec<u8>> {
    let n_bytes: usize = parts.iter().map(|part| part.len()).sum();
    let mut zip = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    zip.set_pledged_src_size(Some(n_bytes as u64))?;
    parts.iter().try_for_each(|part| zip.write_all(part))?;
    zip.finish()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", path))
}

pub(super) fn read(folder: &Path) -> Result<ReadBack> {
    let path = folder.join(index::NAME);
    let index = fs::read(&path).map_err(Error::io("read", &path))?;
    let shards = Index::parse(&index).map_err(|found| Error::export(&path, found))?.into_shards();
    let mut reader = Reader { folder: folder.to_owned(), shards: shards.into_iter(), open: None };
    Ok(Box::new(std::iter::from_fn(move || reader.row().transpose())))
}

struct Reader {
    folder: PathBuf,
    shards: vec::IntoIter<Shard>,
    /// The last one: its path, the samples that are left of it, and what is in it.
    open: Option<(PathBuf, Range<usize>, Vec<u8>)>,
}

impl Reader {
    fn row(&mut self) -> Result<Option<Row<'static>>> {
        loop {
            if let Some((path, samples, raw)) = &mut self.open
                && let Some(number) = samples.next()
            {
                let sample = bytes_of(raw, number).and_then(sample::parse);
                let row = sample.ok_or_else(|| "is not there".to_owned()).and_then(|sample| sample.row());
                return row
                    .map(Some)
                    .map_err(|found| Error::export(path, format!("sample {number}: {found}")));
            }
            let Some(shard) = self.shards.next() else { return Ok(None) };
            let path = self.folder.join(&shard.zip_data.basename);
            let zip = fs::read(&path).map_err(Error::io("read", &path))?;
            let raw = shard.decompress(&zip).map_err(|found| Error::export(&path, found))?;
            self.open = Some((path, 0..shard.samples, raw));
        }
    }
}

/// The sample of this number in a shard.
fn bytes_of(raw: &[u8], number: usize) -> Option<&[u8]> {
    let offset = |i: usize| Some(u32::from_le_bytes(*raw.get(i * U32..)?.first_chunk()?) as usize);
    raw.get(offset(number + 1)?..offset(number + 2)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `MDSWriter.encode_joint_shard` of mosaicml-streaming 0.13, with `config_data` b"{}" and `new_samples`
    /// [b"abc", b"", b"de"]: `np.uint32(3)`, the sums of [0, 3, 0, 2] and 4 + 16 + 2, and so on.
    #[test]
    fn a_shard_is_that_of_mds_writer() {
        let mut shard = head(b"{}", &[3, 3, 5]).unwrap();
        shard.extend(b"abcde");
        assert_eq!(shard, b"\x03\0\0\0\x16\0\0\0\x19\0\0\0\x19\0\0\0\x1b\0\0\0{}abcde");
        let samples: Vec<_> = (0..3).map(|i| bytes_of(&shard, i).unwrap()).collect();
        assert_eq!(samples, [b"abc".as_slice(), b"", b"de"]);
        assert_eq!(bytes_of(&shard, 3), None);
    }

    /// `ZSTD_getFrameContentSize`, which Python's `zstd.decompress` asks.
    #[test]
    fn a_frame_says_how_long_it_is() {
        let zip = compress([b"head", &vec![7; 100_000]]).unwrap();
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&zip).unwrap(), Some(100_004));
    }
}
