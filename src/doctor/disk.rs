//! Folders that are written to.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process;

use rustix::fs::statvfs;

use super::Check;
use crate::number::bytes;

/// With less than this not even the demo can be built.
const LEAST_DISK_BYTES: u64 = 4 << 20;

/// A gigabyte is soon filled, by batches or by checkpoints.
const ENOUGH_DISK_BYTES: u64 = 1 << 30;

/// Where datasets, runs and exports are to go.
pub(super) fn out(path: &Path) -> Check {
    const NAME: &str = "disk";
    let shown = path.display();
    let advice = "name another folder with `--out`, or mend its owner, its mode or the mount";
    if path.exists() && !path.is_dir() {
        return Check::problem(NAME, format!("`{shown}` is no folder"), advice);
    }
    match room(path) {
        Err(e) => Check::problem(NAME, format!("`{shown}` cannot be written: {e}"), advice),
        Ok(Some(free)) if free < LEAST_DISK_BYTES => Check::problem(
            NAME,
            format!("{} free at `{shown}`", bytes(free)),
            "free some space, or name another folder",
        ),
        Ok(Some(free)) if free < ENOUGH_DISK_BYTES => Check::note(
            NAME,
            format!("{} free at `{shown}`, which can be written", bytes(free)),
            "`prep build-shards --dry-run` says how many bytes a dataset will have",
        ),
        Ok(free) => {
            let state = if path.exists() { "can be written" } else { "is not there yet and can be made" };
            Check::ok(NAME, format!("{} free at `{shown}`, which {state}", shown_bytes(free)))
        }
    }
}

/// Where programs put what they need for a while. This one needs nothing there, so it can only be a note.
pub(super) fn temporary() -> Check {
    const NAME: &str = "temporary files";
    let folder = std::env::temp_dir();
    let shown = folder.display();
    match room(&folder) {
        Err(e) => Check::note(
            NAME,
            format!("`{shown}` cannot be written: {e}"),
            "`TMPDIR` names another folder; `prep` needs none, the programs around it may",
        ),
        Ok(free) => Check::ok(NAME, format!("{} free at `{shown}`, which can be written", shown_bytes(free))),
    }
}

fn shown_bytes(free: Option<u64>) -> String {
    free.map_or_else(|| "unknown bytes".to_owned(), bytes)
}

/// Free bytes, if the system tells, where a file was just written: in the folder, or where it would be made.
pub(super) fn room(folder: &Path) -> io::Result<Option<u64>> {
    let folder = std::path::absolute(folder)?;
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(&folder);
    let probe = there.join(format!(".prep-doctor-{}", process::id()));
    let written = File::create_new(&probe).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_all()
    });
    // It is there only if it could be made, and then it can be removed.
    let _ = fs::remove_file(&probe);
    written?;
    Ok(statvfs(there).ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_folder_is_looked_at_where_it_would_be_made_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        assert_ne!(out(&folder.path().join("a/b")).state, State::Problem);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(out(&file).state, State::Problem);
        let below = out(&file.join("below"));
        assert!(below.state == State::Problem && below.found.contains("cannot be written"), "{below:?}");
    }
}
