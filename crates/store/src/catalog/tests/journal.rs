//! The journal on a disk that loses, fails and fills up, beside a database that holds everything; and the database
//! gone, with only the journal left.

use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::disk::{Call, Effect, Fault, FaultyDisk, MemoryDisk};

/// Large enough that a few dozen fill a journal file.
fn large(number: u32, version: u32) -> NewValue {
    NewValue { references: vec![number as u8; 60_000].into(), ..new_value(number, version) }
}

fn open_on(folder: &Path, disk: &Arc<impl Disk>) -> (Catalog, CatalogStarted) {
    let disk: Arc<dyn Disk> = disk.clone();
    Catalog::open(folder, disk, &CatalogOptions::default()).unwrap()
}

/// Waits until the journal holds everything.
async fn settled(catalog: &Catalog) {
    while !catalog.figures().journal_complete {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Opens with nothing but the journal, and looks for these values.
async fn assert_journal_holds(disk: &Arc<impl Disk>, values: &[NewValue]) {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, started) = open_on(folder.path(), disk);
    assert!(started.rebuilt && !started.clean);
    for value in values {
        assert_serves(&catalog, value).await;
    }
    assert_eq!(catalog.figures().names, values.len() as u64);
    assert_eq!(catalog.check().unwrap().database, Vec::<String>::new());
}

#[tokio::test]
async fn journal_torn_by_a_power_cut_is_completed_from_the_database() {
    for seed in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(MemoryDisk::default());
        let (catalog, _) = open_on(folder.path(), &disk);
        let mut values = Vec::new();
        for number in 0..30 {
            values.push(large(number, 1));
            publish(&catalog, large(number, 1)).await;
        }
        let (cut, copy) = (Arc::new(disk.crash(seed)), copy(folder.path()));
        let (catalog, started) = open_on(copy.path(), &cut);
        assert!(!started.clean && !started.rebuilt, "{seed}: {started:?}");
        for value in &values {
            assert_serves(&catalog, value).await;
        }
        settled(&catalog).await;
        catalog.close().unwrap();
        assert_journal_holds(&cut, &values).await;
    }
}

#[tokio::test]
async fn removed_value_does_not_come_back_from_a_journal_cut_off_right_after_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(MemoryDisk::default());
    let (catalog, _) = open_on(folder.path(), &disk);
    publish(&catalog, new_value(1, 1)).await;
    let value = publish(&catalog, new_value(2, 1)).await;
    assert!(catalog.remove(&name(2), value.seq).await.unwrap());
    assert_journal_holds(&Arc::new(disk.crash(0)), &[new_value(1, 1)]).await;
}

/// Publishes more than a journal file takes, over and over; returns what was acknowledged.
async fn publish_many(catalog: &Catalog) -> Vec<NewValue> {
    let mut acknowledged: Vec<NewValue> = Vec::new();
    for version in 0..3 {
        for first in [0, 8, 16] {
            let values: Vec<_> = (first..first + 8).map(|number| large(number, version)).collect();
            match catalog.publish(values.clone()).await {
                Ok(_) => {
                    acknowledged.retain(|value| values.iter().all(|new| new.name != value.name));
                    acknowledged.extend(values);
                }
                Err(Error::Poisoned(_) | Error::Io { .. }) => return acknowledged,
                Err(error) => panic!("{error}"),
            }
        }
    }
    acknowledged
}

/// Lets each call on the journal fail once, until a run passes untouched.
async fn fail_each_call(effect: Effect, check: impl AsyncFn(&Catalog, &Arc<MemoryDisk>, &[NewValue])) {
    for nth in 1.. {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(MemoryDisk::default());
        let below: Arc<dyn Disk> = Arc::<MemoryDisk>::clone(&disk);
        let faulty = Arc::new(FaultyDisk::new(below, Fault { call: None, nth, effect, lasting: false }));
        let mut acknowledged = Vec::new();
        let above: Arc<dyn Disk> = Arc::<FaultyDisk>::clone(&faulty);
        if let Ok((catalog, _)) = Catalog::open(folder.path(), above, &CatalogOptions::default()) {
            acknowledged = publish_many(&catalog).await;
            check(&catalog, &disk, &acknowledged).await;
        }
        let copy = copy(folder.path());
        let (catalog, _) = open_on(copy.path(), &disk);
        for value in &acknowledged {
            assert_serves(&catalog, value).await;
        }
        settled(&catalog).await;
        catalog.close().unwrap();
        if !faulty.has_struck() {
            assert!(nth > 15, "{nth}");
            return;
        }
    }
}

#[tokio::test]
async fn acknowledged_values_outlast_any_failing_call_on_the_journal() {
    fail_each_call(Effect::Fail(Errno::IO), async |_, _, _| {}).await;
    fail_each_call(Effect::CutShort(Errno::IO), async |_, _, _| {}).await;
}

