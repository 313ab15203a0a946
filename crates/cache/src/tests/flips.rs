//! One fault at a time in any file of a volume, at rest or while it is served: a flipped bit, an end that is gone, a file
//! that is gone, a sector that cannot be read. No fault stops a start or has a wrong byte answered, none costs more than
//! the names that reach the record it hit, and a check names exactly those.
//!
//! `MILLPOND_FLIPS` says how many faults, from `MILLPOND_SEED` on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use millpond_store::Level;
use millpond_store::blobs::format::{PackId, PackState, record_len};
use millpond_store::blobs::pack::{PackFile, search_open};
use millpond_store::blobs::volume::Volume;
use millpond_store::disk::{Disk, RealDisk};

use super::bad_sector::BadSector;
use super::letting_go::{Random, number};
use super::*;
use crate::{AuditKeep, Finding};

const SECTOR: u64 = 4096;

/// A volume and what it holds.
struct Made {
    folder: tempfile::TempDir,
    /// By name: what it points to, and all that it needs.
    names: BTreeMap<String, Vec<Digest>>,
    /// What lies where, by file.
    records: BTreeMap<PathBuf, Vec<(Range<u64>, Digest)>>,
    files: Vec<PathBuf>,
}

/// In memory where that can be: thousands of volumes are copied.
fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn small(data: &Path) -> CacheOptions {
    CacheOptions {
        max_size: Some(MaxSize::Bytes(16 << 20)),
        audit: AuditKeep::Bytes(100_000),
        keep_free: Some(0),
        ..options(data)
    }
}

/// Artifacts that share blobs, in packs that are sealed and, where it was killed, one that is not; both snapshots.
async fn make(clean: bool) -> Made {
    let data = temporary();
    let mut names = BTreeMap::new();
    let mut number = 0;
    let mut fixture = Fixture::of(Cache::open(small(data.path())).await.unwrap().0);
    for round in 0..3 {
        for _ in 0..6 {
            push(&fixture, number, &mut names).await;
            number += 1;
        }
        let snapshot = fixture.cache.inner.gate.snapshot_time();
        fixture.cache.inner.blobs.snapshot(snapshot).unwrap();
        if round < 2 {
            fixture.cache.close().await;
            drop(fixture);
            fixture = Fixture::of(Cache::open(small(data.path())).await.unwrap().0);
        }
    }
    push(&fixture, number, &mut names).await;
    if clean {
        fixture.cache.close().await;
    }
    let folder = temporary();
    copy(data.path(), folder.path());
    let records = records(folder.path());
    let mut files = Vec::new();
    list(folder.path(), Path::new(""), &mut files);
    Made { folder, names, records, files }
}

async fn push(fixture: &Fixture, number: u32, names: &mut BTreeMap<String, Vec<Digest>>) {
    let mut random = Random(u64::from(number) + 7);
    let mut bytes = |len: u64| (0..len).map(|_| u8::try_from(random.below(256)).unwrap()).collect::<Vec<_>>();
    let large = if number.is_multiple_of(4) { 100_000 } else { 9_000 };
    let own = fixture.put(bytes(2_000 + 500 * u64::from(number))).await.unwrap();
    let large = fixture.put(bytes(large)).await.unwrap();
    let shared = fixture.put(vec![u8::try_from(number / 3).unwrap(); 700]).await.unwrap();
    let child = fixture.put_message(&directory(&[("own", own), ("large", large)], &[])).await.unwrap();
    let root = fixture.put_message(&directory(&[("shared", shared)], &[("child", child)])).await.unwrap();
    let blob = fixture.put_message(&artifact(root, None)).await.unwrap();
    let uri = format!("{ARTIFACT}{number}");
    assert_eq!(fixture.push(AssetKind::Blob, &[&uri], blob).await.unwrap(), Published::Whole);
    names.insert(uri, vec![blob, root, child, shared, large, own]);
}

/// Folders of packs that are empty are left out: a start makes them again.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if !path.is_dir() {
            fs::copy(path, target).unwrap();
        } else if fs::read_dir(&path).unwrap().next().is_some() {
            copy(&path, &target);
        }
    }
}

fn list(data: &Path, folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(data.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            list(data, &path, files);
        } else if entry.metadata().unwrap().len() > 0 && !path.to_string_lossy().ends_with("-shm") {
            files.push(path);
        }
    }
    files.sort();
}

