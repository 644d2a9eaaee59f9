//! `tests/gpu/run.sh` and `results.py`, with programs that only pretend: what is not measured is never a number, and
//! what did not happen has not passed.

use std::fs;
use std::process::{Command, Output};

use crate::util::{Folder, repository};

/// A trainer of 40 steps that leaves a checkpoint behind, slowly or at once.
const TRAINER: &str = r#"#!/usr/bin/env bash
case "$1" in
  --version) echo "prep 0.0.0" ;;
  eval) echo '{"map": 0.5, "secs": 3}' ;;
  train)
    while [ "$1" != --out ]; do shift; done
    mkdir -p "$2/checkpoints"
    touch "$2/checkpoints/step-000000017.safetensors"
    [ "${3:-}" = --resume ] || PAUSE
    for _ in 1 2 3 4; do
      echo '{"tokens_per_sec": 1000.0, "examples_per_sec": 50.0, "wait_fraction": 0.01}'
    done > "$2/metrics.jsonl"
    mkdir -p "$2/model"
    echo weights > "$2/model/model.safetensors" ;;
esac
"#;

/// The folder that pack.sh makes, with programs of ours.
fn packed(trainer: &str, n_passed: usize) -> Option<Folder> {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !has("bash") || !has("python3") {
        println!("gpu_scripts: skipped, there is no bash or no python3");
        return None;
    }
    let folder = Folder::new();
    for name in ["run.sh", "jobs.json", "results.py", "torch_kernels.py", "torch_train.py"] {
        folder.write(name, fs::read(repository().join("tests/gpu").join(name)).unwrap());
    }
    let tests = format!("#!/bin/sh\necho 'test result: ok. {n_passed} passed; 0 failed'\n");
    let bench = r#"#!/bin/sh
echo '{"name": "adamw 200000000", "ms": 2.5, "tflops": null, "gb_per_s": 2400.0, "peak_mib": 0.0}'
"#;
    for (name, text) in [("prep", trainer), ("kernel-tests", tests.as_str()), ("kernel-bench", bench)] {
        folder.write(name, text);
    }
    folder.write("built.txt", "commit 0123\n");
    let pack = "import tarfile
with tarfile.open('programs.tar.xz', 'w:xz') as archive:
    for name in ('prep', 'kernel-tests', 'kernel-bench'):
        archive.add(name)
";
    let packed = Command::new("python3").args(["-c", pack]).current_dir(folder.path("")).status().unwrap();
    assert!(packed.success());
    Some(folder)
}

fn run(folder: &Folder) -> Output {
    Command::new("bash").args(["run.sh", "out"]).current_dir(folder.path("")).output().unwrap()
}

/// What the page says behind the first cell that begins so.
fn said(folder: &Folder, row: &str) -> String {
    let page = fs::read_to_string(folder.path("out/RESULTS.md")).unwrap();
    let line = page.lines().find(|line| line.starts_with(&format!("| {row}")));
    line.unwrap_or_else(|| panic!("no `{row}` in:\n{page}")).split('|').nth(2).unwrap().trim().to_owned()
}

#[test]
fn what_passed_and_was_measured_is_written_down_and_nothing_else_is() {
    // It waits to be killed.
    let Some(folder) =
        packed(&TRAINER.replace("PAUSE", r#"[ "${2##*/}" != killed ] || exec tail -f /dev/null"#), 25)
    else {
        return;
    };
    let ran = run(&folder);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{text}");
    for row in ["each kernel", "two runs of 40", "a run that was killed", "ranks and measures"] {
        assert_eq!(said(&folder, row), "passed", "{row}");
    }
    assert_eq!(said(&folder, "adamw"), "2.50");
    assert_eq!(said(&folder, "useful tokens/s"), "1000");
    for row in ["info_nce 32768", "add_norm", "times faster"] {
        assert_eq!(said(&folder, row), "not measured", "{row}");
    }
    assert!(fs::read_to_string(folder.path("out/RESULTS.md")).unwrap().contains("commit 0123"));
    // The results of another day are not taken for today's.
    assert_eq!(run(&folder).status.code(), Some(1));
}

#[test]
fn what_did_not_happen_has_not_passed() {
    // It ends before it can be killed; and no test has that name.
    let Some(folder) = packed(&TRAINER.replace("PAUSE", ":").replace("touch", ":"), 0) else { return };
    assert_eq!(run(&folder).status.code(), Some(1));
    assert_eq!(said(&folder, "each kernel"), "FAILED (1)");
    assert_eq!(said(&folder, "a run that was killed"), "not measured");
}

#[test]
fn the_page_without_a_measurement_is_that_of_results_py() {
    let script = repository().join("tests/gpu/results.py");
    let Ok(page) = Command::new("python3").arg(script).arg("--empty").output() else {
        println!("gpu_scripts: skipped, there is no python3");
        return;
    };
    let kept = fs::read_to_string(repository().join("tests/gpu/RESULTS.md")).unwrap();
    if kept.contains("No GPU has been at hand") {
        assert_eq!(String::from_utf8(page.stdout).unwrap(), kept);
    }
}
