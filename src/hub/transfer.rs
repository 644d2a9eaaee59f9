//! One file into the cache, and right.
//!
//! hf-hub writes a file as `blobs/HASH.incomplete`, renames it when the transfer ends, and begins anew after a cut. It
//! does not look at what it got, not even at the status of the answer. So what is left of a large file is completed
//! here, by ranges, before hf-hub is asked for it, and no file counts before its hash is right.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::ops::Range;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;

use hf_hub::progress::{DownloadEvent, Progress, ProgressEvent, ProgressHandler};
use hf_hub::{HFError, HFResult};

use super::listing::ListedFile;
use super::repository::Repository;
use super::verify::{self, ContentHash, Fault};
use super::{HubName, explain};
use crate::error::{Error, Result};
use crate::progress::Observer;

/// Of a file that is completed, what is asked for at once. It is held in memory, and lost if the transfer is cut again.
const PIECE_BYTES: u64 = 32 << 20;

/// Brings the files of one commit.
pub(super) struct Transfer<'a> {
    pub(super) name: &'a HubName,
    pub(super) endpoint: &'a str,
    pub(super) repository: &'a Repository,
    /// The cache's folder for the repository.
    pub(super) cache: &'a Path,
    pub(super) commit: &'a str,
    /// Check only.
    pub(super) offline: bool,
    pub(super) retries: usize,
}

/// What a transfer that was cut has left.
struct Partial {
    path: PathBuf,
    hash: ContentHash,
    bytes: u64,
}

/// Tells the observer of a file only what it has not been told: after a cut some bytes come twice.
struct Meter<'a> {
    observer: &'a dyn Observer,
    told: u64,
    bytes: u64,
}

/// Passes on how many bytes of the file are there.
struct Reports(Sender<Option<u64>>);

