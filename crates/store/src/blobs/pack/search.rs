//! What is good in a pack that no footer vouches for: one that was being written when the process ended, or whose
//! footer is damaged.
//!
//! The chain of records is followed; behind a bad one the search goes on at the next multiple of 8, so that a flipped
//! bit costs its record only and a torn tail costs itself. The two need not be told apart: what was acknowledged was
//! synced. From the first bad record on, contents are hashed as well. A blob's content that looks like records is
//! none: the checksums of headers are keyed and cover where they lie. Sectors that cannot be read count as zeros.
//!
//! **Invariant:** a searched pack is never appended to; it gets a footer behind all that is there, and is sealed.

use std::io;

use super::seal::Ending;
use super::window::Window;
use crate::blobs::encoding::decode_frame;
use crate::blobs::format::{
    ALIGNMENT, FRAME_SIZE, FooterEntry, FrameTable, PackHeader, PackId, PackKind, PackState, Place,
    RecordHeader, VolumeKeys, checksum_of,
};
use crate::disk::{Disk, DiskFile, write_error};
use crate::{Error, Hasher, Level, Result};

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// Many blobs or one; a pack whose header is bad counts as many.
    pub kind: PackKind,
    /// The good records, in the order they lie.
    pub entries: Vec<FooterEntry>,
    /// How many records are known to be missing between good ones.
    pub lost: u64,
    /// The length of the file.
    pub len: u64,
    /// Whether what was read is what the disk has: false only if no sync before the search returned well.
    pub synced: bool,
    header_is_good: bool,
}

/// What became of an `.open` pack.
#[derive(Debug)]
pub struct Sealed {
    /// The good records, in the order they lie. If there is none the file was removed.
    pub entries: Vec<FooterEntry>,
    /// How many records are known to be missing between good ones.
    pub lost: u64,
    /// The length of the sealed file, 0 if it was removed.
    pub len: u64,
}

/// Searches an `.open` pack as the disk has it, not as the page cache does, and seals what is good in it. It is
/// durable then, and its records may be relied on.
///
/// # Errors
/// [`Error::Missing`] if there is no such file, [`Error::Damaged`] if another volume made it, [`Error::NoSpace`] if
/// there is no room for the footer, [`Error::Io`]. After the last two [`search_open`] says what may be relied on.
pub fn search_and_seal(disk: &dyn Disk, keys: &VolumeKeys, id: PackId) -> Result<Sealed> {
    let path = id.path(PackState::Open);
    let file = open(disk, id, PackState::Open)?;
    let failed = |error| write_error(disk, format!("syncing pack {id}"), error);
    file.sync().map_err(failed)?;
    file.drop_cache();
    let found = search(file.as_ref(), keys, id)?;
    if found.entries.is_empty() {
        disk.remove(&path).and_then(|()| disk.sync_folder(&id.folder())).map_err(failed)?;
        return Ok(Sealed { entries: Vec::new(), lost: found.lost, len: 0 });
    }
    if !found.header_is_good {
        let created = found.entries.iter().map(|entry| entry.time).min().unwrap_or(Level::ZERO);
        let header = PackHeader { kind: found.kind, id, keys: *keys, created };
        file.write_at(&header.encode(), 0).map_err(failed)?;
    }
    let ending = Ending { disk, file: &file, keys, id, kind: found.kind };
    let len = ending.write_footer(found.len, &found.entries, &mut None)?;
    ending.sync()?;
    ending.publish()?;
    Ok(Sealed { entries: found.entries, lost: found.lost, len })
}

/// Searches a pack that could not be sealed, as the disk has it, under whichever of the two names it has by now. It is
/// not changed.
///
/// The sync that failed may have left written pages in the page cache that the disk does not have. A later one that
/// returns well says that none waits to be written any more, so dropping the cache then shows the disk itself: what is
/// read back is durable. If that one fails as well [`Found::synced`] says so, and nothing found may be relied on.
///
/// # Errors
/// [`Error::Missing`] if there is no such file, [`Error::Damaged`] if another volume made it, [`Error::Io`].
pub fn search_open(disk: &dyn Disk, keys: &VolumeKeys, id: PackId) -> Result<Found> {
    let file = match open(disk, id, PackState::Open) {
        Err(Error::Missing) => open(disk, id, PackState::Sealed)?,
        other => other?,
    };
    let synced = file.sync().is_ok();
    file.drop_cache();
    Ok(Found { synced, ..search(file.as_ref(), keys, id)? })
}

/// Searches a sealed pack, whose footer is damaged, for what is good in it. Nothing is changed.
///
/// # Errors
/// [`Error::Missing`] if there is no such file, [`Error::Damaged`] if another volume made it, [`Error::Io`].
pub fn search_sealed(disk: &dyn Disk, keys: &VolumeKeys, id: PackId) -> Result<Found> {
    search(open(disk, id, PackState::Sealed)?.as_ref(), keys, id)
}

