//! Models by name: the cache that they come into, the token, and whether the hub answers.

use super::Check;

const ACCESS: &str = "hub access";

#[cfg(not(feature = "hub"))]
pub(super) fn checks(_: bool) -> Vec<Check> {
    vec![Check::note(
        ACCESS,
        "this program was built without `hub`",
        "local model directories work; for models by name build with the feature `hub`, which is on by default",
    )]
}

#[cfg(feature = "hub")]
pub(super) fn checks(offline: bool) -> Vec<Check> {
    use crate::hub::HubOptions;

    let options = HubOptions::from_environment();
    vec![asked::cache(&options), asked::token(), asked::access(options, offline)]
}

#[cfg(feature = "hub")]
mod asked {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::super::{Check, disk};
    use super::ACCESS;
    use crate::error::Error;
    use crate::hub::{self, HubOptions, TokenSource};
    use crate::number::bytes;

    /// A hub that has not answered by then is no hub to fetch a gigabyte from.
    const PATIENCE: Duration = Duration::from_secs(10);

    pub(super) fn cache(options: &HubOptions) -> Check {
        const NAME: &str = "hub cache";
        let folder = match hub::cache_folder(options) {
            Ok(folder) => folder,
            Err(e) => return failure(NAME, e),
        };
        let shown = folder.display();
        match disk::room(&folder) {
            Ok(free) => {
                let free = free.map_or_else(String::new, |free| format!("{} free at ", bytes(free)));
                Check::ok(NAME, format!("{free}`{shown}`, which can be written"))
            }
            Err(e) => Check::note(
                NAME,
                format!("`{shown}` cannot be written: {e}"),
                "name another folder in `HF_HUB_CACHE` or `HF_HOME`; local model directories work",
            ),
        }
    }

    /// Never the token itself.
    pub(super) fn token() -> Check {
        Check::ok(
            "hub token",
            match hub::token_source() {
                Some(TokenSource::Variable(name)) => format!("in `{name}`"),
                Some(TokenSource::File(path)) => format!("in `{}`", path.display()),
                None => "none: only private and gated models need one (`HF_TOKEN`)".to_owned(),
            },
        )
    }

    pub(super) fn access(options: HubOptions, offline: bool) -> Check {
        let unasked = if options.offline {
            "not asked: `HF_HUB_OFFLINE` is on"
        } else if offline {
            "not asked: `--offline`"
        } else {
            ""
        };
        if !unasked.is_empty() {
            return Check::note(ACCESS, unasked, "models in the cache and local model directories work");
        }
        let (sender, receiver) = mpsc::channel();
        // It is left behind where it takes too long: hf-hub waits for as long as a connection stays open.
        thread::spawn(move || sender.send(hub::ask(&HubOptions { retries: 0, ..options })));
        match receiver.recv_timeout(PATIENCE) {
            Ok(Ok(endpoint)) => Check::ok(ACCESS, format!("{} answers", without_credentials(&endpoint))),
            Ok(Err(e)) => failure(ACCESS, e),
            Err(_) => Check::note(
                ACCESS,
                format!("no answer within {} seconds", PATIENCE.as_secs()),
                "check the network, its proxy and `HF_ENDPOINT`; local model directories work",
            ),
        }
    }

    fn failure(name: &'static str, e: Error) -> Check {
        let advice = e.hint().unwrap_or_default();
        let found = if let Error::Hub { found, .. } = e { found } else { e.to_string() };
        Check::note(name, without_credentials(&found), without_credentials(&advice))
    }

    /// `scheme://user:password@host` without what stands before the `@`: what a doctor says is pasted elsewhere.
    fn without_credentials(text: &str) -> String {
        let mut parts = text.split("://");
        let mut shown = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let authority = part.find(['/', ' ', '`', '?', '#']).map_or(part, |end| &part[..end]);
            shown.push_str("://");
            shown.push_str(authority.rfind('@').map_or(part, |at| &part[at + 1..]));
        }
        shown
    }

    #[cfg(test)]
    mod tests {
        use super::without_credentials;

        #[test]
        fn nobody_reads_a_password() {
            let shown =
                without_credentials("cannot reach `https://user:s@cret@host:9/x@y`, see http://a/b@c");
            assert_eq!(shown, "cannot reach `https://host:9/x@y`, see http://a/b@c");
        }
    }
}
