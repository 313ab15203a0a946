//! Every call to the disk fails once: nothing panics, nothing said to be durable is lost, lack of space heals.

use rustix::io::Errno;

use super::*;
use crate::Error;
use crate::disk::{Call, Effect, Fault, FaultyDisk};

/// What was promised durable while the disk went wrong.
fn write_all_kinds(disk: &Arc<dyn Disk>) -> (Vec<Digest>, Result<()>) {
    let mut durable = Vec::new();
    let result = (|| {
        let pack = OpenPack::create(Arc::clone(disk), &KEYS, ID, NOW)?;
        for step in 0..3 {
            let blobs = [blob(step, 700), blob(step + 10, 33)];
            pack.append_many(&blobs, NOW)?;
            pack.sync()?;
            durable.extend(blobs.map(|(digest, _)| digest));
        }
        pack.seal()?;
        let (digest, content) = blob(50, 5000);
        let mut writer = SingleWriter::create(Arc::clone(disk), &KEYS, single_id(), NOW)?;
        writer.write(&[content.slice(..2000)])?;
        writer.write(&[content.slice(2000..)])?;
        writer.finish(&digest)?.commit()?;
        durable.push(digest);
        Ok(())
    })();
    (durable, result)
}

fn single_id() -> PackId {
    PackId::new(ID.number() + 0x100)
}

/// All digests that a start would find in the packs.
pub(super) fn recover(disk: &dyn Disk) -> Vec<Digest> {
    let mut found = Vec::new();
    for entry in disk.list(&ID.folder()).unwrap() {
        let (id, state) = PackId::parse_file_name(&entry.name).unwrap();
        if state == PackState::Open {
            search_and_seal(disk, &KEYS, id).unwrap();
        }
    }
    for entry in disk.list(&ID.folder()).unwrap() {
        let (id, state) = PackId::parse_file_name(&entry.name).unwrap();
        assert_eq!(state, PackState::Sealed);
        let pack = Arc::new(PackFile::open(disk, &KEYS, id, state).unwrap());
        for entry in pack.footer().unwrap() {
            let place = Place { pack: id, offset: entry.offset };
            let content = pack.read_small(place, &entry.digest, entry.stored).unwrap();
            assert_eq!(Digest::of(&content), entry.digest);
            found.push(entry.digest);
        }
    }
    found
}

/// Lets the n-th call go wrong, n rising until a run passes untouched.
fn at_every_call(effect: Effect, lasting: bool, mut check: impl FnMut(&MemoryDisk, Vec<Digest>, Result<()>)) {
    for nth in 1.. {
        let memory = memory();
        let fault = Fault { call: None, nth, effect, lasting };
        let faulty = Arc::new(FaultyDisk::new(Arc::clone(&memory) as Arc<dyn Disk>, fault));
        let disk: Arc<dyn Disk> = Arc::clone(&faulty) as Arc<dyn Disk>;
        let (durable, result) = write_all_kinds(&disk);
        if !faulty.has_struck() {
            assert!(nth > 15 && result.is_ok());
            return;
        }
        check(&memory, durable, result);
    }
}

#[test]
fn device_error_at_every_call_loses_nothing_durable() {
    for effect in [Effect::Fail(Errno::IO), Effect::CutShort(Errno::IO)] {
        for lasting in [false, true] {
            at_every_call(effect, lasting, |memory, durable, result| {
                assert!(matches!(result, Err(Error::Io { .. } | Error::Poisoned(_))), "{result:?}");
                for seed in 0..12 {
                    let found = recover(&memory.crash(seed));
                    assert!(durable.iter().all(|digest| found.contains(digest)));
                }
            });
        }
    }
}

#[test]
fn no_space_at_every_call_is_told_as_such() {
    for errno in [Errno::NOSPC, Errno::DQUOT] {
        at_every_call(Effect::CutShort(errno), false, |memory, durable, result| {
            assert!(matches!(result, Err(Error::NoSpace { .. })), "{result:?}");
            let found = recover(&memory.crash(0));
            assert!(durable.iter().all(|digest| found.contains(digest)));
        });
    }
}

