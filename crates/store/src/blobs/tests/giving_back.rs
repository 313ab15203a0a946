//! Space given back: packs that hold nothing any more, and those that hold little.
//!
//! Unless a test says otherwise the limit is the least: packs of 256 KiB, singles from 64 KiB.

mod cuts;
mod meanwhile;
mod readers;
mod reaping;

use std::collections::BTreeMap;

use super::restart::{has_level, packs};
use super::*;
use crate::blobs::shared::Shared;

/// Below it are blobs that were let go.
const WATERLINE: Level = NOW.plus(50);

fn small_options() -> BlobsOptions {
    BlobsOptions { limit: Some(8_000_000), ..BlobsOptions::default() }
}

fn open_small(disk: &Arc<dyn Disk>, waterline: Level) -> Store {
    try_open(disk, &small_options(), waterline, &[]).unwrap()
}

/// Blobs, each with its level.
type Kept = BTreeMap<Digest, (Bytes, Level)>;

/// Fills packs with blobs of which every fourth is used later, each at another time, and makes them durable. Returns
/// those that are kept, and the others.
async fn filled(store: &Store) -> (Kept, Vec<Digest>) {
    let (mut kept, mut others) = (Kept::new(), Vec::new());
    for number in 0..80 {
        let one = blob(number, 3000 + 400 * number as usize);
        put(&store.blobs, &one).await.unwrap();
        if number % 4 == 0 {
            let level = WATERLINE.plus(number as u32);
            store.blobs.raise(&[one.0], level);
            kept.insert(one.0, (one.1, level));
        } else {
            others.push(one.0);
        }
    }
    // On this thread, so that nobody else has a pack open for a moment longer.
    store.blobs.background_sync();
    let all: Vec<Digest> = kept.keys().chain(&others).copied().collect();
    assert!(store.blobs.raise(&all, Level::ZERO).unsynced.is_empty());
    (kept, others)
}

/// Takes what is below the waterline out of the index, as is done once the catalog remembers the waterline.
pub(super) fn drop_below(shared: &Shared) {
    let waterline = shared.waterline();
    let gone = shared.index.remove_where(|entry| entry.level < waterline);
    gone.iter().for_each(|entry| shared.dead(&entry.location));
}

fn let_go(store: &Store) {
    store.blobs.set_waterline(WATERLINE);
    drop_below(store.blobs.shared());
}

/// Gives back until there is nothing more to be had.
fn give_all_back(blobs: &Blobs) -> Result<GivenBack> {
    let mut sum = GivenBack::default();
    for _ in 0..100 {
        let given = blobs.give_back(true)?;
        sum.packs += given.packs;
        sum.moved += given.moved;
        sum.freed += given.freed;
        if !given.more {
            return Ok(sum);
        }
    }
    panic!("it goes on for ever: {sum:?}");
}

async fn assert_kept(store: &Store, kept: &Kept, what: &str) {
    for (digest, (_, level)) in kept {
        assert!(has_level(&store.blobs, digest, *level), "{what}: {digest} is there with its level");
        assert!(!has_level(&store.blobs, digest, level.plus(1)), "{what}: {digest} has no other level");
    }
    for (digest, (content, _)) in kept {
        assert_eq!(store.blobs.shared().read_unraised(digest).as_ref(), Some(content), "{what}: {digest}");
    }
    assert_eq!(store.damage(), [], "{what}");
}

impl Shared {
    /// A blob as it is stored, without using it.
    fn read_unraised(&self, digest: &Digest) -> Option<Bytes> {
        let entry = self.index.get(self.index.key(digest), Level::ZERO)?;
        let pack = self.packs.reader(&*self.disk, &self.keys, entry.location.place.pack).ok()?;
        pack.read_small(entry.location.place, digest, digest.size()).ok()
    }

    /// Copies all packs that can be, whatever garbage there is.
    pub(super) fn copy_all(&self) -> crate::blobs::compaction::Copied {
        let mut packs = self.packs.settled();
        packs.retain(|(_, counters)| counters.records() > 0);
        self.copy(packs, |record| record).unwrap()
    }
}

/// Bytes used besides packs and snapshots: the folders, and room for the position of the scrub.
fn used_besides(store: &Store) -> u64 {
    let disk = &store.blobs.shared().disk;
    let files = disk.list("".as_ref()).unwrap();
    let of_its_own = |name: &str| name.starts_with("snapshot.") || name == "ballast";
    let snapshots = files.iter().filter(|entry| of_its_own(&entry.name));
    let snapshots: u64 = snapshots.map(|entry| entry.allocated).sum();
    store.blobs.figures().used - snapshots - pack_bytes_on(&**disk)
}

fn pack_bytes_on(disk: &dyn Disk) -> u64 {
    let folders = (0..=255).map(format::pack_folder);
    folders.flat_map(|folder| disk.list(&folder).unwrap()).map(|entry| entry.allocated).sum()
}

