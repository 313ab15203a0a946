//! The snapshot of levels: two files, `snapshot.a` and `snapshot.b`, written in turn, so that one good one is left
//! whatever happens to the other. `docs/on-disk-format.md` describes the layout.
//!
//! A snapshot holds (key, place, level) of every entry, the lengths of the sealed packs that it covers, and **S**: of a
//! value whose level was set at S or before, the whole closure had been raised when the copying began.
//!
//! **Invariant:** a pack is in the list of covered packs only if it was sealed, with all of its entries in the index,
//! before the first entry was copied. So for a covered pack the snapshot alone says what is in it.
//!
//! A snapshot makes a start faster and its levels exact; what is in the packs does not depend on it.

mod layout;

use std::io;
use std::path::Path;
use std::sync::Arc;

use layout::{Block, BlockKind, ENTRY_LEN, Header, ITEMS_MAX, PACK_LEN};

use super::format::PackId;
use super::index::Entry;
use crate::disk::{Disk, DiskFile};
use crate::{Error, Level, Result};

/// The two files.
pub(crate) const FILES: [&str; 2] = ["snapshot.a", "snapshot.b"];
const TEMPORARY: &str = "snapshot.new";

/// Gathered before each write.
const WRITE_BYTES: usize = 1 << 20;

/// What a snapshot says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Entries of blobs in it, at most: as many as its file takes bytes for.
    pub(crate) entries_max: u64,
    /// The file it lies in.
    pub(crate) file: &'static str,
    /// Rises with each snapshot.
    pub(crate) generation: u64,
    /// S.
    pub(crate) level: Level,
    /// All pack numbers up to this one may have been used.
    pub(crate) last_pack: PackId,
}

/// Which file is written next, and what the two occupy.
#[derive(Debug)]
pub(crate) struct Turn {
    /// The generation written last.
    pub(crate) generation: u64,
    /// Written over next.
    pub(crate) file: &'static str,
    /// What each occupies, in bytes.
    pub(crate) bytes: [u64; 2],
}

impl Turn {
    /// The next snapshot goes over the file that was not just read or written.
    pub(crate) fn after(last: Option<&Summary>, generation: u64, bytes: [u64; 2]) -> Self {
        let [a, b] = FILES;
        let file = if last.is_some_and(|last| last.file == a) { b } else { a };
        Self { generation, file, bytes }
    }

    /// This file was written, with these bytes.
    pub(crate) fn written(&mut self, generation: u64, bytes: u64) {
        let [a, b] = FILES;
        let [of_a, of_b] = &mut self.bytes;
        let (mine, next) = if self.file == a { (of_a, b) } else { (of_b, a) };
        *mine = bytes;
        (self.generation, self.file) = (generation, next);
    }
}

/// What is to be written, but for the entries.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// Of the volume.
    pub(crate) volume: [u8; 16],
    /// Above those of both files.
    pub(crate) generation: u64,
    /// S.
    pub(crate) level: Level,
    /// The highest pack number given out.
    pub(crate) last_pack: PackId,
    /// Sealed packs and their lengths.
    pub(crate) packs: Vec<(PackId, u64)>,
}

/// Writes a snapshot over `file` (which must be the older of the two) and makes it durable. `entries` is called once
/// and hands over every entry. Returns the bytes that it occupies.
pub(crate) fn write(
    disk: &dyn Disk,
    file: &'static str,
    content: &Content,
    entries: impl FnOnce(&mut dyn FnMut(&Entry)),
) -> Result<u64> {
    let doing = |what: &str, error| crate::disk::write_error(disk, format!("{what} {file}"), error);
    match disk.remove(Path::new(TEMPORARY)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(doing("making room for", error)),
        _ => {}
    }
    let written = write_new(disk, file, content, entries);
    if written.is_err() {
        // What it occupies is in nobody's books. If it stays, the next snapshot removes it.
        let _ = disk.remove(Path::new(TEMPORARY));
    }
    written
}

