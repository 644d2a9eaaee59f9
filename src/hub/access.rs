//! What can be said of a hub before a model is named: where its cache is, whether there is a token, whether it answers.

use std::fs;
use std::path::PathBuf;

use hf_hub::{HFClientSync, HFError};

use super::repository::Repository;
use super::{HubName, HubOptions, client, explain};
use crate::environment::{cache_home, set};
use crate::error::{Error, Result};

/// A model that every mirror has. Whether this one does is no matter: an answer is an answer.
const SOME_MODEL: &str = "intfloat/multilingual-e5-small";

/// Where a token was found. hf-hub looks in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    Variable(&'static str),
    File(PathBuf),
}

/// The folder that models are kept in.
///
/// # Errors
/// [`Error::Hub`] when the endpoint is no URL.
pub fn cache_folder(options: &HubOptions) -> Result<PathBuf> {
    let client = client(options).map_err(|e| explain::failure(&some_model(), "the hub", e))?;
    Ok(client.cache_dir().to_owned())
}

/// Where the token of the environment is, without telling it.
#[must_use]
pub fn token_source() -> Option<TokenSource> {
    if set("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some() {
        return None;
    }
    if set("HF_TOKEN").is_some() {
        return Some(TokenSource::Variable("HF_TOKEN"));
    }
    let home = set("HF_HOME").map(PathBuf::from).or_else(|| Some(cache_home()?.join("huggingface")));
    let files = [set("HF_TOKEN_PATH").map(PathBuf::from), home.map(|home| home.join("token"))];
    let holds_one = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| !text.trim().is_empty());
    files.into_iter().flatten().find(holds_one).map(TokenSource::File)
}

/// Makes one request. Gives the endpoint, if that is a hub which takes the token, or asks for none.
///
/// # Errors
/// [`Error::Hub`] when nobody answers, no hub does, or the token is refused.
pub fn ask(options: &HubOptions) -> Result<String> {
    let name = some_model();
    let client = client(options).map_err(|e| explain::failure(&name, "the hub", e))?;
    let endpoint = client.endpoint().to_owned();
    let asked = HFClientSync::from_inner(client)
        .and_then(|client| Repository::new(&client, &name).info(name.revision()));
    match asked {
        Ok(_) | Err(HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. }) => Ok(endpoint),
        Err(HFError::AuthRequired { context } | HFError::Forbidden { context }) => {
            let status = context.status.as_u16();
            let (found, hint) = match token_source() {
                Some(_) => ("it refuses the token", "make a new token there, or take the one away"),
                None => ("it wants a token", "name one in `HF_TOKEN`"),
            };
            Err(Error::hub(&name, format!("{endpoint} answers, and {found} ({status})"))
                .with_hint(format!("{hint}; local model directories work")))
        }
        Err(e) => Err(explain::failure(&name, &endpoint, e)),
    }
}

fn some_model() -> HubName {
    SOME_MODEL.parse().expect("a name on a hub")
}