#[tokio::test]
async fn full_disk_below_the_journal_refuses_nothing_and_the_journal_catches_up() {
    fail_each_call(Effect::CutShort(Errno::NOSPC), async |catalog, disk, acknowledged| {
        assert_eq!(acknowledged.len(), 24);
        assert!(!catalog.figures().poisoned);
        settled(catalog).await;
        assert_journal_holds(&Arc::new(disk.crash(1)), acknowledged).await;
    })
    .await;
}

#[tokio::test]
async fn failed_write_of_the_journal_poisons_and_look_ups_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(MemoryDisk::default());
    let fault = Fault { call: Some(Call::Write), nth: 3, effect: Effect::Fail(Errno::IO), lasting: false };
    let faulty = Arc::new(FaultyDisk::new(disk, fault));
    let (catalog, _) = open_on(folder.path(), &faulty);
    // Its COMMIT is durable, so it is acknowledged; the next is refused.
    publish(&catalog, new_value(1, 1)).await;
    assert!(faulty.has_struck());
    assert!(matches!(catalog.publish(vec![new_value(2, 1)]).await, Err(Error::Poisoned(_))));
    assert!(catalog.figures().poisoned);
    assert_serves(&catalog, &new_value(1, 1)).await;
    assert!(catalog.look_up(&name(2)).await.unwrap().is_none());
    assert!(matches!(catalog.close(), Err(Error::Poisoned(_))));
}

#[tokio::test]
async fn panic_in_the_thread_that_writes_poisons_and_look_ups_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(MemoryDisk::default());
    let fault = Fault { call: Some(Call::Write), nth: 4, effect: Effect::Unwind, lasting: false };
    let faulty = Arc::new(FaultyDisk::new(disk, fault));
    let (catalog, _) = open_on(folder.path(), &faulty);
    publish(&catalog, new_value(1, 1)).await;
    for number in [2, 3] {
        let result = catalog.publish(vec![new_value(number, 1)]).await;
        assert!(matches!(result, Err(Error::Poisoned(_))), "{result:?}");
        assert!(faulty.has_struck() && catalog.figures().poisoned);
    }
    assert!(matches!(catalog.record_damage(1, 1), Err(Error::Poisoned(_))));
    assert_serves(&catalog, &new_value(1, 1)).await;
    assert!(matches!(catalog.close(), Err(Error::Poisoned(_))));
}

#[tokio::test]
async fn unreadable_journal_file_is_set_aside_and_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(MemoryDisk::default());
    let (catalog, _) = open_on(folder.path(), &disk);
    publish(&catalog, new_value(1, 1)).await;
    catalog.close().unwrap();
    let file = disk.open(Path::new("journal/1.log")).unwrap();
    file.write_at(&[0; 128], 0).unwrap();
    let (catalog, started) = open_on(folder.path(), &disk);
    assert_eq!(started.set_aside, ["journal/1.log.damaged"]);
    assert_serves(&catalog, &new_value(1, 1)).await;
    settled(&catalog).await;
    catalog.close().unwrap();
    assert_journal_holds(&disk, &[new_value(1, 1)]).await;
}

#[tokio::test]
async fn too_many_open_files_keep_the_journal_behind_only_until_one_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(MemoryDisk::default());
    let below: Arc<dyn Disk> = Arc::<MemoryDisk>::clone(&disk);
    let fault =
        Fault { call: Some(Call::Create), nth: 2, effect: Effect::Fail(Errno::MFILE), lasting: false };
    let faulty = Arc::new(FaultyDisk::new(below, fault));
    let (catalog, _) = open_on(folder.path(), &faulty);
    let acknowledged = publish_many(&catalog).await;
    while !faulty.has_struck() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    settled(&catalog).await;
    assert!(!catalog.figures().poisoned && acknowledged.len() == 24);
    catalog.close().unwrap();
    assert_journal_holds(&disk, &acknowledged).await;
}

#[tokio::test]
async fn journal_file_that_cannot_be_opened_just_now_fails_the_start_and_stays_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(MemoryDisk::default());
    let (catalog, _) = open_on(folder.path(), &disk);
    publish(&catalog, new_value(1, 1)).await;
    catalog.close().unwrap();
    for call in [Call::Open, Call::Read] {
        let below: Arc<dyn Disk> = Arc::<MemoryDisk>::clone(&disk);
        let fault = Fault { call: Some(call), nth: 1, effect: Effect::Fail(Errno::NOMEM), lasting: false };
        let faulty: Arc<dyn Disk> = Arc::new(FaultyDisk::new(below, fault));
        let error = Catalog::open(folder.path(), faulty, &CatalogOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
    assert_journal_holds(&disk, &[new_value(1, 1)]).await;
}
