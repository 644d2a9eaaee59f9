//! A dataset into an object store: `manifest.json` last, for it is the commit there, too.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutPayload, WriteMultipart};

use super::cached::{length, outgoing};
use super::object::{Place, in_words};
use super::{S3, check, scheme};
use crate::error::{Error, Result};
use crate::progress::Observer;

const MANIFEST: &str = "manifest.json";
/// There as long as somebody publishes, or as nobody has taken the place of an interrupted publication.
const CLAIM: &str = ".prep-publishing";
/// What is sent in one request, and the parts of what is longer. S3 takes parts of 5 MiB or more.
const PART_BYTES: usize = 8 << 20;

/// A folder in a store that a dataset is to come into.
pub struct Target {
    place: Place,
    url: String,
    /// Where it is put together.
    pub local: PathBuf,
    replace: bool,
}

impl Target {
    /// Looks whether a dataset may come there, before hours of work.
    ///
    /// # Errors
    /// [`Error::Setting`] for what is no `s3://BUCKET/PATH`, and for a dataset that is there and is not to be replaced;
    /// [`Error::Publish`] where the store cannot be asked.
    pub fn open(url: &str, replace: bool) -> Result<Self> {
        let url = url.trim_end_matches('/');
        let wrong = |found: String| Error::setting("--out", found);
        if scheme(url) != Some(S3) {
            // Without the URL, which may hold a password.
            let scheme = scheme(url).unwrap_or("that");
            return Err(wrong(format!(
                "`{scheme}` is no store: a dataset goes to a folder or to `s3://BUCKET/PATH`"
            )));
        }
        check(url).map_err(wrong)?;
        let place = Place::open(url)?;
        let target = Self { local: outgoing(url)?, place, url: url.to_owned(), replace };
        let found = target.files()?;
        let is_ours = found.contains(MANIFEST) || found.contains(CLAIM);
        if let Some(other) = found.iter().find(|file| !is_ours || !is_of_dataset(file)) {
            return Err(wrong(format!("`{url}` holds `{other}`, which is of no dataset"))
                .with_hint("name a place of its own: `--force` replaces datasets and nothing else"));
        }
        if !replace && found.contains(CLAIM) {
            return Err(wrong(format!("somebody publishes at `{url}`, or was interrupted there"))
                .with_hint("`--force` takes the place, once nobody is at it any more"));
        }
        if !replace && found.contains(MANIFEST) {
            return Err(wrong(format!("there is a dataset at `{url}`")).with_hint("`--force` replaces it"));
        }
        Ok(target)
    }

    fn key(&self, file: &str) -> String {
        format!("{}/{file}", self.place.folder())
    }

    /// What is there: a dataset, or what an interrupted publication left of one.
    fn files(&self) -> Result<BTreeSet<String>> {
        let folder = self.key("");
        let prefix = self.place.key(self.place.folder())?;
        let listed = self.place.store().list(Some(&prefix)).try_collect::<Vec<_>>();
        let listed = self.place.runtime().block_on(listed).map_err(|e| refused(&self.url, &e))?;
        let below = listed.iter().filter_map(|meta| meta.location.as_ref().strip_prefix(&folder));
        Ok(below.map(str::to_owned).collect())
    }

    /// Brings a dataset directory into the store. Readers find the old one, none, or the new one whole: the old manifest goes
    /// first, the new one comes last, and before it goes whatever else is there. Where nothing is replaced, one of two who
    /// publish at once is refused before it has sent a file. An interrupted publication leaves its claim, and files
    /// that the next one replaces.
    ///
    /// # Errors
    /// [`Error::Publish`] where the store refuses something; [`Error::Io`].
    pub fn publish(self, observer: &dyn Observer) -> Result<()> {
        let Self { place, local, replace, .. } = &self;
        let mut files = Vec::new();
        walk(local, "", &mut files)?;
        files.sort();
        let bytes = files.iter().map(|file| length(&local.join(file))).sum::<Result<u64>>()?;
        observer.begin(&format!("publishing at {}", self.url), Some(bytes));
        let mode = if *replace { PutMode::Overwrite } else { PutMode::Create };
        self.put(CLAIM, Vec::new(), mode.clone())?;
        // Only now nobody else comes.
        let old = self.files()?;
        if old.contains(MANIFEST) {
            if !replace {
                self.delete(CLAIM)?;
                return Err(came_meanwhile(&self.url));
            }
            self.delete(MANIFEST)?;
        }
        for file in files.iter().filter(|file| *file != MANIFEST) {
            let key = place.key(&self.key(file))?;
            let path = local.join(file);
            let sent = place.runtime().block_on(send(place, &key, &path, observer))?;
            sent.map_err(|e| refused(&place.url(key.as_ref()), &e))?;
        }
        let is_gone = |file: &&String| {
            ![MANIFEST, CLAIM].contains(&file.as_str()) && is_of_dataset(file) && !files.contains(file)
        };
        old.iter().filter(is_gone).try_for_each(|file| self.delete(file))?;
        let path = local.join(MANIFEST);
        let manifest = fs::read(&path).map_err(Error::io("read", &path))?;
        observer.advance(manifest.len() as u64);
        self.put(MANIFEST, manifest, mode)?;
        self.delete(CLAIM)?;
        // What has come there whole is not needed here.
        fs::remove_dir_all(local).map_err(Error::io("remove", local))
    }

