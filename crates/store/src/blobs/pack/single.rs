//! A large blob's own pack, streamed: frames as they come in, the frame table, and the record's header last, so that
//! an unfinished one holds no record.
//!
//! The writer does not hash: who feeds it knows the digest by then, and tells it at the end. With the header nothing is
//! durable yet; [`Single::commit`] is what makes it so.

use std::hash::Hasher;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::seal::Ending;
use super::{Appended, PackFile};
use crate::blobs::encoding::{compress, compress_where_it_pays};
use crate::blobs::format::{
    Encoding, FRAME_SIZE, FooterEntry, FrameEntry, FrameTable, PackHeader, PackId, PackKind, PackState,
    Place, RecordHeader, VolumeKeys, align, checksum_of, frame_count,
};
use crate::disk::{Disk, DiskFile, write_error};
use crate::{Digest, Error, Level, Result};

const RECORD_START: u64 = PackHeader::LEN as u64;
const BODY_START: u64 = RECORD_START + RecordHeader::LEN as u64;

/// A blob on its way into a pack of its own.
pub struct SingleWriter {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    keys: VolumeKeys,
    id: PackId,
    now: Level,
    written: u64,
    /// Bytes of frames in the file.
    stored: u64,
    table: FrameTable,
    frame: XxHash3_64,
    frames: Frames,
}

/// What becomes of frames, and what is gathered of one that is to be compressed.
enum Frames {
    /// They are written as they come.
    Raw,
    /// As the first one is, once it is whole.
    Undecided(Vec<u8>),
    /// They are compressed.
    Zstd(Vec<u8>),
}

impl std::fmt::Debug for SingleWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SingleWriter({}, {} bytes)", self.id, self.written)
    }
}

impl SingleWriter {
    /// Makes the file. Nothing of it is durable.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`]; the pack's number is used up either way.
    pub fn create(disk: Arc<dyn Disk>, keys: &VolumeKeys, id: PackId, now: Level) -> Result<Self> {
        let failed = |error| write_error(disk.as_ref(), format!("making pack {id}"), error);
        let file = disk.create(&id.path(PackState::Open)).map_err(failed)?;
        let header = PackHeader { kind: PackKind::Single, id, keys: *keys, created: now };
        if let Err(error) = file.write_at(&header.encode(), 0) {
            // Without its name it is gone; if that fails too, the next start finds no record in it and removes it.
            let _ = disk.remove(&id.path(PackState::Open));
            return Err(failed(error));
        }
        let table = FrameTable::default();
        let (frame, frames) = (XxHash3_64::new(), Frames::Raw);
        Ok(Self { disk, file, keys: *keys, id, now, written: 0, stored: 0, table, frame, frames })
    }

    /// Compresses the blob, if that pays with its first frame. Before anything is written.
    #[must_use]
    pub fn compressing(self) -> Self {
        Self { frames: Frames::Undecided(Vec::new()), ..self }
    }

    /// Its number.
    pub fn id(&self) -> PackId {
        self.id
    }

    /// Writes the next bytes of the blob.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`]: abandon it.
    pub fn write(&mut self, pieces: &[Bytes]) -> Result<()> {
        for (number, piece) in pieces.iter().enumerate() {
            if matches!(self.frames, Frames::Raw) {
                return self.write_raw(pieces.get(number..).unwrap_or_default());
            }
            if let Some(rest) = self.gather(piece)? {
                self.write_raw(&[rest])?;
            }
        }
        Ok(())
    }

    fn write_raw(&mut self, pieces: &[Bytes]) -> Result<()> {
        self.file
            .write_pieces_at(pieces, BODY_START + self.written)
            .map_err(|error| write_error(self.disk.as_ref(), format!("writing pack {}", self.id), error))?;
        pieces.iter().for_each(|piece| self.count(piece));
        self.stored = self.written;
        Ok(())
    }

    /// Gathers a piece into frames; once they are not to be compressed, returns what was not gathered of it.
    fn gather(&mut self, piece: &Bytes) -> Result<Option<Bytes>> {
        let mut rest = piece.clone();
        while let Frames::Undecided(frame) | Frames::Zstd(frame) = &mut self.frames {
            let room = usize::try_from(FRAME_SIZE).unwrap_or(usize::MAX).saturating_sub(frame.len());
            frame.extend_from_slice(&rest.split_to(rest.len().min(room)));
            if (frame.len() as u64) < FRAME_SIZE {
                return Ok(None);
            }
            self.end_gathered()?;
        }
        Ok(Some(rest))
    }

    /// Writes what was gathered as a frame.
    fn end_gathered(&mut self) -> Result<()> {
        let (content, compressed) = match &mut self.frames {
            Frames::Raw => return Ok(()),
            Frames::Undecided(content) => {
                let content = std::mem::take(content);
                let Some(compressed) = compress_where_it_pays(&content) else {
                    self.frames = Frames::Raw;
                    return self.write_raw(&[content.into()]);
                };
                (content, Some(compressed))
            }
            Frames::Zstd(content) => (std::mem::take(content), None),
        };
        let compressed = compressed
            .or_else(|| compress(&content))
            .ok_or_else(|| Error::Busy("there is no memory to compress in".to_owned()))?;
        self.file
            .write_at(&compressed, BODY_START + self.stored)
            .map_err(|error| write_error(self.disk.as_ref(), format!("writing pack {}", self.id), error))?;
        let stored = u32::try_from(compressed.len()).unwrap_or(u32::MAX);
        self.table.0.push(FrameEntry { stored, checksum: checksum_of(&compressed) });
        self.stored += compressed.len() as u64;
        self.written += content.len() as u64;
        self.frames = Frames::Zstd(Vec::new());
        Ok(())
    }

