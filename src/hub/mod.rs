//! Files from a name on a hub, checked, in the cache that other programs share: of a model those that an encoder needs,
//! of a dataset those that are asked for.
//!
//! hf-hub speaks to the hub, keeps the cache, and finds both in the environment: `HF_ENDPOINT`, `HF_TOKEN` or the
//! stored token, `HF_HUB_CACHE` or `HF_HOME`. It takes the bytes that come for what they should be, so the rest is
//! done here:
//!
//! * only what an encoder reads is fetched, weights as safetensors only, and refused before the first byte if they
//!   are there as pickles only (`wanted`);
//! * every file is held against the hash that the hub names, whether it was fetched now or found in the cache; what
//!   does not match is removed (`verify`);
//! * a transfer that was cut goes on where it ended, in this run or a later one (`transfer`);
//! * a branch of a model is written down in the cache once all its files are right, so that [`HubOptions::offline`] never
//!   meets half a model under a name. That of a dataset is written down when it is resolved: which of its files are
//!   wanted is known to whoever asks, and a file that is missing is told.
//!
//! Async ends inside hf-hub. The token goes to the endpoint and to no other host it redirects to.

mod access;
mod dataset;
mod explain;
mod listing;
mod name;
mod repository;
mod transfer;
mod verify;
mod wanted;

use std::fs;
use std::path::PathBuf;

use hf_hub::{HFClient, HFClientSync};

pub use self::access::{TokenSource, ask, cache_folder, token_source};
pub(crate) use self::dataset::{fetch_files, pinned};
use self::listing::ListedFile;
pub use self::name::{DEFAULT_REVISION, HubName};
use self::repository::Repository;
use self::transfer::Transfer;
use crate::environment::offline;
use crate::error::{Error, Result};
use crate::progress::Observer;

/// How often a request that failed for a passing reason is made again, and a cut transfer continued without any
/// progress, before it is given up.
pub const DEFAULT_RETRIES: usize = 5;

/// Where the hub is and how it is spoken to. What is `None` is for hf-hub to find in the environment.
///
/// No `Debug`: it holds the token.
#[derive(Clone)]
pub struct HubOptions {
    /// URL of the hub.
    pub endpoint: Option<String>,
    /// The folder that holds `models--organisation--name`.
    pub cache: Option<PathBuf>,
    pub token: Option<String>,
    /// Use the cache alone and make no request.
    pub offline: bool,
    /// See [`DEFAULT_RETRIES`].
    pub retries: usize,
}

/// A model in the cache, all files of which are what the hub says they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubModel {
    /// The folder of the commit; `files` lie in it under their names in the repository.
    pub directory: PathBuf,
    /// The commit that the name stood for: 40 hexadecimal digits.
    pub revision: String,
    /// What an encoder reads, sorted by name. The folder may hold other files, which nobody has checked.
    pub files: Vec<String>,
}

/// Fetches what is missing of a model and checks all of it.
///
/// The observer is told of two stages, settings and weights, in bytes.
///
/// ```no_run
/// use prep::hub::{HubOptions, fetch};
/// use prep::progress::Silent;
///
/// let name = "intfloat/multilingual-e5-small".parse()?;
/// let model = fetch(&name, &HubOptions::from_environment(), &Silent)?;
/// println!("{} at {}", model.directory.display(), model.revision);
/// # Ok::<(), prep::Error>(())
/// ```
///
/// # Errors
/// [`Error::Hub`], whatever it was: no such model or revision, no right to it, no network, no weights as safetensors,
/// no `tokenizer.json`, a file that stays cut or that has another hash than the hub names, a cache that cannot be
/// written.
pub fn fetch(name: &HubName, options: &HubOptions, observer: &dyn Observer) -> Result<HubModel> {
    let hub = Hub::open(name, options)?;
    let (commit, files) = hub.list(&wanted::may_be_wanted)?;
    wanted::check(name, &files)?;

    let transfer = hub.transfer(&commit);
    let directory = transfer.directory();
    let settings = wanted::settings(&files);
    bring(&transfer, "model settings", &settings, observer)?;
    let weights = wanted::weights(name, &directory, &files)?;
    bring(&transfer, "model weights", &weights, observer)?;
    hub.write_ref(&commit)?;

    let mut files: Vec<String> = settings.iter().chain(&weights).map(|file| file.path.clone()).collect();
    files.sort_unstable();
    Ok(HubModel { directory, revision: commit, files })
}

/// A repository, and the folder that the cache has for it.
struct Hub<'a> {
    name: &'a HubName,
    options: &'a HubOptions,
    endpoint: String,
    cache: PathBuf,
    repository: Repository,
}

impl<'a> Hub<'a> {
    fn open(name: &'a HubName, options: &'a HubOptions) -> Result<Self> {
        let client = client(options).map_err(|e| explain::failure(name, "the hub", e))?;
        let endpoint = client.endpoint().to_owned();
        let folder = format!("{}s--{}", name.kind().noun(), name.repository().replace('/', "--"));
        let cache = client.cache_dir().join(folder);
        let client = HFClientSync::from_inner(client).map_err(|e| explain::failure(name, &endpoint, e))?;
        let repository = Repository::new(&client, name);
        Ok(Self { name, options, endpoint, cache, repository })
    }

    fn explained(&self, e: hf_hub::HFError) -> Error {
        explain::failure(self.name, &self.endpoint, e)
    }

    /// The commit, and its files: by the hub, or by the cache.
    fn list(&self, is_wanted: &dyn Fn(&str) -> bool) -> Result<(String, Vec<ListedFile>)> {
        let listed = match self.options.offline {
            true => listing::in_cache(self.name, &self.repository),
            false => listing::on_hub(self.name, &self.repository, is_wanted),
        };
        listed.map_err(|e| self.explained(e))
    }

    fn transfer<'b>(&'b self, commit: &'b str) -> Transfer<'b> {
        Transfer {
            name: self.name,
            endpoint: &self.endpoint,
            repository: &self.repository,
            cache: &self.cache,
            commit,
            offline: self.options.offline,
            retries: self.options.retries,
        }
    }

    /// Writes down which commit the branch or tag stands for, as the cache does. hf-hub would do it with the first file.
    fn write_ref(&self, commit: &str) -> Result<()> {
        if self.options.offline || self.name.revision() == commit {
            return Ok(());
        }
        let path = self.cache.join("refs").join(self.name.revision());
        let folder = path.parent().expect("a ref lies in `refs`");
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, commit));
        written.map_err(|e| explain::cache(self.name, &path, &e))
    }
}

fn client(options: &HubOptions) -> hf_hub::HFResult<HFClient> {
    let mut builder = HFClient::builder().retry_max_attempts(options.retries);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(cache) = &options.cache {
        builder = builder.cache_dir(cache);
    }
    if let Some(token) = &options.token {
        builder = builder.token(token);
    }
    builder.build()
}

fn bring(transfer: &Transfer<'_>, stage: &str, files: &[&ListedFile], observer: &dyn Observer) -> Result<()> {
    observer.begin(stage, Some(files.iter().map(|file| file.bytes).sum()));
    files.iter().try_for_each(|file| transfer.bring(file, observer))
}

impl HubOptions {
    /// All from the environment; offline by `HF_HUB_OFFLINE`.
    #[must_use]
    pub fn from_environment() -> Self {
        Self { endpoint: None, cache: None, token: None, offline: offline(), retries: DEFAULT_RETRIES }
    }
}