fn records(data: &Path) -> BTreeMap<PathBuf, Vec<(Range<u64>, Digest)>> {
    let scratch = temporary();
    copy(data, scratch.path());
    let disk = RealDisk::open(scratch.path()).unwrap();
    let keys = Volume::open(&disk, Level::ZERO).unwrap().keys;
    let mut files = Vec::new();
    list(data, Path::new(""), &mut files);
    let mut records = BTreeMap::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let entries = match PackId::parse_file_name(&name) {
            Some((id, PackState::Sealed)) => {
                PackFile::open(&disk, &keys, id, PackState::Sealed).unwrap().footer().unwrap()
            }
            Some((id, PackState::Open)) => {
                search_open(&disk, &keys, id).map_or_else(|_| Vec::new(), |found| found.entries)
            }
            None => continue,
        };
        let range = |start: u64, stored: u64| start..start + record_len(stored);
        let found =
            entries.iter().map(|entry| (range(u64::from(entry.offset) * 8, entry.stored), entry.digest));
        records.insert(path, found.collect());
    }
    records
}

/// What goes wrong.
#[derive(Debug)]
enum Fault {
    Bit(u64, u8),
    Cut(u64),
    Gone,
    Sector(u64),
}

impl Made {
    /// One fault of a kind and at a place that follow from a seed. What it cost, in names.
    async fn suffer(&self, seed: u64) -> usize {
        let mut random = Random(seed);
        let path = &self.files[random.index(self.files.len())];
        let len = fs::metadata(self.folder.path().join(path)).unwrap().len();
        let at = random.below(len);
        let bit = || Fault::Bit(at, u8::try_from(at % 8).unwrap());
        let fault = match random.below(10) {
            0 => Fault::Cut(at),
            1 => Fault::Gone,
            // SQLite reads its files itself.
            2 if !path.starts_with("catalog.db") && !path.starts_with("catalog.db-wal") => {
                Fault::Sector(at / SECTOR * SECTOR)
            }
            _ => bit(),
        };
        let serving = matches!(fault, Fault::Bit(..)) && random.one_in(3);
        let both = matches!(fault, Fault::Bit(..)) && path.to_string_lossy().starts_with("snapshot");
        let what = format!("seed {seed}: {fault:?} in {}, serving: {serving}", path.display());
        let data = temporary();
        copy(self.folder.path(), data.path());
        let hit = || {
            strike(&data.path().join(path), &fault);
            if both && at.is_multiple_of(2) {
                for file in ["snapshot.a", "snapshot.b"] {
                    strike(&data.path().join(file), &Fault::Bit(at % 50, 0));
                }
            }
        };
        if !serving {
            hit();
        }
        let found = match fault {
            Fault::Sector(_) => None,
            _ if serving => None,
            _ => Some(self.check_offline(data.path(), &what).await),
        };
        let disk: Arc<dyn Disk> = match fault {
            Fault::Sector(start) => BadSector::on(data.path(), path.clone(), start..start + SECTOR),
            _ => Arc::new(RealDisk::open(data.path()).unwrap()),
        };
        let opened = Cache::open_on(small(data.path()), move |_| Ok(disk)).await;
        let fixture = Fixture::of(opened.unwrap_or_else(|error| panic!("{what}: {error}")).0);
        if serving {
            self.served(&fixture, &what).await;
            hit();
        }
        self.served(&fixture, &what).await;
        let affected = check(&fixture, &what).await;
        let lost = self.served(&fixture, &what).await;
        assert_eq!(affected, lost, "{what}: the check names exactly what is lost");
        if let Some(found) = found {
            assert_eq!(found, lost, "{what}: so does the check of what nobody serves");
        }
        let allowed = self.reached(path, &fault);
        assert!(lost.is_subset(&allowed), "{what}: {lost:?} were lost, and only {allowed:?} may be");
        fixture.cache.close().await;
        lost.len()
    }