fn write_new(
    disk: &dyn Disk,
    file: &'static str,
    content: &Content,
    entries: impl FnOnce(&mut dyn FnMut(&Entry)),
) -> Result<u64> {
    let doing = |what: &str, error| crate::disk::write_error(disk, format!("{what} {file}"), error);
    let target = disk.create(Path::new(TEMPORARY)).map_err(|error| doing("creating", error))?;
    let mut writer = Writer::new(target.clone(), content.generation);
    writer.put(&Header::of(content).encode());
    for (pack, len) in &content.packs {
        writer.item(BlockKind::Packs, &layout::encode_pack(*pack, *len));
    }
    entries(&mut |entry| writer.item(BlockKind::Entries, &layout::encode_entry(entry)));
    writer.end().map_err(|error| doing("writing", error))?;
    target.sync().map_err(|error| doing("syncing", error))?;
    let allocated = target.allocated().map_err(|error| doing("measuring", error))?;
    disk.rename(Path::new(TEMPORARY), Path::new(file)).map_err(|error| doing("renaming", error))?;
    disk.sync_folder(Path::new("")).map_err(|error| doing("syncing the folder of", error))?;
    Ok(allocated)
}

/// Cuts items into blocks, and blocks into writes. The first error is kept until the end.
struct Writer {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    offset: u64,
    block: Block,
    error: Option<io::Error>,
}

impl Writer {
    fn new(file: Arc<dyn DiskFile>, generation: u64) -> Self {
        Self { file, buffer: Vec::new(), offset: 0, block: Block::first(generation), error: None }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.error.is_none() {
            self.error = self.file.write_at(&self.buffer, self.offset).err();
        }
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
    }

    fn item(&mut self, kind: BlockKind, bytes: &[u8]) {
        if self.block.kind != kind || self.block.items == ITEMS_MAX {
            self.close_block(kind);
        }
        self.block.push(bytes);
    }

    fn close_block(&mut self, next: BlockKind) {
        let bytes = self.block.finish(next);
        self.put(&bytes);
    }

    /// The last block is an empty one of its own kind: without it a file that was cut short would look whole.
    fn end(mut self) -> io::Result<()> {
        self.close_block(BlockKind::End);
        self.close_block(BlockKind::End);
        self.flush();
        self.error.map_or(Ok(()), Err)
    }
}

/// Reads the header of a snapshot. `None` if there is none, or none of this volume, or a damaged one.
pub(crate) fn read_summary(disk: &dyn Disk, file: &'static str, volume: &[u8; 16]) -> Option<Summary> {
    let opened = disk.open(Path::new(file)).ok()?;
    let header = Header::decode(&read_exactly(&*opened, 0, Header::LEN).ok()?)?;
    // Not by its length, which a damaged file system may make up.
    let entries_max = opened.allocated().ok()? / ENTRY_LEN as u64;
    (header.volume == *volume).then_some(Summary {
        entries_max,
        file,
        generation: header.generation,
        level: header.level,
        last_pack: header.last_pack,
    })
}

/// Reads a whole snapshot, its packs before its entries. `Damaged` if any block of it is bad: what was handed over
/// until then must be thrown away.
pub(crate) fn read(
    disk: &dyn Disk,
    summary: &Summary,
    mut pack: impl FnMut(PackId, u64),
    mut entry: impl FnMut(&Entry),
) -> Result<()> {
    let file = summary.file;
    let damaged = || Error::Damaged(format!("a block of {file} is bad"));
    let opened = disk.open(Path::new(file)).map_err(|error| Error::io(format!("opening {file}"), error))?;
    let mut offset = Header::LEN as u64;
    let mut block = Block::first(summary.generation);
    loop {
        let head = read_exactly(&*opened, offset, Block::HEADER_LEN).map_err(|_| damaged())?;
        let len = block.expect(&head).ok_or_else(damaged)?;
        let bytes = read_exactly(&*opened, offset, len).map_err(|_| damaged())?;
        let items = block.check(&bytes).ok_or_else(damaged)?;
        match block.kind {
            BlockKind::Packs => {
                for item in items.chunks_exact(PACK_LEN) {
                    let (id, len) = layout::decode_pack(item).ok_or_else(damaged)?;
                    pack(id, len);
                }
            }
            BlockKind::Entries => {
                for item in items.chunks_exact(ENTRY_LEN) {
                    entry(&layout::decode_entry(item).ok_or_else(damaged)?);
                }
            }
            BlockKind::End => return Ok(()),
        }
        offset += len as u64;
    }
}

fn read_exactly(file: &dyn DiskFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, offset)?;
    if read == len { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests;
