//! What of this machine works for which command, and what to do about the rest.
//!
//! A check finds one thing out and changes nothing: what it writes to see whether a folder takes it is removed again,
//! and there is one request, to the hub, unless it is told to make none. What only some commands need, or what only
//! costs time, is a [`State::Note`]; a [`State::Problem`] is what no command can do without.

mod disk;
mod gpu;
mod hub;
mod machine;

use std::path::PathBuf;

use serde::Serialize;

/// Where to look.
#[derive(Clone, Debug)]
pub struct DoctorOptions {
    /// The folder that is to be written to. It need not be there.
    pub out: PathBuf,
    /// Make no request.
    pub offline: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    pub found: String,
    /// What to do about it, if it is to be otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// What it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Ok,
    /// Something is slower, or some commands cannot do something.
    Note,
    /// No command can work so.
    Problem,
}

/// Looks at everything: first at what every command needs.
///
/// ```
/// use prep::doctor::{DoctorOptions, examine};
///
/// let checks = examine(&DoctorOptions { out: ".".into(), offline: true });
/// assert_eq!(checks[0].name, "program");
/// assert!(checks[0].found.contains(env!("CARGO_PKG_VERSION")));
/// ```
#[must_use]
pub fn examine(options: &DoctorOptions) -> Vec<Check> {
    let mut checks = vec![
        program(),
        machine::cpu(),
        machine::memory(),
        disk::out(&options.out),
        disk::temporary(),
        gpu::gpu(),
        gpu::toolkit(),
    ];
    checks.extend(hub::checks(options.offline));
    checks
}

/// What was built, and how.
fn program() -> Check {
    let features: Vec<&str> = [
        ("pipeline", cfg!(feature = "pipeline")),
        ("hub", cfg!(feature = "hub")),
        ("cuda", cfg!(feature = "cuda")),
        ("nccl", cfg!(feature = "nccl")),
    ]
    .into_iter()
    .filter_map(|(name, is_there)| is_there.then_some(name))
    .collect();
    let features = if features.is_empty() { "no features".to_owned() } else { features.join(", ") };
    let version = env!("CARGO_PKG_VERSION");
    if cfg!(debug_assertions) {
        Check::note(
            "program",
            format!("prep {version}, a debug build, with {features}"),
            "`cargo build --release` makes one that is many times as fast",
        )
    } else if cfg!(not(feature = "pipeline")) {
        Check::note(
            "program",
            format!("prep {version}, with {features}"),
            "`prep build-shards` needs the feature `pipeline`, which is on unless `--no-default-features` is said",
        )
    } else {
        Check::ok("program", format!("prep {version}, with {features}"))
    }
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), advice: None }
    }

    fn note(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Note, found: found.into(), advice: Some(advice.into()) }
    }

    fn problem(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Problem, ..Self::note(name, found, advice) }
    }
}
