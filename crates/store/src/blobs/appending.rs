//! Taking blobs in, whose contents were checked against their digests: small ones into the one mixed pack that is
//! open, larger ones into packs of their own.
//!
//! Records are appended and entered in the index under one lock, and a pack is ended under the same lock. So when a
//! pack is sealed, all that it holds has been entered: what a snapshot relies on.
//!
//! **Invariant:** reserved before written; nothing is entered in the index before it is written whole.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::format::{FooterEntry, PackHeader, PackId, PackState, record_len};
use super::group_sync::GroupSync;
use super::index::Inserted;
use super::pack::{OpenPack, SingleWriter, StoredRecord};
use super::pack_set::Group;
use super::poison::PoisonOnPanic;
use super::shared::Shared;
use super::space::Reservation;
use super::unsealed::{Kind, Unsealed};
use crate::{Digest, Error, Result};

/// Bytes of blobs in one write, at most (a single blob may be more).
const BATCH_BYTES_MAX: u64 = 4 << 20;
/// Syncing begins without being asked when so many bytes are not durable.
const UNSYNCED_MAX: u64 = 64 << 20;

/// Packs that may wait to be sealed: each has a descriptor and its footer in memory.
const ENDING_MAX: usize = 32;

/// The open packs.
#[derive(Debug, Default)]
pub(super) struct Appending {
    /// Takes the next blobs.
    current: Option<Arc<Group>>,
    /// Made ahead, so that nobody waits for its two syncs.
    next: Option<OpenPack>,
}

/// What a blob of this size will occupy, its line in the footer included.
pub(super) fn occupied(size: u64) -> u64 {
    record_len(size) + FooterEntry::LEN as u64
}

