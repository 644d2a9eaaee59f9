//! One trainer a run: a lock on `run.lock`, which the kernel lets go when the process ends, however it ends.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::{Error, Result};

/// Locks the folder of a run for as long as the file is held.
///
/// # Errors
/// [`Error::Training`] when another process holds it, [`Error::Io`] where the file system has no locks.
pub(super) fn lock(run: &Path) -> Result<File> {
    let path = run.join("run.lock");
    // Its content is nobody's: what is locked is the file.
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::training(run, "is being trained by another process")
            .with_hint("wait until it ends, or name another folder with `--out`")),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", &path)(e)),
    }
}
