//! What stands in the way of writing: nothing is left behind, and what was there stays.

use std::fs;
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::errors::{BUILD, CONTEXT, GOOD, good, names, refused, refused_by, with_source};
use crate::util::{Folder, Ran, prep_command, squad};

// The target.

#[test]
fn what_is_there_already_stays() {
    let folder = good();
    folder.write("d/notes.txt", "mine");
    refused(&folder, BUILD, &["error: `d`: is there already", "hint: `--force` replaces it"]);
    fs::remove_dir_all(folder.path("d")).unwrap();
    folder.prep(BUILD).done();
    refused(&folder, BUILD, &["error: `d`: is there already"]);
}

#[test]
fn force_replaces_datasets_and_nothing_else() {
    let found = [
        "error: `d`: is there already, and is no dataset",
        "replaces what is such a dataset, and nothing else",
    ];
    let folder = good();
    folder.write("d/notes.txt", "mine");
    refused(&folder, &format!("{BUILD} --force"), &found);
    fs::remove_dir_all(folder.path("d")).unwrap();
    folder.write("d", "a file");
    refused(&folder, &format!("{BUILD} --force"), &found);
    fs::remove_file(folder.path("d")).unwrap();
    // A link could lead anywhere, even where it leads to a dataset.
    folder.prep("build-shards p.toml --data data --out e").done();
    symlink(folder.path("e"), folder.path("d")).unwrap();
    refused(&folder, &format!("{BUILD} --force"), &found);
    assert!(fs::symlink_metadata(folder.path("d")).unwrap().is_symlink());
}

#[test]
fn a_build_that_fails_leaves_the_old_dataset_whole() {
    let folder = good();
    folder.prep(BUILD).done();
    folder.write("data/de.json", r#"{"data": [}"#);
    refused(&folder, &format!("{BUILD} --force"), &["at byte 10"]);
    // The same late, when most of the new dataset has been written.
    folder.write("data/de.json", squad(CONTEXT, &[GOOD]));
    refused_by(&folder, &["File too large"], |folder| {
        limited(folder, 32, &format!("{BUILD} --force --set batches.steps=4000"))
    });
    folder.prep("verify d").done();
}

/// Runs `prep` in a shell in which no file may grow beyond so many blocks (of 512 or 1,024 bytes, as the shell has it).
/// Without the signal a write fails as it does on a full disk.
fn limited(folder: &Folder, blocks: u32, arguments: &str) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" {arguments}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_prep")]).current_dir(folder.path(""));
    Ran::of(shell.output().unwrap())
}

#[test]
fn a_disk_that_fills_up_leaves_nothing_behind() {
    // Forty passages of 960 digits of half a byte are about 19,000 bytes however they are compressed; their questions
    // are far below 4,096.
    let digits =
        |i: usize| (0..15).map(|j| blake3::hash(&[i as u8, j]).to_hex().to_string()).collect::<String>();
    let paragraphs: Vec<_> = (0..40)
        .map(|i| {
            let answer = serde_json::json!([{"answer_start": 0, "text": digits(i)}]);
            let question = serde_json::json!({"id": format!("q{i}"), "question": "Was?", "answers": answer});
            serde_json::json!({"context": digits(i), "qas": [question]})
        })
        .collect();
    let folder =
        with_source(serde_json::json!({"data": [{"title": "T", "paragraphs": paragraphs}]}).to_string());
    let found =
        ["cannot write `./.d.partial/corpus/passages-00000.parquet`", "caused by: File too large", "hint: "];
    refused_by(&folder, &found, |folder| limited(folder, 8, BUILD));
    // 4,000 digests of 32 bytes are more than 32 KiB, and everything of the corpus is less than 16.
    let found = ["cannot write `./.d.partial/train/", "caused by: File too large", "hint: "];
    refused_by(&good(), &found, |folder| limited(folder, 32, &format!("{BUILD} --set batches.steps=4000")));
}

