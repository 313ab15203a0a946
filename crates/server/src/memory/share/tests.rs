//! Connections that take all there is, and others beside them.

use super::*;
use crate::memory::{MESSAGE_BYTES_MAX, RequestLimits};
use Purpose::{Asking, Continuing, First, Gathered};
use futures_util::FutureExt;

const MIB: u32 = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

fn least() -> Arc<Memory> {
    Arc::new(Memory::new(0, RequestLimits::waiting(PATIENCE)))
}

fn share(memory: &Arc<Memory>) -> Arc<Share> {
    Share::new(Arc::clone(memory))
}

/// Takes all there is for a purpose, the small bytes of a connection included.
fn hoard(memory: &Arc<Memory>, purpose: Purpose) -> Vec<Room> {
    let share = share(memory);
    std::iter::from_fn(|| share.room(purpose, SMALL_BYTES / 4)).collect()
}

#[test]
fn parts_are_what_was_given() {
    for bytes in [0, 200 << 20, 1 << 30] {
        let memory = Memory::new(bytes, RequestLimits::waiting(PATIENCE));
        let Memory { asking, first, continuing, gathered, large, reading, .. } = &memory;
        let Memory { waiting_to_ask, waiting_to_write, .. } = &memory;
        let parts = [asking, first, continuing, gathered, large, reading, waiting_to_ask, waiting_to_write];
        let sum: usize = parts.iter().map(|pot| pot.bytes_left()).sum();
        let bytes = usize::try_from(bytes.max(96 << 20)).unwrap();
        assert!((bytes - (64 << 10)..=bytes).contains(&sum), "{sum} of {bytes}");
    }
}

#[test]
fn least_memory_takes_every_message_once() {
    let memory = least();
    let share = share(&memory);
    let large = share.room(First, MESSAGE_BYTES_MAX).unwrap();
    assert!(share.room(Asking, super::super::ORDINARY_BYTES_MAX + 1).is_none());
    let ordinary = [Asking, First, Continuing].map(|purpose| share.room(purpose, 5 * MIB).unwrap());
    assert!(share.room(First, 5 * MIB).is_none());
    drop((large, ordinary));
    assert!(share.room(First, MESSAGE_BYTES_MAX).is_some() && share.room(First, 5 * MIB).is_some());
}

#[test]
fn nobody_takes_what_another_purpose_needs() {
    for hoarded in [Asking, First, Continuing, Gathered] {
        let memory = least();
        let hoard = hoard(&memory, hoarded);
        assert!(hoard.len() > 300, "{}", hoard.len());
        for purpose in [Asking, First, Continuing, Gathered] {
            assert_eq!(share(&memory).room(purpose, MIB).is_some(), purpose != hoarded, "{purpose:?}");
        }
    }
}

#[test]
fn small_messages_pass_though_all_else_is_taken() {
    let memory = least();
    let _hoard = hoard(&memory, First);
    let share = share(&memory);
    let small = share.room(First, SMALL_BYTES).unwrap();
    assert!(!small.is_wanted() && share.room(First, MIB).is_none());
    drop(small);
    assert!(share.room(First, SMALL_BYTES).is_some());
}

#[tokio::test]
async fn waiting_is_in_order_seen_by_holders_and_bounded() {
    let memory = least();
    let wait = || Box::pin(share(&memory).wait(First, Some(MESSAGE_BYTES_MAX), false, PATIENCE));
    let held = share(&memory).room(First, MESSAGE_BYTES_MAX).unwrap();
    let places = memory.waiting_to_write.bytes_left() / WINDOW_BYTES as usize;
    let mut waiting: Vec<_> = (0..places).map(|_| wait()).collect();
    assert!(!held.is_wanted() && waiting.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
    assert!(matches!(wait().now_or_never(), Some(Err(Overloaded))));
    // Those who only ask wait elsewhere.
    let mut asking = Box::pin(share(&memory).wait(Asking, Some(MESSAGE_BYTES_MAX), false, PATIENCE));
    assert!((&mut asking).now_or_never().is_none());
    assert!(held.is_wanted());
    drop(held);
    assert!(waiting.remove(0).now_or_never().unwrap().unwrap().0.unwrap().is_wanted());
}

#[tokio::test(start_paused = true)]
async fn who_waited_too_long_is_refused() {
    let memory = least();
    let _held = share(&memory).room(First, MESSAGE_BYTES_MAX).unwrap();
    let start = tokio::time::Instant::now();
    let waited = share(&memory).wait(First, Some(MESSAGE_BYTES_MAX), false, PATIENCE).await;
    assert!(matches!(waited, Err(Overloaded)));
    assert_eq!(start.elapsed(), PATIENCE);
}

#[tokio::test]
async fn streams_of_one_connection_share_what_its_window_has() {
    let memory = Arc::new(Memory::new(1 << 30, RequestLimits::waiting(PATIENCE)));
    let before = memory.reading.bytes_left();
    let one = share(&memory);
    let windows: Vec<_> = (0..100).map(|_| one.window().unwrap()).collect();
    assert_eq!(before - memory.reading.bytes_left(), UNREAD_STREAMS_MAX * WINDOW_BYTES as usize);
    drop(windows);
    assert_eq!(memory.reading.bytes_left(), before);
}

#[tokio::test]
async fn windows_are_waited_for() {
    let memory = least();
    let mut windows: Vec<Window> = std::iter::from_fn(|| share(&memory).window()).collect();
    assert!(windows.len() > 4);
    let mut waiting = Box::pin(share(&memory).wait(Continuing, None, true, PATIENCE));
    assert!((&mut waiting).now_or_never().is_none());
    windows.pop();
    assert!(waiting.now_or_never().unwrap().unwrap().1.is_some());
}

#[tokio::test]
async fn one_connection_has_fewer_waiting_streams_than_its_window_has_room_for() {
    let memory = Arc::new(Memory::new(1 << 30, RequestLimits::waiting(PATIENCE)));
    let held: Vec<_> = std::iter::from_fn(|| share(&memory).room(First, MESSAGE_BYTES_MAX)).collect();
    let one = share(&memory);
    let wait = |share| Box::pin(Share::wait(share, First, Some(MESSAGE_BYTES_MAX), false, PATIENCE));
    let mut waiting: Vec<_> = (1..UNREAD_STREAMS_MAX).map(|_| wait(Arc::clone(&one))).collect();
    assert!(waiting.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
    assert!(matches!(wait(Arc::clone(&one)).now_or_never(), Some(Err(Overloaded))));
    assert!(wait(share(&memory)).now_or_never().is_none());
    waiting.pop();
    assert!(wait(one).now_or_never().is_none());
    drop(held);
}
