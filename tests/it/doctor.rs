//! `prep doctor`: what it looks at, and when it fails. What it finds depends on the machine, so little of that is here.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::util::{Folder, Ran, prep_command};

/// With an environment that knows no hub, no token and no cache but the folder's.
fn doctor(folder: &Folder, arguments: &str) -> Command {
    let mut command = prep_command();
    for name in ["HF_ENDPOINT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH"] {
        command.env_remove(name);
    }
    command.env_remove("HF_HUB_OFFLINE").env_remove("HF_HUB_DISABLE_IMPLICIT_TOKEN");
    command.env("HF_HOME", folder.path("hf")).current_dir(folder.path("."));
    command.arg("doctor").args(arguments.split_whitespace());
    command
}

fn ran(command: &mut Command) -> Ran {
    Ran::of(command.output().unwrap())
}

fn check(ran: &Ran, name: &str) -> Value {
    let checks = ran.json();
    let found = checks.as_array().unwrap().iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no `{name}` in {checks}")).clone()
}

#[test]
fn every_check_has_a_state_and_what_is_not_well_says_what_to_do() {
    let folder = Folder::new();
    let checks = ran(&mut doctor(&folder, "--offline --json")).done().json();
    let checks = checks.as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    let expected = ["program", "CPU", "memory", "disk", "temporary files", "GPU", "CUDA toolkit"];
    assert_eq!(names[..expected.len()], expected);
    let hub =
        if cfg!(feature = "hub") { &["hub cache", "hub token", "hub access"][..] } else { &["hub access"] };
    assert_eq!(names[expected.len()..], *hub);
    for check in checks {
        assert!(!check["found"].as_str().unwrap().is_empty(), "{check}");
        let is_well = check["state"] == "ok";
        assert!(is_well || ["note", "problem"].contains(&check["state"].as_str().unwrap()), "{check}");
        assert_eq!(check["advice"].as_str().is_some_and(|advice| !advice.is_empty()), !is_well, "{check}");
    }
    assert!(fs::read_dir(folder.path(".")).unwrap().next().is_none(), "nothing is left behind");
}

#[test]
fn a_folder_that_cannot_be_written_is_a_problem() {
    let folder = Folder::new();
    folder.write("file", "");
    ran(&mut doctor(&folder, "--offline --out file")).failed_with(&["error: 1 problem found"]);
    let below = ran(&mut doctor(&folder, "--offline --json --out file/below"));
    let below = check(&below.failed_with(&["error: 1 problem found"]), "disk");
    assert_eq!(below["state"], "problem");
    assert!(below["advice"].as_str().unwrap().contains("`--out`"), "{below}");
    // It need not be there.
    ran(&mut doctor(&folder, "--offline --out a/b")).done();
    assert!(!folder.path("a").exists());
}

#[cfg(unix)]
#[test]
fn a_folder_of_somebody_else_is_a_problem() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    let path = folder.path("closed");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(path.join("probe"), "").is_ok() {
        println!("skipped: root may write anywhere");
        return;
    }
    let closed = ran(&mut doctor(&folder, "--offline --json --out closed"));
    let closed = check(&closed.failed_with(&["error: 1 problem found"]), "disk");
    assert!(closed["found"].as_str().unwrap().contains("denied"), "{closed}");
}

#[cfg(not(feature = "hub"))]
#[test]
fn a_program_without_hub_says_so() {
    let access = check(&ran(&mut doctor(&Folder::new(), "--json")).done(), "hub access");
    assert_eq!(access["found"], "this program was built without `hub`");
}

#[cfg(feature = "hub")]
mod hub {
    use super::*;
    use crate::hub_server::{HubServer, Site};

    fn access(server: &HubServer, more: &str, env: &[(&str, &str)]) -> (Value, String) {
        let folder = Folder::new();
        let mut command = doctor(&folder, &format!("--json {more}"));
        let ran = ran(command.env("HF_ENDPOINT", server.endpoint()).envs(env.iter().copied())).done();
        (check(&ran, "hub access"), ran.stdout)
    }

    fn server(token: Option<&'static str>) -> HubServer {
        HubServer::start(Site { token, ..Site::new("org/encoder", Vec::new()) })
    }

    #[test]
    fn a_hub_is_asked_once() {
        let server = server(Some("hf_secret"));
        let (access, all) = access(&server, "", &[("HF_TOKEN", "hf_secret")]);
        assert_eq!(access["found"], format!("{} answers", server.endpoint()));
        assert_eq!(access["state"], "ok");
        assert_eq!(server.asked().len(), 1);
        assert!(!all.contains("hf_secret") && all.contains("in `HF_TOKEN`"), "{all}");
    }

    #[test]
    fn nothing_is_asked_when_offline() {
        let server = server(None);
        for (more, env) in [("--offline", vec![]), ("", vec![("HF_HUB_OFFLINE", "1")])] {
            let (access, _) = access(&server, more, &env);
            assert_eq!(access["state"], "note");
            assert!(access["found"].as_str().unwrap().starts_with("not asked"), "{access}");
        }
        assert!(server.asked().is_empty());
    }

    #[test]
    fn a_refusal_and_a_silence_are_notes_that_say_what_to_do() {
        let server = server(Some("another"));
        let (refused, all) = access(&server, "", &[("HF_TOKEN", "hf_secret")]);
        assert!(refused["found"].as_str().unwrap().ends_with("it refuses the token (401)"), "{refused}");
        assert!(refused["advice"].as_str().unwrap().contains("make a new token"), "{refused}");
        assert!(!all.contains("hf_secret"), "{all}");
        let (unnamed, _) = access(&server, "", &[]);
        assert!(unnamed["advice"].as_str().unwrap().contains("`HF_TOKEN`"), "{unnamed}");
        let endpoint = server.endpoint();
        drop(server);
        let folder = Folder::new();
        let ran = ran(doctor(&folder, "--json").env("HF_ENDPOINT", &endpoint)).done();
        let silent = check(&ran, "hub access");
        assert_eq!(silent["state"], "note");
        assert!(silent["found"].as_str().unwrap().starts_with("cannot reach"), "{silent}");
        assert!(silent["advice"].as_str().unwrap().contains("local directory needs no hub"), "{silent}");
    }
}
