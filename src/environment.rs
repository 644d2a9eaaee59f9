//! What the environment says to several modules.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// A variable, if it is there and not empty.
pub(crate) fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether caches alone may be used: `HF_HUB_OFFLINE`, on when it is `1`, `on`, `yes` or `true`, as for other programs.
pub(crate) fn offline() -> bool {
    let value = env::var("HF_HUB_OFFLINE").unwrap_or_default().to_lowercase();
    ["1", "on", "yes", "true"].contains(&value.as_str())
}

/// The user's folder for caches.
pub(crate) fn cache_home() -> Option<PathBuf> {
    let of_home = || Some(PathBuf::from(set("HOME")?).join(".cache"));
    set("XDG_CACHE_HOME").map(PathBuf::from).or_else(of_home)
}
