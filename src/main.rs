//! The `prep` command: arguments to configuration, one library call, and what it gave, printed.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    return_freed_memory();
    cli::main()
}

/// Tells glibc to give memory back when it is freed. Left alone it raises its thresholds as it sees large arrays come
/// and go, and a build over a million groups keeps 200 MiB that it no longer uses.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn return_freed_memory() {
    const THRESHOLD_BYTES: i32 = 128 << 10;
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: mallopt takes two integers, and no other thread runs yet. If it refuses, nothing changes.
        #[expect(unsafe_code, reason = "glibc has no safe interface to its allocator's settings")]
        unsafe {
            libc::mallopt(parameter, THRESHOLD_BYTES);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn return_freed_memory() {}
