//! What the server's process costs, as Linux tells it of a process on the same machine.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a server may go on working after its last answer before it is measured all the same.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// A server that uses no more than a tick of CPU in this time is at rest.
const REST: Duration = Duration::from_millis(150);
/// What a block of `st_blocks` is, on every file system.
const BLOCK_BYTES: u64 = 512;

/// The process to watch, and where it keeps its data.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Its number; its children are watched with it.
    pub pid: Option<u32>,
    /// Its data directory.
    pub data: Option<PathBuf>,
}

impl Watched {
    /// CPU that the process, its children and the threads and children that ended have used so far, in ticks.
    pub(crate) fn cpu_ticks(&self) -> Option<u64> {
        Some(family(self.pid?)?.iter().map(|process| process.ticks).sum())
    }

    /// What the processes held in memory at most since the last [`Watched::forget_peak`], in bytes.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        Some(family(self.pid?)?.iter().filter_map(|process| peak_bytes(process.pid)).sum())
    }

    /// Begins the peak anew. Where that is not permitted it stays the one of the process's whole life.
    pub(crate) fn forget_peak(&self) {
        for process in self.pid.and_then(family).unwrap_or_default() {
            let _ = fs::write(format!("/proc/{}/clear_refs", process.pid), "5");
        }
    }

    /// What the data directory takes on its file system, in bytes.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        self.data.as_deref().map(disk_bytes)
    }

    /// Waits until the process is at rest, so that what it does after its answers is counted where it belongs.
    pub(crate) async fn settle(&self) {
        let end = Instant::now() + SETTLE_MAX;
        let mut before = self.cpu_ticks();
        while before.is_some() && Instant::now() < end {
            tokio::time::sleep(REST).await;
            let now = self.cpu_ticks();
            if now <= before.map(|ticks| ticks + 1) {
                return;
            }
            before = now;
        }
    }
}

/// What so many ticks are, in seconds.
pub(crate) fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// What this very process has used so far, in ticks.
pub(crate) fn own_ticks() -> u64 {
    read_stat(std::process::id()).map_or(0, |process| process.ticks)
}

struct Process {
    pid: u32,
    parent: u32,
    ticks: u64,
}

/// A process and all that descend from it, or nothing if it is not there.
fn family(root: u32) -> Option<Vec<Process>> {
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let all: HashMap<u32, Process> =
        pids.filter_map(read_stat).map(|process| (process.pid, process)).collect();
    all.get(&root)?;
    let belongs = |mut pid: u32| {
        let mut seen = HashSet::new();
        while pid != root && seen.insert(pid) {
            pid = all.get(&pid).map_or(0, |process| process.parent);
        }
        pid == root
    };
    let members: HashSet<u32> = all.keys().copied().filter(|pid| belongs(*pid)).collect();
    Some(all.into_values().filter(|process| members.contains(&process.pid)).collect())
}

fn read_stat(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &stat)
}

/// The name, in brackets, may hold anything; behind it are the state, the parent, and ten fields later user and system
/// time of the process and of the children that it has waited for.
fn parse_stat(pid: u32, stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let mut times = fields.skip(9).map_while(|field| field.parse::<u64>().ok());
    let mut ticks = 0;
    for _ in 0..4 {
        ticks += times.next()?;
    }
    Some(Process { pid, parent, ticks })
}

fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Files that go away meanwhile take nothing.
fn disk_bytes(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let entries = fs::read_dir(path).into_iter().filter(|_| metadata.is_dir()).flatten().flatten();
    metadata.blocks() * BLOCK_BYTES + entries.map(|entry| disk_bytes(&entry.path())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    fn this() -> Watched {
        Watched { pid: Some(std::process::id()), data: None }
    }

    #[test]
    fn stat_is_read_behind_whatever_the_name_is() {
        let stat = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7";
        let process = parse_stat(42, stat).unwrap();
        assert_eq!((process.parent, process.ticks), (7, 100));
        assert!(parse_stat(42, "42 (short) S 7").is_none());
    }

    #[test]
    fn cpu_time_grows_with_work_and_peak_memory_with_what_is_held() {
        let (watched, before) = (this(), this().cpu_ticks().unwrap());
        let mut work = 0_u64;
        while watched.cpu_ticks().unwrap() < before + 3 {
            work = black_box(work.wrapping_mul(3) + 1);
        }
        let peak = watched.peak_bytes().unwrap();
        let held = black_box(vec![7_u8; 64 << 20]);
        assert!(watched.peak_bytes().unwrap() > peak + (32 << 20));
        drop(held);
        assert!(own_ticks() >= before + 3);
    }

    #[test]
    fn children_are_watched_and_strangers_are_not() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let family: Vec<_> = family(std::process::id()).unwrap().iter().map(|process| process.pid).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&child.id()) && family.contains(&std::process::id()));
        assert!(!family.contains(&1));
    }

    #[test]
    fn disk_bytes_are_what_files_take_not_what_they_seem() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        let file = fs::File::create(folder.path().join("below/sparse")).unwrap();
        file.set_len(1 << 30).unwrap();
        fs::write(folder.path().join("below/full"), vec![7; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        fs::File::open(folder.path().join("below/full")).unwrap().sync_all().unwrap();
        let taken = disk_bytes(folder.path());
        assert!((1 << 20..2 << 20).contains(&taken), "{taken}");
    }
}