    /// Names that reach what the fault may have hit.
    fn reached(&self, path: &Path, fault: &Fault) -> BTreeSet<String> {
        let hit = match fault {
            Fault::Bit(at, _) => *at..at + 1,
            Fault::Cut(at) => *at..u64::MAX,
            Fault::Gone => 0..u64::MAX,
            Fault::Sector(start) => *start..start + SECTOR,
        };
        let records = self.records.get(path).map_or(&[][..], |records| records);
        let meets = |range: &Range<u64>| range.start < hit.end && hit.start < range.end;
        let blobs: BTreeSet<Digest> =
            records.iter().filter(|(range, _)| meets(range)).map(|(_, digest)| *digest).collect();
        let reaches = |closure: &Vec<Digest>| closure.iter().any(|digest| blobs.contains(digest));
        self.names.iter().filter(|(_, closure)| reaches(closure)).map(|(name, _)| name.clone()).collect()
    }

    /// Asks for each name, and reads all of it: the names that are not there. Never a wrong byte, never half of one.
    async fn served(&self, fixture: &Fixture, what: &str) -> BTreeSet<String> {
        let mut lost = BTreeSet::new();
        for (name, closure) in &self.names {
            let found = fixture.fetch_digest(AssetKind::Blob, name).await;
            assert!(found.is_none_or(|found| found == closure[0]), "{what}: {name} answers {found:?}");
            let mut whole = found.is_some();
            for digest in closure {
                match fixture.read(*digest).await {
                    Ok(content) => assert_eq!(Digest::of(&content), *digest, "{what}: a wrong byte"),
                    Err(Error::NotFound(_)) => whole = false,
                    Err(error) => panic!("{what}: {digest}: {error}"),
                }
            }
            // A blob that only this reading found to be bad takes the name with it from the next look-up on.
            if !whole {
                lost.insert(name.clone());
            }
        }
        lost
    }

    /// What a check of the directory says, which leaves it as it is.
    async fn check_offline(&self, data: &Path, what: &str) -> BTreeSet<String> {
        let before = contents(data);
        let affected = Arc::<Mutex<BTreeSet<String>>>::default();
        let told = Arc::clone(&affected);
        let hear = move |finding| {
            if let Finding::Affected { name, .. } = finding {
                told.lock().unwrap().insert(name);
            }
            true
        };
        Cache::check_volume(small(data), false, hear).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(before == contents(data), "{what}: the check has changed something");
        affected.lock().unwrap().clone()
    }
}

/// Of all files but the lock, which says who holds it.
fn contents(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = Vec::new();
    list(data, Path::new(""), &mut files);
    files.retain(|file| file != Path::new("lock"));
    files.into_iter().map(|file| (file.clone(), fs::read(data.join(file)).unwrap())).collect()
}

fn strike(path: &Path, fault: &Fault) {
    match fault {
        Fault::Bit(at, bit) => {
            use std::os::unix::fs::FileExt as _;
            // A start has removed what said that the stop was clean, and sealed what was open.
            let sealed = path.with_extension("pack");
            let path = if path.exists() { path } else { &sealed };
            let Ok(file) = fs::File::options().read(true).write(true).open(path) else { return };
            let mut byte = [0];
            file.read_exact_at(&mut byte, *at).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << bit)], *at).unwrap();
        }
        Fault::Cut(len) => fs::File::options().write(true).open(path).unwrap().set_len(*len).unwrap(),
        Fault::Gone => fs::remove_file(path).unwrap(),
        Fault::Sector(_) => {}
    }
}

async fn check(fixture: &Fixture, what: &str) -> BTreeSet<String> {
    let inner = Arc::clone(&fixture.cache.inner);
    let run = move || {
        let mut affected = BTreeSet::new();
        let checked = inner.check(&mut |finding| {
            if let Finding::Affected { name, .. } = finding {
                affected.insert(name);
            }
            true
        });
        checked.map(|checked| (checked, affected))
    };
    let (checked, affected) =
        tokio::task::spawn_blocking(run).await.unwrap().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(checked.affected, affected.len() as u64);
    affected
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_faults_cost_no_more_than_the_names_that_reach_them() {
    let (first, faults) = (number("MILLPOND_SEED", 0), number("MILLPOND_FLIPS", 40));
    let (mut costly, mut names) = (0, 0);
    for clean in [true, false] {
        let made = make(clean).await;
        for seed in first..first + faults / 2 {
            let lost = made.suffer(seed * 2 + u64::from(clean)).await;
            (costly, names) = (costly + usize::from(lost > 0), names + lost);
        }
    }
    eprintln!("{faults} faults, from seed {first} on: {costly} cost names, {names} in all");
    assert!(faults < 40 || costly > 0, "no fault hit anything");
}
