//! A pack open for reading: small blobs whole by one read, large ones frame by frame at any offset.
//!
//! **Invariant:** no byte goes out before the checksum of its frame, the keyed checksum of its record's header and the
//! whole digest in it were compared. Bytes that fail, and sectors that cannot be read, are dropped from the page cache
//! and read once more: what is bad then is bad on the disk, and [`Error::Damaged`]. Who holds a [`PackFile`] reads on
//! after the pack was renamed or removed. What becomes of a damaged record is not decided here.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use crate::blobs::encoding::decode_frame;
use crate::blobs::format::{
    ALIGNMENT, FRAME_SIZE, FooterEntry, FrameTable, PackId, PackState, Place, RecordHeader, Trailer,
    VolumeKeys, checksum_of, decode_footer,
};
use crate::disk::{Disk, DiskFile, is_device_error};
use crate::{Digest, Error, Hasher, Result};

/// A pack open for reading.
#[derive(Debug)]
pub struct PackFile {
    file: Arc<dyn DiskFile>,
    pub(super) keys: VolumeKeys,
    id: PackId,
}

/// Why one attempt at reading came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The bytes are not what their checksum says, or the device cannot read them: worth a second look.
    Bad(&'static str),
    /// The record is of another length than the caller thought.
    OtherLength,
    /// Anything else, which says nothing about the bytes.
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if is_device_error(&error) { Self::Bad("the device cannot read it") } else { Self::Io(error) }
    }
}

impl PackFile {
    pub(super) fn new(file: Arc<dyn DiskFile>, keys: &VolumeKeys, id: PackId) -> Self {
        Self { file, keys: *keys, id }
    }

    /// Opens a pack under the name it has in this state.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none of this name (it was sealed or removed meanwhile), [`Error::Io`].
    pub fn open(disk: &dyn Disk, keys: &VolumeKeys, id: PackId, state: PackState) -> Result<Self> {
        Self::open_at(disk, keys, id, &id.path(state))
    }

    fn open_at(disk: &dyn Disk, keys: &VolumeKeys, id: PackId, path: &Path) -> Result<Self> {
        match disk.open(path) {
            Ok(file) => Ok(Self::new(file, keys, id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Missing),
            Err(error) => Err(Error::io(format!("opening pack {id}"), error)),
        }
    }

    pub(super) fn file(&self) -> &dyn DiskFile {
        self.file.as_ref()
    }

    /// Its number.
    pub fn id(&self) -> PackId {
        self.id
    }

    /// The length of the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn len(&self) -> Result<u64> {
        self.file.len().map_err(|error| self.io_error(error))
    }

