//! A mixed pack that is being written: whole records at its end, one write for each batch.
//!
//! Offsets, each at most the next: `synced <= syncing <= appended`. Nothing beyond `synced` may be relied on. After a
//! sync that failed, or a write that failed for another reason than lack of space, the pack is *given up*: it takes
//! nothing more and is never synced again, since a later sync that returns well would say nothing about the bytes of
//! the first. What was synced before stays good. Whether the whole store is poisoned then is decided above.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::seal::Ending;
use super::stored::StoredRecord;
use super::{Appended, PackFile};
use crate::blobs::encoding::encode_record;
use crate::blobs::format::{
    Encoding, FooterEntry, PackHeader, PackId, PackKind, PackState, Place, RecordHeader, VolumeKeys,
};
use crate::disk::{Disk, DiskFile, write_error};
use crate::{Digest, Error, Level, Result};

/// Records that one pack may hold: the entries of its footer wait in memory until it is sealed.
pub const ENTRIES_MAX: usize = 1 << 18;
/// What the batch buffer may keep of memory between batches.
const BUFFER_KEPT_MAX: usize = 4 << 20;

/// A mixed pack being appended to.
#[derive(Debug)]
pub struct OpenPack {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    keys: VolumeKeys,
    reader: Arc<PackFile>,
    /// One sync at a time, taken before `state`: of two that run beside each other the kernel may tell only one that
    /// it failed, and the other would be believed.
    syncing: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    synced: u64,
    appended: u64,
    entries: Vec<FooterEntry>,
    buffer: Vec<u8>,
    /// Where a footer was begun that found no room.
    footer_tried: Option<u64>,
    closed: Option<Closed>,
}

impl State {
    /// It takes nothing more and never gets a footer.
    fn give_up(&mut self, error: &Error) {
        self.closed = Some(Closed::GivenUp(error.to_string()));
        self.entries = Vec::new();
        self.buffer = Vec::new();
    }
}

#[derive(Clone, Debug)]
enum Closed {
    Sealed,
    GivenUp(String),
}

impl OpenPack {
    /// Makes the pack and its folder entry durable, so that a later sync of the file is all that its records need.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`]; the pack's number is used up either way.
    pub fn create(disk: Arc<dyn Disk>, keys: &VolumeKeys, id: PackId, now: Level) -> Result<Self> {
        let header = PackHeader { kind: PackKind::Mixed, id, keys: *keys, created: now };
        let failed = |error| write_error(disk.as_ref(), format!("making pack {id}"), error);
        let file = disk.create(&id.path(PackState::Open)).map_err(failed)?;
        file.write_at(&header.encode(), 0).map_err(failed)?;
        file.sync().map_err(failed)?;
        disk.sync_folder(&id.folder()).map_err(failed)?;
        let end = PackHeader::LEN as u64;
        let state = State {
            synced: end,
            appended: end,
            entries: Vec::new(),
            buffer: Vec::new(),
            footer_tried: None,
            closed: None,
        };
        let reader = Arc::new(PackFile::new(Arc::clone(&file), keys, id));
        Ok(Self { disk, file, keys: *keys, reader, syncing: Mutex::new(()), state: Mutex::new(state) })
    }

    /// Its number.
    pub fn id(&self) -> PackId {
        self.reader.id()
    }

    /// The same file for reading; it stays readable when the pack is sealed.
    pub fn reader(&self) -> Arc<PackFile> {
        Arc::clone(&self.reader)
    }

    /// Appends a blob whose digest the caller has checked. Not durable until a sync.
    ///
    /// # Errors
    /// As [`OpenPack::append_batch`].
    pub fn append(&self, digest: &Digest, content: &Bytes, now: Level) -> Result<Appended> {
        let appended = self.append_batch(&[(*digest, content.clone())], now, Encoding::Raw)?;
        appended.into_iter().next().ok_or_else(|| self.closed_error(&Closed::Sealed))
    }

