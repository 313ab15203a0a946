//! Whether there is room: for the limit, for what is to be left free, and for files.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::finding::Finding;
use super::patient::Patient;
use crate::command::moment;
use crate::directory::Room;
use crate::size::Size;
use crate::span::Span;

const CHECK: &str = "space";
/// Blobs from this size on have a file of their own, in bytes.
const OWN_FILE: u64 = 1 << 20;
/// A block of `st_blocks`, in bytes, on every file system.
const BLOCK: u64 = 512;

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let place = patient.data_or_above();
    let Some(room) = Room::of(&place) else {
        let says = format!("the file system of {} does not say how large it is", place.display());
        return vec![Finding::look(CHECK, says, "put the data directory on one that does")];
    };
    let used = match patient.volume().map_or_else(|| used(&patient.data()), |volume| Ok(volume.used_bytes)) {
        Ok(used) => used,
        Err(error) => {
            let says = format!("what {} takes cannot be told: {error}", patient.data().display());
            return vec![Finding::look(CHECK, says, "run this as the user that the server runs as")];
        }
    };
    let set = patient.settings.max_size.as_ref().map(|limit| limit.value.max_size().bytes(room.total));
    let limit = patient.volume().map_or(set.unwrap_or(room.total / 100 * 90), |volume| volume.limit_bytes);
    let mut found = vec![judge(patient, room, used, limit)];
    found.extend(patient.volume().and_then(how_full));
    found.extend(files(&place, limit.saturating_sub(used)));
    found
}

fn judge(patient: &Patient, room: Room, used: u64, limit: u64) -> Finding {
    let keep_free = patient.settings.keep_free.as_ref().map(|size| size.value);
    let left = keep_free.map_or_else(|| (room.total / 100 * 5).min(2_000_000_000), |size| size.0);
    let says = format!(
        "{} of at most {} are in use; {} of {} are free on the file system, of which {} are to stay free",
        Size(used),
        Size(limit),
        Size(room.free),
        Size(room.total),
        Size(left)
    );
    let finding = if room.free < left && used < limit {
        Finding::bad(
            CHECK,
            format!("{says}: pushes are refused, or what was used lately is let go, for want of room"),
            "make room on that file system, or give a smaller keep_free in [store]",
        )
    } else if let Some(warning) = room.too_little_for(Size(limit), Size(used), keep_free) {
        Finding::look(CHECK, warning, "")
    } else {
        Finding::good(CHECK, says)
    };
    finding
        .with("used_bytes", used)
        .with("limit_bytes", limit)
        .with("room_bytes", used.saturating_add(room.free.saturating_sub(left)))
        .with("free_bytes", room.free)
        .with("file_system_bytes", room.total)
}

/// What a server that runs says of letting go.
fn how_full(volume: &millpond_proto::admin::Volume) -> Option<Finding> {
    if volume.full {
        let says = "uploads were refused within the last minute for want of room";
        let remedy =
            "see `millpond waterline` and `millpond du`: rules, pins or the lease may keep all that there is";
        return Some(Finding::bad(CHECK, says, remedy));
    }
    if volume.lease_seconds < volume.lease_set_seconds {
        let [now, set] = [volume.lease_seconds, volume.lease_set_seconds]
            .map(|seconds| Span { seconds: u32::try_from(seconds).unwrap_or(u32::MAX) });
        let says = format!("it is too little for the load: what is looked up stays for {now}, not for {set}");
        return Some(Finding::look(
            CHECK,
            says,
            "give a larger max_size in [store], on a larger disk if need be",
        ));
    }
    if volume.ballast_bytes == 0 {
        return Some(Finding::look(
            CHECK,
            "the ballast is not there, a reserve without which nothing could be let go on a full file system",
            "make room on it: the server makes the ballast again by itself, within seconds of a start too",
        ));
    }
    let went = volume.waterline > 0 && volume.bytes_let_go > 0;
    went.then(|| {
        let since = moment::written(volume.waterline);
        let too_late = volume.let_go_lookups;
        Finding::good(
            CHECK,
            format!("what was last used before {since} has been let go, and {too_late} look-ups came too late for it"),
        )
    })
}

/// Whether the file system has files for as much again, if all were large blobs.
fn files(place: &Path, room: u64) -> Option<Finding> {
    let stat = rustix::fs::statvfs(place).ok().filter(|stat| stat.f_files > 0)?;
    let (free, needed) = (stat.f_favail, room / OWN_FILE + 1024);
    let says = format!("{free} more files can be made");
    let finding = if free < 1024 {
        Finding::bad(CHECK, format!("only {says}"), "see what has so many small files there, and remove them")
    } else if free < needed {
        Finding::look(
            CHECK,
            format!("{says}, and {needed} may be needed if all blobs are of {} or more", Size(OWN_FILE)),
            "make the file system anew with more inodes, or give a smaller max_size",
        )
    } else {
        Finding::good(CHECK, says)
    };
    Some(finding.with("free_inodes", free))
}

/// What the files below a folder take on the file system.
fn used(folder: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
        // What a server takes away meanwhile takes nothing.
        Err(_) => return Ok(0),
        Ok(entries) => entries,
    };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => used(&entry.path()),
        Ok(found) => Ok(found.blocks() * BLOCK),
        Err(_) => Ok(0),
    };
    entries.flatten().map(of).sum()
}
