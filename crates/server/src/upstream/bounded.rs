//! A channel whose answers may have so many fields: a few bytes of one can take a hundred times as much memory once they are
//! decoded, so its length alone bounds nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body as TonicBody;
use tonic::transport::{Channel, Error};
use tower::Service;

use crate::layers::{Fields, Framing};
use crate::status;

/// The channel, and how many fields a message may have.
#[derive(Clone, Debug)]
pub(super) struct Bounded {
    channel: Channel,
    fields_max: u32,
}

impl Bounded {
    /// A message that comes through `channel` may have so many fields at its top level.
    pub(super) fn new(channel: Channel, fields_max: usize) -> Self {
        Self { channel, fields_max: u32::try_from(fields_max).unwrap_or(u32::MAX) }
    }
}

impl Service<Request<TonicBody>> for Bounded {
    type Response = Response<Counted>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Counted>, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, request: Request<TonicBody>) -> Self::Future {
        let (answer, fields_max) = (self.channel.call(request), self.fields_max);
        Box::pin(async move {
            let counted =
                |body| Counted { body, fields_max, framing: Framing::default(), fields: Fields::default() };
            Ok(answer.await?.map(counted))
        })
    }
}

/// An answer's body, which ends in an error once a message has too many fields.
#[derive(Debug)]
pub(super) struct Counted {
    body: TonicBody,
    fields_max: u32,
    framing: Framing,
    fields: Fields,
}

impl Counted {
    fn follow(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            let of_message = data.get(..self.framing.message_left()).unwrap_or(data);
            if self.fields.count(of_message) > self.fields_max {
                return Err(status::answer_of_too_many_fields(self.fields_max));
            }
            let (followed, begins) = self.framing.next(data);
            if begins.is_some() {
                self.fields = Fields::default();
            }
            data = data.get(followed..).unwrap_or_default();
        }
        Ok(())
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            self.follow(data)?;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