    /// Whether there is no byte in it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// The bytes that the file system gave to it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn allocated(&self) -> Result<u64> {
        self.file.allocated().map_err(|error| self.io_error(error))
    }

    /// A whole blob. `stored` is what was said when it was appended: if it is right and the blob has one frame, this
    /// is one read.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the record at this place is not a good one of this blob, [`Error::Io`].
    pub fn read_small(self: &Arc<Self>, place: Place, digest: &Digest, stored: u64) -> Result<Bytes> {
        if stored > FRAME_SIZE * 2 {
            return self.read_frames(place, digest);
        }
        let read = || self.read_whole(place, digest, stored, DiskFile::read_at);
        match self.twice(read) {
            Err(Trouble::OtherLength) => self.read_frames(place, digest),
            other => other.map_err(|trouble| self.error(place, trouble)),
        }
    }

    /// The same without waiting for the device: `Pending` if that cannot be, or if anything is wrong with it.
    pub fn try_read_small(&self, place: Place, digest: &Digest, stored: u64) -> Poll<Bytes> {
        if stored > FRAME_SIZE * 2 {
            return Poll::Pending;
        }
        self.read_whole(place, digest, stored, DiskFile::try_read_at).map_or(Poll::Pending, Poll::Ready)
    }

    fn read_whole(
        &self,
        place: Place,
        digest: &Digest,
        stored: u64,
        read: fn(&dyn DiskFile, &mut [u8], u64) -> io::Result<usize>,
    ) -> Result<Bytes, Trouble> {
        let mut buffer = vec![0; RecordHeader::LEN + usize::try_from(stored).unwrap_or(0)];
        let len = read(self.file.as_ref(), &mut buffer, place.byte_offset())?;
        buffer.truncate(len);
        let header = self.check_header(&buffer, place, digest)?;
        // The index knows the length of what is compressed with its padding.
        if header.frames() > 1 || header.stored > stored || stored - header.stored >= ALIGNMENT {
            return Err(Trouble::OtherLength);
        }
        let end =
            RecordHeader::LEN + usize::try_from(header.stored).unwrap_or(usize::MAX - RecordHeader::LEN);
        if len < end {
            return Err(Trouble::Bad("the file ends within it"));
        }
        let frame = Bytes::from(buffer).slice(RecordHeader::LEN..end);
        if checksum_of(&frame) != header.body_checksum {
            return Err(Trouble::Bad("its bytes do not match their checksum"));
        }
        decode(&header, frame, digest.size())
    }

    fn read_frames(self: &Arc<Self>, place: Place, digest: &Digest) -> Result<Bytes> {
        let mut reader = self.frames(place, digest, 0..digest.size())?;
        let mut content = Vec::with_capacity(usize::try_from(digest.size()).unwrap_or(0));
        while let Some(piece) = reader.next()? {
            content.extend_from_slice(&piece);
        }
        Ok(Bytes::from(content))
    }

    /// A reader of a range of the blob's content, which is cut to the blob's size. Reads the header and, of a blob of
    /// several frames, their table.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the record at this place is not a good one of this blob, [`Error::Io`].
    pub fn frames(self: &Arc<Self>, place: Place, digest: &Digest, range: Range<u64>) -> Result<FrameReader> {
        let start = place.byte_offset();
        let header = self
            .twice(|| {
                let bytes = self.read_exact(start, RecordHeader::LEN as u64)?;
                self.check_header(&bytes, place, digest)
            })
            .map_err(|trouble| self.error(place, trouble))?;
        let body = start + RecordHeader::LEN as u64;
        let table_len = header.table_len();
        let table_offset = body.saturating_add(header.stored - table_len);
        let table = self
            .twice(|| {
                let bytes = self.read_exact(table_offset, table_len)?;
                FrameTable::decode(&bytes, &header)
                    .ok_or(Trouble::Bad("its frame table does not match its checksum"))
            })
            .map_err(|trouble| self.error(place, trouble))?;
        Ok(FrameReader::new(Arc::clone(self), place, header, table, range))
    }

    /// Has what is read next come from the device, not from the page cache.
    pub fn forget_pages(&self) {
        self.file.drop_cache();
    }

    /// Which blob the record at this place says that it is.
    ///
    /// # Errors
    /// [`Error::Damaged`] if there is no good header, [`Error::Io`].
    pub fn digest_at(&self, place: Place) -> Result<Digest> {
        self.twice(|| {
            let bytes = self.read_exact(place.byte_offset(), RecordHeader::LEN as u64)?;
            RecordHeader::decode(&bytes, &self.keys, self.id, place.byte_offset())
                .map(|header| header.digest)
                .ok_or(Trouble::Bad("its header does not match its checksum"))
        })
        .map_err(|trouble| self.error(place, trouble))
    }

    /// Reads all of a blob and hashes it.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a checksum does not match, or the hash is not what the digest names, [`Error::Io`].
    pub fn hash(self: &Arc<Self>, place: Place, digest: &Digest) -> Result<()> {
        let mut reader = self.frames(place, digest, 0..digest.size())?;
        let mut hasher = Hasher::new(digest.function());
        while let Some(piece) = reader.next()? {
            hasher.update(&piece);
        }
        if hasher.finish() == *digest {
            return Ok(());
        }
        Err(self.error(place, Trouble::Bad("its content is not what its digest names")))
    }

    /// What a sealed pack's footer says of its records.
    ///
    /// # Errors
    /// [`Error::Damaged`] if footer or trailer are not good ones of this pack, [`Error::Io`].
    pub fn footer(&self) -> Result<Vec<FooterEntry>> {
        let len = self.len()?;
        let start = len.saturating_sub(Trailer::LEN as u64);
        self.twice(|| {
            let trailer = Trailer::decode(&self.read_exact(start, Trailer::LEN as u64)?)
                .filter(|trailer| {
                    trailer.id == self.id && trailer.keys == self.keys && trailer.file_len() == len
                })
                .ok_or(Trouble::Bad("its trailer is none"))?;
            let bytes = self.read_exact(trailer.footer_offset, trailer.footer_len)?;
            let entries = decode_footer(&bytes, &self.keys, self.id, trailer.footer_offset, trailer.entries);
            entries.ok_or(Trouble::Bad("its footer does not match its checksums"))
        })
        .map_err(|trouble| match trouble {
            Trouble::Io(error) => self.io_error(error),
            Trouble::Bad(what) => Error::Damaged(format!("the footer of pack {}: {what}", self.id)),
            Trouble::OtherLength => Error::Damaged(format!("the footer of pack {}", self.id)),
        })
    }

    fn check_header(&self, bytes: &[u8], place: Place, digest: &Digest) -> Result<RecordHeader, Trouble> {
        let header = RecordHeader::decode(bytes, &self.keys, self.id, place.byte_offset())
            .ok_or(Trouble::Bad("its header does not match its checksum"))?;
        if header.digest == *digest { Ok(header) } else { Err(Trouble::Bad("it is another blob's")) }
    }

    pub(super) fn read_exact(&self, offset: u64, len: u64) -> Result<Vec<u8>, Trouble> {
        // Lengths come from checksummed headers; what is longer than the file is refused before it is allocated.
        if len > FRAME_SIZE && offset.saturating_add(len) > self.file.len()? {
            return Err(Trouble::Bad("the file ends within it"));
        }
        let mut buffer = vec![0; usize::try_from(len).unwrap_or(0)];
        if self.file.read_at(&mut buffer, offset)? < buffer.len() {
            return Err(Trouble::Bad("the file ends within it"));
        }
        Ok(buffer)
    }

    /// Tries again once, past the page cache, when the bytes were bad.
    pub(super) fn twice<T>(&self, attempt: impl Fn() -> Result<T, Trouble>) -> Result<T, Trouble> {
        match attempt() {
            Err(Trouble::Bad(_)) => {
                self.file.drop_cache();
                attempt()
            }
            other => other,
        }
    }

    pub(super) fn error(&self, place: Place, trouble: Trouble) -> Error {
        let what = match trouble {
            Trouble::Io(error) => return self.io_error(error),
            Trouble::Bad(what) => what,
            Trouble::OtherLength => "its length is another",
        };
        Error::Damaged(format!("the record at {} of pack {}: {what}", place.byte_offset(), self.id))
    }

    fn io_error(&self, error: io::Error) -> Error {
        Error::io(format!("reading pack {}", self.id), error)
    }
}

