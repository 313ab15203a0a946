//! Answers in the pieces in which they lie, for what must not be copied together.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use futures_core::Stream;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame};
use prost::Message;
use tonic::Status;

use crate::status;

/// Up to this size it is cheaper to copy than to send apart.
const COPIED_BYTES_MAX: usize = 16 * 1024;

/// An answer of one message, or a refusal.
pub(super) fn one(answer: Result<impl Message, Status>) -> Response<Body> {
    match answer {
        Ok(message) => {
            let mut framed = head(message.encoded_len());
            // A buffer that grows has room for all.
            let _ = message.encode(&mut framed);
            many(Ok(stream::iter([Ok([framed.freeze(), Bytes::new()])])))
        }
        Err(status) => status.into_http(),
    }
}

/// An answer of many messages, each in two pieces, of which the second may be empty; or a refusal before the first.
pub(super) fn many<S>(answer: Result<S, Status>) -> Response<Body>
where
    S: Stream<Item = Result<[Bytes; 2], Status>> + Send + Unpin + 'static,
{
    match answer {
        Ok(messages) => {
            let body = Answer { messages, second: Bytes::new(), ended: false };
            let mut response = Response::new(Body::new(body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            response
        }
        Err(status) => status.into_http(),
    }
}

/// A message whose only field is of bytes, number `FIELD` (up to 15), framed.
pub(super) fn of_bytes<const FIELD: u8>(content: Bytes) -> [Bytes; 2] {
    const LENGTH_DELIMITED: u8 = 2;
    let field = 1 + prost::length_delimiter_len(content.len());
    let mut framed = head(field + content.len());
    framed.put_u8(FIELD << 3 | LENGTH_DELIMITED);
    // As above.
    let _ = prost::encode_length_delimiter(content.len(), &mut framed);
    if content.len() > COPIED_BYTES_MAX {
        return [framed.freeze(), content];
    }
    framed.put_slice(&content);
    [framed.freeze(), Bytes::new()]
}

/// What stands before a message: not compressed, and its length.
fn head(bytes: usize) -> BytesMut {
    let mut head = BytesMut::with_capacity(16 + bytes.min(COPIED_BYTES_MAX));
    head.put_u8(0);
    head.put_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
    head
}

struct Answer<S> {
    messages: S,
    second: Bytes,
    ended: bool,
}

impl<S> HttpBody for Answer<S>
where
    S: Stream<Item = Result<[Bytes; 2], Status>> + Unpin,
{
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !self.second.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.second)))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.messages).poll_next(context).map(|message| {
            Some(Ok(match message {
                Some(Ok([first, second])) => {
                    self.second = second;
                    Frame::data(first)
                }
                Some(Err(status)) => self.end(status::trailers(status)),
                None => self.end(HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    HeaderValue::from_static("0"),
                )])),
            }))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl<S> Answer<S> {
    fn end(&mut self, trailers: HeaderMap) -> Frame<Bytes> {
        self.ended = true;
        Frame::trailers(trailers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_proto::bytestream::ReadResponse;

    #[test]
    fn message_of_bytes_is_what_the_generated_one_is() {
        for length in [1, 127, 128, COPIED_BYTES_MAX, COPIED_BYTES_MAX + 1, 1 << 20] {
            let content = Bytes::from(vec![7; length]);
            let generated = ReadResponse { data: content.clone() };
            let framed = of_bytes::<10>(content).concat();
            assert_eq!(framed[..5], [&[0][..], &(generated.encoded_len() as u32).to_be_bytes()].concat());
            assert_eq!(framed[5..], generated.encode_to_vec());
        }
    }
}
