//! The commit: what is made appears under its name whole, or not at all.
//!
//! Everything is written into a hidden folder beside the target (`.NAME.partial`), flushed, and moved into place by
//! one rename; where there is one already, the two are exchanged by one system call and only then is the old one
//! removed. The folder is locked while in use: a crash leaves one without a lock, which the next writer clears
//! away, and two writers of one target never mix. The lock is on the folder itself, so that it goes with it through
//! the rename, and on a file in it, where a file system locks no folders.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::{Error, Result};

const LOCK: &str = ".lock";

/// What is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// As errors name it.
    pub(crate) noun: &'static str,
    pub(crate) form: Form,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// `mark` is a file that such a folder has, by which one that may be replaced is known; `parts` are folders in it.
    Folder { mark: &'static str, parts: &'static [&'static str] },
    /// One file, which is written in the hidden folder under the target's own name.
    File,
}

/// A folder that becomes the target when it is committed, and vanishes when it is dropped before.
pub(crate) struct Staging {
    kind: Kind,
    target: PathBuf,
    folder: PathBuf,
    replace: bool,
    /// Of the folder and of the file in it, held until the folder is gone or committed.
    lock: Option<[File; 2]>,
}

impl Staging {
    /// Refuses a target that exists, unless it may be replaced. Touches nothing but the staging folder.
    pub(crate) fn open(kind: Kind, target: &Path, replace: bool) -> Result<Self> {
        check_target(kind, target, replace)?;
        let name =
            target.file_name().ok_or_else(|| Error::dataset(target, "not the name of anything to write"))?;
        let parent =
            target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".partial");
        let folder = parent.join(hidden);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let busy = || {
            Error::dataset(target, format!("another build of this {} is under way", kind.noun))
                .with_hint("wait for it, or name another `--out`")
        };
        // Before anything is written into it: what is being moved into place takes nothing more.
        let opened = File::open(&folder).map_err(Error::io("open", &folder))?;
        if matches!(opened.try_lock(), Err(TryLockError::WouldBlock)) || !is_same(&opened, &folder) {
            return Err(busy());
        }
        let lock_path = folder.join(LOCK);
        let lock = File::create(&lock_path).map_err(Error::io("create", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy()),
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &lock_path)(e)),
        }
        let lock = Some([opened, lock]);
        let staging = Self { kind, target: target.to_owned(), folder, replace, lock };
        staging.clear()?;
        for part in kind.parts() {
            let path = staging.folder.join(part);
            fs::create_dir(&path).map_err(Error::io("create", &path))?;
        }
        Ok(staging)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what a crashed build has left.
    fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.folder).map_err(Error::io("list", &self.folder))? {
            let path = entry.map_err(Error::io("list", &self.folder))?.path();
            if path.ends_with(LOCK) {
                continue;
            }
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }

    /// Writes a small file and flushes it.
    pub(crate) fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        use std::io::Write;
        let path = self.folder.join(name);
        let mut file = File::create_new(&path).map_err(Error::io("create", &path))?;
        file.write_all(bytes).map_err(Error::io("write", &path))?;
        file.sync_all().map_err(Error::io("write", &path))
    }

    /// Makes the folder, or the file in it, the target. All files are written and flushed by now.
    pub(crate) fn commit(mut self) -> Result<()> {
        check_target(self.kind, &self.target, self.replace)?;
        if let (Form::File, Some(name)) = (self.kind.form, self.target.file_name()) {
            let written = self.folder.join(name);
            fs::rename(&written, &self.target)
                .map_err(Error::io("move what was written to", &self.target))?;
            // Dropping removes the folder.
            return sync_parent(&self.target);
        }
        let lock = self.folder.join(LOCK);
        fs::remove_file(&lock).map_err(Error::io("remove", &lock))?;
        for part in self.kind.parts().iter().chain(&["."]) {
            let path = self.folder.join(part);
            sync_folder(&path)?;
        }
        if self.target.exists() {
            exchange(&self.folder, &self.target)?;
            sync_parent(&self.target)?;
            // The folder is the old target now; dropping removes it.
            return Ok(());
        }
        fs::rename(&self.folder, &self.target)
            .map_err(Error::io("move what was written to", &self.target))?;
        self.lock = None;
        sync_parent(&self.target)
    }
}

impl Kind {
    fn parts(self) -> &'static [&'static str] {
        match self.form {
            Form::Folder { parts, .. } => parts,
            Form::File => &[],
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // Nothing more can be done about a folder that cannot be removed; the next build tries again.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Whether a folder is still the one at this path, and was not moved into place in between.
fn is_same(opened: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let name = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let [there, here] = [opened.metadata(), fs::metadata(path)].map(|metadata| metadata.map(name).ok());
    there.is_some() && there == here
}

fn check_target(kind: Kind, target: &Path, replace: bool) -> Result<()> {
    let Kind { noun, form } = kind;
    let Ok(metadata) = fs::symlink_metadata(target) else { return Ok(()) };
    if !replace {
        return Err(Error::dataset(target, "is there already")
            .with_hint(format!("`--force` replaces it, once the new {noun} is complete")));
    }
    let is_empty = || fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none());
    let may_go = match form {
        Form::Folder { mark, .. } => metadata.is_dir() && (target.join(mark).is_file() || is_empty()),
        Form::File => metadata.is_file(),
    };
    if may_go {
        return Ok(());
    }
    let replaced = match form {
        Form::Folder { .. } => noun,
        Form::File => "file",
    };
    Err(Error::dataset(target, format!("is there already, and is no {replaced}"))
        .with_hint(format!("`--force` replaces what is such a {replaced}, and nothing else")))
}

/// Exchanges two folders at once, so that there is no moment without one. File systems that cannot do that get
/// two renames, between which the old one stands under its own name with `.old`.
fn exchange(new: &Path, old: &Path) -> Result<()> {
    if renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    let mut aside = old.as_os_str().to_owned();
    aside.push(".old");
    let aside = PathBuf::from(aside);
    fs::rename(old, &aside).map_err(Error::io("move away", old))?;
    fs::rename(new, old).map_err(Error::io("move what was written to", old))?;
    fs::rename(&aside, new).map_err(Error::io("move away", &aside))
}

fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io("flush", path))
}

fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(parent)
}
