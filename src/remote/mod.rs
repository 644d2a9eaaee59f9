//! Files that lie elsewhere: `hf://datasets/…` on a hub, `s3://…` in an object store, `https://…` on a server.
//!
//! What a URL names is fetched into a cache, checked there, and read as any other file. A transfer that was cut goes on
//! where it ended. In a manifest a file of a hub stands under its commit, and every file with its digest, so a build
//! from the manifest's pipeline takes the same bytes or fails. A dataset that was built may be published in a store.

#[cfg(feature = "pipeline")]
mod cached;
mod dataset_path;
#[cfg(feature = "pipeline")]
mod object;
#[cfg(feature = "pipeline")]
mod publish;

use std::path::PathBuf;

use self::dataset_path::DatasetPath;
#[cfg(feature = "pipeline")]
pub use self::publish::Target;
use crate::environment::offline;
use crate::error::{Error, Result};
use crate::progress::Observer;

const HUB: &str = "hf";
const S3: &str = "s3";
const HTTPS: &str = "https";
/// To this machine only: what comes in the clear from elsewhere may be anything.
const HTTP: &str = "http";

/// A file of a URL, in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its URL, of a hub with the commit.
    pub name: String,
    pub path: PathBuf,
}

/// Whether a path is a URL.
#[must_use]
pub fn is_remote(path: &str) -> bool {
    scheme(path).is_some()
}

fn scheme(path: &str) -> Option<&str> {
    let (scheme, _) = path.split_once("://")?;
    let is_one = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
    is_one.then_some(scheme)
}

/// Says what is wrong with a URL, before anything is asked of anybody.
pub(crate) fn check(url: &str) -> Result<(), String> {
    match scheme(url) {
        Some(HUB) => DatasetPath::parse(url).map(|_| ()),
        Some(S3 | HTTPS | HTTP) => check_address(url),
        Some(other) => Err(format!("`{other}://` is none of `hf://`, `s3://` and `https://`")),
        None => Err(format!("`{url}` is none of `hf://`, `s3://` and `https://`")),
    }
}

/// Of a store or a server: a host (or bucket), a path, and neither a query nor credentials, which would stand in the
/// manifest.
fn check_address(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    // First, and without the URL: what is said here stands in logs.
    if host.contains('@') {
        return Err(
            "a URL with credentials would stand in the manifest: name them in the environment".to_owned()
        );
    }
    if rest.contains(['?', '#']) {
        let shown = url.split(['?', '#']).next().unwrap_or_default();
        return Err(format!("`{shown}?...` has a query, which no path has: fetch the file yourself"));
    }
    if host.is_empty() || path.is_empty() {
        return Err(format!(
            "`{url}` names no file: write `{scheme}://{}`",
            if scheme == S3 { "BUCKET/KEY" } else { "HOST/PATH" }
        ));
    }
    // `[::1]:80` has its port behind the bracket.
    let name = match host.find(']') {
        Some(end) => &host[..=end],
        None => host.split(':').next().unwrap_or(host),
    };
    if scheme == HTTP && !["localhost", "127.0.0.1", "[::1]"].contains(&name) {
        return Err(format!("`{url}` would come in the clear: use `https://`"));
    }
    let (folder, _) = crate::pattern::folder_and_name(path);
    if folder.contains('*') || (scheme != S3 && path.contains('*')) {
        return Err(format!("`{url}`: a `*` may stand in the last part of a path on a hub or in a store"));
    }
    Ok(())
}

/// The URL with what it names now: the commit for a branch or tag of a hub. Others name what they name.
///
/// # Errors
/// [`Error::Hub`] where the hub knows no such dataset or revision.
pub(crate) fn pinned(url: &str) -> Result<String> {
    match scheme(url) {
        Some(HUB) => hub::pinned(&parsed(url)?),
        _ => Ok(url.to_owned()),
    }
}

/// The files that a URL names, fetched where the cache has not got them, sorted by name; `*` in the last part stands for
/// anything.
///
/// # Errors
/// [`Error::Hub`] and [`Error::Source`]: nothing of this name, no right to it, no network, a file that stays cut or is
/// not what it should be.
pub(crate) fn find(url: &str, observer: &dyn Observer) -> Result<Vec<Fetched>> {
    let found = match scheme(url) {
        Some(HUB) => hub::find(&parsed(url)?, observer)?,
        _ => objects(url, observer)?,
    };
    if found.is_empty() {
        return Err(Error::source(url, "no file of such a name there").with_hint(match offline() {
            true => "only the cache was looked at (`HF_HUB_OFFLINE`): `prep fetch` fills it",
            false => "names are case-sensitive; `*` stands for anything within the last part",
        }));
    }
    Ok(found)
}

fn parsed(url: &str) -> Result<DatasetPath> {
    DatasetPath::parse(url).map_err(|found| Error::source(url, found))
}

