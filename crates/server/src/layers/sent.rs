//! An answer's body: counted as it passes, cut into pieces of which the client has to take one after the other, and the
//! end of the call as the body knows it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Code;

use super::record::UnderWay;
use crate::listener::answers::Reader;
use crate::status;

/// HTTP/2 keeps a piece as a whole until the client takes it.
const PIECE_BYTES: usize = 256 * 1024;
/// The last piece would be kept longer than the call. So the last byte of a frame above this size is a piece of its own:
/// HTTP/2 asks for what comes after a piece only when the client's window has room for more, so the call goes on, and
/// can be ended, until all but so much was taken.
const LEFT_BEHIND_BYTES: usize = 16 * 1024;

/// An answer's body.
pub(crate) struct Sent {
    body: Body,
    /// What of a frame is still to go out.
    rest: Bytes,
    reader: Reader,
    /// Taken when the call ends.
    under_way: Option<UnderWay>,
    /// The code if nothing else comes.
    code: &'static str,
}

impl Sent {
    /// The body of an answer with these headers. An answer without a body ends its call here.
    pub(crate) fn new(body: Body, under_way: Option<UnderWay>, parts: &Parts) -> Self {
        let code = code_of(&parts.headers).unwrap_or_else(|| code_of_http(parts));
        let mut sent = Self { body, rest: Bytes::new(), reader: Reader::of_this_call(), under_way, code };
        if code_of(&parts.headers).is_some() || sent.body.is_end_stream() {
            sent.end(code);
        }
        sent
    }

    fn end(&mut self, code: &'static str) {
        if let Some(under_way) = self.under_way.take() {
            under_way.ended(code);
        }
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        let last = usize::from(self.rest.len() > LEFT_BEHIND_BYTES);
        let piece = self.rest.split_to((self.rest.len() - last).min(PIECE_BYTES));
        if let Some(under_way) = &self.under_way {
            under_way.record().add_sent(piece.len());
        }
        self.reader.gets();
        Some(piece)
    }

    /// The last frame of an answer whose making panicked.
    fn after_panic(&mut self) -> Option<Result<Frame<Bytes>, axum::Error>> {
        self.body = Body::empty();
        self.rest = Bytes::new();
        let request = self.under_way.as_ref()?.record().request();
        self.end("INTERNAL");
        Some(Ok(Frame::trailers(status::panicked_trailers(request))))
    }
}

impl Drop for Sent {
    /// Whoever sends a body of known length does not ask for its end.
    fn drop(&mut self) {
        if self.is_end_stream() {
            let code = self.code;
            self.end(code);
        }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.reader.asks();
        if let Some(piece) = self.next_piece() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.body).poll_frame(context)));
        let Ok(polled) = polled else { return Poll::Ready(self.after_panic()) };
        let frame = match ready!(polled) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    let piece = self.next_piece().unwrap_or_default();
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Err(mut other) => {
                    other.trailers_mut().into_iter().for_each(status::blame_the_request);
                    Some(Ok(other))
                }
            },
            end => end,
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    self.end(code);
                }
            }
            Some(Err(_)) => self.end("UNKNOWN"),
            None => {
                let code = self.code;
                self.end(code);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    /// Asked for before the first piece only.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn code_of(headers: &HeaderMap) -> Option<&'static str> {
    let code = Code::from_bytes(headers.get("grpc-status")?.as_bytes());
    Some(match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    })
}

fn code_of_http(parts: &Parts) -> &'static str {
    match parts.status {
        StatusCode::OK => "OK",
        status if status.is_success() => "2xx",
        status if status.is_redirection() => "3xx",
        status if status.is_client_error() => "4xx",
        _ => "5xx",
    }
}
