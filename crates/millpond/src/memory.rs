//! How much memory there is for this process.

use std::fs;
use std::path::{Component, Path};

use rustix::system::sysinfo;

/// About how much memory requests may hold where nothing is set: an eighth of what there is, in bytes.
pub(crate) fn for_requests() -> u64 {
    let Available { machine, group } = available();
    group.map_or(machine, |limit| machine.min(limit)) / 8
}

/// How much memory there is, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Available {
    /// Of the machine.
    pub(crate) machine: u64,
    /// What the control group of this process may have, if that is limited.
    pub(crate) group: Option<u64>,
}

/// How much memory there is for this process.
pub(crate) fn available() -> Available {
    let info = sysinfo();
    let machine = info.totalram.saturating_mul(info.mem_unit.into());
    let group = of_group(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"), machine);
    Available { machine, group }
}

/// What the control group of this process may have, if that is limited: the least of it and those around it, by either version of
/// control groups. `own` says which one it is below `groups`. A limit above what the `machine` has is none: version 1 always has one.
fn of_group(own: &Path, groups: &Path, machine: u64) -> Option<u64> {
    let text = fs::read_to_string(own).unwrap_or_default();
    // The one line of version 2.
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let newer = least(groups, path, "memory.max");
    // A line for each hierarchy of version 1: its number, its controllers, and the group.
    let of_memory =
        |line: &&str| line.split(':').nth(1).is_some_and(|all| all.split(',').any(|one| one == "memory"));
    let path = text.lines().find(of_memory).and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or_default();
    let older = least(&groups.join("memory"), path, "memory.limit_in_bytes");
    newer.into_iter().chain(older).min().filter(|limit| *limit <= machine)
}

/// The least limit of the group of this path below `groups` and of those around it, in files of this name.
fn least(groups: &Path, path: &str, file: &str) -> Option<u64> {
    let mut folder = groups.to_owned();
    let mut least = limit(&folder, file);
    for part in Path::new(path).components() {
        match part {
            Component::RootDir => continue,
            Component::Normal(name) => folder.push(name),
            // A group outside of what this process can see.
            _ => break,
        }
        least = least.into_iter().chain(limit(&folder, file)).min();
    }
    least
}

/// In bytes.
fn limit(folder: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the machine that has the groups.
    const MACHINE: u64 = 1 << 40;

    fn found(own: &str, limits: &[(&str, &str)]) -> Option<u64> {
        found_in(own, "memory.max", limits)
    }

    fn found_in(own: &str, file: &str, limits: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        let groups = root.path().join("groups");
        for (folder, limit) in limits {
            fs::create_dir_all(groups.join(folder)).unwrap();
            fs::write(groups.join(folder).join(file), limit).unwrap();
        }
        fs::write(root.path().join("own"), own).unwrap();
        of_group(&root.path().join("own"), &groups, MACHINE)
    }

    #[test]
    fn memory_is_an_eighth_of_what_there_is() {
        assert!((1 << 20..1 << 45).contains(&for_requests()));
    }

    #[test]
    fn groups_around_count_as_well() {
        let limits = |inner, outer| [("slice/unit", inner), ("slice", outer), ("other", "1\n")];
        assert_eq!(found("0::/slice/unit\n", &limits("536870912\n", "max\n")), Some(536_870_912));
        assert_eq!(found("0::/slice/unit\n", &limits("536870912\n", "4096\n")), Some(4096));
        assert_eq!(found("0::/slice/unit\n", &limits("max\n", "max\n")), None);
        assert_eq!(found("3:memory:/slice\n0::/slice\n", &limits("7\n", "4096\n")), Some(4096));
    }

    #[test]
    fn container_sees_its_own_group_as_the_root() {
        assert_eq!(found("0::/\n", &[("", "8192\n")]), Some(8192));
        assert_eq!(found("0::/../../other\n", &[("", "8192\n"), ("other", "1\n")]), Some(8192));
        assert_eq!(found("", &[("", "8192\n")]), Some(8192));
        assert_eq!(found("", &[]), None);
    }

    #[test]
    fn older_groups_count_by_their_own_file() {
        let found = |own: &str, limits: &[(&str, &str)]| found_in(own, "memory.limit_in_bytes", limits);
        let own = "12:pids:/x\n9:cpu,memory:/docker/1\n1:name=systemd:/y\n0::/z\n";
        let limits = |inner, outer| {
            [("memory/docker/1", inner), ("memory/docker", outer), ("memory", "9223372036854771712\n")]
        };
        assert_eq!(found(own, &limits("8192\n", "9223372036854771712\n")), Some(8192));
        assert_eq!(found(own, &limits("8192\n", "4096\n")), Some(4096));
        // A container that sees its own group as the root.
        assert_eq!(found(own, &[("memory", "4096\n")]), Some(4096));
    }

    #[test]
    fn limit_above_what_there_is_is_none() {
        let limit = [("memory", "9223372036854771712\n")];
        assert_eq!(found_in("9:memory:/\n", "memory.limit_in_bytes", &limit), None);
        assert_eq!(found("0::/\n", &[("", "1099511627777\n")]), None);
        assert_eq!(found("0::/\n", &[("", "1099511627776\n")]), Some(MACHINE));
    }
}