/// Runs `prep` with `disk` in the folder being a disk of so many KiB that only this command sees, and lists what is left
/// on that disk into the file `left`. Nothing where the system lets nobody mount one.
fn on_small_disk(folder: &Folder, kib: u32, arguments: &str) -> Option<Ran> {
    let mounts = "mount -t tmpfs -o size=$1k tmpfs disk || exit 125";
    let script = format!(r#"{mounts}; "$0" {arguments}; code=$?; ls -A disk > left; exit $code"#);
    // Root may mount in a mount namespace; anybody else needs a user namespace around it.
    [["-m", "--"], ["-rm", "--"]].iter().find_map(|flags| {
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", &script, env!("CARGO_BIN_EXE_prep"), &kib.to_string()]);
        let output = command.current_dir(folder.path("")).output().ok()?;
        let mounted = fs::exists(folder.path("left")).unwrap();
        mounted.then(|| Ran::of(output))
    })
}

#[test]
fn no_space_left_on_the_device_leaves_nothing_behind() {
    for (kib, steps, written) in [(8, 10, "corpus/"), (96, 100_000, "train/")] {
        let folder = good();
        fs::create_dir(folder.path("disk")).unwrap();
        let arguments =
            format!("build-shards p.toml --data data --out disk/d --quiet --set batches.steps={steps}");
        let Some(ran) = on_small_disk(&folder, kib, &arguments) else {
            println!(
                "no_space_left_on_the_device_leaves_nothing_behind: skipped, nothing can be mounted here"
            );
            return;
        };
        let place = format!("`disk/.d.partial/{written}");
        ran.failed_with(&[&place, "caused by: No space left on device", "hint: "]);
        assert_eq!(fs::read_to_string(folder.path("left")).unwrap(), "", "{kib} KiB");
    }
}

/// Runs `prep` as a user whom modes bind: root may do anything, so it steps down.
fn as_nobody(folder: &Folder, arguments: &str) -> Ran {
    fs::set_permissions(folder.path(""), Permissions::from_mode(0o755)).unwrap();
    let mut command = prep_command();
    if fs::metadata(folder.path("p.toml")).unwrap().uid() == 0 {
        // The program may lie below a folder that is root's alone, so it takes a name in this one.
        let (program, here) = (Path::new(env!("CARGO_BIN_EXE_prep")), folder.path("prep"));
        // A copy is left to another process: a file that is open for writing here cannot be run.
        if fs::hard_link(program, &here).is_err() {
            assert!(Command::new("cp").arg(program).arg(&here).status().unwrap().success());
        }
        command = Command::new(here);
        command.uid(65_534);
    }
    let ran = Ran::of(command.args(arguments.split(' ')).current_dir(folder.path("")).output().unwrap());
    let _ = fs::remove_file(folder.path("prep"));
    ran
}

#[test]
fn a_folder_that_may_not_be_written_to_is_named() {
    let folder = good();
    fs::create_dir(folder.path("locked")).unwrap();
    fs::set_permissions(folder.path("locked"), Permissions::from_mode(0o555)).unwrap();
    let found =
        ["cannot create `locked/.d.partial`", "caused by: Permission denied", "hint: check the owner"];
    refused_by(&folder, &found, |folder| as_nobody(folder, &BUILD.replace("--out d", "--out locked/d")));
    assert_eq!(fs::read_dir(folder.path("locked")).unwrap().count(), 0);
}

#[test]
fn a_source_that_may_not_be_read_is_named() {
    let folder = good();
    fs::set_permissions(folder.path("data/de.json"), Permissions::from_mode(0o000)).unwrap();
    fs::create_dir(folder.path("out")).unwrap();
    fs::set_permissions(folder.path("out"), Permissions::from_mode(0o777)).unwrap();
    let ran = as_nobody(&folder, &BUILD.replace("--out d", "--out out/d"));
    ran.failed_with(&["`data/de.json`", "caused by: Permission denied", "hint: check the owner"]);
    assert_eq!(fs::read_dir(folder.path("out")).unwrap().count(), 0);
}

#[test]
fn a_folder_without_a_dataset_is_no_dataset() {
    let folder = good();
    fs::create_dir(folder.path("empty")).unwrap();
    for command in ["verify", "inspect", "reproduce --step 0"] {
        for name in ["empty", "nowhere", "p.toml"] {
            let found = format!("error: `{name}`: no manifest.json, so no dataset");
            refused(
                &folder,
                &format!("{command} --quiet {name}"),
                &[&found, "hint: `prep build-shards` makes one"],
            );
        }
    }
}

#[test]
fn a_dataset_of_another_version_is_refused() {
    let folder = good();
    folder.write("d/manifest.json", r#"{"format_version": 2, "whatever": []}"#);
    for command in ["verify", "inspect", "reproduce --step 0"] {
        let found = "`d/manifest.json`: format version 2, this program reads 1";
        refused(&folder, &format!("{command} --quiet d"), &[found]);
    }
}

// Output.

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn standard_output_that_takes_nothing_is_an_error() {
    let folder = good();
    let ran = Ran::of(prep_command().args(["schema"]).stdout(full()).output().unwrap());
    ran.failed_with(&["error: cannot write to standard output", "caused by: No space left"]);
    // The dataset is complete by the time the report is printed, and stays.
    let mut build = prep_command();
    build.args(BUILD.split(' ')).current_dir(folder.path("")).stdout(full());
    Ran::of(build.output().unwrap()).failed_with(&["error: cannot write to standard output"]);
    folder.prep("verify d").done();
}

/// As when the log is on the disk that is full.
#[test]
fn standard_error_that_takes_nothing_changes_no_exit_code() {
    let folder = good();
    let code = |arguments: &str| {
        let mut command = prep_command();
        command.args(arguments.split(' ')).current_dir(folder.path("")).stderr(full());
        command.output().unwrap().status.code()
    };
    assert_eq!(code("build-shards nowhere.toml"), Some(1));
    assert_eq!(code("build-shards p.toml --data data --out d"), Some(0));
    assert_eq!(names(&folder), ["d", "data", "p.toml"]);
}