    /// Appends blobs whose digests the caller has checked, as they are, by one write. Not durable until a sync.
    ///
    /// # Errors
    /// As [`OpenPack::append_batch`].
    pub fn append_many(&self, blobs: &[(Digest, Bytes)], now: Level) -> Result<Vec<Appended>> {
        self.append_mixed(blobs, &[], now)
    }

    /// Appends blobs whose digests the caller has checked by one write, those as they are that are not in `compressed`, where each
    /// has the place that it has in `blobs`. Not durable until a sync.
    ///
    /// # Errors
    /// As [`OpenPack::append_batch`].
    pub fn append_mixed(
        &self,
        blobs: &[(Digest, Bytes)],
        compressed: &[Option<StoredRecord>],
        now: Level,
    ) -> Result<Vec<Appended>> {
        let compressed = compressed.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let records: Vec<_> = blobs.iter().zip(compressed).collect();
        self.append_records(&records, |at, (blob, compressed), buffer| match (compressed, at) {
            (Some(record), at) => record.encode(at, buffer),
            (None, (keys, place, sequence)) => {
                encode_record((keys, place, sequence, now), &blob.0, &blob.1, Encoding::Raw, buffer)
            }
        })
    }

    /// Appends blobs in an encoding; one that would not get smaller stays raw.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: none of the batch is there, the next one may be. [`Error::Io`]: nor will any be.
    /// [`Error::Poisoned`]: the pack was sealed or given up before.
    pub fn append_batch(
        &self,
        blobs: &[(Digest, Bytes)],
        now: Level,
        encoding: Encoding,
    ) -> Result<Vec<Appended>> {
        self.append_records(blobs, |(keys, place, sequence), (digest, content), buffer| {
            encode_record((keys, place, sequence, now), digest, content, encoding, buffer)
        })
    }

    /// Appends copies of records of other packs, with the time of writing and the encoding that they had there.
    ///
    /// # Errors
    /// As [`OpenPack::append_batch`].
    pub fn append_copies(&self, records: &[StoredRecord]) -> Result<Vec<Appended>> {
        self.append_records(records, |at, record, buffer| record.encode(at, buffer))
    }

    /// Appends what `encode` makes of each, by one write.
    fn append_records<T>(
        &self,
        records: &[T],
        encode: impl Fn((&VolumeKeys, Place, u32), &T, &mut Vec<u8>) -> RecordHeader,
    ) -> Result<Vec<Appended>> {
        let mut state = self.lock();
        self.check_open(&state)?;
        let mut buffer = std::mem::take(&mut state.buffer);
        buffer.clear();
        let written = self.write_batch(&state, &mut buffer, records, encode);
        let batch_len = buffer.len() as u64;
        buffer.shrink_to(BUFFER_KEPT_MAX);
        state.buffer = buffer;
        match written {
            Ok((entries, appended)) => {
                state.entries.extend(entries);
                state.appended += batch_len;
                Ok(appended)
            }
            Err(error) => {
                if let Error::Io { .. } = error {
                    state.give_up(&error);
                }
                Err(error)
            }
        }
    }

    fn write_batch<T>(
        &self,
        state: &State,
        buffer: &mut Vec<u8>,
        records: &[T],
        encode: impl Fn((&VolumeKeys, Place, u32), &T, &mut Vec<u8>) -> RecordHeader,
    ) -> Result<(Vec<FooterEntry>, Vec<Appended>)> {
        let id = self.id();
        let mut entries = Vec::with_capacity(records.len());
        let mut appended = Vec::with_capacity(records.len());
        for record in records {
            let offset = state.appended + buffer.len() as u64;
            let place = Place::at(id, offset)
                .ok_or_else(|| Error::Busy(format!("pack {id} has no place for more records")))?;
            let sequence = u32::try_from(state.entries.len() + entries.len()).unwrap_or(u32::MAX);
            let RecordHeader { digest, stored, time, encoding, .. } =
                encode((&self.keys, place, sequence), record, buffer);
            entries.push(FooterEntry { digest, offset: place.offset, stored, time, encoding });
            appended.push(Appended { place, stored, end: state.appended + buffer.len() as u64 });
        }
        self.file
            .write_at(buffer, state.appended)
            .map_err(|error| write_error(self.disk.as_ref(), format!("appending to pack {id}"), error))?;
        Ok((entries, appended))
    }

