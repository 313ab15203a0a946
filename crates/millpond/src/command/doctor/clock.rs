//! The clock: levels, leases, certificates and tokens go by it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use millpond_cache::Clock;

use super::finding::Finding;
use super::patient::Patient;
use crate::command::moment;

const CHECK: &str = "clock";
/// No clock that is right says less: 1 November 2026, before this version was made.
const MADE: u64 = 1_793_491_200;
/// Nor more: twenty years later.
const TOO_LATE: u64 = MADE + 20 * 365 * 24 * 3600;
/// So much the clocks of two machines may differ that share a disk, in seconds.
const APART: u64 = 120;
/// Where systemd's time service says that it has found the time.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// What others leave while they run.
const KEEPERS: [(&str, &str); 4] = [
    ("chrony", "/run/chrony/chronyd.pid"),
    ("chrony", "/run/chronyd.pid"),
    ("ntpd", "/run/ntpd.pid"),
    ("OpenNTPD", "/run/ntpd.sock"),
];

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    vec![judge(Clock::unix_seconds(), newest(&patient.data()), keeper())]
}

/// Who keeps it right.
enum Keeper {
    /// One of this name does.
    Known(&'static str),
    /// systemd's runs, and has not found the time.
    Seeks,
    /// None that can be seen from here.
    Unseen,
}

fn keeper() -> Keeper {
    let synchronised = Path::new(SYNCHRONISED);
    if synchronised.exists() {
        return Keeper::Known("systemd-timesyncd");
    }
    if let Some((name, _)) = KEEPERS.iter().find(|(_, path)| Path::new(path).exists()) {
        return Keeper::Known(name);
    }
    if synchronised.parent().is_some_and(Path::is_dir) { Keeper::Seeks } else { Keeper::Unseen }
}

fn judge(now: u64, newest: Option<u64>, keeper: Keeper) -> Finding {
    let says = moment::written(now);
    let remedy =
        "set the clock, and have it kept right: systemd-timesyncd, chrony or the machine's host do that";
    if !(MADE..TOO_LATE).contains(&now) {
        let made = moment::written(MADE);
        let side = if now < MADE { "before" } else { "far behind" };
        return Finding::bad(
            CHECK,
            format!("it says {says}, {side} {made}, when this version was made"),
            remedy,
        );
    }
    if let Some(newest) = newest.filter(|newest| *newest > now + APART) {
        let ahead = newest - now;
        let says = format!(
            "it says {says}, and the volume was written {ahead} s after that: the clock has gone back, or was ahead then"
        );
        return Finding::bad(CHECK, says, remedy).with("behind_volume_seconds", ahead);
    }
    match keeper {
        Keeper::Known(name) => Finding::good(CHECK, format!("it says {says}, and {name} keeps it right")),
        Keeper::Seeks => Finding::look(
            CHECK,
            format!("it says {says}, and systemd-timesyncd has not found the time yet"),
            "see `timedatectl timesync-status`: its servers may not be reached",
        ),
        Keeper::Unseen => Finding::good(
            CHECK,
            format!("it says {says}; who keeps it right cannot be seen from here, as it is in a container"),
        ),
    }
}

/// When anything at the top of the volume was last written, in Unix seconds.
fn newest(data: &Path) -> Option<u64> {
    let folders = [data.to_owned(), data.join("journal"), data.join("audit")];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let written = entries.filter_map(|entry| entry.metadata().ok()).filter(|found| found.is_file());
    written.filter_map(|found| u64::try_from(found.mtime()).ok()).max()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_clock_is_held_against_this_version_and_the_volume() {
        let verdict = |now, newest, keeper| judge(now, newest, keeper).verdict;
        let now = MADE + 1000;
        assert_eq!(verdict(now, Some(now), Keeper::Known("chrony")), Verdict::Good);
        assert_eq!(verdict(now, None, Keeper::Unseen), Verdict::Good);
        assert_eq!(verdict(now, None, Keeper::Seeks), Verdict::Look);
        assert_eq!(verdict(now, Some(now + 119), Keeper::Unseen), Verdict::Good);
        assert_eq!(verdict(now, Some(now + 3600), Keeper::Known("chrony")), Verdict::Bad);
        for odd in [0, MADE - 1, TOO_LATE] {
            assert_eq!(verdict(odd, None, Keeper::Known("chrony")), Verdict::Bad, "{odd}");
        }
    }
}
