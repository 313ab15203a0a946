//! A backup that hangs, at a disk elsewhere or at whoever listens to it, while a full volume is pushed to: pushes go on, and what it comes
//! to in the end is whole.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::letting_go::Random;
use super::*;
use crate::{BackupStep, BackupWanted};

async fn push(fixture: &Fixture, random: &mut Random) -> Result<()> {
    let content: Vec<u8> = (0..125_000).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect();
    let uri = format!("urn:{}", random.below(u64::MAX));
    let blob = fixture.put(content).await?;
    fixture.push(AssetKind::Blob, &[&uri], blob).await.map(drop)
}

/// A volume that is full, and lets go.
async fn full(folder: &Path, random: &mut Random) -> Fixture {
    let options = CacheOptions {
        max_size: Some(MaxSize::Bytes(30_000_000)),
        lease: std::time::Duration::ZERO,
        ..options(&folder.join("data"))
    };
    let fixture = Fixture::of(Cache::open(options).await.unwrap().0);
    while fixture.cache.figures().bytes_let_go < 5_000_000 {
        push(&fixture, random).await.unwrap();
    }
    fixture
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_that_hangs_gives_its_room_back_to_those_who_push() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(7);
    let fixture = full(folder.path(), &mut random).await;
    let ((hangs, hung), (go_on, goes_on)) = (channel(), channel());
    let wanted = BackupWanted { directory: folder.path().join("backup"), dry_run: false };
    let (cache, permit) = (fixture.cache.clone(), fixture.admin());
    let mut hang = Some((hangs, goes_on));
    let backing_up = tokio::task::spawn_blocking(move || {
        cache.back_up(&permit, &wanted, &mut |step| {
            if let BackupStep::Progress { .. } = step
                && let Some((hangs, goes_on)) = hang.take()
            {
                hangs.send(()).unwrap();
                goes_on.recv().unwrap();
            }
            true
        })
    });
    tokio::task::block_in_place(|| hung.recv().unwrap());
    // More than there is room for: all that is there when it hangs has to go.
    for _ in 0..60 {
        push(&fixture, &mut random).await.unwrap();
    }
    go_on.send(()).unwrap();
    let done = backing_up.await.unwrap().unwrap();
    assert!(done.broken_off > 0 && done.names > 0 && done.damaged == 0 && done.bad == 0, "{done:?}");
}

/// It is the one that looks how long they have waited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_that_is_slow_begins_anew_so_that_those_who_push_have_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(11);
    let fixture = full(folder.path(), &mut random).await;
    let wanted = BackupWanted { directory: folder.path().join("backup"), dry_run: false };
    let (cache, permit) = (fixture.cache.clone(), fixture.admin());
    let is_again = Arc::new(AtomicBool::new(false));
    let again = Arc::clone(&is_again);
    let backing_up = tokio::task::spawn_blocking(move || {
        cache.back_up(&permit, &wanted, &mut |step| {
            match step {
                BackupStep::Again => again.store(true, Ordering::Relaxed),
                // Until it had to begin anew.
                _ if !again.load(Ordering::Relaxed) => std::thread::sleep(Duration::from_millis(1500)),
                _ => {}
            }
            true
        })
    });
    while !is_again.load(Ordering::Relaxed) && !backing_up.is_finished() {
        push(&fixture, &mut random).await.unwrap();
    }
    let done = backing_up.await.unwrap().unwrap();
    assert!(done.broken_off > 0 && done.names > 0 && done.damaged == 0 && done.bad == 0, "{done:?}");
}
