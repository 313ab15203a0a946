//! Single faults in each of the catalog's files: it starts, serves nothing wrong, and has lost nothing once it was
//! checked.

use std::path::PathBuf;

use super::*;

const NAMES: u32 = 40;

/// A data directory and what its catalog must hold.
struct Volume {
    folder: TempDir,
    /// By name: the value in force.
    in_force: Vec<Option<NewValue>>,
}

/// Values old enough to lie in the database itself, newer ones in SQLite's log only, some of them overwritten,
/// removed, pending, used.
async fn volume(clean: bool) -> Volume {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    for number in 0..NAMES {
        publish(&catalog, new_value(number, 1)).await;
    }
    catalog.close().unwrap();
    drop(catalog);
    let (catalog, _) = open(folder.path());
    let mut in_force: Vec<_> = (0..NAMES).map(|number| Some(new_value(number, 1))).collect();
    for number in 0..NAMES / 2 {
        publish(&catalog, new_value(number, 2)).await;
        in_force[number as usize] = Some(new_value(number, 2));
    }
    publish(&catalog, pending_value(NAMES - 1, 3)).await;
    let removed = catalog.look_up(&name(NAMES - 2)).await.unwrap().unwrap();
    assert!(catalog.remove(&name(NAMES - 2), removed.seq).await.unwrap());
    in_force[NAMES as usize - 2] = None;
    let used = catalog.look_up(&name(0)).await.unwrap().unwrap();
    let uses = vec![UseOf { name: name(0), seq: used.seq, level: Level::from_seconds(777) }];
    catalog.commit_waterline(Level::from_seconds(55), uses).await.unwrap();
    catalog.record_damage(3, 4).unwrap();
    if clean {
        catalog.close().unwrap();
    }
    Volume { folder: copy(folder.path()), in_force }
}

impl Volume {
    fn copy(&self) -> TempDir {
        copy(self.folder.path())
    }

    fn journal(&self) -> PathBuf {
        let mut files: Vec<_> = fs::read_dir(self.folder.path().join("journal")).unwrap().collect();
        assert_eq!(files.len(), 1);
        Path::new("journal").join(files.remove(0).unwrap().file_name())
    }

    /// Whatever is answered is something that was once published to the name.
    async fn assert_nothing_wrong(&self, catalog: &Catalog) {
        for number in 0..NAMES {
            match catalog.look_up(&name(number)).await {
                Ok(Some(value)) => assert_is(&value, &new_value(number, value.pushed as u32)),
                Ok(None) | Err(Error::Damaged(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn assert_nothing_lost(&self, catalog: &Catalog) {
        for (number, expected) in (0..NAMES).zip(&self.in_force) {
            let value = catalog.look_up(&name(number)).await.unwrap();
            match (value, expected) {
                (Some(value), Some(expected)) => assert_is(&value, expected),
                (None, None) => {}
                (value, _) => panic!("{number}: {value:?}"),
            }
        }
        let pending = catalog.pending(&name(NAMES - 1)).await.unwrap();
        assert_is(&pending.unwrap(), &pending_value(NAMES - 1, 3));
        assert_eq!(catalog.look_up(&name(0)).await.unwrap().unwrap().level().seconds(), 777);
        assert_eq!(catalog.damage().unwrap(), [(3, 4)]);
    }

    /// Opens what a fault has made of the volume, has it checked, and looks whether all is there, now and after a
    /// restart. Returns what the start said.
    async fn assert_heals(&self, faulty: &Path) -> CatalogStarted {
        let (catalog, started) = open(faulty);
        assert_eq!(started.waterline.seconds(), 55);
        self.assert_nothing_wrong(&catalog).await;
        catalog.check().unwrap();
        self.assert_nothing_lost(&catalog).await;
        let after = catalog.check().unwrap();
        assert_eq!(after.database, Vec::<String>::new());
        catalog.close().unwrap();
        drop(catalog);
        let (catalog, again) = open(faulty);
        assert!(!again.rebuilt, "{again:?}");
        self.assert_nothing_lost(&catalog).await;
        assert_eq!(catalog.check().unwrap().journal_bad, 0);
        started
    }
}

fn flip(path: &Path, at: usize, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

/// Offsets over the whole file, all in the first `dense` bytes, then at a distance.
fn offsets(path: &Path, dense: usize, trials: usize) -> Vec<usize> {
    let length = fs::metadata(path).unwrap().len() as usize;
    (0..dense).step_by(3).chain((dense..length).step_by((length / trials).max(1) | 1)).collect()
}

async fn flip_through(clean: bool, file: &Path, dense: usize, trials: usize) {
    let volume = volume(clean).await;
    let file = if file.ends_with("log") { volume.journal() } else { file.to_owned() };
    for at in offsets(&volume.folder.path().join(&file), dense, trials) {
        let faulty = volume.copy();
        flip(&faulty.path().join(&file), at, at % 8);
        eprintln!("bit {} of byte {at} of {}", at % 8, file.display());
        volume.assert_heals(faulty.path()).await;
    }
}

#[tokio::test]
async fn flipped_bit_in_the_database_after_a_clean_stop_loses_nothing() {
    flip_through(true, Path::new("catalog.db"), 100, 120).await;
}

#[tokio::test]
async fn flipped_bit_in_the_database_after_a_kill_loses_nothing() {
    flip_through(false, Path::new("catalog.db"), 100, 60).await;
}

#[tokio::test]
async fn flipped_bit_in_the_log_of_sqlite_loses_nothing() {
    flip_through(false, Path::new("catalog.db-wal"), 56, 120).await;
}

#[tokio::test]
async fn flipped_bit_in_the_journal_after_a_clean_stop_loses_nothing() {
    flip_through(true, Path::new("log"), 128, 60).await;
}

#[tokio::test]
async fn flipped_bit_in_the_journal_after_a_kill_loses_nothing() {
    flip_through(false, Path::new("log"), 128, 60).await;
}