impl Transfer<'_> {
    /// Where the files of the commit lie under their names.
    pub(super) fn directory(&self) -> PathBuf {
        self.cache.join("snapshots").join(self.commit)
    }

    /// Fetches the file unless the cache has it, and checks it either way.
    pub(super) fn bring(&self, file: &ListedFile, observer: &dyn Observer) -> Result<()> {
        let path = self.directory().join(&file.path);
        let mut meter = Meter { observer, told: 0, bytes: file.bytes };
        // What was right once may have been damaged since. It is fetched again if that is possible.
        let cached = fs::exists(&path).map_err(|e| explain::cache(self.name, &path, &e))?;
        let fault = if cached { self.check(&path, file)? } else { None };
        match fault {
            None if cached => {}
            Some(fault) if self.offline => return Err(self.wrong(file, &fault)),
            _ => self.fetch(&path, file, &mut meter)?,
        }
        meter.reach(file.bytes);
        Ok(())
    }

    /// Tries until the file is there, or shows that it will not be. Tries that bring something do not count.
    fn fetch(&self, path: &Path, file: &ListedFile, meter: &mut Meter<'_>) -> Result<()> {
        let mut tries_in_vain = 0;
        loop {
            let before = meter.told;
            let cut = match self.attempt(path, file, meter) {
                Ok(()) => match self.check(path, file)? {
                    None => return Ok(()),
                    // The connection ended without an error, or somebody else answered.
                    Some(fault @ Fault::Bytes { expected, found }) if found < expected => fault.to_string(),
                    Some(fault) => return Err(self.wrong(file, &fault)),
                },
                Err(HFError::Request { source, .. }) if !source.is_connect() => explain::cause(&source),
                Err(e) => return Err(explain::failure(self.name, self.endpoint, e)),
            };
            tries_in_vain = if before < meter.told { 0 } else { tries_in_vain + 1 };
            if self.retries < tries_in_vain {
                return Err(Error::hub(self.name, format!("the transfer of `{}` was cut: {cut}", file.path))
                    .with_hint("run it again: it goes on where it ended"));
            }
        }
    }

    /// What is wrong with the file in the cache, from which it is then removed, unless it could not be fetched again.
    fn check(&self, path: &Path, file: &ListedFile) -> Result<Option<Fault>> {
        let fault = verify::fault(path, file).and_then(|fault| {
            if fault.is_some() && !self.offline {
                verify::remove(path)?;
            }
            Ok(fault)
        });
        fault.map_err(|e| explain::cache(self.name, path, &e))
    }

    fn wrong(&self, file: &ListedFile, fault: &Fault) -> Error {
        let verdict = if *fault == Fault::NoHash { "cannot be checked" } else { "is not what the hub has" };
        let (done, hint) = if self.offline {
            ("", "fetch it again without `HF_HUB_OFFLINE`")
        } else {
            ("; it was removed from the cache", "a proxy or mirror may have changed it: check `HF_ENDPOINT`")
        };
        Error::hub(self.name, format!("`{}` {verdict}: {fault}{done}", file.path)).with_hint(hint)
    }

    /// One try at what is missing, or at all of it.
    fn attempt(&self, path: &Path, file: &ListedFile, meter: &mut Meter<'_>) -> HFResult<()> {
        if let Some(partial) = self.partial(file)? {
            self.complete(file, &partial, meter)?;
        }
        let (sender, receiver) = mpsc::channel();
        let progress = Progress::new(Reports(sender.clone()));
        let landed = thread::scope(|scope| {
            let transfer = scope.spawn(move || {
                let done = self.repository.download(self.commit, &file.path, progress);
                // The end is said and not inferred from a closed channel: hf-hub may keep the handler for longer.
                let _ = sender.send(None);
                done
            });
            while let Ok(Some(bytes)) = receiver.recv() {
                meter.reach(bytes);
            }
            transfer.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        })?;
        if landed == path {
            Ok(())
        } else {
            Err(HFError::malformed_response("a file of the commit that was asked for"))
        }
    }

    /// What may be the beginning of this file: the newest partial file that is named by a SHA-256. It does not carry the
    /// name of the file; should it belong to another, the hash will tell.
    fn partial(&self, file: &ListedFile) -> io::Result<Option<Partial>> {
        if matches!(file.hash, Some(ContentHash::GitBlob(_))) {
            // Small, and quicker to fetch again.
            return Ok(None);
        }
        let entries = match fs::read_dir(self.cache.join("blobs")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        };
        let mut partials = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let Some(hash) = hash_of_partial(&path) else { continue };
            // Another program may have finished it by now.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if 0 < metadata.len() && metadata.len() <= file.bytes {
                partials.push((metadata.modified()?, Partial { path, hash, bytes: metadata.len() }));
            }
        }
        Ok(partials.into_iter().max_by_key(|(modified, _)| *modified).map(|(_, partial)| partial))
    }

    /// Makes a blob of a partial file, or removes it when it was the beginning of something else.
    fn complete(&self, file: &ListedFile, partial: &Partial, meter: &mut Meter<'_>) -> HFResult<()> {
        let blob = partial.path.with_extension("");
        let Some(_lock) = self.lock(&blob)? else { return Ok(()) };
        meter.reach(partial.bytes);
        let mut out = OpenOptions::new().append(true).open(&partial.path)?;
        for range in pieces(partial.bytes, file.bytes) {
            let piece = self.repository.bytes(self.commit, &file.path, range.clone())?;
            if piece.len() as u64 != range.end - range.start {
                // A server that knows no ranges answers with the whole file: hf-hub shall begin anew.
                return Ok(fs::remove_file(&partial.path)?);
            }
            out.write_all(&piece)?;
            meter.reach(range.end);
        }
        drop(out);
        if partial.hash.is_of(&partial.path)? {
            fs::rename(&partial.path, &blob)?;
        } else {
            fs::remove_file(&partial.path)?;
        }
        Ok(())
    }

    /// The lock that hf-hub and others hold while they write a blob, or `None` when one of them does.
    fn lock(&self, blob: &Path) -> io::Result<Option<File>> {
        let (Some(root), Some(folder), Some(name)) =
            (self.cache.parent(), self.cache.file_name(), blob.file_name())
        else {
            unreachable!("the cache's folder for a repository lies in the cache, and a blob has a name")
        };
        let mut lock = name.to_owned();
        lock.push(".lock");
        let locks = root.join(".locks").join(folder);
        fs::create_dir_all(&locks)?;
        let file = File::create(locks.join(lock))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

/// The hash by which a partial file of large storage is named.
fn hash_of_partial(path: &Path) -> Option<ContentHash> {
    path.extension().filter(|extension| *extension == "incomplete")?;
    let hash = ContentHash::of_text(path.file_stem()?.to_str()?)?;
    matches!(hash, ContentHash::Sha256(_)).then_some(hash)
}

/// What is missing between the bytes that are there and all of them, a piece at a time.
fn pieces(have: u64, bytes: u64) -> impl Iterator<Item = Range<u64>> {
    (have..bytes)
        .step_by(PIECE_BYTES as usize)
        .map(move |start| start..bytes.min(start.saturating_add(PIECE_BYTES)))
}

impl Meter<'_> {
    /// So many bytes of the file are there.
    fn reach(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        if self.told < bytes {
            self.observer.advance(bytes - self.told);
            self.told = bytes;
        }
    }
}

impl ProgressHandler for Reports {
    fn on_progress(&self, event: &ProgressEvent) {
        if let ProgressEvent::Download(DownloadEvent::Progress { files }) = event {
            for file in files {
                // Nobody listens after the end.
                let _ = self.0.send(Some(file.bytes_completed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_is_missing() {
        let piece = PIECE_BYTES;
        assert_eq!(pieces(5, 5).collect::<Vec<_>>(), []);
        assert_eq!(pieces(5, 6).collect::<Vec<_>>(), vec![5..6]);
        let all: Vec<_> = pieces(7, 2 * piece + 9).collect();
        assert_eq!(all, [7..piece + 7, piece + 7..2 * piece + 7, 2 * piece + 7..2 * piece + 9]);
    }
}