    /// What is short; with `PutMode::Create` nothing may be there.
    fn put(&self, file: &str, bytes: Vec<u8>, mode: PutMode) -> Result<()> {
        let key = self.place.key(&self.key(file))?;
        let put = self.place.store().put_opts(&key, PutPayload::from(bytes), mode.into());
        match self.place.runtime().block_on(put) {
            Ok(_) => Ok(()),
            Err(StoreError::AlreadyExists { .. }) => Err(came_meanwhile(&self.url)),
            Err(e) => Err(refused(&self.place.url(key.as_ref()), &e)),
        }
    }

    fn delete(&self, file: &str) -> Result<()> {
        let key = self.place.key(&self.key(file))?;
        match self.place.runtime().block_on(self.place.store().delete(&key)) {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(e) => Err(refused(&self.place.url(key.as_ref()), &e)),
        }
    }
}

fn refused(url: &str, e: &StoreError) -> Error {
    let (found, hint) = in_words(e);
    Error::Publish { url: url.to_owned(), found, hint: Some(hint.to_owned()) }
}

fn came_meanwhile(url: &str) -> Error {
    let found = "another dataset comes there, or came meanwhile".to_owned();
    Error::Publish { url: url.to_owned(), found, hint: Some("`--force` replaces it".to_owned()) }
}

/// One file, in parts where it is long.
async fn send(
    place: &Place,
    key: &object_store::path::Path,
    path: &Path,
    observer: &dyn Observer,
) -> Result<Result<(), StoreError>> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    if length(path)? <= PART_BYTES as u64 {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        observer.advance(bytes.len() as u64);
        return Ok(place.store().put(key, PutPayload::from(bytes)).await.map(|_| ()));
    }
    let upload = match place.store().put_multipart(key).await {
        Ok(upload) => upload,
        Err(e) => return Ok(Err(e)),
    };
    let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
    let mut buffer = vec![0; PART_BYTES];
    loop {
        let n = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if n == 0 {
            return Ok(writer.finish().await.map(|_| ()));
        }
        // No more than a few parts in flight, whatever the length of the file.
        if let Err(e) = writer.wait_for_capacity(4).await {
            // A store keeps, and bills, the parts of what nobody ends. That this fails, too, says no more.
            let _ = writer.abort().await;
            return Ok(Err(e));
        }
        writer.write(&buffer[..n]);
        observer.advance(n as u64);
    }
}

/// Whether a file of this path may be of a dataset (`schemas/SHARDS.md`), or the claim to its place.
fn is_of_dataset(path: &str) -> bool {
    let Some((folder, file)) = path.split_once('/') else {
        const FILES: [&str; 7] =
            [MANIFEST, CLAIM, "plan.json", "tokenizer.json", "README.md", "CITATION.cff", "rejects.parquet"];
        return FILES.contains(&path);
    };
    let number_of = |table: &str| file.strip_prefix(table)?.strip_prefix('-')?.strip_suffix(".parquet");
    let is_table = |table: &&str| -> bool {
        number_of(table).is_some_and(|number| 5 <= number.len() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    match folder {
        "corpus" => {
            const TABLES: [&str; 6] = ["queries", "passages", "qrels", "negatives", "words", "lexicon"];
            file == "lookup.bin" || TABLES.iter().any(is_table)
        }
        "train" => file == "index.parquet" || is_table(&"batches"),
        "eval" => ["queries", "passages", "qrels"].iter().any(is_table),
        _ => false,
    }
}

/// Paths of all files below a folder, with `/`.
fn walk(folder: &Path, below: &str, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{path}/"), files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