#[tokio::test]
async fn what_is_alive_is_there_after_compaction_and_after_every_kind_of_start() {
    for snapshot_before in [false, true] {
        let (memory, disk) = memory();
        let store = open_small(&disk, Level::ZERO);
        let (kept, others) = filled(&store).await;
        if snapshot_before {
            store.blobs.snapshot(NOW).unwrap();
        }
        let before = (packs(&*disk).len(), store.blobs.figures().used, pack_bytes_on(&*disk));
        let_go(&store);
        let given = give_all_back(&store.blobs).unwrap();
        let after = (packs(&*disk).len(), store.blobs.figures().used, pack_bytes_on(&*disk));
        assert!(after.0 < before.0 && given.packs > 3, "{given:?} {before:?} {after:?}");
        assert_eq!(before.1 - after.1, before.2 - after.2, "the books say what the disk says");
        assert!(given.freed > before.1 - after.1);
        let live: u64 = kept.keys().map(Digest::size).sum();
        assert!(given.moved >= live / 2, "{given:?}");
        assert_kept(&store, &kept, "after compaction").await;
        assert_eq!(missing(&store.blobs, &others), others);

        if snapshot_before {
            // The levels of that snapshot, for records that lie elsewhere by now.
            let crashed: Arc<dyn Disk> = Arc::new(memory.crash(0));
            let again = open_small(&crashed, Level::ZERO);
            assert!(again.started.snapshot.is_some());
            assert_kept(&again, &kept, "from the snapshot before").await;
        }
        let crashed: Arc<dyn Disk> = Arc::new(memory.crash(1));
        store.blobs.snapshot(NOW).unwrap();
        let after: Arc<dyn Disk> = Arc::new(memory.crash(0));
        assert_kept(&open_small(&after, Level::ZERO), &kept, "from the snapshot after").await;
        store.blobs.close(NOW).unwrap();
        let again = open_small(&disk, WATERLINE);
        assert!(again.started.clean);
        assert_kept(&again, &kept, "after a clean stop").await;

        for file in ["snapshot.a", "snapshot.b"] {
            let _ = crashed.remove(file.as_ref());
        }
        let by_footers = open_small(&crashed, Level::ZERO);
        let written = kept.iter().map(|(digest, (content, _))| (*digest, (content.clone(), NOW)));
        assert_kept(&by_footers, &written.collect(), "by footers alone").await;
    }
}

#[tokio::test]
async fn time_of_writing_is_copied() {
    let (_, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let mut kept = Kept::new();
    for number in 0..60 {
        store.clock.advance(1);
        let one = blob(number, 20_000);
        put(&store.blobs, &one).await.unwrap();
        kept.insert(one.0, (one.1, NOW.plus(number as u32 + 1)));
    }
    // Sealed now, and its target made at another time.
    for group in store.blobs.shared().packs.unsealed() {
        group.target().end();
    }
    store.blobs.background_sync();
    store.clock.advance(1000);
    let shared = store.blobs.shared();
    for _ in 0..2 {
        let mut given = GivenBack::default();
        shared.switch(shared.copy_all(), &mut given).unwrap();
        assert!(given.moved > 60 * 20_000, "{given:?}");
    }
    assert_kept(&open_small(&disk, Level::ZERO), &kept, "by footers alone").await;
}

#[tokio::test]
async fn nothing_is_copied_where_little_is_to_be_had() {
    let (_, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    // Of tiny blobs the footer is a third of the pack, of singles the ends are little: neither is garbage.
    for number in 0..8 {
        let tiny: Vec<_> = (0..1000).map(|tiny| blob(number * 1000 + tiny, 90)).collect();
        assert!(store.blobs.put_many(tiny).await.iter().all(Result::is_ok));
        put(&store.blobs, &blob(number, 70_000)).await.unwrap();
    }
    store.blobs.background_sync();
    assert!(store.blobs.shared().packs.settled().len() > 10);
    for urgent in [false, true] {
        assert_eq!(store.blobs.give_back(urgent).unwrap(), GivenBack::default());
    }
}

#[tokio::test]
async fn emptiest_packs_go_first_and_less_than_a_tenth_of_garbage_waits() {
    let (_, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let mut packs_of = BTreeMap::<_, Vec<Digest>>::new();
    for number in 0..60 {
        let one = blob(number, 25_000);
        put(&store.blobs, &one).await.unwrap();
        let shared = store.blobs.shared();
        let place = shared.index.get(shared.index.key(&one.0), NOW).unwrap().location.place;
        packs_of.entry(place.pack).or_default().push(one.0);
    }
    store.blobs.background_sync();
    // One of the first pack goes, two of the second, and so on: 375 000 bytes in all, less than a tenth.
    let shared = store.blobs.shared();
    let gone: Vec<Digest> =
        packs_of.values().zip(1..6).flat_map(|(digests, count)| digests[..count].to_vec()).collect();
    assert_eq!(gone.len(), 15);
    for digest in &gone {
        let key = shared.index.key(digest);
        let entry = shared.index.get(key, NOW).unwrap();
        shared.index.remove(key, entry.location.place).unwrap();
        shared.dead(&entry.location);
    }
    assert_eq!(store.blobs.give_back(false).unwrap(), GivenBack::default());
    let victims: Vec<_> = shared.victims(true).iter().map(|(id, _)| *id).collect();
    let emptiest: Vec<_> = packs_of.keys().take(5).rev().take(victims.len()).copied().collect();
    assert!(!victims.is_empty() && victims == emptiest, "{victims:?} {emptiest:?}");
}
