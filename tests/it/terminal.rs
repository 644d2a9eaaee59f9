//! What a terminal gets, and what a pipe: the same words, whole and without style.

use std::fs;
use std::process::{Command, Stdio};

use crate::eval::two;
use crate::util::{Folder, Ran, prep_command, repository};

const EVAL: &str = "eval d --embeddings q.npy p.npy --quiet";

/// What decides on width and style, none of it set.
fn plain(command: &mut Command) -> &mut Command {
    ["COLUMNS", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"].iter().for_each(|name| {
        command.env_remove(name);
    });
    command.stdin(Stdio::null()).env("TERM", "xterm")
}

fn in_pipe(folder: &Folder, arguments: &str, env: &[(&str, &str)]) -> String {
    let mut command = prep_command();
    plain(&mut command).args(arguments.split_whitespace()).current_dir(folder.path("."));
    Ran::of(command.envs(env.iter().copied()).output().unwrap()).done().stdout
}

/// In a pseudo-terminal, which util-linux's `script` makes. Says so where there is none.
fn in_terminal(folder: &Folder, arguments: &str, env: &[(&str, &str)]) -> Option<String> {
    let version = Command::new("script").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("util-linux")) {
        println!("skipped: there is no `script` of util-linux");
        return None;
    }
    let line = format!("'{}' {arguments}", env!("CARGO_BIN_EXE_prep"));
    let mut command = Command::new("script");
    plain(&mut command).args(["-qec", &line, "/dev/null"]).current_dir(folder.path("."));
    let ran = Ran::of(command.envs(env.iter().copied()).output().unwrap()).done();
    Some(ran.stdout.replace("\r\n", "\n"))
}

fn demo() -> Folder {
    let folder = Folder::new();
    let (data, pipeline) = (repository().join("data"), repository().join("pipelines/demo.toml"));
    let pipeline = pipeline.to_str().unwrap();
    folder
        .prep_args(&["build-shards", pipeline, "--data", data.to_str().unwrap(), "--out", "d", "--quiet"])
        .done();
    folder
}

#[test]
fn style_is_for_terminals_that_want_it() {
    let folder = two();
    let piped = in_pipe(&folder, EVAL, &[]);
    assert!(!piped.contains('\u{1b}') && piped.contains("0.7500*"), "{piped}");
    assert_eq!(in_pipe(&folder, EVAL, &[("COLUMNS", "20")]), piped, "a pipe has no width");
    let wide = ("COLUMNS", "200");
    let Some(shown) = in_terminal(&folder, EVAL, &[wide]) else { return };
    assert!(shown.contains("\u{1b}[32m\u{1b}[1m0.7500\u{1b}[0m*"), "{shown:?}");
    for env in [("NO_COLOR", "1"), ("TERM", "dumb"), ("CLICOLOR", "0")] {
        assert_eq!(in_terminal(&folder, EVAL, &[wide, env]).unwrap(), piped, "{env:?}");
    }
}

#[test]
fn a_narrow_terminal_gets_all_numbers_of_a_table() {
    let folder = two();
    let piped = in_pipe(&folder, EVAL, &[]);
    let Some(shown) = in_terminal(&folder, EVAL, &[("COLUMNS", "50"), ("NO_COLOR", "1")]) else { return };
    // The id of the dataset is longer, and whole.
    let too_long: Vec<&str> = shown.lines().filter(|line| 50 < line.chars().count()).collect();
    assert!(too_long.len() == 1 && too_long[0].trim().len() == 64, "{shown}");
    let numbers = |text: &str| {
        let words = text.split_whitespace().filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let mut words: Vec<_> = words.map(str::to_owned).collect();
        words.sort();
        words
    };
    assert_eq!(numbers(&shown), numbers(&piped));
    let json = in_terminal(&folder, &format!("{EVAL} --json"), &[("COLUMNS", "50")]).unwrap();
    assert_eq!(json, in_pipe(&folder, &format!("{EVAL} --json"), &[]));
}

#[test]
fn texts_are_cut_in_a_terminal_only() {
    let folder = demo();
    let piped = in_pipe(&folder, "inspect d --step 3 --quiet", &[]);
    assert!(!piped.contains('…'), "{piped}");
    let Some(shown) = in_terminal(&folder, "inspect d --step 3 --quiet", &[("COLUMNS", "40")]) else {
        return;
    };
    assert!(shown.lines().all(|line| line.chars().count() <= 40 || line.trim().len() == 64), "{shown}");
    for (cut, whole) in shown.lines().zip(piped.lines()).take_while(|(cut, _)| !cut.starts_with("step")) {
        match cut.strip_suffix('…') {
            Some(cut) => assert!(whole.starts_with(cut), "{whole}"),
            None => assert_eq!(cut, whole),
        }
    }
    assert!(shown.contains("…\n"), "{shown}");
}

#[test]
fn languages_come_in_order_and_what_is_of_all_comes_last() {
    let folder = demo();
    let text = in_pipe(&folder, "inspect d --quiet", &[]);
    let mut languages: Vec<_> = fs::read_dir(repository().join("data/demo"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name.len() == 2)
        .collect();
    languages.sort();
    let tables: Vec<Vec<&str>> = text
        .split("\n\n")
        .skip(1)
        .map(|table| {
            let cells = table.lines().skip(1).filter_map(|line| line.split_whitespace().next());
            cells.filter(|cell| *cell != "min").collect()
        })
        .collect();
    let [queries, passages, sources] = &*tables else { panic!("{text}") };
    assert_eq!([queries, passages], [&languages; 2]);
    assert_eq!(sources.split_last(), Some((&"x-y", &**queries)));
}

#[test]
fn the_doctor_is_readable_in_any_terminal() {
    let folder = Folder::new();
    let piped = in_pipe(&folder, "doctor --offline", &[]);
    assert!(!piped.contains('\u{1b}'), "{piped}");
    let Some(shown) = in_terminal(&folder, "doctor --offline", &[("COLUMNS", "60")]) else { return };
    assert!(shown.contains("\u{1b}[32mok\u{1b}[0m"), "{shown:?}");
    let shown = in_terminal(&folder, "doctor --offline", &[("COLUMNS", "60"), ("NO_COLOR", "1")]).unwrap();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let words = |text: &str| text.split_whitespace().next().map(str::to_owned);
    assert_eq!(words(&shown), words(&piped));
}