impl Shared {
    /// Takes in blobs whose contents match their digests and which are smaller than a single; each result stands
    /// where its blob stood. `claim` holds what they occupy.
    pub(super) fn append(self: &Arc<Self>, blobs: &[(Digest, Bytes)], claim: Reservation) -> Vec<Result<()>> {
        let _guard = PoisonOnPanic::during(&self.poison, "appending to a pack");
        let batch_max = BATCH_BYTES_MAX.min(self.space.limits().pack_max / 2);
        let mut results = Vec::with_capacity(blobs.len());
        // Before the lock: it takes as long as all the rest.
        let now = self.clock.now();
        let compress = |(digest, content): &(Digest, Bytes)| StoredRecord::compressed(digest, content, now);
        let compressed: Vec<_> =
            if self.compresses() { blobs.iter().map(compress).collect() } else { Vec::new() };
        let (mut rest, mut compressed) = (blobs, compressed.as_slice());
        let mut appending = self.lock(&self.appending);
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|(digest, _)| {
                bytes += occupied(digest.size());
                bytes <= batch_max
            });
            let (batch, later) = rest.split_at(fits.count().max(1));
            let (of_batch, of_later) = compressed.split_at(batch.len().min(compressed.len()));
            compressed = of_later;
            match self.append_batch(&mut appending, batch, of_batch) {
                Ok(entered) => results.extend(entered),
                Err(error) => results.extend(repeat_error(&error, batch.len())),
            }
            rest = later;
        }
        let current = appending.current.clone();
        drop(appending);
        drop(claim);
        // Whoever publishes later then finds little to do. Errors are told to those who wait for these packs.
        if let Some(group) = current.filter(|group| group.target().unsynced() >= UNSYNCED_MAX) {
            let _ = group.sync_unless_running();
        }
        self.seal_some(ENDING_MAX);
        results
    }

    /// Seals packs that are ending while there are more than `left` that are not sealed.
    fn seal_some(&self, left: usize) {
        let unsealed = self.packs.unsealed();
        let more = unsealed.len().saturating_sub(left);
        for group in unsealed.iter().filter(|group| group.target().is_ending()).take(more) {
            let _ = group.sync_unless_running();
        }
    }

    fn append_batch(
        self: &Arc<Self>,
        appending: &mut Appending,
        batch: &[(Digest, Bytes)],
        compressed: &[Option<StoredRecord>],
    ) -> Result<Vec<Result<()>>> {
        self.check_open()?;
        let needed: u64 = batch.iter().map(|(digest, _)| record_len(digest.size())).sum();
        let group = self.pack_with_room(appending, needed)?;
        let Kind::Mixed(pack) = &group.target().kind else { return Ok(Vec::new()) };
        let (now, before) = (self.clock.now(), pack.appended());
        let appended = match pack.append_mixed(batch, compressed, now) {
            Ok(appended) => appended,
            Err(error) => {
                self.write_failed(&error, false);
                if pack.is_given_up() {
                    self.give_up(group.target());
                }
                return Err(self.poison.check().err().unwrap_or(error));
            }
        };
        let lines = batch.len() as u64 * FooterEntry::LEN as u64;
        self.count(group.target(), pack.appended().saturating_sub(before) + lines);
        let entered = batch.iter().zip(&appended);
        let results = entered
            .map(|((digest, _), appended)| self.enter(digest, appended, group.target(), now).map(|_| ()))
            .collect();
        if pack.is_full(self.space.limits().pack_max) {
            group.target().end();
            appending.current = None;
        }
        Ok(results)
    }

    fn count(&self, pack: &Unsealed, bytes: u64) {
        pack.counters.add_counted(bytes);
        self.space.packs_change(0, bytes);
    }

    /// The current pack, or the next one if the current one has no room or was given up.
    fn pack_with_room(self: &Arc<Self>, appending: &mut Appending, needed: u64) -> Result<Arc<Group>> {
        if let Some(group) = &appending.current {
            let fits = match &group.target().kind {
                Kind::Mixed(pack) => {
                    let appended = pack.appended();
                    appended <= PackHeader::LEN as u64 || appended + needed <= self.space.limits().pack_max
                }
                Kind::Single(..) => false,
            };
            if fits && !group.target().is_given_up() {
                return Ok(group.clone());
            }
            group.target().end();
            appending.current = None;
        }
        let pack = match appending.next.take() {
            Some(pack) => pack,
            None => self.make_pack()?,
        };
        let synced = pack.synced();
        let (id, kind) = (pack.id(), Kind::Mixed(pack));
        let group = Arc::new(GroupSync::new(Unsealed::new(kind, Arc::downgrade(self)), synced));
        self.packs.add_unsealed(id, group.clone());
        self.count(group.target(), synced);
        appending.current = Some(group.clone());
        Ok(group)
    }

    /// A new pack, durable, of which the caller makes what it likes.
    pub(super) fn make_pack(&self) -> Result<OpenPack> {
        let id = self.packs.next_id()?;
        OpenPack::create(self.disk.clone(), &self.keys, id, self.clock.now()).map_err(|error| {
            self.write_failed(&error, false);
            self.remove_unused(id);
            self.poison.check().err().unwrap_or(error)
        })
    }

    /// If it cannot be removed the next start finds no record in it and removes it.
    fn remove_unused(&self, id: PackId) {
        let _ = self.disk.remove(&id.path(PackState::Open));
    }

    /// Makes the pack that follows the current one, unless there is one.
    pub(super) fn make_next_pack(&self) -> Result<()> {
        if self.check_open().is_err() || self.lock(&self.appending).next.is_some() {
            return Ok(());
        }
        let pack = self.make_pack()?;
        let mut appending = self.lock(&self.appending);
        if appending.next.is_some() {
            drop(appending);
            self.remove_unused(pack.id());
        } else {
            appending.next = Some(pack);
        }
        Ok(())
    }

    /// The current pack takes nothing more, and is to be sealed; the next blob goes into another.
    pub(super) fn end_current(&self) {
        if let Some(group) = self.lock(&self.appending).current.take() {
            group.target().end();
        }
    }

    /// Nothing more is appended: the current pack is to be sealed, the next one is not needed.
    pub(super) fn end_appending(&self) {
        let mut appending = self.lock(&self.appending);
        if let Some(next) = appending.next.take() {
            self.remove_unused(next.id());
        }
        if let Some(group) = appending.current.take() {
            group.target().end();
        }
    }

    /// Begins a pack for one large blob.
    pub(super) fn begin_single(&self) -> Result<SingleWriter> {
        self.check_open()?;
        let id = self.packs.next_id()?;
        let writer = SingleWriter::create(self.disk.clone(), &self.keys, id, self.clock.now());
        let writer = writer.map_err(|error| self.single_failed(error))?;
        Ok(if self.compresses() { writer.compressing() } else { writer })
    }

    /// What a failed write into a single means for the store.
    pub(super) fn single_failed(&self, error: Error) -> Error {
        self.write_failed(&error, false);
        self.poison.check().err().unwrap_or(error)
    }

    /// Takes in a large blob whose content, all written, matches its digest. `claim` holds what it occupies.
    pub(super) fn finish_single(
        self: &Arc<Self>,
        writer: SingleWriter,
        digest: &Digest,
        claim: Reservation,
    ) -> Result<()> {
        let _guard = PoisonOnPanic::during(&self.poison, "ending a large blob");
        let open = self.check_open();
        if open.is_err() {
            writer.abandon();
            return open;
        }
        let id = writer.id();
        let single = writer.finish(digest).map_err(|error| self.single_failed(error))?;
        let appended = single.appended();
        let kind = Kind::Single(single, self.index.key(digest));
        let group = Arc::new(GroupSync::new(Unsealed::new(kind, Arc::downgrade(self)), 0));
        // Nobody may seal it before it is entered, or a snapshot would take it for covered without its blob.
        let hold = group.hold();
        self.packs.add_unsealed(id, group.clone());
        self.count(group.target(), appended.end + FooterEntry::LEN as u64);
        drop(claim);
        let entered = self.enter(digest, &appended, group.target(), self.clock.now());
        if !matches!(entered, Ok(Inserted::New | Inserted::Replaced(_))) {
            match &entered {
                Ok(_) => self.packs.forget(id),
                Err(_) => self.packs.give_up(id),
            }
            if let Kind::Single(single, _) = &group.target().kind {
                single.abandon();
            }
            self.space.packs_change(group.target().counters.recount(0), 0);
        }
        drop(hold);
        self.seal_some(ENDING_MAX);
        entered.map(|_| ())
    }
}

/// An error for each blob of a batch. An error of the system cannot be copied; its kind and its sentence can.
pub(super) fn repeat_error(error: &Error, count: usize) -> Vec<Result<()>> {
    (0..count)
        .map(|_| {
            Err(match error {
                Error::NoSpace { held, used, limit } => {
                    Error::NoSpace { held: *held, used: *used, limit: *limit }
                }
                Error::Poisoned(cause) => Error::Poisoned(cause.clone()),
                Error::Io { doing, source } => {
                    Error::io(doing.clone(), io::Error::new(source.kind(), source.to_string()))
                }
                other => Error::Busy(other.to_string()),
            })
        })
        .collect()
}