    /// Makes durable what was appended before this call. Returns the end it covers. May run beside appends.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`]: the pack is given up beyond what was synced before. [`Error::Poisoned`]: it
    /// was given up before.
    pub fn sync(&self) -> Result<u64> {
        let _one = self.one_sync();
        let end = {
            let state = self.lock();
            if let Some(closed @ Closed::GivenUp(_)) = &state.closed {
                return Err(self.closed_error(closed));
            }
            if state.synced == state.appended {
                return Ok(state.synced);
            }
            state.appended
        };
        let result = self.ending().sync();
        let mut state = self.lock();
        match result {
            Ok(()) => {
                state.synced = end;
                Ok(end)
            }
            Err(error) => {
                state.give_up(&error);
                Err(error)
            }
        }
    }

    /// Ends the pack: from here on it is durable as a whole, immutable, and named so. A pack without a record is
    /// sealed like any other.
    ///
    /// # Errors
    /// [`Error::NoSpace`] from writing the footer: the pack goes on as it is. Anything else gives it up.
    pub fn seal(&self) -> Result<()> {
        let _one = self.one_sync();
        let mut state = self.lock();
        self.check_open(&state)?;
        let ending = self.ending();
        let mut tried = state.footer_tried;
        let written = ending.write_footer(state.appended, &state.entries, &mut tried);
        state.footer_tried = tried;
        written.inspect_err(|error| {
            if let Error::Io { .. } = error {
                state.give_up(error);
            }
        })?;
        match ending.sync().and_then(|()| {
            state.synced = state.appended;
            ending.publish()
        }) {
            Ok(()) => {
                state.entries = Vec::new();
                state.buffer = Vec::new();
                state.closed = Some(Closed::Sealed);
                Ok(())
            }
            Err(error) => {
                state.give_up(&error);
                Err(error)
            }
        }
    }

    /// Where the next record would start.
    pub fn appended(&self) -> u64 {
        self.lock().appended
    }

    /// Up to where all is durable.
    pub fn synced(&self) -> u64 {
        self.lock().synced
    }

    /// Whether it should be sealed: as long as packs may be, or with as many records.
    pub fn is_full(&self, len_max: u64) -> bool {
        let state = self.lock();
        state.appended >= len_max || state.entries.len() >= ENTRIES_MAX
    }

    /// Whether an error ended it: nothing beyond `synced` can be relied on, ever.
    pub fn is_given_up(&self) -> bool {
        matches!(self.lock().closed, Some(Closed::GivenUp(_)))
    }

    fn ending(&self) -> Ending<'_> {
        Ending {
            disk: self.disk.as_ref(),
            file: &self.file,
            keys: &self.keys,
            id: self.id(),
            kind: PackKind::Mixed,
        }
    }

    fn check_open(&self, state: &State) -> Result<()> {
        state.closed.as_ref().map_or(Ok(()), |closed| Err(self.closed_error(closed)))
    }

    fn closed_error(&self, closed: &Closed) -> Error {
        Error::Poisoned(match closed {
            Closed::Sealed => format!("pack {} is sealed", self.id()),
            Closed::GivenUp(cause) => cause.clone(),
        })
    }

    fn one_sync(&self) -> MutexGuard<'_, ()> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{append, blob, memory, open_pack};

    #[test]
    fn pack_given_up_keeps_nothing_in_memory_for_a_footer() {
        for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::IO] {
            let disk = memory();
            let pack = open_pack(&disk);
            append(&pack, &[blob(1, 500), blob(2, 500)]);
            assert_eq!(pack.lock().entries.len(), 2);
            disk.fail_next_sync(".open", errno, 0);
            pack.sync().unwrap_err();
            let state = pack.lock();
            assert_eq!((state.entries.capacity(), state.buffer.capacity()), (0, 0));
        }
    }
}
