//! What is noted on each blob: the last group that reached it, whether another one did before, and whether that last group
//! has read it as a message.

use millpond_store::Digest;
use millpond_store::blobs::{Inventory, Item};

use crate::closure::{Look, Met};

/// Another group reached it before.
const SEVERAL: u32 = 1 << 31;
/// The last group has read it.
const READ: u32 = 1 << 30;
const GROUP: u32 = READ - 1;

/// By whom a blob is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Nobody,
    One(u32),
    Several,
}

/// By whom it was reached.
pub(super) fn reached(inventory: &Inventory, item: Item) -> Reached {
    match inventory.note(item) {
        0 => Reached::Nobody,
        note if note & SEVERAL != 0 => Reached::Several,
        note => Reached::One(note & GROUP),
    }
}

/// Looks for one group.
pub(super) struct Marks<'i> {
    inventory: &'i mut Inventory,
    group: u32,
    bytes: u64,
}

impl<'i> Marks<'i> {
    pub(super) fn new(inventory: &'i mut Inventory, group: u32) -> Self {
        Self { inventory, group: group & GROUP, bytes: 0 }
    }

    /// Bytes of blobs that the group had not reached before.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Look for Marks<'_> {
    fn meet(&mut self, digest: &Digest) -> Met {
        // What came after the inventory counts as if it were not there yet.
        let Some(item) = self.inventory.find(digest) else { return Met::Missing };
        let note = self.inventory.note(item);
        if note & GROUP == self.group {
            return Met::Before;
        }
        let several = if note == 0 { 0 } else { SEVERAL };
        self.inventory.set_note(item, self.group | several);
        self.bytes += self.inventory.bytes(item);
        Met::There
    }

    fn reads(&mut self, digest: &Digest) -> bool {
        let Some(item) = self.inventory.find(digest) else { return false };
        let note = self.inventory.note(item);
        self.inventory.set_note(item, note | READ);
        note & READ == 0
    }
}
