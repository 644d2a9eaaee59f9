//! `s3://bucket/key` and `https://host/path`, by the crate `object_store`. Async begins and ends here.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, Error as StoreError, GetOptions, GetRange, ObjectMeta, ObjectStore,
    ObjectStoreExt, RetryConfig,
};
use tokio::runtime::{Builder, Runtime};

use super::cached::{Entry, Version};
use super::{Fetched, HTTP, S3};
use crate::environment::offline;
use crate::error::{Error, Result};
use crate::pattern::{fits, folder_and_name};
use crate::progress::Observer;

/// How often a transfer is gone on with that brought nothing.
const TRIES_IN_VAIN: usize = 5;

/// A place in a store or on a server.
pub(super) struct Place {
    store: Arc<dyn ObjectStore>,
    /// The URL up to where keys begin, with the `/`.
    base: String,
    key: String,
    runtime: Runtime,
}

/// The files that a URL names.
pub(super) fn find(url: &str, observer: &dyn Observer) -> Result<Vec<Fetched>> {
    let is_pattern = folder_and_name(url).1.contains('*');
    if offline() {
        return in_cache(url, is_pattern);
    }
    let place = Place::open(url)?;
    if !is_pattern {
        return Ok(vec![place.fetch(&place.head(&place.key)?, url, observer)?]);
    }
    let objects = place.list()?;
    let urls: Vec<String> = objects.iter().map(|meta| place.url(meta.location.as_ref())).collect();
    Entry::open(url)?.keep_listing(&urls)?;
    objects.iter().zip(&urls).map(|(meta, url)| place.fetch(meta, url, observer)).collect()
}

/// As they came last.
fn in_cache(url: &str, is_pattern: bool) -> Result<Vec<Fetched>> {
    let urls = if is_pattern { Entry::open(url)?.listing() } else { vec![url.to_owned()] };
    let fetched = |url: String| match Entry::open(&url)?.whole(None)? {
        Some(path) => Ok(Fetched { name: url, path }),
        None => Err(Error::source(&url, "it is not in the cache, and nothing else may be used")
            .with_hint("fetch it once without `HF_HUB_OFFLINE`, by `prep fetch`")),
    };
    urls.into_iter().map(fetched).collect()
}

