//! Single faults in each of the catalog's files: it starts, serves nothing wrong, and has lost nothing once it was
//! checked.

use std::path::PathBuf;

use super::*;

const NAMES: u32 = 40;

/// Found only when that row is read.
const HIT_A_ROW: &str = "UPDATE name SET pusher = 'eve' WHERE seq = (SELECT min(seq) FROM name)";
/// Found at start.
const HIT_THE_TABLE_OF_DAMAGE: &str = "INSERT INTO damage VALUES (1, 1, 1)";

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
    let level = Level::from_seconds(777);
    let uses = vec![UseOf { name: name(0), seq: used.seq, level, touched: level }];
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
    (0..dense).step_by(5).chain((dense..length).step_by((length / trials).max(1) | 1)).collect()
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
    flip_through(true, Path::new("catalog.db"), 100, 60).await;
}

#[tokio::test]
async fn flipped_bit_in_the_database_after_a_kill_loses_nothing() {
    flip_through(false, Path::new("catalog.db"), 100, 40).await;
}

#[tokio::test]
async fn flipped_bit_in_the_log_of_sqlite_loses_nothing() {
    flip_through(false, Path::new("catalog.db-wal"), 56, 60).await;
}

#[tokio::test]
async fn flipped_bit_in_the_journal_after_a_clean_stop_loses_nothing() {
    flip_through(true, Path::new("log"), 128, 40).await;
}

#[tokio::test]
async fn flipped_bit_in_the_journal_after_a_kill_loses_nothing() {
    flip_through(false, Path::new("log"), 128, 40).await;
}

