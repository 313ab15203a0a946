//! What file system the volume lies on, and how it is mounted.

use std::fs;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::patient::Patient;

const CHECK: &str = "file system";
/// Those that this is tested on.
const TESTED: [&str; 2] = ["ext4", "xfs"];
/// Those that keep promises of their own, untested.
const LOCAL: [&str; 6] = ["btrfs", "zfs", "f2fs", "bcachefs", "ext3", "jfs"];
const NETWORK: [&str; 12] =
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "virtiofs", "gpfs"];
const MEMORY: [&str; 2] = ["tmpfs", "ramfs"];
const LAYERED: [&str; 3] = ["overlay", "aufs", "unionfs"];

/// A mount, as `/proc/self/mountinfo` has it.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    place: PathBuf,
    kind: String,
    options: Vec<String>,
}

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let place = patient.data_or_above();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    match mount_of(&mounts, &place) {
        Some(mount) => vec![judge(&mount)],
        None => {
            vec![Finding::look(CHECK, "which one it is cannot be seen: /proc is not there", "mount /proc")]
        }
    }
}

/// The mount that a path lies on.
fn mount_of(mounts: &str, path: &Path) -> Option<Mount> {
    // Of two at one place the later one covers the other.
    mounts
        .lines()
        .filter_map(parse)
        .filter(|mount| path.starts_with(&mount.place))
        .max_by_key(|mount| mount.place.components().count())
}

fn parse(line: &str) -> Option<Mount> {
    let (own, rest) = line.split_once(" - ")?;
    let mut own = own.split(' ');
    let (place, options) = (own.nth(4)?, own.next()?);
    let mut rest = rest.split(' ');
    let (kind, of_file_system) = (rest.next()?.to_owned(), rest.nth(1).unwrap_or_default());
    let options = options.split(',').chain(of_file_system.split(',')).map(str::to_owned).collect();
    Some(Mount { place: PathBuf::from(unescaped(place)), kind, options })
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, part.get(3..)) {
            (Some(code), Some(rest)) => {
                plain.push(char::from(code));
                plain.push_str(rest);
            }
            _ => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

fn judge(mount: &Mount) -> Finding {
    let Mount { place, kind, options, .. } = mount;
    let has = |wanted: &[&str]| {
        options
            .iter()
            .find(|option| wanted.contains(&option.as_str()))
            .map(String::as_str)
            .unwrap_or_default()
    };
    let is = |kinds: &[&str]| kinds.contains(&kind.as_str());
    let shown = format!("{kind}, mounted on {}", place.display());
    let finding = if has(&["ro"]) == "ro" {
        Finding::bad(CHECK, format!("{shown}, can only be read"), "mount it so that it can be written (rw)")
    } else if !has(&["nobarrier", "barrier=0"]).is_empty() {
        Finding::bad(
            CHECK,
            format!(
                "{shown} with {}: a power cut costs names that were acknowledged",
                has(&["nobarrier", "barrier=0"])
            ),
            "mount it without that option",
        )
    } else if is(&NETWORK) || kind.starts_with("fuse") {
        Finding::look(
            CHECK,
            format!(
                "{shown}, is one of a network or of another program: locks and syncs may not hold there, and each takes a round trip"
            ),
            "put the data directory on a disk of this machine, with ext4 or xfs",
        )
    } else if is(&MEMORY) {
        Finding::look(
            CHECK,
            format!("{shown}, lies in memory: all is gone with the next restart of the machine"),
            "put the data directory on a disk, unless that is meant",
        )
    } else if is(&LAYERED) {
        Finding::look(
            CHECK,
            format!("{shown}, is the layer of a container: all is gone with the container"),
            "mount a volume there, as docs/docker.md does",
        )
    } else if !has(&["sync", "data=writeback"]).is_empty() {
        Finding::look(
            CHECK,
            format!(
                "{shown} with {}: it is slower, or keeps less over a crash",
                has(&["sync", "data=writeback"])
            ),
            "mount it without that option",
        )
    } else if is(&LOCAL) {
        Finding::look(
            CHECK,
            format!("{shown}: this is tested on ext4 and xfs alone"),
            "take one of these if you can",
        )
    } else if !is(&TESTED) {
        Finding::look(CHECK, format!("{shown}, is none that this is tested on"), "take ext4 or xfs")
    } else {
        Finding::good(CHECK, shown)
    };
    finding.with("type", kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    const MOUNTS: &str = "\
22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:27 / /tmp rw,nosuid - tmpfs tmpfs rw,size=1024k
31 22 8:1 / /srv rw,noatime - xfs /dev/sda1 rw,attr2
32 31 0:45 / /srv/with\\040space rw - nfs4 host:/pond rw,vers=4.2
33 22 8:2 / /mnt ro,relatime - ext4 /dev/sda2 ro
34 22 8:3 / /old rw,relatime - ext4 /dev/sda3 rw,nobarrier
";

    #[test]
    fn the_nearest_mount_is_found_and_judged() {
        for (path, kind, verdict) in [
            ("/var/lib/millpond", "ext4", Verdict::Good),
            ("/srv/pond", "xfs", Verdict::Good),
            ("/srvother", "ext4", Verdict::Good),
            ("/tmp/pond", "tmpfs", Verdict::Look),
            ("/srv/with space/pond", "nfs4", Verdict::Look),
            ("/mnt", "ext4", Verdict::Bad),
            ("/old/pond", "ext4", Verdict::Bad),
        ] {
            let mount = mount_of(MOUNTS, Path::new(path)).unwrap();
            assert_eq!((mount.kind.as_str(), judge(&mount).verdict), (kind, verdict), "{path}");
        }
        assert_eq!(mount_of("nothing of the kind", Path::new("/")), None);
    }
}
