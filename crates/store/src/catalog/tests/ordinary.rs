//! What the catalog does while nothing is damaged.

use super::*;

#[tokio::test]
async fn published_value_is_found_at_once_and_after_a_clean_and_an_unclean_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, started) = open(folder.path());
    assert!(started.clean && !started.rebuilt);
    publish(&catalog, new_value(1, 1)).await;
    assert_serves(&catalog, &new_value(1, 1)).await;
    let killed = copy(folder.path());
    catalog.close().unwrap();
    drop(catalog);
    for (folder, clean) in [(&folder, true), (&killed, false)] {
        let (catalog, started) = open(folder.path());
        assert_eq!((started.clean, started.rebuilt, started.set_aside.len()), (clean, false, 0));
        assert_serves(&catalog, &new_value(1, 1)).await;
        assert_eq!(catalog.check().unwrap().database, Vec::<String>::new());
        catalog.close().unwrap();
    }
}

#[tokio::test]
async fn stop_without_a_change_since_the_start_is_unclean_too() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).0.close().unwrap();
    let (catalog, started) = open(folder.path());
    assert!(started.clean);
    let killed = copy(folder.path());
    assert!(!open(killed.path()).1.clean);
    catalog.close().unwrap();
}

#[tokio::test]
async fn overwritten_name_has_the_last_value_in_cache_and_database() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let first = publish(&catalog, new_value(1, 1)).await;
    let second = publish(&catalog, new_value(1, 2)).await;
    assert!(second.seq > first.seq);
    assert_is(&catalog.cached(&name(1)).unwrap().unwrap(), &new_value(1, 2));
    catalog.close().unwrap();
    drop(catalog);
    let (catalog, _) = open(folder.path());
    assert!(catalog.cached(&name(1)).is_none());
    assert_serves(&catalog, &new_value(1, 2)).await;
    assert_eq!(catalog.figures().names, 1);
}

#[tokio::test]
async fn unknown_name_is_remembered_as_unknown_until_it_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    assert!(catalog.cached(&name(1)).is_none());
    assert!(catalog.look_up(&name(1)).await.unwrap().is_none());
    assert!(matches!(catalog.cached(&name(1)), Some(None)));
    publish(&catalog, new_value(1, 1)).await;
    assert_serves(&catalog, &new_value(1, 1)).await;
}

#[tokio::test]
async fn pending_value_is_kept_beside_the_one_in_force_and_goes_with_the_next_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    publish(&catalog, pending_value(1, 1)).await;
    assert!(catalog.look_up(&name(1)).await.unwrap().is_none());
    assert_is(&catalog.pending(&name(1)).await.unwrap().unwrap(), &pending_value(1, 1));
    publish(&catalog, new_value(1, 2)).await;
    assert!(catalog.pending(&name(1)).await.unwrap().is_none());
    publish(&catalog, pending_value(1, 3)).await;
    assert_serves(&catalog, &new_value(1, 2)).await;
    assert_is(&catalog.pending(&name(1)).await.unwrap().unwrap(), &pending_value(1, 3));
    let figures = catalog.figures();
    assert_eq!((figures.names, figures.pending), (1, 1));
    assert!(figures.database_bytes > 0 && figures.journal_bytes > 0);
}

#[tokio::test]
async fn removed_value_is_gone_and_the_value_that_replaced_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let first = publish(&catalog, new_value(1, 1)).await;
    let second = publish(&catalog, new_value(1, 2)).await;
    assert!(!catalog.remove(&name(1), first.seq).await.unwrap());
    assert!(!catalog.remove(&name(2), second.seq).await.unwrap());
    assert_serves(&catalog, &new_value(1, 2)).await;
    assert!(catalog.remove(&name(1), second.seq).await.unwrap());
    assert!(catalog.look_up(&name(1)).await.unwrap().is_none());
    assert_eq!(catalog.figures().names, 0);
}

#[tokio::test]
async fn use_of_an_overwritten_value_does_not_lift_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let first = publish(&catalog, new_value(1, 1)).await;
    let second = publish(&catalog, new_value(1, 2)).await;
    let use_of = |value: &Value, level| UseOf {
        name: value.name.clone(),
        seq: value.seq,
        level: Level::from_seconds(level),
        touched: Level::from_seconds(level),
    };
    catalog.record_uses(vec![use_of(&first, 900), use_of(&second, 500)]).await.unwrap();
    assert_eq!(second.level().seconds(), 500);
    catalog.commit_waterline(Level::from_seconds(50), vec![use_of(&second, 600)]).await.unwrap();
    assert_eq!(second.touched().seconds(), 600);
    catalog.commit_waterline(Level::from_seconds(40), Vec::new()).await.unwrap();
    catalog.record_time(Level::from_seconds(700)).await.unwrap();
    catalog.close().unwrap();
    drop(catalog);
    let (catalog, started) = open(folder.path());
    assert_eq!((started.waterline.seconds(), started.last_time.seconds()), (50, 700));
    let value = catalog.look_up(&name(1)).await.unwrap().unwrap();
    assert_eq!((value.level().seconds(), value.touched().seconds()), (600, 600));
}