    /// Goes on with the checksums of frames.
    fn count(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            let room = FRAME_SIZE - self.written % FRAME_SIZE;
            let (now, later) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.frame.write(now);
            self.written += now.len() as u64;
            if self.written.is_multiple_of(FRAME_SIZE) {
                self.end_frame(FRAME_SIZE);
            }
            rest = later;
        }
    }

    fn end_frame(&mut self, len: u64) {
        let frame = std::mem::replace(&mut self.frame, XxHash3_64::new());
        let stored = u32::try_from(len).unwrap_or(u32::MAX);
        self.table.0.push(FrameEntry { stored, checksum: frame.finish() });
    }

    /// Ends the record: frame table, then the header. `digest` must be that of the bytes written, which the caller
    /// has hashed. After an error the file is removed.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it is not as long as the digest says, [`Error::NoSpace`], [`Error::Io`].
    pub fn finish(mut self, digest: &Digest) -> Result<Single> {
        match self.write_end(digest) {
            Ok((appended, entry)) => {
                let reader = Arc::new(PackFile::new(Arc::clone(&self.file), &self.keys, self.id));
                let state = Mutex::new(State::Finished { footer_tried: None });
                Ok(Single {
                    disk: self.disk,
                    file: self.file,
                    keys: self.keys,
                    reader,
                    appended,
                    entry,
                    state,
                })
            }
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    fn write_end(&mut self, digest: &Digest) -> Result<(Appended, FooterEntry)> {
        if let Frames::Undecided(left) | Frames::Zstd(left) = &self.frames
            && !left.is_empty()
        {
            self.end_gathered()?;
        }
        let encoding = if let Frames::Zstd(_) = self.frames { Encoding::Zstd } else { Encoding::Raw };
        if digest.size() != self.written {
            let (said, got) = (digest.size(), self.written);
            return Err(Error::Mismatch(format!("{got} bytes came in, {said} were announced")));
        }
        if (self.table.0.len() as u64) < frame_count(self.written) {
            self.end_frame(self.written % FRAME_SIZE);
        }
        let mut table = self.table.encode();
        let (body_checksum, stored) = (self.table.body_checksum(), self.stored + table.len() as u64);
        let table_offset = BODY_START + self.stored;
        let end = align(table_offset + table.len() as u64);
        table.resize(usize::try_from(end - table_offset).unwrap_or(table.len()), 0);
        let header =
            RecordHeader { digest: *digest, encoding, sequence: 0, stored, time: self.now, body_checksum };
        let mut bytes = Vec::with_capacity(RecordHeader::LEN);
        header.encode(&self.keys, self.id, RECORD_START, &mut bytes);
        self.file
            .write_at(&table, table_offset)
            .and_then(|()| self.file.write_at(&bytes, RECORD_START))
            .map_err(|error| write_error(self.disk.as_ref(), format!("ending pack {}", self.id), error))?;
        let place = Place { pack: self.id, offset: (RECORD_START / 8) as u32 };
        let (offset, time) = (place.offset, self.now);
        let entry = FooterEntry { digest: *digest, offset, stored, time, encoding };
        Ok((Appended { place, stored, end }, entry))
    }

    /// Removes the file. Should that fail, the next start finds no record in it and removes it.
    pub fn abandon(self) {
        let _ = self.disk.remove(&self.id.path(PackState::Open));
    }
}

/// A whole blob in a pack of its own, not durable before [`Single::commit`].
#[derive(Debug)]
pub struct Single {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    keys: VolumeKeys,
    reader: Arc<PackFile>,
    appended: Appended,
    entry: FooterEntry,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Finished { footer_tried: Option<u64> },
    Committed,
    GivenUp(String),
}

impl Single {
    /// Where the record lies.
    pub fn appended(&self) -> Appended {
        self.appended
    }

    /// The file for reading; it stays readable when the pack is committed.
    pub fn reader(&self) -> Arc<PackFile> {
        Arc::clone(&self.reader)
    }

    /// Whether it is durable.
    pub fn is_committed(&self) -> bool {
        matches!(*self.lock(), State::Committed)
    }

    /// Makes it durable and gives it the name of a sealed pack. Does nothing if it is already; who comes meanwhile
    /// waits for it.
    ///
    /// # Errors
    /// [`Error::NoSpace`] from writing the footer: it may be tried again. Anything else, once, gives the pack up: it
    /// can then not be relied on, and later calls say [`Error::Poisoned`].
    pub fn commit(&self) -> Result<()> {
        let mut state = self.lock();
        let footer_tried = match &mut *state {
            State::Committed => return Ok(()),
            State::GivenUp(cause) => return Err(Error::Poisoned(cause.clone())),
            State::Finished { footer_tried } => footer_tried,
        };
        let ending = Ending {
            disk: self.disk.as_ref(),
            file: &self.file,
            keys: &self.keys,
            id: self.reader.id(),
            kind: PackKind::Single,
        };
        let footer = ending.write_footer(self.appended.end, &[self.entry], footer_tried);
        if let Err(error @ Error::NoSpace { .. }) = footer {
            return Err(error);
        }
        match footer.and_then(|_| ending.sync()).and_then(|()| ending.publish()) {
            Ok(()) => {
                *state = State::Committed;
                Ok(())
            }
            Err(error) => {
                *state = State::GivenUp(error.to_string());
                Err(error)
            }
        }
    }

    /// Removes the file, under whichever name; who reads it goes on. Should that fail, the next start finds a good
    /// blob that nobody asks for.
    pub fn abandon(&self) {
        let _state = self.lock();
        for name in [PackState::Open, PackState::Sealed] {
            let _ = self.disk.remove(&self.reader.id().path(name));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
