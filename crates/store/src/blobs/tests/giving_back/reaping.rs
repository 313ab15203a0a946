//! Which packs are unlinked, and which must not be.

use rustix::io::Errno;

use super::*;
use crate::disk::{Call, Effect, Fault, FaultyDisk};

#[tokio::test]
async fn pack_that_is_wrongly_counted_as_empty_is_kept_and_counted_again() {
    let (_, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let (kept, _) = filled(&store).await;
    let shared = store.blobs.shared();
    let live = shared.packs.live();
    for (_, counters) in shared.packs.settled() {
        counters.recount_live(0, 0);
    }
    let before = packs(&*disk);
    let given = store.blobs.give_back(false).unwrap();
    assert_eq!((given.packs, packs(&*disk)), (0, before));
    assert_eq!(shared.packs.live(), live);
    assert_kept(&store, &kept, "afterwards").await;
}

#[tokio::test]
async fn packs_in_which_blobs_may_yet_be_entered_are_never_unlinked() {
    let (_, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    // A blob that comes in twice at once makes a pack that holds nothing; one that takes blobs holds nothing yet.
    store.blobs.background_sync();
    put(&store.blobs, &blob(1, 1000)).await.unwrap();
    store.blobs.set_waterline(NOW.plus(1));
    drop_below(store.blobs.shared());
    assert_eq!(store.blobs.give_back(true).unwrap(), GivenBack::default());
    store.clock.advance(10);
    let again = blob(1, 1000);
    put(&store.blobs, &again).await.unwrap();
    make_durable(&store.blobs, &[again.0]).await.unwrap();
    assert_eq!(read(&store.blobs, &again.0).await.unwrap(), again.1);
}

#[tokio::test]
async fn pack_that_could_not_be_sealed_at_start_goes_when_it_holds_nothing() {
    let (base, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let one = blob(1, 5000);
    put(&store.blobs, &one).await.unwrap();
    make_durable(&store.blobs, &[one.0]).await.unwrap();
    let mut tried = 0;
    for nth in 1.. {
        let memory = Arc::new(base.crash(0));
        let fault =
            Fault { call: Some(Call::Write), nth, effect: Effect::Fail(Errno::NOSPC), lasting: false };
        let faulty = Arc::new(FaultyDisk::new(memory.clone(), fault));
        let disk: Arc<dyn Disk> = faulty.clone();
        let Ok(store) = try_open(&disk, &small_options(), Level::ZERO, &[]) else { continue };
        if !faulty.has_struck() {
            break;
        }
        tried += 1;
        assert!(packs(&*disk).iter().all(|name| name.ends_with(".open")));
        assert_eq!(read(&store.blobs, &one.0).await.unwrap(), one.1);
        assert_eq!(store.blobs.give_back(true).unwrap().packs, 0);
        store.blobs.set_waterline(Level::PINNED);
        drop_below(store.blobs.shared());
        assert_eq!(store.blobs.give_back(true).unwrap().packs, 1);
        assert_eq!(packs(&*disk), Vec::<String>::new());
    }
    assert!(tried > 0);
}

#[tokio::test]
async fn pack_that_no_sync_vouched_for_at_start_is_kept_for_the_next_one() {
    let (memory, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let one = blob(1, 5000);
    put(&store.blobs, &one).await.unwrap();
    make_durable(&store.blobs, &[one.0]).await.unwrap();
    memory.fail_next_sync(".open", Errno::IO, 0);
    memory.fail_next_sync(".open", Errno::IO, 0);
    let store = open_small(&disk, Level::ZERO);
    assert_eq!(store.started.set_aside.len(), 1);
    let before = packs(&*disk);
    for _ in 0..2 {
        assert_eq!(store.blobs.give_back(true).unwrap(), GivenBack::default());
    }
    assert_eq!(packs(&*disk), before);
    assert_eq!(read(&open_small(&disk, Level::ZERO).blobs, &one.0).await.unwrap(), one.1);
}

#[tokio::test]
async fn many_empty_packs_go_in_more_than_one_step() {
    let (_, disk) = memory();
    let store = try_open(&disk, &options(), Level::ZERO, &[]).unwrap();
    for number in 0..300 {
        put(&store.blobs, &blob(number, 140_000 + number as usize)).await.unwrap();
    }
    store.blobs.background_sync();
    let_go(&store);
    let first = store.blobs.give_back(false).unwrap();
    assert!(first.more && first.packs < 300, "{first:?}");
    let second = store.blobs.give_back(false).unwrap();
    assert_eq!((first.packs + second.packs, second.more), (300, false));
    assert!(first.freed + second.freed > 300 * 140_000);
}
