//! What requests may hold in memory, all of them together, and who waits for it.
//!
//! **The bound.** The messages of requests take at most [`Options::request_memory`](crate::Options) bytes, and for each
//! connection [`SMALL_BYTES`] of small messages, twice while they are decoded, and one HTTP/2 frame. Not counted are
//! headers, answers, and what an upload that was begun has gathered: less than 1 MiB of a small blob, up to 2 MiB of a
//! large one, within what may be reserved on the volume. The memory has three parts:
//!
//! - *ordinary* messages, up to what clients send in batches, and *large* ones. Each takes twice its length, for it is
//!   assembled and then decoded, before its first byte is read. Neither kind can use up what the other needs;
//! - *windows*: what a client may send on a connection that nobody reads yet. Somebody reads all the time, except while
//!   a message of a stream is being worked on, and while one waits for memory; so these two take a window, and keep it
//!   until everything that came was read.
//!
//! **Nobody waits for ever.** A message takes all its memory at once, and a stream holds none of it while it waits for
//! more. Windows for waiting are not waited for: who finds none is refused, and the bytes are thrown away.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a client may send on all streams of a connection before we have taken it in.
pub(crate) const WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Small messages of a connection, in all, that wait for nobody.
pub(crate) const SMALL_BYTES: u32 = 64 * 1024;
/// The largest message that is taken. Clients send batches of 4 MiB and a little more; gRPC's own limit is 4 MiB sharp.
pub(crate) const MESSAGE_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Up to here a message is an ordinary one.
const ORDINARY_BYTES_MAX: u32 = 5 * 1024 * 1024;
/// The least memory with which each part works.
const BYTES_LEAST: u64 = 64 * 1024 * 1024;
/// Messages are counted in these, because a semaphore counts in 32 bits.
const UNIT_BYTES: u32 = 1024;

/// A connection's part of the windows, shared by its streams.
pub(crate) type Window = Arc<OwnedSemaphorePermit>;

/// There is no memory, and no room to wait for it either.
#[derive(Debug)]
pub(crate) struct Overloaded;

/// The memory of a server.
#[derive(Debug)]
pub(crate) struct Memory {
    ordinary: Messages,
    large: Messages,
    reading: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

#[derive(Debug)]
struct Messages {
    units: Arc<Semaphore>,
    waiters: AtomicUsize,
}

impl Messages {
    fn new(bytes: u64) -> Self {
        Self { units: Arc::new(Semaphore::new(count(bytes, UNIT_BYTES))), waiters: AtomicUsize::new(0) }
    }
}

impl Memory {
    /// Memory of about this many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let bytes = bytes.max(BYTES_LEAST);
        let large = (bytes / 4).max(2 * u64::from(MESSAGE_BYTES_MAX));
        let rest = bytes - large;
        let windows = || Arc::new(Semaphore::new(count(rest / 3, WINDOW_BYTES)));
        Self {
            ordinary: Messages::new(rest / 3),
            large: Messages::new(large),
            reading: windows(),
            waiting: windows(),
        }
    }

    fn messages(&self, bytes: u32) -> &Messages {
        if bytes <= ORDINARY_BYTES_MAX { &self.ordinary } else { &self.large }
    }
}

/// How many of `each` there are in `bytes`.
fn count(bytes: u64, each: u32) -> usize {
    usize::try_from(bytes / u64::from(each)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

fn units(bytes: u32) -> u32 {
    bytes.div_ceil(UNIT_BYTES).saturating_mul(2)
}

/// What one connection has of it.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    small_bytes: AtomicU32,
    reading: Mutex<Weak<OwnedSemaphorePermit>>,
    waiting: Mutex<Weak<OwnedSemaphorePermit>>,
}

impl Share {
    /// Nothing yet.
    pub(crate) fn new(memory: Arc<Memory>) -> Arc<Self> {
        let small_bytes = AtomicU32::new(0);
        Arc::new(Self { memory, small_bytes, reading: Mutex::default(), waiting: Mutex::default() })
    }

    /// Room for a message, if it can be had without waiting.
    pub(crate) fn room(self: &Arc<Self>, bytes: u32) -> Option<Room> {
        let taken = |taken: u32| taken.checked_add(bytes).filter(|taken| *taken <= SMALL_BYTES);
        if self.small_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok() {
            return Some(Room(Held::Small { share: Arc::clone(self), bytes }));
        }
        let semaphore = Arc::clone(&self.memory.messages(bytes).units);
        let units = semaphore.try_acquire_many_owned(units(bytes)).ok()?;
        Some(Room(Held::Message { _units: units, memory: Arc::clone(&self.memory), bytes }))
    }

    /// A window to read by, if it can be had without waiting.
    pub(crate) fn window(&self) -> Option<Window> {
        shared(&self.reading, || Arc::clone(&self.memory.reading).try_acquire_owned().ok())
    }

    /// Waits for room for a message, if `bytes` are given, and for a window to read by, if that is needed.
    pub(crate) async fn wait(
        self: Arc<Self>,
        bytes: Option<u32>,
        window: bool,
    ) -> Result<(Option<Room>, Option<Window>), Overloaded> {
        let waiting = shared(&self.waiting, || Arc::clone(&self.memory.waiting).try_acquire_owned().ok());
        let _waiting = waiting.ok_or(Overloaded)?;
        let room = match bytes {
            Some(bytes) => Some(self.wait_for_room(bytes).await?),
            None => None,
        };
        let window = if window { Some(self.wait_for_window().await?) } else { None };
        Ok((room, window))
    }

    async fn wait_for_room(&self, bytes: u32) -> Result<Room, Overloaded> {
        let messages = self.memory.messages(bytes);
        messages.waiters.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(&messages.waiters);
        let units = Arc::clone(&messages.units).acquire_many_owned(units(bytes)).await;
        let units = units.map_err(|_| Overloaded)?;
        Ok(Room(Held::Message { _units: units, memory: Arc::clone(&self.memory), bytes }))
    }

    /// Who has a window goes on whatever others do, so this can be waited for with a message in hand.
    async fn wait_for_window(&self) -> Result<Window, Overloaded> {
        let window = Arc::clone(&self.memory.reading).acquire_owned().await.map_err(|_| Overloaded)?;
        shared(&self.reading, || Some(window)).ok_or(Overloaded)
    }
}

/// What streams of a connection have in common while one of them has it.
fn shared(
    slot: &Mutex<Weak<OwnedSemaphorePermit>>,
    take: impl FnOnce() -> Option<OwnedSemaphorePermit>,
) -> Option<Window> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(window) = slot.upgrade() {
        return Some(window);
    }
    let window = Arc::new(take()?);
    *slot = Arc::downgrade(&window);
    Some(window)
}

struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room for one message. Dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Room(Held);

#[derive(Debug)]
enum Held {
    Small { share: Arc<Share>, bytes: u32 },
    Message { _units: OwnedSemaphorePermit, memory: Arc<Memory>, bytes: u32 },
}

impl Room {
    /// Whether others wait for such room.
    pub(crate) fn is_wanted(&self) -> bool {
        match &self.0 {
            Held::Small { .. } => false,
            Held::Message { memory, bytes, .. } => {
                memory.messages(*bytes).waiters.load(Ordering::Relaxed) > 0
            }
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Held::Small { share, bytes } = &self.0 {
            share.small_bytes.fetch_sub(*bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const MIB: u32 = 1024 * 1024;

    fn share(memory: &Arc<Memory>) -> Arc<Share> {
        Share::new(Arc::clone(memory))
    }

    #[test]
    fn least_memory_takes_every_message_once() {
        let memory = Arc::new(Memory::new(0));
        let share = share(&memory);
        let large = share.room(MESSAGE_BYTES_MAX).unwrap();
        assert!(share.room(ORDINARY_BYTES_MAX + 1).is_none());
        let ordinary = share.room(ORDINARY_BYTES_MAX).unwrap();
        assert!(share.room(ORDINARY_BYTES_MAX).is_none());
        drop((large, ordinary));
        assert!(share.room(MESSAGE_BYTES_MAX).is_some() && share.room(ORDINARY_BYTES_MAX).is_some());
    }

    #[test]
    fn small_messages_pass_though_all_else_is_taken() {
        let memory = Arc::new(Memory::new(0));
        let hoarder = share(&memory);
        let hoard: Vec<Room> = std::iter::from_fn(|| hoarder.room(SMALL_BYTES / 2)).collect();
        assert!(hoard.len() > 100);
        let share = share(&memory);
        let small = share.room(SMALL_BYTES).unwrap();
        assert!(!small.is_wanted() && share.room(MIB).is_none());
        drop(small);
        assert!(share.room(SMALL_BYTES).is_some());
    }

    #[test]
    fn waiting_is_in_order_seen_by_holders_and_bounded() {
        let memory = Arc::new(Memory::new(0));
        let held = share(&memory).room(MESSAGE_BYTES_MAX).unwrap();
        let mut waiting: Vec<_> = (0..memory.waiting.available_permits())
            .map(|_| Box::pin(share(&memory).wait(Some(MESSAGE_BYTES_MAX), false)))
            .collect();
        assert!(!held.is_wanted() && waiting.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
        let mut one_more = Box::pin(share(&memory).wait(Some(MESSAGE_BYTES_MAX), false));
        assert!(matches!((&mut one_more).now_or_never(), Some(Err(Overloaded))));
        assert!(held.is_wanted());
        drop(held);
        assert!(waiting.remove(0).now_or_never().unwrap().unwrap().0.unwrap().is_wanted());
    }

    #[test]
    fn streams_of_one_connection_share_a_window() {
        let memory = Arc::new(Memory::new(0));
        let first = share(&memory);
        let windows = memory.reading.available_permits();
        let held = [first.window().unwrap(), first.window().unwrap()];
        assert_eq!(memory.reading.available_permits(), windows - 1);
        let others: Vec<Window> = std::iter::from_fn(|| share(&memory).window()).collect();
        assert_eq!(others.len(), windows - 1);
        let mut waiting = Box::pin(share(&memory).wait(None, true));
        assert!((&mut waiting).now_or_never().is_none());
        drop(held);
        assert!(waiting.now_or_never().unwrap().unwrap().1.is_some());
    }
}
