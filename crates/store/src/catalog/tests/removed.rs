//! What was removed is not served, and comes back as long as it may, also from the journal alone.

use super::*;
use crate::disk::MemoryDisk;

async fn removed(catalog: &Catalog) -> Vec<Value> {
    let page = catalog.page_after(0, Pages::Removed).await.unwrap();
    page.map_or_else(Vec::new, |page| page.values)
}

/// Sets the value in force of this name aside.
async fn set_aside(catalog: &Catalog, number: u32) -> u64 {
    let value = catalog.look_up(&name(number)).await.unwrap().unwrap();
    let values = vec![(value.name.clone(), value.seq)];
    assert_eq!(catalog.remove_all(values.clone(), Some(99), None).await.unwrap(), [value.seq]);
    assert!(catalog.remove_all(values, Some(99), None).await.unwrap().is_empty());
    removed(catalog).await.last().unwrap().seq
}

#[tokio::test]
async fn value_set_aside_is_not_served_and_comes_back_unless_the_name_was_pushed_again() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    publish(&catalog, new_value(1, 1)).await;
    let aside = set_aside(&catalog, 1).await;
    assert!(matches!(catalog.cached(&name(1)), Some(None)));
    assert!(catalog.look_up(&name(1)).await.unwrap().is_none());
    assert_eq!(catalog.figures().names, 0);
    publish(&catalog, new_value(1, 2)).await;
    let restore = || catalog.restore(aside, new_value(1, 1), By::default());
    assert!(matches!(restore().await.unwrap(), Promoted::Occupied));
    let second = set_aside(&catalog, 1).await;
    assert_eq!(removed(&catalog).await.len(), 2);
    assert!(matches!(restore().await.unwrap(), Promoted::Whole(_)));
    assert_serves(&catalog, &new_value(1, 1)).await;
    assert!(matches!(restore().await.unwrap(), Promoted::Gone));
    // For good, whether in force or set aside.
    let first = catalog.look_up(&name(1)).await.unwrap().unwrap().seq;
    let values = vec![(name(1), first), (name(1), second)];
    assert_eq!(catalog.remove_all(values, None, None).await.unwrap(), [first, second]);
    assert!(removed(&catalog).await.is_empty());
    assert_eq!(catalog.check().unwrap().database, Vec::<String>::new());
}

#[tokio::test]
async fn value_set_aside_is_so_after_a_rebuild_from_the_journal_and_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(MemoryDisk::default());
    let as_disk = |disk: &Arc<MemoryDisk>| Arc::clone(disk) as Arc<dyn Disk>;
    let (catalog, _) = Catalog::open(folder.path(), as_disk(&disk), &CatalogOptions::default()).unwrap();
    for number in 1..=3 {
        publish(&catalog, new_value(number, 1)).await;
    }
    set_aside(&catalog, 1).await;
    let back = set_aside(&catalog, 2).await;
    let back = catalog.restore(back, new_value(2, 1), By::default()).await.unwrap();
    assert!(matches!(back, Promoted::Whole(_)));
    // Durable in the journal: a removal was answered after it.
    let gone = set_aside(&catalog, 3).await;
    catalog.remove_all(vec![(name(3), gone)], None, None).await.unwrap();
    let (killed, cut) = (copy(folder.path()), Arc::new(disk.crash(0)));
    let empty = tempfile::tempdir().unwrap();
    for (folder, disk) in [(&empty, &cut), (&killed, &disk)] {
        let (catalog, _) = Catalog::open(folder.path(), as_disk(disk), &CatalogOptions::default()).unwrap();
        let aside: Vec<_> = removed(&catalog).await.iter().map(|value| value.name.clone()).collect();
        assert_eq!(aside, [name(1)]);
        assert_eq!(removed(&catalog).await[0].state, State::Removed { until: 99 });
        assert!(catalog.look_up(&name(1)).await.unwrap().is_none());
        assert_serves(&catalog, &new_value(2, 1)).await;
        assert_eq!(catalog.figures().names, 1);
        assert_eq!(catalog.check().unwrap().database, Vec::<String>::new());
    }
}