impl Place {
    pub(super) fn open(url: &str) -> Result<Self> {
        let wrong = |e: StoreError| failure(url, &e);
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (host, key) = rest.split_once('/').unwrap_or((rest, ""));
        let retry = RetryConfig {
            max_retries: 4,
            retry_timeout: Duration::from_mins(1),
            backoff: BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() },
        };
        let store: Arc<dyn ObjectStore> = if scheme == S3 {
            let builder = AmazonS3Builder::from_env().with_bucket_name(host).with_retry(retry);
            // Not every store that answers as S3 does takes many at once.
            let builder = builder.with_disable_bulk_delete(true);
            Arc::new(builder.build().map_err(wrong)?)
        } else {
            let options = ClientOptions::new().with_allow_http(scheme == HTTP);
            let builder = HttpBuilder::new().with_url(format!("{scheme}://{host}"));
            Arc::new(builder.with_client_options(options).with_retry(retry).build().map_err(wrong)?)
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::source(url, format!("no asynchronous runtime: {e}")))?;
        Ok(Self { store, base: format!("{scheme}://{host}/"), key: key.to_owned(), runtime })
    }

    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The key of a URL that names a folder, without a `/` at its end.
    pub(super) fn folder(&self) -> &str {
        self.key.trim_end_matches('/')
    }

    pub(super) fn url(&self, key: &str) -> String {
        format!("{}{key}", self.base)
    }

    /// A key is written as it is in a store, and with `%20` for a space on a server.
    pub(super) fn key(&self, key: &str) -> Result<Key> {
        let parsed = if self.base.starts_with(S3) { Key::parse(key) } else { Key::from_url_path(key) };
        parsed.map_err(|e| Error::source(&self.url(key), e.to_string()))
    }

    fn head(&self, key: &str) -> Result<ObjectMeta> {
        let found = self.runtime.block_on(self.store.head(&self.key(key)?));
        found.map_err(|e| failure(&self.url(key), &e))
    }

    /// Those of the folder whose names fit, sorted.
    fn list(&self) -> Result<Vec<ObjectMeta>> {
        let (folder, name) = folder_and_name(&self.key);
        let prefix = if folder.is_empty() { None } else { Some(self.key(folder)?) };
        let listed = self.runtime.block_on(self.store.list_with_delimiter(prefix.as_ref()));
        let mut objects = listed.map_err(|e| failure(&self.url(&self.key), &e))?.objects;
        objects.retain(|meta| meta.location.filename().is_some_and(|found| fits(name, found)));
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(objects)
    }

    fn fetch(&self, meta: &ObjectMeta, url: &str, observer: &dyn Observer) -> Result<Fetched> {
        let version = Version::of(meta);
        let entry = Entry::open(url)?;
        observer.begin(&format!("fetching {url}"), Some(version.bytes));
        if let Some(path) = entry.whole(Some(&version))? {
            observer.advance(version.bytes);
            return Ok(Fetched { name: url.to_owned(), path });
        }
        let (mut file, mut have) = entry.begin(&version)?;
        observer.advance(have);
        let mut tries_in_vain = 0;
        while have < version.bytes {
            let before = have;
            match self.runtime.block_on(self.stream(meta, &mut file, &mut have, observer)) {
                // The server takes no part of a file: from the beginning, then.
                Err(StoreError::NotSupported { .. }) if have != 0 && tries_in_vain < TRIES_IN_VAIN => {
                    entry.empty(&mut file)?;
                    (have, tries_in_vain) = (0, tries_in_vain + 1);
                    continue;
                }
                // It is the version or the right that is gone, not the connection.
                Err(e) if !is_passing(&e) => return Err(failure(url, &e)),
                Err(e) if before == have && tries_in_vain == TRIES_IN_VAIN => {
                    return Err(failure(url, &e).with_hint("run it again: it goes on where it ended"));
                }
                _ => tries_in_vain = if before == have { tries_in_vain + 1 } else { 0 },
            }
            if tries_in_vain > TRIES_IN_VAIN {
                return Err(Error::source(url, format!("the transfer was cut at byte {have}"))
                    .with_hint("run it again: it goes on where it ended"));
            }
        }
        let path = entry.finish(&mut file, &version)?;
        Ok(Fetched { name: url.to_owned(), path })
    }

    /// Goes on to the end, or to where the connection is cut.
    async fn stream(
        &self,
        meta: &ObjectMeta,
        file: &mut File,
        have: &mut u64,
        observer: &dyn Observer,
    ) -> Result<(), StoreError> {
        let range = (*have != 0).then_some(GetRange::Offset(*have));
        let options = GetOptions { range, if_match: meta.e_tag.clone(), ..GetOptions::default() };
        let mut pieces = self.store.get_opts(&meta.location, options).await?.into_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            let written = file.write_all(&piece);
            written.map_err(|e| StoreError::Generic { store: "cache", source: Box::new(e) })?;
            *have += piece.len() as u64;
            observer.advance(piece.len() as u64);
        }
        Ok(())
    }
}

/// Whether asking again may help.
fn is_passing(e: &StoreError) -> bool {
    matches!(e, StoreError::Generic { store, .. } if *store != "cache")
}

/// A file that a store does not give.
fn failure(url: &str, e: &StoreError) -> Error {
    let (found, hint) = in_words(e);
    Error::source(url, found).with_hint(hint)
}

/// What a store says, in words of ours, and what to do about it.
pub(super) fn in_words(e: &StoreError) -> (String, &'static str) {
    match e {
        StoreError::NotFound { .. } => ("there is no such file (404)".to_owned(), "check the name"),
        e if is_refused(e) => (
            "it is refused (401 or 403)".to_owned(),
            "a store takes `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a public one `AWS_SKIP_SIGNATURE=true`",
        ),
        StoreError::Precondition { .. } => {
            ("it changed during the transfer".to_owned(), "run it again: the new version is fetched")
        }
        StoreError::NotSupported { .. } => (
            "the server takes no part of a file, and the transfer was cut".to_owned(),
            "fetch the file by another program and name its path",
        ),
        e => (
            innermost(e),
            "check the network, and for another store than Amazon's `AWS_ENDPOINT_URL` (and `AWS_ALLOW_HTTP`)",
        ),
    }
}

/// Of listings no kind of error says it.
fn is_refused(e: &StoreError) -> bool {
    matches!(e, StoreError::Unauthenticated { .. } | StoreError::PermissionDenied { .. })
        || ["401 Unauthorized", "403 Forbidden"].iter().any(|status| innermost(e).contains(status))
}

/// The outer causes repeat the URL, which may be signed.
fn innermost(e: &StoreError) -> String {
    let mut cause: &dyn std::error::Error = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
