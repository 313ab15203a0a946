//! What the machine has: processor, memory, open files; and what the configuration says that is hardly meant.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use millpond_cache::Digest;
use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use super::patient::Patient;
use crate::memory::{self, Available};
use crate::open_files;
use crate::size::Size;

/// What the index needs for a blob, in bytes.
pub(super) const INDEX_BYTES: u64 = 46;
/// What a server needs that holds nothing, in bytes.
const EMPTY: u64 = 64 << 20;
/// What a connection may hold beside what requests share, in bytes.
const CONNECTION_BYTES: u64 = 200_000;
/// Hashed to see how fast that is, and for how long at most.
const HASHED: usize = 16 << 20;
const HASHING: Duration = Duration::from_millis(400);
/// With less a second a core is busy with hashing alone on a fast network, in bytes.
const SLOW_HASH: f64 = 600e6;

/// What the configuration says that is hardly meant.
pub(super) fn configuration(patient: &Patient) -> Vec<Finding> {
    const CHECK: &str = "configuration";
    let warnings = &patient.settings.warnings;
    if warnings.is_empty() {
        return vec![Finding::good(CHECK, "nothing in it contradicts itself")];
    }
    warnings.iter().map(|warning| Finding::look(CHECK, warning, "")).collect()
}

/// How fast it hashes, and with how many cores.
pub(super) fn processor(_: &Patient) -> Vec<Finding> {
    const CHECK: &str = "processor";
    let content = vec![0x5a; HASHED];
    let (begun, mut hashed) = (Instant::now(), 0);
    while begun.elapsed() < HASHING {
        std::hint::black_box(Digest::of(&content));
        hashed += HASHED;
    }
    let speed = hashed as f64 / begun.elapsed().as_secs_f64();
    let cores = cores();
    let (by, remedy) = if hashes_itself() {
        ("by the processor's own instructions", "for more, take a machine with more cores, or faster ones")
    } else {
        (
            "since the processor has no instructions for it",
            "for more, take a machine whose processor has them (AMD Zen, Intel Ice Lake, ARMv8 and later)",
        )
    };
    let says = format!("SHA-256 at {}/s a core, {by}; {cores:.1} cores", Size(speed as u64));
    let finding = if speed < SLOW_HASH {
        Finding::look(
            CHECK,
            format!("{says}: uploads of all clients together are at most {}/s", Size((speed * cores) as u64)),
            remedy,
        )
    } else {
        Finding::good(CHECK, says)
    };
    vec![finding.with("sha256_bytes_per_second", speed as u64).with("cores", cores)]
}

/// Whether the processor has instructions for SHA-256.
fn hashes_itself() -> bool {
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = known.lines().filter(|line| line.starts_with("flags") || line.starts_with("Features"));
    lines.next().is_some_and(|line| line.split_whitespace().any(|flag| flag == "sha_ni" || flag == "sha2"))
}

/// Those that this process may use; a control group may give it a part of one.
fn cores() -> f64 {
    let cores = thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let given = fs::read_to_string("/sys/fs/cgroup/cpu.max").ok();
    given.and_then(|given| quota(&given)).map_or(cores, |quota| quota.min(cores))
}

/// `QUOTA PERIOD`, or `max PERIOD`.
fn quota(given: &str) -> Option<f64> {
    let (quota, period) = given.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

/// Whether memory suffices for the index, and for what requests may hold.
pub(super) fn memory(patient: &Patient) -> Vec<Finding> {
    const CHECK: &str = "memory";
    let Available { machine, group } = memory::available();
    let available = group.map_or(machine, |limit| limit.min(machine));
    let requests = for_requests(patient);
    let blobs = patient.volume().map_or(0, |volume| volume.blobs);
    let connections = u64::from(patient.settings.connections.value) * CONNECTION_BYTES;
    let needed = blobs * INDEX_BYTES + requests + EMPTY;
    let index = match patient.volume() {
        Some(_) => format!("the index of {blobs} blobs takes {}", Size(blobs * INDEX_BYTES)),
        None => {
            format!(
                "the index takes {INDEX_BYTES} B a blob, and only a server that runs knows how many there are"
            )
        }
    };
    let whose = match group.filter(|limit| *limit < machine) {
        Some(_) => "the control group may have",
        None => "the machine has",
    };
    let says = format!("{whose} {}; requests may hold {}, {index}", Size(available), Size(requests));
    let finding = if needed > available / 10 * 9 {
        Finding::bad(
            CHECK,
            format!("{says}: that is not enough, and the system may kill the server"),
            "give it more memory, or a smaller request_memory in [limits]",
        )
    } else if needed + connections.min(available) > available / 10 * 9 {
        Finding::look(
            CHECK,
            format!("{says}, and so many connections as are allowed up to {} more", Size(connections)),
            "fewer connections in [limits] hold less, or give it more memory",
        )
    } else if needed > available / 2 {
        Finding::look(CHECK, format!("{says}: little is left to keep files in memory"), "give it more memory")
    } else {
        Finding::good(CHECK, says)
    };
    vec![finding.with("memory_bytes", available).with("request_memory_bytes", requests).with("blobs", blobs)]
}

/// What requests may hold, in bytes.
pub(super) fn for_requests(patient: &Patient) -> u64 {
    patient.settings.request_memory.as_ref().map_or_else(memory::for_requests, |size| size.value.0)
}

/// Whether the connections that are allowed may have a file each.
pub(super) fn open_files(patient: &Patient) -> Vec<Finding> {
    const CHECK: &str = "open files";
    let of_server = patient.process().and_then(limit_of);
    let whose = if of_server.is_some() { "the server" } else { "a server started like this" };
    let Some(limit) = of_server.or_else(|| getrlimit(Resource::Nofile).maximum) else {
        return vec![Finding::good(CHECK, "as many as there is memory for")];
    };
    let wanted = patient.settings.connections.value as usize;
    let most = open_files::beside_the_store(limit);
    let says =
        format!("{whose} may have {limit} open, which leaves {} of {wanted} connections", most.min(wanted));
    let remedy = "raise the limit: LimitNOFILE= of a service, --ulimit nofile= of a container, `ulimit -Hn` of a shell";
    let finding = if most as u64 <= limit / 4 {
        Finding::bad(CHECK, format!("{says}: the store itself wants more"), remedy)
    } else if most < wanted {
        Finding::look(CHECK, says, remedy)
    } else {
        Finding::good(CHECK, says)
    };
    vec![finding.with("open_files", limit).with("connections", most.min(wanted))]
}

/// The most files that a process may have open, where the system tells.
fn limit_of(process: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_of_a_control_group_are_parts_of_cores() {
        assert_eq!(quota("150000 100000\n"), Some(1.5));
        assert_eq!(quota("max 100000\n"), None);
        assert_eq!(quota(""), None);
        assert!(cores() > 0.0);
    }
}
