//! The memory that one call holds. It is shared, because a call's message outlives the body that it came in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::memory::{Room, Window};

/// What one call holds.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// The call may have many messages, which are worked on one after the other as they come.
    many: bool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// In the order in which they began.
    rooms: Vec<Room>,
    window: Option<Window>,
    /// What an upload keeps between its messages.
    gathered: Option<Room>,
}

impl Hold {
    /// Nothing, for a call with one message or `many`.
    pub(crate) fn new(many: bool) -> Self {
        Self { many, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for another message.
    pub(crate) fn take(&self, room: Room) {
        self.held().rooms.push(room);
    }

    /// Room for what an upload gathers, until the call ends.
    pub(crate) fn gather(&self, room: Room) {
        self.held().gathered = Some(room);
    }

    /// The call has the one message that it may have.
    pub(crate) fn is_full(&self) -> bool {
        !self.many && !self.held().rooms.is_empty()
    }

    /// Between two messages somebody works on the first, and nobody reads.
    pub(crate) fn needs_window(&self) -> bool {
        self.many && self.held().window.is_none()
    }

    /// A window to read by, or none because all was read.
    pub(crate) fn read_by(&self, window: Option<Window>) {
        if self.many {
            self.held().window = window;
        }
    }

    /// All messages are done with, but the last if it has not ended. A call with one message has it until it is
    /// answered.
    pub(crate) fn asked_for_more(&self, in_message: bool) {
        if self.many {
            let mut held = self.held();
            let done = held.rooms.len().saturating_sub(usize::from(in_message));
            held.rooms.drain(..done);
        }
    }

    /// Whether there is a message or an upload, and whether others wait for such room.
    pub(crate) fn state(&self) -> (bool, bool) {
        let held = self.held();
        let mut rooms = held.rooms.iter().chain(&held.gathered).peekable();
        (rooms.peek().is_some(), rooms.any(Room::is_wanted))
    }

    /// The call is answered.
    pub(crate) fn give_back(&self) {
        *self.held() = Held::default();
    }
}
