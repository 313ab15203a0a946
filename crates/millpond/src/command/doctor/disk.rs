//! How fast the volume is: what is written and synced in a row, and how long a sync takes, since each push of a name waits for some.
//!
//! All of it is done in a file that has no name, so that nobody meets it, and that is gone with this process however that ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, Mode, OFlags};

use super::finding::Finding;
use super::patient::Patient;
use crate::config::Scrub;
use crate::directory::Room;
use crate::size::Size;

const CHECK: &str = "disk";
/// What is written in a row, in bytes.
const ALL: u64 = 256 << 20;
/// In pieces of so many.
const PIECE: usize = 1 << 20;
/// It ends after this time, however far it is.
const WRITING: Duration = Duration::from_secs(4);
/// Syncs that are timed at most, and for how long.
const SYNCS: usize = 400;
const SYNCING: Duration = Duration::from_secs(4);
/// What a small write has, in bytes.
const SMALL: usize = 4096;
/// The volume must have so many times of what is written.
const ROOM: u64 = 4;
/// A sync that takes as long is slow, and very slow.
const SLOW: Duration = Duration::from_millis(30);
const VERY_SLOW: Duration = Duration::from_millis(250);
/// None that reaches a medium takes less.
const TOO_FAST: Duration = Duration::from_micros(8);
/// Less in a second is slow, in bytes.
const SLOW_WRITE: f64 = 30e6;

/// What was measured.
struct Measured {
    /// Bytes a second.
    write: f64,
    read: f64,
    /// How long syncs took, in order.
    syncs: Vec<Duration>,
}

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let place = patient.data_or_above();
    let free = Room::of(&place).map_or(0, |room| room.free);
    let all = ALL.min(free / ROOM) / PIECE as u64 * PIECE as u64;
    if all == 0 {
        let says = format!("it is too full to be measured: {} are free", Size(free));
        return vec![Finding::look(CHECK, says, "make room, and look again")];
    }
    match measure(&place, all) {
        Ok(measured) => judge(patient, &measured),
        Err(error) => vec![Finding::bad(
            CHECK,
            format!("nothing can be written in {}: {error}", place.display()),
            "run this as the user that the server runs as, and let that own the data directory",
        )],
    }
}

fn measure(place: &Path, all: u64) -> io::Result<Measured> {
    let file = nameless(place)?;
    // Not all alike, so that nothing can be saved.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut piece = vec![0; PIECE];
    for word in piece.as_chunks_mut::<8>().0 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *word = (seed ^ seed >> 29).to_le_bytes();
    }
    let begun = Instant::now();
    let mut written = 0;
    while written < all && begun.elapsed() < WRITING {
        piece.rotate_left(8);
        file.write_all_at(&piece, written)?;
        written += PIECE as u64;
    }
    rustix::fs::fdatasync(&file)?;
    let write = rate(written, begun);
    // So that it comes from the medium.
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    let (begun, mut read) = (Instant::now(), 0);
    while read < written && begun.elapsed() < WRITING {
        file.read_exact_at(&mut piece, read)?;
        read += PIECE as u64;
    }
    let read = rate(read, begun);
    let (begun, mut syncs) = (Instant::now(), Vec::new());
    let small = piece.get(..SMALL).unwrap_or_default();
    while syncs.len() < SYNCS && begun.elapsed() < SYNCING {
        let one = Instant::now();
        file.write_all_at(small, written)?;
        written += SMALL as u64;
        rustix::fs::fdatasync(&file)?;
        syncs.push(one.elapsed());
    }
    syncs.sort_unstable();
    Ok(Measured { write, read, syncs })
}

fn rate(bytes: u64, begun: Instant) -> f64 {
    bytes as f64 / begun.elapsed().as_secs_f64().max(1e-6)
}

/// A file that no folder has; where there are no such files, one whose name is taken away at once.
fn nameless(place: &Path) -> io::Result<File> {
    let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    match rustix::fs::open(place, flags | OFlags::TMPFILE, mode) {
        Ok(file) => Ok(file.into()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
            let path = place.join(format!("doctor-{}.tmp", std::process::id()));
            let file = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
            rustix::fs::unlink(&path)?;
            Ok(file.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn judge(patient: &Patient, measured: &Measured) -> Vec<Finding> {
    let Measured { write, read, syncs } = measured;
    let at = |percent: usize| syncs.get((syncs.len() * percent / 100).min(syncs.len() - 1)).copied();
    let [half, most, worst] = [50, 99, 100].map(|percent| at(percent).unwrap_or_default());
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let (write_size, read_size) = (Size(*write as u64), Size(*read as u64));
    let says = format!(
        "writes {write_size}/s and reads {read_size}/s in a row; a sync takes {:.2} ms, 1 in 100 more than {:.2} ms, at most {:.2} ms",
        millis(half),
        millis(most),
        millis(worst)
    );
    let figures = |finding: Finding| {
        finding
            .with("write_bytes_per_second", *write as u64)
            .with("read_bytes_per_second", *read as u64)
            .with("sync_ms_p50", millis(half))
            .with("sync_ms_p99", millis(most))
            .with("sync_ms_max", millis(worst))
    };
    let pushes = 1.0 / (3.0 * half.as_secs_f64().max(1e-6));
    let finding = if half >= VERY_SLOW {
        Finding::bad(
            CHECK,
            format!("{says}: one client pushes about {pushes:.1} names a second"),
            "put the data directory on an SSD that nobody else keeps busy",
        )
    } else if half >= SLOW || most >= VERY_SLOW {
        Finding::look(
            CHECK,
            format!("{says}: one client pushes about {pushes:.0} names a second, several share syncs"),
            "put the data directory on an SSD, or see who else keeps this disk busy",
        )
    } else if half < TOO_FAST {
        Finding::look(
            CHECK,
            format!("{says}: no medium is that fast, so a power cut may cost names that were acknowledged"),
            "see that the virtual disk does not ignore flushes (cache=unsafe), unless that is meant",
        )
    } else if *write < SLOW_WRITE {
        Finding::look(CHECK, says, "uploads are no faster than that: put the data directory on an SSD")
    } else {
        Finding::good(CHECK, says)
    };
    let mut found = vec![figures(finding)];
    found.extend(scrub(patient, *read));
    found
}

/// Whether all can be read again as often as is set, with the disk to spare.
fn scrub(patient: &Patient, read: f64) -> Option<Finding> {
    let Scrub::Each(span) = patient.settings.scrub.value else { return None };
    let held = patient.volume().map_or(0, |volume| volume.live_bytes);
    let limit = patient.volume().map_or(0, |volume| volume.limit_bytes);
    let needed = held.max(limit) as f64 / f64::from(span.seconds.max(1));
    (needed > read / 4.0).then(|| {
        Finding::look(
            CHECK,
            format!(
                "to read all blobs again in {span} takes {}/s once it is full, of the {}/s that it reads",
                Size(needed as u64),
                Size(read as u64)
            ),
            "give scrub in [store] a longer time",
        )
    })
}
