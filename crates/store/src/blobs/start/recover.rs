//! One pack at start: by its footer, or by a search if nothing vouches for it. Packs are read in parallel.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::format::{FooterEntry, PackId, PackState, Place, VolumeKeys, record_len};
use super::super::index::Stored;
use super::super::pack::{PackFile, search_and_seal, search_open, search_sealed};
use super::super::poison::is_passing;
use super::{Found, UNREADABLE};
use crate::disk::Disk;
use crate::{Error, Result};

/// Packs read at a time: more than there are cores, since most of it is waiting for the disk.
const THREADS: usize = 8;

/// What became of a pack.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) id: PackId,
    /// The length of the sealed file, 0 if it is not sealed.
    pub(super) sealed_len: u64,
    /// What it occupies; `None` if it is gone.
    pub(super) allocated: Option<u64>,
    pub(super) searched: bool,
    pub(super) lost: u64,
    /// Why nothing of it is served: a sentence for the log.
    pub(super) set_aside: Option<String>,
}

/// Reads these packs and shows each good record. The first error that is no file's fault ends it.
pub(super) fn recover_all(
    disk: &dyn Disk,
    keys: &VolumeKeys,
    packs: Vec<Found>,
    enter: impl Fn(&FooterEntry, Place, Stored) + Sync,
) -> Result<Vec<Recovered>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(packs.len()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(packs.len()) {
            scope.spawn(|| {
                while let Some(found) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = recover(disk, keys, found, &enter);
                    let failed = result.is_err();
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                    if failed {
                        return;
                    }
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
}

fn recover(
    disk: &dyn Disk,
    keys: &VolumeKeys,
    found: &Found,
    enter: &impl Fn(&FooterEntry, Place, Stored),
) -> Result<Recovered> {
    let mut recovered = Recovered {
        id: found.id,
        sealed_len: found.len,
        allocated: Some(found.allocated),
        searched: false,
        lost: 0,
        set_aside: None,
    };
    let entries = match found.state {
        PackState::Sealed => read_sealed(disk, keys, &mut recovered),
        PackState::Open => read_open(disk, keys, &mut recovered),
    };
    match entries {
        Ok(entries) => {
            for entry in &entries {
                let place = Place { pack: found.id, offset: entry.offset };
                enter(entry, place, Stored::of(record_len(entry.stored)));
            }
        }
        Err(Error::Io { source, doing }) if is_passing(&source) => return Err(Error::Io { doing, source }),
        Err(error) => {
            let path = found.id.path(found.state);
            recovered.set_aside = Some(set_aside(disk, &path, &error));
            recovered.sealed_len = 0;
        }
    }
    Ok(recovered)
}

fn read_sealed(disk: &dyn Disk, keys: &VolumeKeys, recovered: &mut Recovered) -> Result<Vec<FooterEntry>> {
    let pack = Arc::new(PackFile::open(disk, keys, recovered.id, PackState::Sealed)?);
    match pack.footer() {
        Err(Error::Damaged(_)) => {}
        other => return other,
    }
    let found = search_sealed(disk, keys, recovered.id)?;
    (recovered.searched, recovered.lost) = (true, found.lost);
    if found.entries.is_empty() {
        return Err(Error::Damaged("neither its footer nor any record in it is good".to_owned()));
    }
    Ok(found.entries)
}

fn read_open(disk: &dyn Disk, keys: &VolumeKeys, recovered: &mut Recovered) -> Result<Vec<FooterEntry>> {
    recovered.searched = true;
    match search_and_seal(disk, keys, recovered.id) {
        Ok(sealed) => {
            (recovered.sealed_len, recovered.lost) = (sealed.len, sealed.lost);
            if sealed.len == 0 {
                recovered.allocated = None;
            }
            Ok(sealed.entries)
        }
        Err(error @ (Error::NoSpace { .. } | Error::Io { .. })) => {
            read_unsealed(disk, keys, recovered, &error)
        }
        Err(error) => Err(error),
    }
}

/// A pack without a footer that vouches for it: what the disk has of it is served from it as it lies. Its name stays,
/// and the next start tries again to seal it.
fn read_unsealed(
    disk: &dyn Disk,
    keys: &VolumeKeys,
    recovered: &mut Recovered,
    cause: &Error,
) -> Result<Vec<FooterEntry>> {
    recovered.sealed_len = 0;
    let found = match search_open(disk, keys, recovered.id) {
        // There was no record in it, and it was removed.
        Err(Error::Missing) => {
            recovered.allocated = None;
            return Ok(Vec::new());
        }
        other => other?,
    };
    if !found.synced {
        let id = recovered.id;
        recovered.set_aside = Some(format!("pack {id} was left out until it can be synced: {cause}"));
        return Ok(Vec::new());
    }
    tracing::warn!(pack = %recovered.id, %cause, "a pack was not sealed and is served as it lies");
    recovered.lost = found.lost;
    Ok(found.entries)
}

/// Gives a file that cannot be read another name, and says so.
fn set_aside(disk: &dyn Disk, path: &Path, error: &Error) -> String {
    let mut name = path.as_os_str().to_owned();
    name.push(UNREADABLE);
    let renamed = disk.rename(path, Path::new(&name));
    let synced = renamed.and_then(|()| path.parent().map_or(Ok(()), |folder| disk.sync_folder(folder)));
    match synced {
        Ok(()) => format!("{} was set aside as {}: {error}", path.display(), Path::new(&name).display()),
        Err(_) => format!("{} was left out: {error}", path.display()),
    }
}