#[cfg(feature = "pipeline")]
fn objects(url: &str, observer: &dyn Observer) -> Result<Vec<Fetched>> {
    object::find(url, observer)
}

#[cfg(not(feature = "pipeline"))]
fn objects(url: &str, _: &dyn Observer) -> Result<Vec<Fetched>> {
    Err(Error::source(url, "this program was built without the feature `pipeline`"))
}

#[cfg(feature = "hub")]
mod hub {
    #[cfg(feature = "pipeline")]
    use super::cached::Entry;
    use super::{DatasetPath, Fetched};
    use crate::error::{Error, Result};
    use crate::hub::{HubName, HubOptions, fetch_files, pinned as pinned_name};
    use crate::pattern::fits_path;
    use crate::progress::Observer;

    pub(super) fn pinned(at: &DatasetPath) -> Result<String> {
        let name = HubName::dataset(&at.repository, &at.revision)?;
        let commit = pinned_name(&name, &HubOptions::from_environment())?;
        Ok(at.url(commit.revision(), &at.path))
    }

    pub(super) fn find(at: &DatasetPath, observer: &dyn Observer) -> Result<Vec<Fetched>> {
        let options = HubOptions::from_environment();
        let name = pinned_name(&HubName::dataset(&at.repository, &at.revision)?, &options)?;
        let url = |path: &str| at.url(name.revision(), path);
        let is_pattern = at.path.contains('*');
        let fetched = |(path, local): (String, _)| Fetched { name: url(&path), path: local };
        if options.offline && is_pattern {
            // The cache holds whatever somebody fetched: a part of the files, it may be.
            let listed = listing(&url(&at.path))?;
            let files = fetch_files(&name, &|path| listed.contains(&url(path)), &options, observer)?;
            let found: Vec<Fetched> = files.into_iter().map(fetched).collect();
            return match listed.iter().find(|url| found.iter().all(|file| file.name != **url)) {
                None => Ok(found),
                Some(missing) => {
                    Err(Error::source(missing, "it is not in the cache, and nothing else may be used")
                        .with_hint("fetch it once without `HF_HUB_OFFLINE`, by `prep fetch`"))
                }
            };
        }
        let files = fetch_files(&name, &|path| fits_path(&at.path, path), &options, observer)?;
        let found: Vec<Fetched> = files.into_iter().map(fetched).collect();
        if is_pattern {
            keep_listing(&url(&at.path), &found)?;
        }
        Ok(found)
    }

    #[cfg(feature = "pipeline")]
    fn listing(url: &str) -> Result<Vec<String>> {
        Ok(Entry::open(url)?.listing())
    }

    #[cfg(feature = "pipeline")]
    fn keep_listing(url: &str, found: &[Fetched]) -> Result<()> {
        let urls: Vec<String> = found.iter().map(|file| file.name.clone()).collect();
        Entry::open(url)?.keep_listing(&urls)
    }

    // Nothing is built without a pipeline, so nothing was listed.
    #[cfg(not(feature = "pipeline"))]
    fn listing(_: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    #[cfg(not(feature = "pipeline"))]
    fn keep_listing(_: &str, _: &[Fetched]) -> Result<()> {
        Ok(())
    }
}

#[cfg(not(feature = "hub"))]
mod hub {
    use super::{DatasetPath, Fetched};
    use crate::error::{Error, Result};
    use crate::progress::Observer;

    pub(super) fn pinned(at: &DatasetPath) -> Result<String> {
        Err(none(at))
    }

    pub(super) fn find(at: &DatasetPath, _: &dyn Observer) -> Result<Vec<Fetched>> {
        Err(none(at))
    }

    fn none(at: &DatasetPath) -> Error {
        let url = at.url(&at.revision, &at.path);
        Error::source(&url, "this program was built without the feature `hub`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_from_a_path_and_checked() {
        assert!(is_remote("hf://datasets/o/n/a.jsonl") && is_remote("s3://b/k"));
        assert!(!is_remote("a/b.json") && !is_remote("://x"));
        for good in [
            "s3://bucket/a/*.jsonl",
            "https://host.example/a.tsv.gz",
            "http://localhost:80/a",
            "hf://datasets/o/n/a",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("ftp://host/a", "none of"),
            ("s3://bucket", "names no file"),
            ("https://host/", "names no file"),
            ("https://me:secret@host/a", "credentials"),
            ("https://host/a?b=c", "a query"),
            ("http://host.example/a", "in the clear"),
            ("https://host/a*.tsv", "may stand in the last part"),
            ("s3://bucket/*/a", "may stand in the last part"),
        ] {
            assert!(check(bad).unwrap_err().contains(why), "{bad}");
        }
        assert!(!check("https://me:secret@host/a").unwrap_err().contains("secret"));
    }
}