#[test]
fn append_after_no_space_goes_on_where_it_was() {
    let memory = memory();
    let fault =
        Fault { call: Some(Call::Write), nth: 3, effect: Effect::CutShort(Errno::NOSPC), lasting: false };
    let disk = Arc::new(FaultyDisk::new(Arc::clone(&memory) as Arc<dyn Disk>, fault));
    let pack = OpenPack::create(disk, &KEYS, ID, NOW).unwrap();
    let blobs = [blob(1, 500), blob(2, 500), blob(3, 100)];
    append(&pack, &blobs[..1]);
    assert!(matches!(pack.append_many(&blobs[1..2], NOW), Err(Error::NoSpace { .. })));
    assert!(!pack.is_given_up());
    append(&pack, &blobs[2..]);
    pack.seal().unwrap();
    assert_eq!(recover(&memory.crash(0)), [blobs[0].0, blobs[2].0]);
}

#[test]
fn pack_whose_sync_failed_is_never_believed_again() {
    for errno in [Errno::IO, Errno::NOSPC] {
        let disk = memory();
        let pack = open_pack(&disk);
        let first = append(&pack, &[blob(1, 500)])[0];
        pack.sync().unwrap();
        append(&pack, &[blob(2, 500)]);
        disk.fail_next_sync(".open", errno, 0);
        let error = pack.sync().unwrap_err();
        assert_eq!(matches!(error, Error::NoSpace { .. }), errno == Errno::NOSPC, "{error}");
        assert!(pack.is_given_up());
        assert!(matches!(pack.sync(), Err(Error::Poisoned(_))));
        assert!(matches!(pack.seal(), Err(Error::Poisoned(_))));
        assert!(matches!(pack.append_many(&[blob(3, 5)], NOW), Err(Error::Poisoned(_))));
        assert_eq!(pack.synced(), first.end);
        // What the cache shows is not what the disk has: a start must not be misled by it.
        let sealed = search_and_seal(disk.as_ref(), &KEYS, ID).unwrap();
        assert_eq!(digests(&sealed.entries), [blob(1, 500).0]);
        assert_eq!(recover(&disk.crash(0)), [blob(1, 500).0]);
    }
}

#[test]
fn single_whose_sync_failed_is_never_believed_again() {
    let disk = memory();
    let (digest, content) = blob(1, 5000);
    let mut writer = SingleWriter::create(Arc::clone(&disk) as Arc<dyn Disk>, &KEYS, ID, NOW).unwrap();
    writer.write(&[content]).unwrap();
    let single = writer.finish(&digest).unwrap();
    disk.fail_next_sync(".open", Errno::IO, 0);
    assert!(matches!(single.commit(), Err(Error::Io { .. })));
    assert!(matches!(single.commit(), Err(Error::Poisoned(_))));
    assert!(recover(&disk.crash(1)).is_empty());
}

#[test]
fn full_disk_refuses_and_heals() {
    let disk = memory();
    let pack = open_pack(&disk);
    append(&pack, &[blob(1, 500)]);
    disk.set_capacity(8192);
    let error = pack.append_many(&[blob(2, 9000)], NOW).unwrap_err();
    assert!(matches!(error, Error::NoSpace { limit: 8192, .. }), "{error}");
    disk.set_capacity(1 << 20);
    append(&pack, &[blob(2, 9000)]);
    pack.seal().unwrap();
    assert_eq!(recover(&disk.crash(0)), [blob(1, 500).0, blob(2, 9000).0]);
}

#[test]
fn footer_lies_behind_what_a_write_cut_short_has_left() {
    let disk = memory();
    let pack = open_pack(&disk);
    append(&pack, &[blob(1, 500)]);
    disk.set_capacity(100 << 10);
    assert!(matches!(pack.append_many(&[blob(2, 200 << 10)], NOW), Err(Error::NoSpace { .. })));
    disk.set_capacity(1 << 20);
    append(&pack, &[blob(3, 5)]);
    pack.seal().unwrap();
    assert_eq!(recover(&disk.crash(0)), [blob(1, 500).0, blob(3, 5).0]);
}

