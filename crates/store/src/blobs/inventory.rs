//! Every blob that there was at one moment, with room for a note on each: for whoever counts what reaches what, beside
//! serving.
//!
//! It takes 16 bytes a blob, all of them at once: 8 of its key, 4 of its size, 4 of the note. The index goes on meanwhile:
//! what came later is not in it, and what went since still is. Two blobs whose keys agree in 64 bits pass for one.

use super::Blobs;
use super::index::{SHARDS, Stored};
use crate::Digest;
use crate::blobs::format::FooterEntry;

/// See the module.
#[derive(Debug)]
pub struct Inventory {
    blobs: Blobs,
    /// By shard, and within one rising.
    keys: Vec<u64>,
    stored: Vec<u32>,
    notes: Vec<u32>,
    /// Where each shard ends.
    ends: Vec<usize>,
}

/// A blob in an [`Inventory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item(usize);

impl Blobs {
    /// Takes the inventory of what is there now. Blocks for some hundredths of a second for a million blobs, and holds no
    /// lock for longer than one shard takes.
    pub fn inventory(&self) -> Inventory {
        let index = &self.shared.index;
        // A little more than there is, since it goes on.
        let room = index.len() + index.len() / 64;
        let (mut keys, mut stored) = (Vec::with_capacity(room), Vec::with_capacity(room));
        let mut ends = vec![0; SHARDS];
        let waterline = self.waterline();
        index.for_each_by_shard(|shard, entry| {
            if entry.level >= waterline {
                keys.push(entry.key.high);
                stored.push(entry.location.stored.bits());
            }
            if let Some(end) = ends.get_mut(shard) {
                *end = keys.len();
            }
        });
        // A shard without blobs ends where the one before it does.
        let mut end = 0;
        for of_shard in &mut ends {
            end = end.max(*of_shard);
            *of_shard = end;
        }
        let notes = vec![0; keys.len()];
        Inventory { blobs: self.clone(), keys, stored, notes, ends }
    }
}

impl Inventory {
    /// The blob, if it was there.
    pub fn find(&self, digest: &Digest) -> Option<Item> {
        let key = self.blobs.shared.index.key(digest);
        let end = *self.ends.get(key.shard())?;
        let start =
            key.shard().checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |start| *start);
        let found = self.keys.get(start..end)?.binary_search(&key.high).ok()?;
        Some(Item(start + found))
    }

    /// Bytes that it takes on the volume, its line in the footer included.
    pub fn bytes(&self, item: Item) -> u64 {
        let stored = self.stored.get(item.0).map_or(0, |bits| Stored::from_bits(*bits).bytes());
        stored + FooterEntry::LEN as u64
    }

    /// The note on it; 0 before there is one.
    pub fn note(&self, item: Item) -> u32 {
        self.notes.get(item.0).copied().unwrap_or(0)
    }

    /// Makes a note on it, in place of the one before.
    pub fn set_note(&mut self, item: Item, note: u32) {
        if let Some(place) = self.notes.get_mut(item.0) {
            *place = note;
        }
    }

    /// All blobs.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        (0..self.keys.len()).map(Item)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::blobs::BlobsOptions;
    use crate::disk::MemoryDisk;
    use crate::{Clock, Level};

    fn content(number: u32) -> Bytes {
        Bytes::from(format!("content {number}"))
    }

    #[tokio::test]
    async fn every_blob_is_found_with_its_size_and_note_and_none_that_came_later() {
        let options = BlobsOptions { limit: Some(60_000_000), ..BlobsOptions::default() };
        let clock = Arc::new(Clock::start(Level::ZERO));
        let disk = Arc::new(MemoryDisk::default());
        let (blobs, _) =
            Blobs::open(disk, &options, clock, Level::ZERO, Vec::new(), Box::new(|_| {})).unwrap();
        let put = async |numbers: std::ops::Range<u32>| {
            let some = numbers.map(|number| (Digest::of(&content(number)), content(number))).collect();
            blobs.put_many(some).await.into_iter().for_each(|put| put.unwrap());
        };
        put(0..5000).await;
        let mut inventory = blobs.inventory();
        put(5000..5001).await;
        for number in 0..5000 {
            let item = inventory.find(&Digest::of(&content(number))).unwrap();
            assert_eq!(inventory.note(item), 0);
            inventory.set_note(item, number + 1);
        }
        let notes: std::collections::HashSet<u32> =
            inventory.items().map(|item| inventory.note(item)).collect();
        assert_eq!(notes, (1..=5000).collect());
        let bytes: u64 = inventory.items().map(|item| inventory.bytes(item)).sum();
        let last = blobs.inventory();
        let later = last.find(&Digest::of(&content(5000))).unwrap();
        assert_eq!(bytes + last.bytes(later), blobs.figures().live);
        assert_eq!(inventory.find(&Digest::of(&content(5000))), None);
        assert_eq!(inventory.find(&Digest::EMPTY), None);
    }
}
