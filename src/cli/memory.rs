//! What glibc does with memory that is freed: its guess suits neither of the two kinds of work here.

/// Gives it back at once. Left alone glibc raises its thresholds as it sees large arrays come and go, and a build over a
/// million groups keeps 200 MiB that it no longer uses.
pub(super) fn return_when_freed() {
    set(128 << 10, 128 << 10);
}

/// Keeps it. Every step of a network asks for the tensors of the step before; a fresh page costs more than the work
/// that most elements get.
pub(super) fn keep_when_freed() {
    // The greatest threshold that glibc takes is half of one of its heaps.
    set(32 << 20, 1 << 30);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn set(map_bytes: i32, trim_bytes: i32) {
    for (parameter, bytes) in [(libc::M_MMAP_THRESHOLD, map_bytes), (libc::M_TRIM_THRESHOLD, trim_bytes)] {
        // SAFETY: mallopt takes two integers, and no other thread runs yet. If it refuses, nothing changes.
        #[expect(unsafe_code, reason = "glibc has no safe interface to its allocator's settings")]
        unsafe {
            libc::mallopt(parameter, bytes);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn set(_: i32, _: i32) {}