fn open(disk: &dyn Disk, id: PackId, state: PackState) -> Result<std::sync::Arc<dyn DiskFile>> {
    disk.open(&id.path(state)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing,
        _ => Error::io(format!("opening pack {id}"), error),
    })
}

pub(super) fn search(file: &dyn DiskFile, keys: &VolumeKeys, id: PackId) -> Result<Found> {
    search_up_to(file, keys, id, u64::MAX)
}

/// The same, as if the file ended at `end`.
pub(super) fn search_up_to(file: &dyn DiskFile, keys: &VolumeKeys, id: PackId, end: u64) -> Result<Found> {
    let failed = |error| Error::io(format!("searching pack {id}"), error);
    let mut window = Window::new(file, file.len().map_err(failed)?.min(end));
    let header = window.get(0, PackHeader::LEN).map_err(failed)?.and_then(PackHeader::decode);
    if header.is_some_and(|header| header.keys != *keys || header.id != id) {
        return Err(Error::Damaged(format!("pack {id} is of another volume")));
    }
    let kind = header.map_or(PackKind::Mixed, |header| header.kind);
    let mut found = Found {
        kind,
        entries: Vec::new(),
        lost: 0,
        len: window.len(),
        synced: true,
        header_is_good: header.is_some(),
    };
    let mut sequence = 0;
    let mut broken = false;
    let mut offset = PackHeader::LEN as u64;
    while offset.saturating_add(RecordHeader::LEN as u64) <= window.len() {
        let read = read_record(&mut window, keys, id, offset, broken, &mut |_, _| Ok(()));
        let Some(header) = read.map_err(failed)? else {
            if found.header_is_good && kind == PackKind::Single {
                break;
            }
            broken = true;
            offset += ALIGNMENT;
            continue;
        };
        if let Some(place) = Place::at(id, offset) {
            let (digest, stored) = (header.digest, header.stored);
            let (time, encoding) = (header.time, header.encoding);
            found.entries.push(FooterEntry { digest, offset: place.offset, stored, time, encoding });
        }
        found.lost += u64::from(header.sequence.saturating_sub(sequence));
        sequence = header.sequence.saturating_add(1);
        offset += header.record_len();
    }
    Ok(found)
}

/// The header of the record at an offset, if all of the record is good. Shows each piece of it with its offset in the pack:
/// frames before it is known whether the others are good, table and header, the last of all, once they are.
pub(super) fn read_record(
    window: &mut Window<'_>,
    keys: &VolumeKeys,
    id: PackId,
    offset: u64,
    hash: bool,
    show: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<Option<RecordHeader>> {
    let Some(bytes) = window.get(offset, RecordHeader::LEN)? else { return Ok(None) };
    let Some(header) = RecordHeader::decode(bytes, keys, id, offset) else { return Ok(None) };
    let mut header_bytes = [0; RecordHeader::LEN];
    header_bytes.copy_from_slice(bytes);
    let mut frame_offset = offset + RecordHeader::LEN as u64;
    if frame_offset.saturating_add(header.stored) > window.len() {
        return Ok(None);
    }
    let table_len = header.table_len();
    let table_offset = frame_offset + (header.stored - table_len);
    let table = match usize::try_from(table_len) {
        Ok(len) => window.get(table_offset, len)?.and_then(|bytes| FrameTable::decode(bytes, &header)),
        Err(_) => None,
    };
    let Some(table) = table else { return Ok(None) };
    let mut hasher = Hasher::new(header.digest.function());
    for frame in &table.0 {
        let content_len = (header.digest.size() - hasher.size().min(header.digest.size())).min(FRAME_SIZE);
        let bytes = window.get(frame_offset, usize::try_from(frame.stored).unwrap_or(usize::MAX))?;
        let Some(bytes) = bytes.filter(|bytes| checksum_of(bytes) == frame.checksum) else {
            return Ok(None);
        };
        if hash {
            let content_len = usize::try_from(content_len).unwrap_or(usize::MAX);
            let content = decode_frame(header.encoding, bytes::Bytes::copy_from_slice(bytes), content_len);
            let Some(content) = content else { return Ok(None) };
            hasher.update(&content);
        }
        show(frame_offset, bytes)?;
        frame_offset += u64::from(frame.stored);
    }
    if hash && hasher.finish() != header.digest {
        return Ok(None);
    }
    if table_len > 0 {
        show(table_offset, &table.encode())?;
    }
    show(offset, &header_bytes)?;
    Ok(Some(header))
}
