use super::damage::flip_bit_in;
use super::restart::packs;
use super::*;
use crate::disk::RealDisk;

/// Backs up all packs, and says what could not be copied.
fn back_up(blobs: &Blobs, target: &Target) -> Vec<BadRecord> {
    let mut copies = blobs.hold_packs().unwrap();
    copies.look_out();
    target.begin().unwrap();
    let bad = copy_all(&mut copies, target);
    target.sync_packs().unwrap();
    target.finish(&target.new_mark().whole(1, 0, 0)).unwrap();
    copies.clear(target).unwrap();
    bad
}

fn copy_all(copies: &mut PackCopies, target: &Target) -> Vec<BadRecord> {
    let mut bad = Vec::new();
    while let Some(pack) = copies.next_pack() {
        bad.extend(copies.copy(pack, target, &mut |_| Ok(())).unwrap().bad);
        copies.is_through(pack);
    }
    bad
}

fn target(folder: &tempfile::TempDir, blobs: &Blobs) -> Target {
    Target::open(&folder.path().join("backup"), Purpose::Backup, blobs).unwrap()
}

/// The copy as a volume of its own.
fn open_copy(folder: &tempfile::TempDir) -> Store {
    let disk = RealDisk::open(&folder.path().join("backup")).unwrap();
    become_volume(&disk).unwrap();
    open(&(Arc::new(disk) as Arc<dyn Disk>))
}

#[tokio::test]
async fn copy_holds_every_blob_and_what_is_bad_is_left_out_and_told() {
    for len in [500, LARGE] {
        let folder = tempfile::tempdir().unwrap();
        let (_, disk) = memory();
        let store = open(&disk);
        let all: Vec<_> = (0..20).map(|number| blob(number, len)).chain([blob(99, 40_000)]).collect();
        for one in &all {
            put(&store.blobs, one).await.unwrap();
        }
        let bad = &all[7];
        flip_bit_in(&*disk, &bad.1[len / 2..len / 2 + 32]);
        let found = back_up(&store.blobs, &target(&folder, &store.blobs));
        assert_eq!(found.iter().map(|bad| bad.digest).collect::<Vec<_>>(), [Some(bad.0)]);
        assert_eq!(store.damage(), [found[0].place], "it is missing here from now on");
        let digests: Vec<_> = all.iter().map(|one| one.0).collect();
        assert_eq!(missing(&store.blobs, &digests), [bad.0]);
        let copy = open_copy(&folder);
        assert_eq!((copy.started.searched, copy.started.lost_records), (0, 0), "footers vouch for all");
        assert_eq!(missing(&copy.blobs, &digests), [bad.0]);
        for one in all.iter().filter(|one| one.0 != bad.0) {
            assert_eq!(read(&copy.blobs, &one.0).await.unwrap(), one.1);
        }
    }
}

#[tokio::test]
async fn what_goes_bad_after_a_backup_stays_good_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_, disk) = memory();
    let store = open(&disk);
    let one = blob(1, 3000);
    put(&store.blobs, &one).await.unwrap();
    back_up(&store.blobs, &target(&folder, &store.blobs));
    flip_bit_in(&*disk, &one.1[..32]);
    put(&store.blobs, &blob(2, 3000)).await.unwrap();
    assert_eq!(back_up(&store.blobs, &target(&folder, &store.blobs)), []);
    assert_eq!(read(&open_copy(&folder).blobs, &one.0).await.unwrap(), one.1);
}

#[tokio::test]
async fn pack_that_is_let_go_meanwhile_is_copied_first_and_then_gives_its_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let (_, disk) = memory();
    let store = open(&disk);
    let (kept, gone) = (blob(1, LARGE), blob(2, LARGE));
    for one in [&kept, &gone] {
        put(&store.blobs, one).await.unwrap();
    }
    store.blobs.background_sync();
    let target = target(&folder, &store.blobs);
    target.begin().unwrap();
    let mut copies = store.blobs.hold_packs().unwrap();
    assert!(matches!(store.blobs.hold_packs(), Err(Error::Busy(_))), "one at a time");
    let used = store.blobs.figures().used;
    let let_go = |one: &(Digest, Bytes), waterline: Level| {
        store.clock.advance(100);
        store.blobs.raise(&[one.0], store.clock.now());
        store.blobs.set_waterline(waterline);
        store.blobs.drop_below(waterline);
    };
    let_go(&kept, NOW.plus(50));
    // Before it is known which are to be copied, and after that.
    assert_eq!(store.blobs.give_back(false).unwrap().freed, 0);
    copies.look_out();
    assert_eq!(store.blobs.give_back(false).unwrap().freed, 0);
    assert_eq!(missing(&store.blobs, &[kept.0, gone.0]), [gone.0]);
    assert!(copies.held_bytes() > LARGE as u64 && store.blobs.figures().used == used);
    let (first, files) = (copies.next_pack().unwrap(), packs(&*disk).len());
    copies.copy(first, &target, &mut |_| Ok(())).unwrap();
    copies.is_through(first);
    assert_eq!((copies.held_bytes(), packs(&*disk).len()), (0, files - 1));
    let freed = store.blobs.give_back(false).unwrap().freed;
    assert_eq!(store.blobs.figures().used, used - freed);
    assert!(freed > LARGE as u64);
    copy_all(&mut copies, &target);
    target.finish(&target.new_mark().whole(1, 0, 0)).unwrap();
    drop((copies, target));
    let copy = open_copy(&folder);
    for one in [kept, gone] {
        assert_eq!(read(&copy.blobs, &one.0).await.unwrap(), one.1);
    }
}

#[tokio::test]
async fn backup_that_is_broken_off_holds_nothing_and_is_no_volume_until_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (_, disk) = memory();
    let store = open(&disk);
    put(&store.blobs, &blob(1, LARGE)).await.unwrap();
    let begun = target(&folder, &store.blobs);
    begun.begin().unwrap();
    let mut copies = store.blobs.hold_packs().unwrap();
    copies.look_out();
    let pack = copies.next_pack().unwrap();
    let broken_off = copies.copy(pack, &begun, &mut |_| Err(Error::Busy("on purpose".into())));
    assert!(matches!(broken_off, Err(Error::Busy(_))));
    store.blobs.set_waterline(NOW.plus(1));
    store.blobs.drop_below(NOW.plus(1));
    store.blobs.give_back(false).unwrap();
    assert!(copies.held_bytes() > 0);
    drop((copies, begun));
    assert!(store.blobs.give_back(false).unwrap().freed > LARGE as u64);
    let copy = RealDisk::open(&folder.path().join("backup")).unwrap();
    assert!(matches!(become_volume(&copy), Err(Error::Refused(_))));
    assert_eq!(packs(&copy), [""; 0]);
}
