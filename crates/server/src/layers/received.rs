//! A request's body: counted as it passes, held back until there is memory for the message that comes, and ended with a
//! reason if a message is too large or comes too slowly.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use millpond_cache::Limit;
use tower::BoxError;

use super::fields::{FIELDS_MAX, Fields};
use super::framing::Framing;
use super::pace::{Late, Pace};
use super::record::Record;
use super::terms::Terms;
use crate::memory::{ORDINARY_BYTES_MAX, Overloaded, Room, Window};
use crate::status;

type Waiting = Pin<Box<dyn Future<Output = Result<(Option<Room>, Option<Window>), Overloaded>> + Send>>;

/// A request's body.
pub(crate) struct Received<B> {
    body: B,
    record: Arc<Record>,
    messages: Option<Messages>,
}

/// The messages of a body that is framed as gRPC does.
struct Messages {
    terms: Terms,
    /// No message has begun.
    first: bool,
    framing: Framing,
    fields: Fields,
    pace: Pace,
    /// What came and was not handed on, of which [`Framing`] has followed `followed` bytes.
    rest: Bytes,
    followed: usize,
    /// The length of a message that there was no room for yet. Its head ends where `followed` is.
    begins: Option<u32>,
    /// Nothing more can come, so nothing can pile up.
    ended: bool,
    waiting: Option<Waiting>,
}

/// What to do with what came.
enum Next {
    HandOn(Bytes),
    Wait(Waiting),
}

impl<B> Received<B> {
    /// Watches `body` for `record`.
    pub(crate) fn new(body: B, record: Arc<Record>) -> Self {
        Self { body, record, messages: None }
    }

    /// The same for a body that is framed as gRPC does, and takes memory on these terms.
    pub(crate) fn messages(body: B, record: Arc<Record>, terms: Terms) -> Self {
        let pace = Pace::new(terms.share.limits().slowest);
        let messages = Messages {
            terms,
            first: true,
            framing: Framing::default(),
            fields: Fields::default(),
            pace,
            rest: Bytes::new(),
            followed: 0,
            begins: None,
            ended: false,
            waiting: None,
        };
        Self { body, record, messages: Some(messages) }
    }
}

impl Messages {
    /// Whoever asks for more has done with what came whole.
    fn asked_for_more(&mut self) {
        self.terms.hold.asked_for_more(self.framing.in_message() && self.begins.is_none());
    }

    fn came(&mut self, data: Bytes, ended: bool) {
        self.ended = ended;
        self.pace.brought(data.len(), self.terms.hold.state().0);
        self.rest = data;
        self.followed = 0;
    }

    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if let Some(waiting) = &mut self.waiting {
            let granted = ready!(waiting.as_mut().poll(context));
            self.waiting = None;
            let (room, window) = granted.map_err(|Overloaded| self.terms.overloaded())?;
            room.into_iter().for_each(|room| self.take(room));
            self.terms.hold.read_by(window);
        }
        Poll::Ready(Ok(()))
    }

    /// Hands on what came as far as there is room for the messages in it.
    fn next(&mut self) -> Result<Next, BoxError> {
        if let Some(length) = self.begins {
            match self.room(length) {
                Some(room) => self.take(room),
                None => return Ok(self.wait(Some(length))),
            }
        }
        if self.needs_window() {
            match self.terms.share.window() {
                Some(window) => self.terms.hold.read_by(Some(window)),
                None => return Ok(self.wait(None)),
            }
        }
        while let Some(piece) = self.rest.get(self.followed..).filter(|piece| !piece.is_empty()) {
            let of_message = piece.get(..self.framing.message_left()).unwrap_or(piece);
            if self.fields.count(of_message) > FIELDS_MAX {
                return Err(status::too_many_fields(FIELDS_MAX).into());
            }
            let (followed, begins) = self.framing.next(piece);
            self.followed += followed;
            let Some(length) = begins else { break };
            self.check(length)?;
            self.fields = Fields::default();
            match self.room(length) {
                Some(room) => self.take(room),
                None => return Ok(self.without_room(length)),
            }
        }
        Ok(Next::HandOn(std::mem::take(&mut self.rest)))
    }

    fn room(&self, length: u32) -> Option<Room> {
        self.terms.share.room(self.terms.purpose(self.first), length)
    }

    fn take(&mut self, room: Room) {
        self.begins = None;
        self.first = false;
        self.terms.hold.take(room);
    }

    fn check(&self, length: u32) -> Result<(), BoxError> {
        if self.terms.method.takes_many() && length > ORDINARY_BYTES_MAX {
            Limit::MessageSize.met();
            return Err(status::part_too_large(length, ORDINARY_BYTES_MAX).into());
        }
        let most = self.terms.share.limits().message;
        if length > most {
            Limit::MessageSize.met();
            return Err(status::message_too_large(length.into(), most).into());
        }
        if self.terms.hold.is_full() {
            return Err(status::second_message().into());
        }
        Ok(())
    }

    /// Hands on what comes before the message. Its head's last byte stays, so that nobody makes room for it.
    fn without_room(&mut self, length: u32) -> Next {
        self.begins = Some(length);
        let before = self.rest.split_to(self.followed.saturating_sub(1));
        self.followed -= before.len();
        if before.is_empty() { self.wait(Some(length)) } else { Next::HandOn(before) }
    }

    fn needs_window(&self) -> bool {
        !self.ended && self.terms.hold.needs_window()
    }

    fn wait(&mut self, length: Option<u32>) -> Next {
        self.terms.hold.read_by(None);
        let Terms { share, .. } = &self.terms;
        let purpose = self.terms.purpose(self.first);
        let patience = self.terms.patience();
        Next::Wait(Box::pin(Arc::clone(share).wait(purpose, length, self.needs_window(), patience)))
    }

    /// All that came was handed on.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<BoxError> {
        self.terms.hold.read_by(None);
        let (holds, wanted) = self.terms.hold.state();
        self.pace.poll_late(context, holds, wanted).map(|late| match late {
            Late::Idle(time) => {
                Limit::UploadQuiet.met();
                status::idle(time).into()
            }
            Late::Slow(time) => {
                Limit::UploadRate.met();
                status::too_slow(time, self.terms.share.limits().slowest.rate).into()
            }
        })
    }
}

impl<B> Body for Received<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { body, record, messages } = &mut *self;
        if let Some(messages) = messages {
            messages.asked_for_more();
        }
        loop {
            if let Some(messages) = messages {
                ready!(messages.poll_waiting(context))?;
                if !messages.rest.is_empty() {
                    match messages.next()? {
                        Next::HandOn(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Next::Wait(waiting) => messages.waiting = Some(waiting),
                    }
                    continue;
                }
            }
            let frame = match (Pin::new(&mut *body).poll_frame(context), &mut *messages) {
                (Poll::Ready(frame), _) => frame,
                (Poll::Pending, Some(messages)) => {
                    return messages.poll_late(context).map(|error| Some(Err(error)));
                }
                (Poll::Pending, None) => return Poll::Pending,
            };
            let Some(Ok(frame)) = frame else { return Poll::Ready(frame.map(|end| end.map_err(Into::into))) };
            if let Some(data) = frame.data_ref() {
                record.add_received(data.len());
            }
            let Some(messages) = messages else { return Poll::Ready(Some(Ok(frame))) };
            match frame.into_data() {
                Ok(data) => messages.came(data, body.is_end_stream()),
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.messages.as_ref().is_none_or(|messages| messages.rest.is_empty()) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.messages.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}
