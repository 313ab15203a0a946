//! What a crash image of the memory disk may show, and what not.

use std::collections::BTreeSet;

use super::*;

const SEEDS: u64 = 300;

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn content(disk: &MemoryDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(path(name)).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    Some(bytes)
}

/// All that the seeds make of one file.
fn images(disk: &MemoryDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..SEEDS).map(|seed| content(&disk.crash(seed), name)).collect()
}

fn durable_file(disk: &MemoryDisk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.create(path(name)).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_folder(path("")).unwrap();
    file
}

#[test]
fn synced_bytes_under_a_synced_name_survive_every_cut() {
    let disk = MemoryDisk::default();
    durable_file(&disk, "a", b"kept");
    assert_eq!(images(&disk, "a"), BTreeSet::from([Some(b"kept".to_vec())]));
}

#[test]
fn file_whose_folder_was_not_synced_may_be_gone_whatever_was_synced_in_it() {
    let disk = MemoryDisk::default();
    let file = disk.create(path("a")).unwrap();
    file.write_at(b"kept", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(images(&disk, "a"), BTreeSet::from([None, Some(b"kept".to_vec())]));
}

#[test]
fn unsynced_writes_are_kept_lost_and_kept_out_of_order() {
    let disk = MemoryDisk::default();
    let file = durable_file(&disk, "a", b"....");
    file.write_at(b"x", 0).unwrap();
    file.write_at(b"y", 2).unwrap();
    let seen = images(&disk, "a");
    let expected = ["....", "x...", "..y.", "x.y."].map(|text| Some(text.as_bytes().to_vec()));
    assert_eq!(seen, BTreeSet::from(expected));
    assert_eq!(content(&disk.crash(0), "a").unwrap(), b"....");
    assert_eq!(content(&disk.crash(1), "a").unwrap(), b"x.y.");
}

#[test]
fn write_is_torn_at_sectors_only() {
    let disk = MemoryDisk::default();
    let file = durable_file(&disk, "a", &[0; 1600]);
    file.write_at(&[1; 1200], 300).unwrap();
    let mut torn = 0;
    for image in images(&disk, "a").into_iter().flatten() {
        assert_eq!(image.len(), 1600);
        for (start, end) in [(0, 300), (300, 512), (512, 1024), (1024, 1500), (1500, 1600)] {
            let sector = &image[start..end];
            assert!(sector.iter().all(|byte| *byte == sector[0]), "{start}");
        }
        torn += usize::from(image[300] != image[600] || image[600] != image[1100]);
    }
    assert_eq!(torn, 6, "all ways of tearing three sectors");
}

#[test]
fn file_grows_by_what_was_kept_or_by_zeros() {
    let disk = MemoryDisk::default();
    let file = durable_file(&disk, "a", b"a");
    file.write_at(b"b", 1000).unwrap();
    let lens: BTreeSet<_> = images(&disk, "a")
        .into_iter()
        .flatten()
        .map(|image| (image.len(), image.last() == Some(&b'b')))
        .collect();
    assert_eq!(lens, BTreeSet::from([(1, false), (1001, false), (1001, true)]));
}

#[test]
fn rename_is_whole_or_not_at_all_until_the_folder_is_synced() {
    let disk = MemoryDisk::default();
    durable_file(&disk, "old", b"old");
    durable_file(&disk, "new", b"new");
    disk.rename(path("new"), path("old")).unwrap();
    assert_eq!(content(&disk, "old").unwrap(), b"new");
    let seen: BTreeSet<_> = (0..SEEDS)
        .map(|seed| disk.crash(seed))
        .map(|image| (content(&image, "old").unwrap(), content(&image, "new")))
        .collect();
    let undone = (b"old".to_vec(), Some(b"new".to_vec()));
    assert_eq!(seen, BTreeSet::from([undone, (b"new".to_vec(), None)]));
    disk.sync_folder(path("")).unwrap();
    assert_eq!(images(&disk, "old"), BTreeSet::from([Some(b"new".to_vec())]));
}

#[test]
fn removed_file_may_be_back_until_the_folder_is_synced_and_is_readable_while_open() {
    let disk = MemoryDisk::default();
    let file = durable_file(&disk, "a", b"a");
    disk.remove(path("a")).unwrap();
    assert_eq!(content(&disk, "a"), None);
    assert_eq!(images(&disk, "a"), BTreeSet::from([None, Some(b"a".to_vec())]));
    disk.sync_folder(path("")).unwrap();
    assert_eq!(images(&disk, "a"), BTreeSet::from([None]));
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, 0).unwrap(), 1);
    assert_eq!(disk.space().unwrap().available, CAPACITY - BLOCK);
    drop(file);
    assert_eq!(disk.space().unwrap().available, CAPACITY);
}

#[test]
fn folder_that_was_not_synced_is_gone_with_all_in_it() {
    let disk = MemoryDisk::default();
    disk.create_folder(path("f")).unwrap();
    disk.create(path("f/a")).unwrap().sync().unwrap();
    disk.sync_folder(path("f")).unwrap();
    assert_eq!(images(&disk, "f/a"), BTreeSet::from([None, Some(Vec::new())]));
    disk.sync_folder(path("")).unwrap();
    assert_eq!(images(&disk, "f/a"), BTreeSet::from([Some(Vec::new())]));
}

#[test]
fn failed_sync_loses_what_the_cache_goes_on_showing() {
    let disk = MemoryDisk::default();
    let file = durable_file(&disk, "a", b"old");
    file.write_at(b"new", 0).unwrap();
    disk.fail_next_sync("a", Errno::IO, 0);
    assert_eq!(Errno::from_io_error(&file.sync().unwrap_err()), Some(Errno::IO));
    assert_eq!(content(&disk, "a").unwrap(), b"new");
    file.sync().unwrap();
    assert_eq!(images(&disk, "a"), BTreeSet::from([Some(b"old".to_vec())]));
    file.drop_cache();
    assert_eq!(content(&disk, "a").unwrap(), b"old");
}

#[test]
fn failed_sync_of_a_folder_loses_the_name() {
    let disk = MemoryDisk::default();
    disk.create_folder(path("f")).unwrap();
    disk.sync_folder(path("")).unwrap();
    disk.create(path("f/a")).unwrap();
    disk.fail_next_sync("f", Errno::IO, 0);
    assert!(disk.sync_folder(path("f")).is_err());
    disk.sync_folder(path("f")).unwrap();
    assert_eq!(disk.list(path("f")).unwrap().len(), 1);
    assert!(disk.crash(1).open(path("f/a")).is_err());
}

#[test]
fn write_beyond_the_capacity_is_cut_at_it() {
    let disk = MemoryDisk::with_capacity(3 * BLOCK);
    let file = durable_file(&disk, "a", &[1; 100]);
    let error = file.write_at(&[2; 4 * BLOCK as usize], 100).unwrap_err();
    assert!(crate::disk::is_no_space(&error));
    assert_eq!(file.len().unwrap(), 3 * BLOCK);
    assert_eq!(disk.space().unwrap().available, 0);
    disk.set_capacity(6 * BLOCK);
    file.write_at(&[2; 4 * BLOCK as usize], 100).unwrap();
}
