//! What requests may hold in memory, all of them together, and who waits for it.
//!
//! **The bound.** Requests hold at most
//! [`Options::request_memory`](crate::Options) + connections × (2 × [`SMALL_BYTES`] + one HTTP/2 frame) bytes, what
//! unfinished uploads have gathered included. Not counted are headers and answers, and what an upload that broke off
//! had already given to the volume's writers, of whom there are few. The memory has parts, each for what must not wait
//! for another:
//!
//! - *asking*: messages of calls that only ask; who writes cannot starve them;
//! - *first*: the only message of a call that writes, or the first one of a stream;
//! - *continuing*: the later messages of a stream;
//! - *gathered*: what an upload keeps of its blob between two messages. It is taken when the upload begins, for its
//!   whole time;
//! - *large*: messages above [`ORDINARY_BYTES_MAX`]. A stream has none;
//! - *windows*: what a client may send on a stream that nobody reads yet. Somebody reads all the time, except while a
//!   message of a stream is being worked on, and while one waits for memory; so these two take a window each, and keep
//!   it until everything that came was read. A connection's own HTTP/2 window is that of [`UNREAD_STREAMS_MAX`] streams,
//!   so further ones share theirs.
//!
//! A message takes twice its length, for it is assembled and then decoded, before its first byte is read. Small ones pass
//! on their connection's own bytes.
//!
//! **Nobody waits for ever.** Who waits holds nothing that those before him need: messages of calls that ask wait with
//! empty hands; the first message of an upload waits for gathered room, whose holders need continuing messages only,
//! whose holders need a window only, whose holders go on whatever others do. Places to wait in are not waited for: who
//! finds none is refused, and so is who waited too long. Who holds memory and is slow is ended (`layers::pace`).

mod pot;
mod share;

use std::sync::Arc;
use std::time::Duration;

use millpond_cache::Changing;

use crate::layers::pace::Slowest;

use self::pot::Pot;
pub(crate) use self::share::{Overloaded, Room, Share, Window};

/// What a client may send on one stream before we have taken it in.
pub(crate) const WINDOW_BYTES: u32 = 1024 * 1024;
/// So many streams' windows are what a client may send on all streams of a connection before we have taken it in.
pub(crate) const UNREAD_STREAMS_MAX: usize = 16;
/// Small messages of a connection, in all, that wait for nobody.
pub(crate) const SMALL_BYTES: u32 = 64 * 1024;
/// The largest message that is taken. Clients send batches of 4 MiB and a little more; gRPC's own limit is 4 MiB sharp.
pub(crate) const MESSAGE_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Up to here a message is an ordinary one, as each of a stream has to be.
pub(crate) const ORDINARY_BYTES_MAX: u32 = 5 * 1024 * 1024;
/// The least memory with which each part works.
pub(crate) const BYTES_LEAST: u64 = 96 * 1024 * 1024;

/// What memory is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A message of a call that only asks.
    Asking,
    /// The first message of a call that writes.
    First,
    /// A later one.
    Continuing,
    /// What an upload keeps between its messages.
    Gathered,
}

/// The memory of a server.
#[derive(Debug)]
pub(crate) struct Memory {
    asking: Arc<Pot>,
    first: Arc<Pot>,
    continuing: Arc<Pot>,
    gathered: Arc<Pot>,
    large: Arc<Pot>,
    reading: Arc<Pot>,
    waiting_to_ask: Arc<Pot>,
    waiting_to_write: Arc<Pot>,
    limits: Changing<RequestLimits>,
}

/// What each request is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLimits {
    /// For how long look-ups and reads wait for memory.
    pub(crate) look_up_time: Duration,
    /// The largest message, in bytes, up to [`MESSAGE_BYTES_MAX`].
    pub(crate) message: u32,
    /// How slow it may be.
    pub(crate) slowest: Slowest,
}

#[cfg(test)]
impl RequestLimits {
    /// Those that nobody configured, but for the time of look-ups.
    pub(crate) fn waiting(look_up_time: Duration) -> Self {
        let slowest = Slowest { quiet: Duration::from_secs(300), rate: 16 * 1024 };
        Self { look_up_time, message: MESSAGE_BYTES_MAX, slowest }
    }
}

impl Memory {
    /// Memory of about this many bytes, for requests of these limits.
    pub(crate) fn new(bytes: u64, limits: RequestLimits) -> Self {
        let bytes = bytes.max(BYTES_LEAST);
        let large = (bytes / 4).max(2 * u64::from(MESSAGE_BYTES_MAX));
        let part = |twenty_fourths: u64| Pot::new((bytes - large) / 24 * twenty_fourths);
        Self {
            asking: part(4),
            first: part(4),
            continuing: part(4),
            gathered: part(4),
            large: Pot::new(large),
            reading: part(3),
            waiting_to_ask: part(2),
            waiting_to_write: part(3),
            limits: Changing::new(limits),
        }
    }

    /// Holds requests to these from now on, those under way included.
    pub(crate) fn change(&self, limits: RequestLimits) {
        self.limits.change(limits);
    }

    fn pot(&self, purpose: Purpose, bytes: u32) -> &Arc<Pot> {
        match purpose {
            _ if bytes > ORDINARY_BYTES_MAX => &self.large,
            Purpose::Asking => &self.asking,
            Purpose::First => &self.first,
            Purpose::Continuing => &self.continuing,
            Purpose::Gathered => &self.gathered,
        }
    }

    /// Where those wait who have this purpose.
    fn waiting(&self, purpose: Purpose) -> &Arc<Pot> {
        match purpose {
            Purpose::Asking => &self.waiting_to_ask,
            Purpose::First | Purpose::Continuing | Purpose::Gathered => &self.waiting_to_write,
        }
    }
}
