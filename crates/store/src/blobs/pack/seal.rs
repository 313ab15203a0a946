//! The end of a pack: footer, fdatasync, rename, fsync of the folder, in this order.
//!
//! A power cut before the rename leaves an `.open` pack, which is searched; after it, a complete one. What is between
//! the last record and the footer is nobody's.

use std::sync::Arc;

use crate::blobs::format::{
    FooterEntry, PackId, PackKind, PackState, Trailer, VolumeKeys, align, encode_footer, footer_len,
};
use crate::disk::{Disk, DiskFile, write_error};
use crate::{Error, Level, Result};

/// What a footer needs to know.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) file: &'a Arc<dyn DiskFile>,
    pub(super) keys: &'a VolumeKeys,
    pub(super) id: PackId,
    pub(super) kind: PackKind,
}

impl Ending<'_> {
    /// Writes footer and trailer behind `end` and behind all that is in the file: a write that lack of space cut short
    /// may have left more, and the trailer has to be the last. Returns the length of the file.
    ///
    /// Tried again, it must not take ever more room: it goes where it was `tried` before, if that is still the end, and
    /// only when the volume has twice the room for it.
    pub(super) fn write_footer(
        &self,
        end: u64,
        entries: &[FooterEntry],
        tried: &mut Option<u64>,
    ) -> Result<u64> {
        let len = self.file.len().map_err(|error| Error::io(self.doing("measuring"), error))?;
        let size = (footer_len(entries.len()) + Trailer::LEN) as u64;
        let offset =
            tried.filter(|tried| end <= *tried && len <= tried + size).unwrap_or(align(end.max(len)));
        self.check_room(2 * size)?;
        *tried = Some(offset);
        let mut bytes = encode_footer(self.keys, self.id, offset, entries);
        let trailer = Trailer {
            kind: self.kind,
            id: self.id,
            keys: *self.keys,
            footer_offset: offset,
            footer_len: bytes.len() as u64,
            entries: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            newest: entries.iter().map(|entry| entry.time).max().unwrap_or(Level::ZERO),
        };
        bytes.extend_from_slice(&trailer.encode());
        self.file
            .write_at(&bytes, offset)
            .map_err(|error| write_error(self.disk, self.doing("writing the footer"), error))?;
        Ok(trailer.file_len())
    }

    fn check_room(&self, bytes: u64) -> Result<()> {
        match self.disk.space() {
            Ok(space) if space.available < bytes => Err(Error::disk_full(space)),
            _ => Ok(()),
        }
    }

    /// Makes all of the pack durable, the footer included.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync().map_err(|error| write_error(self.disk, self.doing("syncing"), error))
    }

    /// Gives the pack, which is durable, the name of a sealed one.
    pub(super) fn publish(&self) -> Result<()> {
        self.disk
            .rename(&self.id.path(PackState::Open), &self.id.path(PackState::Sealed))
            .map_err(|error| write_error(self.disk, self.doing("renaming"), error))?;
        self.disk
            .sync_folder(&self.id.folder())
            .map_err(|error| write_error(self.disk, self.doing("syncing the folder"), error))
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} of pack {}", self.id)
    }
}