#[tokio::test]
async fn row_found_bad_while_serving_is_an_error_once_and_there_again_after_the_rebuild() {
    let volume = volume(true).await;
    let path = volume.folder.path().join("catalog.db");
    let text = b"references of 30 1";
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    flip(&path, at, 0);
    let (catalog, started) = open(volume.folder.path());
    assert!(started.clean);
    assert!(matches!(catalog.look_up(&name(30)).await, Err(Error::Damaged(_))));
    while catalog.figures().damaged {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    volume.assert_nothing_lost(&catalog).await;
    assert!(volume.folder.path().join("catalog.db.damaged").exists());
    publish(&catalog, new_value(30, 5)).await;
    assert_serves(&catalog, &new_value(30, 5)).await;
}

#[tokio::test]
async fn database_log_or_journal_that_is_gone_cut_or_garbage_loses_nothing() {
    let volume = volume(false).await;
    let journal = volume.journal();
    for file in [Path::new("catalog.db"), Path::new("catalog.db-wal"), &journal] {
        for fault in ["gone", "empty", "cut", "garbage"] {
            let faulty = volume.copy();
            let path = faulty.path().join(file);
            let bytes = fs::read(&path).unwrap();
            match fault {
                "gone" => fs::remove_file(&path).unwrap(),
                "empty" => fs::write(&path, b"").unwrap(),
                "cut" => fs::write(&path, &bytes[..bytes.len() / 2 + 77]).unwrap(),
                _ => fs::write(&path, vec![0xa5; bytes.len()]).unwrap(),
            }
            let started = volume.assert_heals(faulty.path()).await;
            // The pages that opening reads may all be in SQLite's log; then only the check finds the fault.
            let in_log = file.ends_with("catalog.db") && ["cut", "garbage"].contains(&fault);
            let may_go_on = *file == *journal || in_log;
            assert!(started.rebuilt || may_go_on, "{fault} {}", file.display());
        }
    }
}

#[tokio::test]
async fn interrupted_rebuild_is_begun_again() {
    let volume = volume(false).await;
    let at = |name: &str| volume.folder.path().join(name);
    flip(&at("catalog.db-wal"), 5, 1);
    fs::write(at("catalog.db.unfinished"), b"half").unwrap();
    assert!(volume.assert_heals(volume.folder.path()).await.rebuilt);
    assert!(!at("catalog.db.unfinished").exists());
}

#[tokio::test]
async fn interrupted_exchange_ends_with_the_new_database() {
    let good = volume(true).await;
    let volume = volume(false).await;
    for moment in ["decided", "database set aside", "both set aside"] {
        let faulty = volume.copy();
        let at = |name: &str| faulty.path().join(name);
        fs::copy(good.folder.path().join("catalog.db"), at("catalog.db.rebuilt")).unwrap();
        fs::write(at("catalog.db"), b"what a fault has made of it").unwrap();
        if moment != "decided" {
            fs::rename(at("catalog.db"), at("catalog.db.damaged")).unwrap();
        }
        if moment == "both set aside" {
            fs::rename(at("catalog.db-wal"), at("catalog.db.damaged-wal")).unwrap();
        }
        // Nothing but the new database has all of it.
        fs::remove_dir_all(at("journal")).unwrap();
        let started = volume.assert_heals(faulty.path()).await;
        assert!(!started.rebuilt && !at("catalog.db.rebuilt").exists(), "{moment}");
        assert!(at("catalog.db.damaged").exists() && at("catalog.db.damaged-wal").exists(), "{moment}");
    }
}

#[tokio::test]
async fn stop_before_the_check_is_through_is_no_clean_one_and_the_check_is_done_again() {
    let volume = volume(false).await;
    for broken_off in [true, false] {
        let (catalog, started) = open(volume.folder.path());
        assert!(!started.clean);
        if broken_off {
            catalog.break_off();
            assert!(matches!(catalog.check(), Err(Error::Busy(_))));
        } else {
            catalog.check().unwrap();
        }
        catalog.close().unwrap();
    }
    assert!(open(volume.folder.path()).1.clean);
}

#[tokio::test]
async fn rebuild_that_a_stop_has_broken_off_is_done_after_the_next_start() {
    let volume = volume(true).await;
    let path = volume.folder.path().join("catalog.db");
    let bytes = fs::read(&path).unwrap();
    let text = b"references of 30 1";
    flip(&path, bytes.windows(text.len()).position(|window| window == text).unwrap(), 0);
    let (catalog, started) = open(volume.folder.path());
    assert!(started.clean);
    catalog.break_off();
    assert!(matches!(catalog.look_up(&name(30)).await, Err(Error::Damaged(_))));
    catalog.close().unwrap();
    assert!(!volume.folder.path().join("catalog.db.damaged").exists());
    drop(catalog);
    let (catalog, started) = open(volume.folder.path());
    assert!(!started.clean);
    assert!(catalog.check().unwrap().rebuilt);
    volume.assert_nothing_lost(&catalog).await;
}

#[tokio::test]
async fn bad_row_and_bad_record_lose_nothing_where_they_are_of_two_values() {
    let volume = volume(true).await;
    for (file, text) in
        [(Path::new("catalog.db").to_owned(), "references of 30 1"), (volume.journal(), "references of 31 1")]
    {
        let path = volume.folder.path().join(file);
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        flip(&path, at, 0);
    }
    let (catalog, _) = open(volume.folder.path());
    assert!(catalog.check().unwrap().rebuilt);
    volume.assert_nothing_lost(&catalog).await;
}

#[tokio::test]
async fn row_taken_away_whole_or_raised_unasked_is_found_by_the_sum() {
    let volume = volume(true).await;
    for change in [
        "DELETE FROM name WHERE seq = (SELECT max(seq) FROM name WHERE pending = 0)",
        "UPDATE name SET level = 1 WHERE level = 777",
        "UPDATE name SET touched = touched + 1 WHERE pending = 1",
        "DELETE FROM damage",
    ] {
        let faulty = volume.copy();
        let database = rusqlite::Connection::open(faulty.path().join("catalog.db")).unwrap();
        assert!(database.execute(change, ()).unwrap() == 1, "{change}");
        database.close().unwrap();
        let (catalog, _) = open(faulty.path());
        assert!(catalog.check().unwrap().rebuilt, "{change}");
        volume.assert_nothing_lost(&catalog).await;
    }
}

#[tokio::test]
async fn flipped_bit_in_each_copy_of_a_key_is_found() {
    let volume = volume(true).await;
    let key = name(30).key();
    let bytes = fs::read(volume.folder.path().join("catalog.db")).unwrap();
    let places: Vec<_> = (0..bytes.len() - 16).filter(|at| bytes[*at..*at + 16] == key).collect();
    let mut found = 0;
    for at in places {
        let faulty = volume.copy();
        flip(&faulty.path().join("catalog.db"), at + 15, 0);
        let (catalog, _) = open(faulty.path());
        let read = catalog.look_up(&name(30)).await;
        // In a page that is free by now it does no harm.
        let rebuilt = catalog.check().unwrap().rebuilt;
        assert!(rebuilt || matches!(read, Ok(Some(_))), "{at}: {read:?}");
        found += u32::from(rebuilt);
        volume.assert_nothing_lost(&catalog).await;
    }
    assert!(found >= 2, "the row and the index");
}

#[tokio::test]
async fn flipped_bit_in_the_table_of_damage_does_not_stop_a_start() {
    let volume = volume(true).await;
    let database = rusqlite::Connection::open(volume.folder.path().join("catalog.db")).unwrap();
    assert_eq!(database.execute("UPDATE damage SET pack_offset = pack_offset + 1", ()).unwrap(), 1);
    database.close().unwrap();
    let (catalog, started) = open(volume.folder.path());
    assert!(started.rebuilt);
    volume.assert_nothing_lost(&catalog).await;
}

#[tokio::test]
async fn flipped_bit_in_the_write_version_of_the_database_does_not_stop_a_start() {
    let volume = volume(true).await;
    flip(&volume.folder.path().join("catalog.db"), 18, 3);
    let started = volume.assert_heals(volume.folder.path()).await;
    assert!(started.rebuilt);
}

#[tokio::test]
async fn rebuild_keeps_what_was_published_after_the_end_of_a_journal_without_gaps() {
    for (while_running, statement) in [(true, HIT_A_ROW), (false, HIT_THE_TABLE_OF_DAMAGE)] {
        let folder = tempfile::tempdir().unwrap();
        let (catalog, _) = open(folder.path());
        for number in 0..5 {
            publish(&catalog, new_value(number, 1)).await;
        }
        let before = copy(folder.path());
        publish(&catalog, new_value(0, 3)).await;
        for number in 5..9 {
            publish(&catalog, new_value(number, 1)).await;
        }
        catalog.record_damage(7, 8).unwrap();
        catalog.commit_waterline(Level::from_seconds(66), Vec::new()).await.unwrap();
        let last = publish(&catalog, new_value(9, 1)).await.seq;
        let after = copy(folder.path());
        with_journal_of(before.path(), after.path(), statement);
        let (catalog, started) = open(after.path());
        assert_eq!(started.rebuilt, !while_running);
        // The rebuild may have been begun already by the copying of the journal, which reads the row too.
        catalog.check().unwrap();
        assert!(after.path().join("catalog.db.damaged").exists());
        assert_serves(&catalog, &new_value(0, 3)).await;
        for number in 1..10 {
            assert_serves(&catalog, &new_value(number, 1)).await;
        }
        assert!(publish(&catalog, new_value(10, 1)).await.seq > last);
        catalog.close().unwrap();
        drop(catalog);
        let (catalog, started) = open(after.path());
        assert!(started.waterline.seconds() == 66 && !started.rebuilt);
        assert_serves(&catalog, &new_value(10, 1)).await;
    }
}

/// Puts the journal as it was at another time beside the database, which is hit in a row.
fn with_journal_of(before: &Path, after: &Path, statement: &str) {
    fs::remove_dir_all(after.join("journal")).unwrap();
    fs::create_dir(after.join("journal")).unwrap();
    copy_into(&before.join("journal"), &after.join("journal"));
    let database = rusqlite::Connection::open(after.join("catalog.db")).unwrap();
    assert_eq!(database.execute(statement, ()).unwrap(), 1);
    database.close().unwrap();
}

#[tokio::test]
async fn rebuild_knows_uses_and_removals_that_the_journal_has_lost_with_its_end() {
    for (while_running, statement) in [(true, HIT_A_ROW), (false, HIT_THE_TABLE_OF_DAMAGE)] {
        let folder = tempfile::tempdir().unwrap();
        let (catalog, _) = open(folder.path());
        for number in 0..5 {
            publish(&catalog, new_value(number, 1)).await;
        }
        publish(&catalog, pending_value(5, 1)).await;
        let removed = catalog.look_up(&name(1)).await.unwrap().unwrap();
        let used = catalog.look_up(&name(2)).await.unwrap().unwrap();
        let before = copy(folder.path());
        let level = Level::from_seconds(900);
        let uses = vec![UseOf { name: name(2), seq: used.seq, level, touched: level }];
        catalog.record_uses(uses).await.unwrap();
        publish(&catalog, new_value(5, 2)).await;
        assert!(catalog.remove(&name(1), removed.seq).await.unwrap());
        let after = copy(folder.path());
        with_journal_of(before.path(), after.path(), statement);
        let (catalog, started) = open(after.path());
        assert_eq!(started.rebuilt, !while_running);
        catalog.check().unwrap();
        assert!(catalog.look_up(&name(1)).await.unwrap().is_none(), "{statement}");
        assert_eq!(catalog.look_up(&name(2)).await.unwrap().unwrap().level().seconds(), 900, "{statement}");
        assert!(catalog.pending(&name(5)).await.unwrap().is_none(), "{statement}");
        assert_serves(&catalog, &new_value(5, 2)).await;
        for number in [0, 2, 3, 4] {
            assert_serves(&catalog, &new_value(number, 1)).await;
        }
        assert_eq!((catalog.figures().names, catalog.figures().pending), (5, 0));
    }
}

#[tokio::test]
async fn what_the_journal_says_after_the_end_of_the_database_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let first = publish(&catalog, new_value(1, 1)).await;
    publish(&catalog, new_value(2, 1)).await;
    publish(&catalog, new_value(3, 1)).await;
    let before = copy(folder.path());
    let second = publish(&catalog, new_value(1, 2)).await;
    assert!(second.seq > first.seq && catalog.remove(&name(1), second.seq).await.unwrap());
    let after = copy(folder.path());
    // A gap in the journal, so that the database is read too; and that is of an earlier time.
    let journal = after.path().join("journal/1.log");
    let bytes = fs::read(&journal).unwrap();
    let text = b"references of 2 1";
    flip(&journal, bytes.windows(text.len()).position(|window| window == text).unwrap(), 0);
    for file in ["catalog.db", "catalog.db-wal"] {
        fs::copy(before.path().join(file), after.path().join(file)).unwrap();
    }
    let (catalog, started) = open(after.path());
    assert!(started.rebuilt);
    assert!(catalog.look_up(&name(1)).await.unwrap().is_none());
    for number in [2, 3] {
        assert_serves(&catalog, &new_value(number, 1)).await;
    }
}
