//! Pins come back whatever becomes of the database, and what was unpinned does not.

use std::time::Duration;

use super::*;
use crate::catalog::pins::tests::example;
use crate::disk::MemoryDisk;

async fn pin(catalog: &Catalog, pattern: &str) -> Pin {
    catalog.pin(vec![example(pattern)], By::default()).await.unwrap().remove(0)
}

#[tokio::test]
async fn pins_are_there_after_a_clean_and_an_unclean_stop_and_the_check_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let (first, second) = (pin(&catalog, "a").await, pin(&catalog, "b*").await);
    assert!(second.id > first.id);
    publish(&catalog, new_value(1, 1)).await;
    assert_eq!(catalog.unpin(vec![first.id, 999], By::default()).await.unwrap(), [first]);
    let killed = copy(folder.path());
    catalog.close().unwrap();
    drop(catalog);
    for folder in [&folder, &killed] {
        let (catalog, started) = open(folder.path());
        assert!(!started.rebuilt);
        assert_eq!(catalog.pins().unwrap(), std::slice::from_ref(&second));
        assert_eq!(catalog.check().unwrap().database, Vec::<String>::new());
        catalog.close().unwrap();
    }
}

#[tokio::test]
async fn pins_come_back_from_the_journal_alone_and_what_was_unpinned_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(MemoryDisk::default());
    let as_disk = |disk: &Arc<MemoryDisk>| Arc::clone(disk) as Arc<dyn Disk>;
    let (catalog, _) = Catalog::open(folder.path(), as_disk(&disk), &CatalogOptions::default()).unwrap();
    let (kept, gone) = (pin(&catalog, "a").await, pin(&catalog, "b").await);
    catalog.unpin(vec![gone.id], By::default()).await.unwrap();
    let holds = |disk: Arc<MemoryDisk>| {
        let folder = tempfile::tempdir().unwrap();
        let (catalog, started) =
            Catalog::open(folder.path(), as_disk(&disk), &CatalogOptions::default()).unwrap();
        assert!(started.rebuilt);
        assert_eq!(catalog.pins().unwrap(), std::slice::from_ref(&kept));
        assert_eq!(catalog.check().unwrap().database, Vec::<String>::new());
    };
    // What was answered last is durable in it.
    holds(Arc::new(disk.crash(0)));
    // The journal is written anew, and pins are copied.
    for version in 0..40 {
        publish(&catalog, NewValue { references: vec![1; 60_000].into(), ..new_value(1, version) }).await;
    }
    while !catalog.figures().journal_complete {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    catalog.close().unwrap();
    assert!(disk.list(Path::new("journal")).unwrap().iter().all(|entry| entry.name != "1.log"));
    holds(disk);
}

#[tokio::test]
async fn pins_of_a_damaged_database_are_taken_over_where_the_journal_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let pins = [pin(&catalog, "a").await, pin(&catalog, "b").await];
    publish(&catalog, new_value(1, 1)).await;
    catalog.close().unwrap();
    drop(catalog);
    fs::remove_dir_all(folder.path().join("journal")).unwrap();
    let database = rusqlite::Connection::open(folder.path().join("catalog.db")).unwrap();
    database.execute_batch("UPDATE head SET checksum = 0").unwrap();
    drop(database);
    let (catalog, started) = open(folder.path());
    assert!(started.rebuilt);
    assert_eq!(catalog.pins().unwrap(), pins);
    assert_serves(&catalog, &new_value(1, 1)).await;
}
