//! From a volume to an index, in this order: was the stop clean, the newest good snapshot, then every pack that it does
//! not cover (sealed ones by their footers, others by a search), then the levels.
//!
//! **Invariant:** no file of the volume stops a start. A part that cannot be read is set aside under a name that says
//! so, and its blobs are missing. Only a fault of the process itself (no descriptors, no memory) or of the volume as a
//! whole is an error here. What is entered was read back from the disk and is durable.

mod recover;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};

use recover::{Recovered, recover_all};

use super::appending::Appending;
use super::blocking::Turns;
use super::damage::{Damage, KnownDamage, OnDamage};
use super::format::{PackId, PackState, RecordHeader, VolumeKeys, pack_folder};
use super::held::HeldPacks;
use super::index::{Index, Key};
use super::pack_set::{PackCounters, PackSet};
use super::packs::BlobsOptions;
use super::poison::Poison;
use super::shared::Shared;
use super::snapshot::{self, FILES, Summary, Turn};
use super::space::Space;
use super::upkeep::take_clean;
use super::volume::Volume;
use crate::disk::{Disk, Entry};
use crate::{Clock, Error, Level, Result};

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// The last stop was clean, and its snapshot was used: all levels are exact.
    pub clean: bool,
    /// S of the snapshot that was used: values whose level was set later are to be walked after an unclean stop, all
    /// values if there is none.
    pub snapshot: Option<Level>,
    /// Packs on the volume.
    pub packs: usize,
    /// Packs that no footer vouched for and that were searched.
    pub searched: usize,
    /// Records known to be lost in them; none of them was acknowledged, unless the disk lost what it had synced.
    pub lost_records: u64,
    /// Blobs in the index.
    pub blobs: usize,
    /// Packs that bad records were remembered of and that are gone: those may be forgotten.
    pub gone: Vec<u32>,
    /// What could not be read and was set aside or made good: sentences for the log.
    pub set_aside: Vec<String>,
}

/// What was read from a snapshot.
#[derive(Debug, Default)]
struct FromSnapshot {
    summary: Option<Summary>,
    generation: u64,
    /// The highest pack number that either says was given out.
    last_pack: PackId,
    /// Packs whose content the index has already.
    covered: HashMap<PackId, u64>,
    /// Levels of blobs whose packs are to be read.
    levels: HashMap<Key, Level>,
}

/// A file in a folder of packs.
#[derive(Clone, Debug)]
struct Found {
    id: PackId,
    state: PackState,
    len: u64,
    allocated: u64,
}

/// What the folders of packs hold.
#[derive(Debug, Default)]
struct Listing {
    packs: Vec<Found>,
    /// The highest number of a pack that was set aside.
    last_aside: Option<PackId>,
    /// Bytes of everything that is no pack.
    others: u64,
}

/// What the names of packs end with that were set aside.
const UNREADABLE: &str = ".unreadable";

pub(super) fn start(
    disk: Arc<dyn Disk>,
    options: &BlobsOptions,
    clock: Arc<Clock>,
    waterline: Level,
    damaged: Vec<Damage>,
    on_damage: Box<dyn Fn(Damage) + Send + Sync>,
) -> Result<(Arc<Shared>, Started)> {
    let volume = Volume::open(&*disk, clock.now())?;
    let space = Arc::new(Space::new(disk.clone(), &options.room())?);
    let clean = take_clean(&*disk)?;
    let damage = KnownDamage::new(damaged);
    let found = list_packs(&*disk)?;
    let (index, from_snapshot) = read_snapshots(&*disk, &volume.keys, &found.packs, &damage)?;
    let packs = &found.packs;
    let open = packs.iter().filter(|found| !from_snapshot.covered.contains_key(&found.id)).cloned().collect();
    let recovered = recover_all(&*disk, &volume.keys, open, |entry, place, stored| {
        if !damage.contains(place) {
            let key = index.key(&entry.digest);
            let level = from_snapshot.levels.get(&key).copied().unwrap_or(entry.time);
            index.restore(key, super::index::Location { place, stored }, level);
        }
    })?;
    let clean = volume.is_new
        || clean.is_some_and(|generation| {
            from_snapshot.summary.is_some_and(|summary| summary.generation == generation)
        });
    if !clean {
        // Either garbage that is back, or raised after the snapshot: nobody can tell.
        index.raise_every(waterline);
    }
    let last = highest_id(&found, &from_snapshot, &damage);
    let (known, started) = sum_up(&found.packs, &from_snapshot, recovered, volume.repaired, clean);
    let bytes = FILES.map(|file| allocated_of(&*disk, file));
    let turn = Turn::after(from_snapshot.summary.as_ref(), from_snapshot.generation, bytes);
    space.set_snapshots(bytes.iter().sum());
    space.packs_change(0, found.others);
    known.values().for_each(|counters| space.packs_change(0, counters.counted()));
    let shared = Arc::new(Shared {
        keys: volume.keys,
        clock,
        packs: PackSet::new(known, last),
        held: HeldPacks::default(),
        space,
        poison: Poison::default(),
        appending: Mutex::new(Appending::default()),
        snapshots: Mutex::new(turn),
        copying: Mutex::default(),
        untold: Mutex::default(),
        ages: Mutex::new(None),
        turns: Turns::default(),
        on_damage: OnDamage::new(on_damage),
        durability_off: options.durability_off,
        compresses: AtomicBool::new(options.compress),
        closed: AtomicBool::new(false),
        waterline: AtomicU32::new(waterline.seconds()),
        epoch: AtomicU64::new(0),
        index,
        disk,
    });
    shared.count_live();
    let on_volume = found.packs.iter().map(|found| found.id).collect();
    let gone = damage.gone(&on_volume);
    let started = Started { blobs: shared.index.len(), packs: shared.packs.len(), gone, ..started };
    Ok((shared, started))
}