#[test]
fn seal_and_commit_that_found_no_space_go_on_when_there_is_some() {
    let memory = memory();
    let disk: Arc<dyn Disk> = Arc::clone(&memory) as Arc<dyn Disk>;
    let pack = open_pack(&memory);
    append(&pack, &[blob(1, 500)]);
    let (digest, content) = blob(2, 7000);
    let mut writer = SingleWriter::create(disk, &KEYS, single_id(), NOW).unwrap();
    writer.write(&[content]).unwrap();
    let single = writer.finish(&digest).unwrap();
    append(&pack, &[blob(3, 3300)]);
    memory.set_capacity(12 << 10);
    assert!(matches!(pack.seal(), Err(Error::NoSpace { .. })));
    append_fails_only_for_space(&pack);
    memory.set_capacity(1 << 20);
    append(&pack, &[blob(4, 1)]);
    pack.seal().unwrap();
    single.commit().unwrap();
    assert_eq!(recover(&memory.crash(0)), [blob(1, 500).0, blob(3, 3300).0, blob(4, 1).0, digest]);
}

fn append_fails_only_for_space(pack: &OpenPack) {
    assert!(matches!(pack.append_many(&[blob(9, 9000)], NOW), Err(Error::NoSpace { .. })));
}

#[test]
fn sync_beside_one_that_fails_is_not_believed() {
    let memory = memory();
    let effect = Effect::FailAfter(Errno::IO, std::time::Duration::from_millis(100));
    // The first sync is that of the new pack's header.
    let fault = Fault { call: Some(Call::Sync), nth: 2, effect, lasting: false };
    let disk = Arc::new(FaultyDisk::new(Arc::clone(&memory) as Arc<dyn Disk>, fault));
    let pack = OpenPack::create(Arc::clone(&disk) as Arc<dyn Disk>, &KEYS, ID, NOW).unwrap();
    append(&pack, &[blob(1, 10)]);
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| pack.sync());
        while !disk.has_struck() {
            std::thread::yield_now();
        }
        assert!(matches!(pack.sync(), Err(Error::Poisoned(_))));
        assert!(matches!(failing.join().unwrap(), Err(Error::Io { .. })));
    });
    assert_eq!(pack.synced(), 80);
}

#[test]
fn footer_without_room_takes_none_however_often_it_is_tried_and_whatever_is_freed() {
    let disk = memory();
    let pack = open_pack(&disk);
    let blobs: Vec<_> = (0..300).map(|number| blob(number, 10)).collect();
    append(&pack, &blobs);
    pack.sync().unwrap();
    let used = || {
        let space = disk.space().unwrap();
        space.total - space.available
    };
    let before = used();
    for freed in 0..7 {
        disk.set_capacity(before + freed * 4096);
        assert!(matches!(pack.seal(), Err(Error::NoSpace { .. })), "{freed}");
        assert_eq!(used(), before, "{freed}");
    }
    disk.set_capacity(1 << 20);
    pack.seal().unwrap();
    assert_eq!(recover(&disk.crash(0)).len(), 300);
}

/// The volume says that it has room, and then has not: a quota.
#[test]
fn footer_that_was_cut_short_is_tried_again_in_its_place() {
    let lengths = [0, 1, 4].map(|failures| {
        let mut disk = memory() as Arc<dyn Disk>;
        let memory = Arc::clone(&disk);
        for attempt in 0..failures {
            // Each stands before the next: header, records, then the attempts; those cut short below are counted too.
            let effect = Effect::CutShort(Errno::DQUOT);
            let fault =
                Fault { call: Some(Call::Write), nth: 3 + failures - 1 - attempt, effect, lasting: false };
            disk = Arc::new(FaultyDisk::new(disk, fault));
        }
        let pack = OpenPack::create(disk, &KEYS, ID, NOW).unwrap();
        append(&pack, &[blob(1, 500), blob(2, 3)]);
        for _ in 0..failures {
            assert!(matches!(pack.seal(), Err(Error::NoSpace { .. })));
        }
        pack.seal().unwrap();
        memory.open(&ID.path(PackState::Sealed)).unwrap().len().unwrap()
    });
    assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
}