/// Also by a catalog that is made anew from its journal.
#[tokio::test]
async fn levels_fall_as_they_are_told_and_stay_so() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let level = Level::from_seconds;
    let mut values = Vec::new();
    for number in 0..3 {
        values.push(publish(&catalog, new_value(number, 1)).await);
    }
    let used = |value: &Value| UseOf {
        name: value.name.clone(),
        seq: value.seq,
        level: level(5000),
        touched: level(300),
    };
    catalog.record_uses(values.iter().map(|value| used(value)).collect()).await.unwrap();
    let lower = |value: &Value, from| NewLevel {
        name: value.name.clone(),
        seq: value.seq,
        from: level(from),
        to: level(300),
    };
    // The second was raised by somebody meanwhile.
    catalog.change_levels(vec![lower(&values[0], 5000), lower(&values[1], 4000)]).await.unwrap();
    let expected = [(300, 300), (5000, 300), (5000, 300)];
    let levels = |value: &Value| (value.level().seconds(), value.touched().seconds());
    assert_eq!([0, 1, 2].map(|number| levels(&values[number])), expected);
    assert_eq!(catalog.kept_gone(), 0);
    assert_eq!(catalog.forget(vec![(name(2), values[2].seq), (name(2), 77)]).await.unwrap(), 1);
    assert_eq!(catalog.kept_gone(), 1);
    assert!(catalog.is_in_order());
    for damaged in [false, true] {
        let copy = copy(folder.path());
        if damaged {
            fs::write(copy.path().join("catalog.db"), b"no database at all").unwrap();
            // Which would have all that there is.
            fs::remove_file(copy.path().join("catalog.db-wal")).unwrap();
        }
        let (catalog, started) = open(copy.path());
        assert_eq!(started.rebuilt, damaged);
        for (number, expected) in (0..2).zip(expected) {
            assert_eq!(levels(&catalog.look_up(&name(number)).await.unwrap().unwrap()), expected);
        }
        assert!(catalog.look_up(&name(2)).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn values_touched_later_are_visited_in_portions() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let touched = |number: u32| NewValue { touched: Level::from_seconds(number), ..new_value(number, 1) };
    catalog.publish((0..1000).map(touched).collect()).await.unwrap();
    catalog.publish((0..1000).map(|number| pending_value(number, 2)).collect()).await.unwrap();
    let mut visited = Vec::new();
    catalog.for_each_touched_after(Level::from_seconds(299), &mut |value| visited.push(value.name)).unwrap();
    visited.sort();
    let mut expected: Vec<_> = (300..1000).map(name).collect();
    expected.sort();
    assert_eq!(visited, expected);
}

#[tokio::test]
async fn many_who_publish_at_once_are_all_answered_with_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..500 {
        let catalog = catalog.clone();
        tasks.spawn(async move {
            let values =
                catalog.publish(vec![new_value(number, 1), new_value(1000 + number, 1)]).await.unwrap();
            assert_is(&values[0], &new_value(number, 1));
            assert_is(&values[1], &new_value(1000 + number, 1));
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    assert_eq!(catalog.figures().names, 1000);
    assert_eq!(catalog.check().unwrap().rows, 1000);
}

#[tokio::test]
async fn damage_is_remembered_over_a_restart_until_its_pack_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    for (pack, offset) in [(7, 1), (8, 2), (7, 1)] {
        catalog.record_damage(pack, offset).unwrap();
    }
    let killed = copy(folder.path());
    let (catalog, _) = open(killed.path());
    assert_eq!(catalog.damage().unwrap(), [(7, 1), (8, 2)]);
    catalog.forget_damage(7).await.unwrap();
    assert_eq!(catalog.damage().unwrap(), [(8, 2)]);
}

#[tokio::test]
async fn too_large_values_are_refused_and_the_largest_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let inline = |len| NewValue { target: Target::Inline(vec![7; len].into()), ..new_value(1, 1) };
    let result = catalog.publish(vec![new_value(2, 1), inline(INLINE_MAX + 1)]).await;
    assert!(matches!(result, Err(Error::TooLarge { .. })));
    assert!(catalog.look_up(&name(2)).await.unwrap().is_none());
    let largest = NewValue { references: vec![1; VALUE_MAX - INLINE_MAX - 100].into(), ..inline(INLINE_MAX) };
    publish(&catalog, largest.clone()).await;
    let killed = copy(folder.path());
    fs::remove_file(killed.path().join("catalog.db")).unwrap();
    let (catalog, started) = open(killed.path());
    assert!(started.rebuilt);
    assert_serves(&catalog, &largest).await;
}

#[tokio::test]
async fn closed_catalog_refuses_and_does_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    catalog.close().unwrap();
    assert!(matches!(catalog.publish(vec![new_value(1, 1)]).await, Err(Error::Busy(_))));
    assert!(matches!(catalog.look_up(&name(1)).await, Err(Error::Busy(_))));
    assert!(matches!(catalog.close(), Err(Error::Busy(_))));
}

