//! Processor and memory.

use std::fs;
use std::path::Path;
use std::thread;

use super::Check;
use crate::number::{bytes, of};

/// With less than this nothing starts: the program, its threads and a shard of the demo.
const LEAST_MEMORY_BYTES: u64 = 128 << 20;

/// What building XQuAD-R or training a small encoder takes, with room.
const ENOUGH_MEMORY_BYTES: u64 = 2 << 30;

pub(super) fn cpu() -> Check {
    let cores = thread::available_parallelism()
        .map_or_else(|_| "cores unknown".to_owned(), |cores| of(cores.get() as u64, "core", "cores"));
    let model = model().map(|model| format!("{model}, ")).unwrap_or_default();
    let (has, lacks) = vector_extensions();
    let has = if has.is_empty() { "no vector extensions".to_owned() } else { has.join(", ") };
    let found = format!("{model}{cores}, {has}");
    if lacks.is_empty() {
        return Check::ok("CPU", found);
    }
    let advice = format!(
        "training and evaluation are many times slower without {}, and the last bits of a score may be others; \
         datasets are the same",
        lacks.join(" and ")
    );
    Check::note("CPU", found, advice)
}

/// Those that are there, and those of them that products are slow without.
#[cfg(target_arch = "x86_64")]
fn vector_extensions() -> (Vec<&'static str>, Vec<&'static str>) {
    let known = [
        ("AVX2", is_x86_feature_detected!("avx2"), true),
        ("FMA", is_x86_feature_detected!("fma"), true),
        ("F16C", is_x86_feature_detected!("f16c"), false),
        ("AVX-512", is_x86_feature_detected!("avx512f"), false),
    ];
    let has = known.iter().filter(|(_, is_there, _)| *is_there).map(|(name, ..)| *name);
    let lacks = known.iter().filter(|(_, is_there, matters)| *matters && !is_there).map(|(name, ..)| *name);
    (has.collect(), lacks.collect())
}

/// Every processor of these has them.
#[cfg(target_arch = "aarch64")]
fn vector_extensions() -> (Vec<&'static str>, Vec<&'static str>) {
    (vec!["NEON"], vec![])
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn vector_extensions() -> (Vec<&'static str>, Vec<&'static str>) {
    (vec![], vec![])
}

/// What the processor calls itself, on Linux.
fn model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, model) = text.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(model.split_whitespace().collect::<Vec<_>>().join(" "))
}

pub(super) fn memory() -> Check {
    let Some(memory) = fs::read_to_string("/proc/meminfo").ok().and_then(|text| Memory::of_meminfo(&text))
    else {
        return Check::ok("memory", "unknown: it is looked up on Linux only");
    };
    memory.limited_to(limit()).check()
}

/// In bytes.
#[derive(Debug, PartialEq, Eq)]
struct Memory {
    total: u64,
    available: u64,
    /// Of the control group, where it is less than what the machine has.
    limit: Option<u64>,
}

impl Memory {
    fn of_meminfo(text: &str) -> Option<Self> {
        let kibibytes = |name: &str| -> Option<u64> {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            value.trim().strip_suffix(" kB")?.parse().ok()
        };
        let (total, available) = (kibibytes("MemTotal")?, kibibytes("MemAvailable")?);
        Some(Self { total: total << 10, available: available << 10, limit: None })
    }

    fn limited_to(self, limit: Option<u64>) -> Self {
        let limit = limit.filter(|limit| *limit < self.total);
        Self { available: limit.map_or(self.available, |limit| limit.min(self.available)), limit, ..self }
    }

    fn check(&self) -> Check {
        let limit = self
            .limit
            .map(|limit| format!("; this process may use {} (control group)", bytes(limit)))
            .unwrap_or_default();
        let found = format!("{} available of {}{limit}", bytes(self.available), bytes(self.total));
        if self.available < LEAST_MEMORY_BYTES {
            Check::problem("memory", found, "end other programs, or raise the limit")
        } else if self.available < ENOUGH_MEMORY_BYTES {
            Check::note(
                "memory",
                found,
                "enough for small corpora; fewer `--threads` take less, and so do smaller batches in training",
            )
        } else {
            Check::ok("memory", found)
        }
    }
}

/// The least that a control group of this process may use, of either version.
fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        // A group has at most what those above it have. In a container the root is its own.
        let group = Path::new(group.trim_start_matches('/'));
        group.ancestors().map(|group| Path::new(root).join(group).join(file)).collect()
    });
    // A group without a limit says `max`, which is no number.
    limits.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    const MEMINFO: &str = "MemTotal:       24576000 kB\nMemFree:  1 kB\nMemAvailable:   20480000 kB\n";

    #[test]
    fn memory_is_what_the_kernel_says_and_a_limit_allows() {
        let read = || Memory::of_meminfo(MEMINFO).unwrap();
        assert_eq!(read(), Memory { total: 25_165_824_000, available: 20_971_520_000, limit: None });
        let check = read().limited_to(Some(u64::MAX)).check();
        assert_eq!((check.state, &*check.found), (State::Ok, "19.5 GiB available of 23.4 GiB"));
        let check = read().limited_to(Some(1 << 30)).check();
        let found = "1.00 GiB available of 23.4 GiB; this process may use 1.00 GiB (control group)";
        assert_eq!((check.state, &*check.found), (State::Note, found));
        assert_eq!(read().limited_to(Some(100 << 20)).check().state, State::Problem);
        assert_eq!(Memory::of_meminfo("MemTotal: 1 kB\n"), None);
    }
}