fn decode(header: &RecordHeader, frame: Bytes, content_len: u64) -> Result<Bytes, Trouble> {
    let content_len = usize::try_from(content_len).unwrap_or(usize::MAX);
    decode_frame(header.encoding, frame, content_len).ok_or(Trouble::Bad("a frame does not decode"))
}

/// Goes through the frames that a range of a blob touches.
#[derive(Debug)]
pub struct FrameReader {
    pack: Arc<PackFile>,
    place: Place,
    header: RecordHeader,
    table: FrameTable,
    range: Range<u64>,
    /// The frame to read next, and where its stored bytes start in the file.
    next: usize,
    offset: u64,
}

impl FrameReader {
    fn new(
        pack: Arc<PackFile>,
        place: Place,
        header: RecordHeader,
        table: FrameTable,
        range: Range<u64>,
    ) -> Self {
        let end = range.end.min(header.digest.size());
        let range = range.start.min(end)..end;
        let next = usize::try_from(range.start / FRAME_SIZE).unwrap_or(usize::MAX);
        let before: u64 = table.0.iter().take(next).map(|entry| u64::from(entry.stored)).sum();
        let offset = place.byte_offset() + RecordHeader::LEN as u64 + before;
        Self { pack, place, header, table, range, next, offset }
    }

    /// The content of the next frame, cut to the range; `None` after the last.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the frame is bad, [`Error::Io`]. The reader stands where it stood.
    #[expect(clippy::should_implement_trait, reason = "an iterator would go on after an error")]
    pub fn next(&mut self) -> Result<Option<Bytes>> {
        let Some((stored, content)) = self.upcoming() else { return Ok(None) };
        let (offset, next) = (self.offset, self.next);
        let piece = self
            .pack
            .twice(|| self.check_frame(self.pack.read_exact(offset, stored)?, next))
            .map_err(|trouble| self.pack.error(self.place, trouble))?;
        Ok(Some(self.advance(stored, content, &piece)))
    }

    /// The same without waiting for the device: `Pending` if that cannot be, or if anything is wrong with the frame.
    pub fn try_next(&mut self) -> Poll<Option<Bytes>> {
        let Some((stored, content)) = self.upcoming() else { return Poll::Ready(None) };
        let mut buffer = vec![0; usize::try_from(stored).unwrap_or(0)];
        match self.pack.file.try_read_at(&mut buffer, self.offset) {
            Ok(len) if len == buffer.len() => {}
            _ => return Poll::Pending,
        }
        match self.check_frame(buffer, self.next) {
            Ok(piece) => Poll::Ready(Some(self.advance(stored, content, &piece))),
            Err(_) => Poll::Pending,
        }
    }

    /// Stored bytes of the next frame, and where its content starts in the blob.
    fn upcoming(&self) -> Option<(u64, u64)> {
        let content = (self.next as u64).saturating_mul(FRAME_SIZE);
        let entry = self.table.0.get(self.next)?;
        (content < self.range.end && self.range.start < self.range.end)
            .then_some((u64::from(entry.stored), content))
    }

    fn check_frame(&self, stored: Vec<u8>, number: usize) -> Result<Bytes, Trouble> {
        let entry = self.table.0.get(number).ok_or(Trouble::Bad("it has no such frame"))?;
        if checksum_of(&stored) != entry.checksum {
            return Err(Trouble::Bad("a frame does not match its checksum"));
        }
        let before = (number as u64).saturating_mul(FRAME_SIZE);
        let content_len = self.header.digest.size().saturating_sub(before).min(FRAME_SIZE);
        decode(&self.header, Bytes::from(stored), content_len)
    }

    /// Steps to the next frame, and cuts this one to the range.
    fn advance(&mut self, stored: u64, content: u64, piece: &Bytes) -> Bytes {
        self.next += 1;
        self.offset += stored;
        let within = |position: u64| {
            usize::try_from(position.saturating_sub(content)).unwrap_or(usize::MAX).min(piece.len())
        };
        piece.slice(within(self.range.start)..within(self.range.end))
    }
}