fn list_packs(disk: &dyn Disk) -> Result<Listing> {
    let mut found = Listing::default();
    for low_byte in 0..=u8::MAX {
        let folder = pack_folder(low_byte);
        let entries =
            disk.list(&folder).map_err(|error| Error::io(format!("listing {}", folder.display()), error))?;
        for Entry { name, len, allocated } in entries {
            if let Some((id, state)) = PackId::parse_file_name(&name) {
                found.packs.push(Found { id, state, len, allocated });
                continue;
            }
            found.others += allocated;
            let aside = name.strip_suffix(UNREADABLE).and_then(PackId::parse_file_name);
            found.last_aside = found.last_aside.max(aside.map(|(id, _)| id));
        }
    }
    Ok(found)
}

/// The newest snapshot of which every block is good, and what it covers.
fn read_snapshots(
    disk: &dyn Disk,
    keys: &VolumeKeys,
    found: &[Found],
    damage: &KnownDamage,
) -> Result<(Index, FromSnapshot)> {
    let sealed: HashMap<PackId, u64> = found
        .iter()
        .filter(|found| found.state == PackState::Sealed)
        .map(|found| (found.id, found.len))
        .collect();
    let mut summaries: Vec<Summary> =
        FILES.iter().filter_map(|file| snapshot::read_summary(disk, file, &keys.id)).collect();
    summaries.sort_by_key(|summary| std::cmp::Reverse(summary.generation));
    let generation = summaries.first().map_or(0, |summary| summary.generation);
    let last_pack = summaries.iter().map(|summary| summary.last_pack).max().unwrap_or(PackId::NONE);
    for summary in summaries {
        let index = Index::new(&keys.secret);
        let mut from =
            FromSnapshot { summary: Some(summary), generation, last_pack, ..FromSnapshot::default() };
        let FromSnapshot { covered, levels, .. } = &mut from;
        // However long the file has become, there are no more blobs than packs have room for.
        let records_max = sealed.values().sum::<u64>() / RecordHeader::LEN as u64;
        index.reserve(summary.entries_max.min(records_max));
        // Packs come before entries, so the second closure finds them all.
        let covered = std::cell::RefCell::new(covered);
        let result = snapshot::read(
            disk,
            &summary,
            |id, len| {
                if sealed.get(&id) == Some(&len) {
                    covered.borrow_mut().insert(id, len);
                }
            },
            |entry| {
                if !covered.borrow().contains_key(&entry.location.place.pack) {
                    let level = levels.entry(entry.key).or_insert(entry.level);
                    *level = entry.level.max(*level);
                } else if !damage.contains(entry.location.place) {
                    index.restore(entry.key, entry.location, entry.level);
                }
            },
        );
        match result {
            Ok(()) => return Ok((index, from)),
            Err(error) => tracing::warn!(file = summary.file, %error, "a snapshot cannot be used"),
        }
    }
    let from = FromSnapshot { generation, last_pack, ..FromSnapshot::default() };
    Ok((Index::new(&keys.secret), from))
}

/// No number up to this one is given out again: nothing that speaks of a pack may ever mean another.
fn highest_id(found: &Listing, from: &FromSnapshot, damage: &KnownDamage) -> PackId {
    let on_disk =
        found.packs.iter().map(|found| found.id).chain(found.last_aside).max().unwrap_or(PackId::NONE);
    on_disk.max(from.last_pack).max(damage.last_pack())
}

fn sum_up(
    found: &[Found],
    from: &FromSnapshot,
    recovered: Vec<Recovered>,
    repaired: Vec<String>,
    clean: bool,
) -> (HashMap<PackId, Arc<PackCounters>>, Started) {
    let snapshot = from.summary.map(|summary| summary.level);
    let mut started = Started { clean, snapshot, set_aside: repaired, ..Started::default() };
    let covered = found.iter().filter(|found| from.covered.contains_key(&found.id));
    let mut known: HashMap<PackId, Arc<PackCounters>> = covered
        .filter(|found| found.state == PackState::Sealed)
        .map(|found| (found.id, Arc::new(PackCounters::sealed(found.len, found.allocated))))
        .collect();
    for pack in recovered {
        started.searched += usize::from(pack.searched);
        started.lost_records += pack.lost;
        if let Some(allocated) = pack.allocated {
            let counters = PackCounters::sealed(pack.sealed_len, allocated);
            if pack.set_aside.is_some() {
                counters.set_aside();
            }
            known.entry(pack.id).or_insert_with(|| Arc::new(counters));
        }
        started.set_aside.extend(pack.set_aside);
    }
    (known, started)
}

fn allocated_of(disk: &dyn Disk, file: &str) -> u64 {
    disk.open(file.as_ref()).and_then(|file| file.allocated()).unwrap_or(0)
}
