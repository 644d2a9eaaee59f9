//! The cache of files from stores and servers: a folder for each URL, with the file and what is known of it.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::environment::{cache_home, set};
use crate::error::{Error, Result};

/// How a version of a file is told from another: all that a server says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) bytes: u64,
    pub(super) e_tag: Option<String>,
    /// Seconds since 1970, where the server names no tag.
    modified: Option<i64>,
}

impl Version {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        let modified = meta.e_tag.is_none().then(|| meta.last_modified.timestamp());
        Self { bytes: meta.size, e_tag: meta.e_tag.clone(), modified }
    }

    /// Whether the server says anything by which another version would be told from this one. Where it gives no date,
    /// `object_store` puts the beginning of 1970.
    fn is_told_apart(&self) -> bool {
        self.e_tag.is_some() || self.modified.is_some_and(|seconds| seconds != 0)
    }
}

/// What lies in the cache under a URL.
#[derive(Serialize, Deserialize)]
struct Known {
    url: String,
    version: Version,
    /// Of a file that is there whole.
    digest: Option<String>,
}

/// The place of one URL; nobody else works on it as long as this is there.
pub(super) struct Entry {
    url: String,
    folder: PathBuf,
    _lock: File,
}

impl Entry {
    pub(super) fn open(url: &str) -> Result<Self> {
        let root = root().ok_or_else(|| {
            Error::source(url, "no folder for the cache").with_hint("name one in `PREP_CACHE`")
        })?;
        let digest = Digest::of(url.as_bytes()).to_string();
        let folder = root.join("objects").join(&digest[..16]);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let path = folder.join(".lock");
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        Ok(Self { url: url.to_owned(), folder, _lock: lock })
    }

    fn part(&self) -> PathBuf {
        self.folder.join(".part")
    }

    /// A file has the name of its digest: what is being read stays when another version comes.
    fn place(&self, digest: &str) -> PathBuf {
        self.folder.join(&digest[..digest.len().min(16)])
    }

    /// Where this version lies whole, and is what it was when it came; without a version, the one that came last.
    pub(super) fn whole(&self, version: Option<&Version>) -> Result<Option<PathBuf>> {
        let is_it = |known: &Known| {
            version.is_none_or(|version| version.is_told_apart() && *version == known.version)
        };
        let known = self.known().filter(is_it);
        let Some(digest) = known.and_then(|known| known.digest) else { return Ok(None) };
        let path = self.place(&digest);
        let is_whole = path.is_file() && Digest::of_file(&path)?.0.to_string() == digest;
        Ok(is_whole.then_some(path))
    }

    /// What is there of this version, to go on with.
    pub(super) fn begin(&self, version: &Version) -> Result<(File, u64)> {
        let part = self.part();
        let is_part = |known: Known| known.digest.is_none() && known.version == *version;
        let goes_on = version.is_told_apart() && self.known().is_some_and(is_part);
        let mut options = OpenOptions::new();
        options.create(true);
        let file = match goes_on {
            true => options.append(true).open(&part),
            false => options.write(true).truncate(true).open(&part),
        };
        let file = file.map_err(Error::io("open", &part))?;
        self.write_known(version, None)?;
        let bytes = file.metadata().map_err(Error::io("look at", &part))?.len();
        Ok((file, bytes))
    }

    /// Nothing is there any more of what was to be gone on with.
    pub(super) fn empty(&self, file: &mut File) -> Result<()> {
        file.set_len(0).and_then(|()| file.rewind()).map_err(Error::io("empty", &self.part()))
    }

    /// The part is whole.
    pub(super) fn finish(&self, file: &mut File, version: &Version) -> Result<PathBuf> {
        let part = self.part();
        file.flush().and_then(|()| file.sync_all()).map_err(Error::io("write", &part))?;
        let (digest, bytes) = Digest::of_file(&part)?;
        if bytes != version.bytes {
            // What is too long belongs to another version, however they were called.
            fs::remove_file(&part).map_err(Error::io("remove", &part))?;
            let found = format!("{bytes} bytes came of {}", version.bytes);
            return Err(Error::source(&self.url, found).with_hint("run it again: it changed on the way"));
        }
        let digest = digest.to_string();
        let path = self.place(&digest);
        fs::rename(&part, &path).map_err(Error::io("rename", &part))?;
        self.write_known(version, Some(digest))?;
        Ok(path)
    }

    /// Of a pattern: writes down the URLs that it stands for.
    pub(super) fn keep_listing(&self, urls: &[String]) -> Result<()> {
        let path = self.folder.join("listing.json");
        let json = serde_json::to_vec_pretty(urls).expect("plain data");
        fs::write(&path, json).map_err(Error::io("write", &path))
    }

    /// What it stood for when it was asked last.
    pub(super) fn listing(&self) -> Vec<String> {
        let kept = fs::read(self.folder.join("listing.json")).ok();
        kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    fn known(&self) -> Option<Known> {
        let bytes = fs::read(self.folder.join("known.json")).ok()?;
        serde_json::from_slice(&bytes).ok().filter(|known: &Known| known.url == self.url)
    }

    fn write_known(&self, version: &Version, digest: Option<String>) -> Result<()> {
        let path = self.folder.join("known.json");
        let known = Known { url: self.url.clone(), version: version.clone(), digest };
        let json = serde_json::to_vec_pretty(&known).expect("plain data");
        fs::write(&path, json).map_err(Error::io("write", &path))
    }
}

/// `PREP_CACHE`, or a folder of this program in the user's cache.
fn root() -> Option<PathBuf> {
    set("PREP_CACHE").map(PathBuf::from).or_else(|| Some(cache_home()?.join("prep")))
}

/// Where a dataset is put together that is to be published.
pub(super) fn outgoing(url: &str) -> Result<PathBuf> {
    let root = root().ok_or_else(|| Error::setting("PREP_CACHE", "no folder for the cache"))?;
    let folder = root.join("outgoing");
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    Ok(folder.join(&Digest::of(url.as_bytes()).to_string()[..16]))
}

/// Bytes of a file, for a transfer.
pub(super) fn length(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).map_err(Error::io("look at", path))?.len())
}
