//! Content against the hub's hash: the SHA-256 of a file in large storage, git's blob id of any other.
//!
//! The listing names the blob id of a small file. The SHA-256 of a large one comes with its headers (`X-Linked-Etag`),
//! by which the cache names the blob that a file links to; so a file in the cache can be checked without the hub.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::listing::ListedFile;

/// What a content hashes to, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ContentHash {
    /// SHA-1 of `blob `, the length, NUL, and the content. Git's object format, "Git Internals - Git Objects".
    GitBlob(String),
    Sha256(String),
}

/// How a file differs from what it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Bytes {
        expected: u64,
        found: u64,
    },
    Hash {
        expected: ContentHash,
        found: ContentHash,
    },
    /// Nobody says what it should hash to.
    NoHash,
}

impl ContentHash {
    /// The two kinds differ in length. `None` for any other text: an etag need not be a hash.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        match text.bytes().all(|b| b.is_ascii_hexdigit()).then_some(text.len())? {
            40 => Some(Self::GitBlob(text)),
            64 => Some(Self::Sha256(text)),
            _ => None,
        }
    }

    /// The hash of this kind that a file has.
    fn measured(&self, path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        Ok(match self {
            Self::GitBlob(_) => {
                let header = format!("blob {}\0", file.metadata()?.len());
                Self::GitBlob(digest(Sha1::new_with_prefix(header), &mut file)?)
            }
            Self::Sha256(_) => Self::Sha256(digest(Sha256::new(), &mut file)?),
        })
    }

    pub(super) fn is_of(&self, path: &Path) -> io::Result<bool> {
        Ok(self.measured(path)? == *self)
    }
}

/// Holds a file of the cache against the listing.
pub(super) fn fault(path: &Path, listed: &ListedFile) -> io::Result<Option<Fault>> {
    let bytes = fs::metadata(path)?.len();
    if bytes != listed.bytes {
        return Ok(Some(Fault::Bytes { expected: listed.bytes, found: bytes }));
    }
    let named_by_cache = || ContentHash::of_text(fs::read_link(path).ok()?.file_name()?.to_str()?);
    let Some(expected) = listed.hash.clone().or_else(named_by_cache) else {
        return Ok(Some(Fault::NoHash));
    };
    let found = expected.measured(path)?;
    Ok((found != expected).then_some(Fault::Hash { expected, found }))
}

/// Takes a file out of the cache: the name and the blob that it links to.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if let Ok(blob) = fs::canonicalize(path) {
        fs::remove_file(blob)?;
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn digest<D: Digest>(mut hasher: D, file: &mut File) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    let mut hex = String::new();
    for byte in hasher.finalize() {
        hex.push_str(&format!("{byte:02x}"));
    }
    Ok(hex)
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GitBlob(hex) => write!(f, "git blob {hex}"),
            Self::Sha256(hex) => write!(f, "SHA-256 {hex}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes { expected, found } => write!(f, "expected {expected} bytes, found {found}"),
            Self::Hash { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::NoHash => f.write_str("the hub names no SHA-256 or git blob for it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'hello\n' | git hash-object --stdin`, the same of `hallo\n`, and `printf 'hello\n' | sha256sum`.
    const GIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";
    const HALLO: &str = "4cf5aa5f9a644263dbe3d6e78bcbef45487a802c";
    const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

    fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn hashes_are_those_of_git_and_of_sha256sum() {
        let (_folder, path) = written("hello\n");
        for hex in [GIT, SHA256] {
            assert!(ContentHash::of_text(hex).unwrap().is_of(&path).unwrap(), "{hex}");
            assert!(ContentHash::of_text(&hex.to_uppercase()).unwrap().is_of(&path).unwrap(), "{hex}");
        }
        assert_eq!(ContentHash::of_text("W/\"5891\""), None);
        assert_eq!(ContentHash::of_text(&SHA256[1..]), None);
    }

    #[test]
    fn every_way_to_differ_is_told() {
        let (_folder, path) = written("hallo\n");
        let listed = |bytes, hash: Option<&str>| ListedFile {
            path: "file".to_owned(),
            bytes,
            hash: hash.and_then(ContentHash::of_text),
        };
        assert_eq!(
            fault(&path, &listed(7, Some(GIT))).unwrap(),
            Some(Fault::Bytes { expected: 7, found: 6 })
        );
        assert_eq!(fault(&path, &listed(6, None)).unwrap(), Some(Fault::NoHash));
        let found = fault(&path, &listed(6, Some(GIT))).unwrap().unwrap().to_string();
        assert_eq!(found, format!("expected git blob {GIT}, found git blob {HALLO}"));
    }
}