/// The files of a data directory and who may do what with each.
fn modes(folder: &Path) -> Vec<(std::path::PathBuf, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|entry| (entry.path(), entry.metadata().unwrap().permissions().mode() & 0o777)).collect()
}

#[tokio::test]
async fn nobody_but_the_owner_may_read_any_file() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    publish(&catalog, new_value(1, 1)).await;
    catalog.blocking(Command::Rebuild).unwrap();
    publish(&catalog, new_value(1, 2)).await;
    let modes = modes(folder.path());
    assert!(modes.len() >= 5 && modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
}

#[tokio::test]
async fn files_that_others_may_read_are_closed_to_them_at_the_next_start() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    publish(&catalog, new_value(1, 1)).await;
    let killed = copy(folder.path());
    for (path, _) in modes(killed.path()) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let (catalog, _) = open(killed.path());
    assert_serves(&catalog, &new_value(1, 1)).await;
    let modes = modes(killed.path());
    let ours = modes.iter().filter(|(path, _)| !path.ends_with("lock"));
    assert!(ours.clone().count() >= 3 && ours.clone().all(|(_, mode)| *mode == 0o600), "{modes:?}");
}

#[tokio::test]
async fn look_ups_that_cannot_be_answered_yet_leave_threads_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let suspended = catalog.inner.shared.readers.suspend();
    let mut look_ups = tokio::task::JoinSet::new();
    let begun = Arc::new(std::sync::atomic::AtomicU32::new(0));
    for number in 0..600 {
        let (catalog, begun) = (catalog.clone(), Arc::clone(&begun));
        look_ups.spawn(async move {
            begun.fetch_add(1, Ordering::Relaxed);
            catalog.look_up(&name(number)).await
        });
    }
    while begun.load(Ordering::Relaxed) < 600 {
        tokio::task::yield_now().await;
    }
    let other = tokio::task::spawn_blocking(|| ());
    let done = tokio::time::timeout(std::time::Duration::from_secs(20), other).await;
    drop(suspended);
    assert!(done.is_ok(), "the pool was full");
    while let Some(found) = look_ups.join_next().await {
        assert!(found.unwrap().unwrap().is_none());
    }
}

#[tokio::test]
async fn log_and_journal_are_cut_while_the_same_names_are_published_over_and_over() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
    let options = CatalogOptions { wal_bytes: 256 << 10, ..CatalogOptions::default() };
    let (catalog, _) = Catalog::open(folder.path(), disk, &options).unwrap();
    for version in 0..300 {
        let values = (0..20)
            .map(|number| NewValue { references: vec![1; 2000].into(), ..new_value(number, version) })
            .collect();
        catalog.publish(values).await.unwrap();
    }
    let figures = catalog.figures();
    assert!(figures.database_bytes < 2 << 20, "{figures:?}");
    assert!(figures.journal_bytes < 4 << 20, "{figures:?}");
    let killed = copy(folder.path());
    fs::remove_file(killed.path().join("catalog.db")).unwrap();
    let (catalog, started) = open(killed.path());
    assert!(started.rebuilt);
    assert_eq!(catalog.figures().names, 20);
    for number in 0..20 {
        let value = catalog.look_up(&name(number)).await.unwrap().unwrap();
        assert_eq!(value.pushed, 299);
    }
}

#[tokio::test]
async fn values_too_large_together_are_refused_and_each_alone_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    let large = |number| NewValue { references: vec![7; VALUE_MAX / 2].into(), ..new_value(number, 1) };
    let error = catalog.publish(vec![large(1), large(2)]).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    for number in [1, 2] {
        assert!(catalog.look_up(&name(number)).await.unwrap().is_none());
        publish(&catalog, large(number)).await;
        assert_serves(&catalog, &large(number)).await;
    }
}

#[tokio::test]
async fn pages_show_every_value_once_and_what_waits_too() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(folder.path());
    for number in 0..600 {
        publish(&catalog, new_value(number, 1)).await;
    }
    publish(&catalog, new_value(3, 2)).await;
    publish(&catalog, pending_value(4, 2)).await;
    let (mut seen, mut after) = (Vec::new(), 0);
    while let Some(page) = catalog.page_after(after, Pages::Names).await.unwrap() {
        assert!(page.values.len() <= 256 && page.next > after);
        seen.extend(page.values.into_iter().map(|value| (value.name.clone(), value.pushed)));
        after = page.next;
    }
    let mut expected: Vec<_> =
        (0..600).filter(|number| *number != 3).map(|number| (name(number), 1)).collect();
    expected.extend([(name(3), 2), (name(4), 2)]);
    assert_eq!(seen, expected);
}
