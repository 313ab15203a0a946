//! A pack that is not sealed yet, and what becoming durable means for it: a mixed pack that takes more is synced, one
//! that is full is sealed, a single is committed.
//!
//! **Invariant:** after a failed sync nothing beyond what was synced before stays in the index, and the pack takes
//! nothing more. Lack of space gives up this pack alone; any other failure poisons the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::format::PackId;
use super::group_sync::Target;
use super::index::Key;
use super::pack::{OpenPack, PackFile, Single};
use super::pack_set::PackCounters;
use super::poison::PoisonOnPanic;
use super::shared::Shared;
use crate::{Error, Result};

/// Either kind.
#[derive(Debug)]
pub(super) enum Kind {
    /// Many blobs.
    Mixed(OpenPack),
    /// One large blob, complete, and its key.
    Single(Single, Key),
}

/// A pack that is not sealed.
#[derive(Debug)]
pub(super) struct Unsealed {
    /// The pack.
    pub(super) kind: Kind,
    /// Its figures.
    pub(super) counters: Arc<PackCounters>,
    shared: Weak<Shared>,
    /// It takes nothing more and is to be sealed.
    ending: AtomicBool,
    /// Nothing beyond what is synced may be relied on, ever.
    given_up: AtomicBool,
}

impl Unsealed {
    /// A pack as it was just made.
    pub(super) fn new(kind: Kind, shared: Weak<Shared>) -> Self {
        let ending = AtomicBool::new(matches!(kind, Kind::Single(..)));
        Self { kind, counters: Arc::default(), shared, ending, given_up: AtomicBool::new(false) }
    }

    /// Its number.
    pub(super) fn id(&self) -> PackId {
        self.reader().id()
    }

    /// Its file for reading.
    pub(super) fn reader(&self) -> Arc<PackFile> {
        match &self.kind {
            Kind::Mixed(pack) => pack.reader(),
            Kind::Single(single, _) => single.reader(),
        }
    }

    /// The next sync seals it.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// Whether the next sync seals it.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst) && !self.is_given_up()
    }

    /// Whether there is anything for a sync to do.
    pub(super) fn needs_sync(&self) -> bool {
        let appended = match &self.kind {
            Kind::Mixed(pack) => pack.appended() > pack.synced(),
            Kind::Single(..) => true,
        };
        (appended || self.ending.load(Ordering::SeqCst)) && !self.is_given_up()
    }

    /// Bytes that a power cut would cost.
    pub(super) fn unsynced(&self) -> u64 {
        match &self.kind {
            Kind::Mixed(pack) => pack.appended().saturating_sub(pack.synced()),
            Kind::Single(single, _) => single.appended().end,
        }
    }

    /// Up to where it is durable.
    pub(super) fn synced(&self) -> u64 {
        match &self.kind {
            Kind::Mixed(pack) => pack.synced(),
            Kind::Single(single, _) if single.is_committed() => u64::MAX,
            Kind::Single(..) => 0,
        }
    }

    /// Whether an error ended it. Set before its entries are taken out of the index: who enters one and finds this
    /// set afterwards takes it out again.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }

    /// From here on nothing beyond `synced` may be relied on.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
    }

    fn run(&self) -> Result<u64> {
        match &self.kind {
            Kind::Mixed(pack) if !self.ending.load(Ordering::SeqCst) => return pack.sync(),
            Kind::Mixed(pack) => match pack.seal() {
                // No room for the footer: it goes on as it is, durable all the same.
                Err(Error::NoSpace { .. }) if !pack.is_given_up() => return pack.sync(),
                other => other?,
            },
            Kind::Single(single, _) => single.commit()?,
        }
        Ok(u64::MAX)
    }
}

impl Target for Unsealed {
    fn sync(&self) -> Result<u64> {
        let Some(shared) = self.shared.upgrade() else {
            return Err(Error::Busy("the store is closed".to_owned()));
        };
        let _guard = PoisonOnPanic::during(&shared.poison, "syncing a pack");
        shared.poison.check()?;
        if self.is_given_up() {
            return Err(shared.poison.error("the pack was given up after an earlier fault"));
        }
        match self.run() {
            Ok(u64::MAX) => {
                shared.was_sealed(self);
                Ok(u64::MAX)
            }
            Ok(end) => Ok(end),
            Err(error) => Err(shared.sync_failed(self, error)),
        }
    }
}
