//! What one connection has of the memory.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::timeout;

use super::pot::Taken;
use super::{Memory, Purpose, RequestLimits, SMALL_BYTES, UNREAD_STREAMS_MAX, WINDOW_BYTES};

/// So many streams of a connection may wait for memory at the same time: there is one window of theirs less than the
/// connection's window has, so what waits never stands in the way of a stream that is read.
const WAITING_STREAMS_MAX: usize = UNREAD_STREAMS_MAX - 1;

/// What a client may send on a stream that nobody reads yet.
#[derive(Clone, Debug)]
pub(crate) struct Window(Arc<Taken>);

/// There is no memory, and no room to wait for it, or the wait was too long.
#[derive(Debug)]
pub(crate) struct Overloaded;

/// What one connection has of the memory.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    small_bytes: AtomicU32,
    /// Windows that streams read by; there are no more than the connection's own window has room for.
    reading: Mutex<Vec<Weak<Taken>>>,
    waiting: AtomicUsize,
}

impl Share {
    /// Nothing yet.
    pub(crate) fn new(memory: Arc<Memory>) -> Arc<Self> {
        let (small_bytes, waiting) = (AtomicU32::new(0), AtomicUsize::new(0));
        Arc::new(Self { memory, small_bytes, reading: Mutex::default(), waiting })
    }

    /// What each request is held to.
    pub(crate) fn limits(&self) -> RequestLimits {
        *self.memory.limits.now()
    }

    /// Room for so many bytes, if it can be had without waiting.
    pub(crate) fn room(self: &Arc<Self>, purpose: Purpose, bytes: u32) -> Option<Room> {
        let taken = |taken: u32| taken.checked_add(bytes).filter(|taken| *taken <= SMALL_BYTES);
        if self.small_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok() {
            return Some(Room(Held::Small { share: Arc::clone(self), bytes }));
        }
        let taken = self.memory.pot(purpose, bytes).try_take(cost(purpose, bytes))?;
        Some(Room(Held::OfPot(taken)))
    }

    /// A window to read a stream by, if it can be had without waiting.
    pub(crate) fn window(&self) -> Option<Window> {
        self.shared_window(|| self.memory.reading.try_take(WINDOW_BYTES))
    }

    /// Waits for room for so many bytes, if `bytes` are given, and for a window to read by, if that is needed; not
    /// longer than `patience`.
    pub(crate) async fn wait(
        self: Arc<Self>,
        purpose: Purpose,
        bytes: Option<u32>,
        window: bool,
        patience: Duration,
    ) -> Result<(Option<Room>, Option<Window>), Overloaded> {
        let _place = self.place(purpose)?;
        let wait = async {
            let room = match bytes {
                Some(bytes) => {
                    let taken = self.memory.pot(purpose, bytes).take(cost(purpose, bytes)).await;
                    Some(Room(Held::OfPot(taken.ok_or(Overloaded)?)))
                }
                None => None,
            };
            // Who has a window goes on whatever others do, so this can be waited for with room in hand.
            let window = if window {
                let window = self.memory.reading.take(WINDOW_BYTES).await;
                Some(self.shared_window(|| window).ok_or(Overloaded)?)
            } else {
                None
            };
            Ok((room, window))
        };
        timeout(patience, wait).await.unwrap_or(Err(Overloaded))
    }

    /// A place to wait in: what the client sends meanwhile stays unread.
    fn place(&self, purpose: Purpose) -> Result<Place<'_>, Overloaded> {
        let one_more = |waiting: usize| Some(waiting + 1).filter(|waiting| *waiting <= WAITING_STREAMS_MAX);
        let counted = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        let counted = counted.map(|_| Counted(&self.waiting)).map_err(|_| Overloaded)?;
        let window = self.memory.waiting(purpose).try_take(WINDOW_BYTES).ok_or(Overloaded)?;
        Ok(Place { _window: window, _counted: counted })
    }

    fn shared_window(&self, take: impl FnOnce() -> Option<Taken>) -> Option<Window> {
        let mut windows = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        windows.retain(|window| window.strong_count() > 0);
        if windows.len() >= UNREAD_STREAMS_MAX
            && let Some(window) = windows.iter().find_map(Weak::upgrade)
        {
            return Some(Window(window));
        }
        let window = Window(Arc::new(take()?));
        windows.push(Arc::downgrade(&window.0));
        Some(window)
    }
}

/// A message is assembled and then decoded, so it takes twice its length.
fn cost(purpose: Purpose, bytes: u32) -> u32 {
    if purpose == Purpose::Gathered { bytes } else { bytes.saturating_mul(2) }
}

struct Place<'a> {
    _window: Taken,
    _counted: Counted<'a>,
}

struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room for a message, or for what an upload gathers. Dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Room(Held);

#[derive(Debug)]
enum Held {
    Small { share: Arc<Share>, bytes: u32 },
    OfPot(Taken),
}

impl Room {
    /// Whether others wait for such room.
    pub(crate) fn is_wanted(&self) -> bool {
        match &self.0 {
            Held::Small { .. } => false,
            Held::OfPot(taken) => taken.is_wanted(),
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
mod tests;
