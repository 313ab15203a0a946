//! The messages of a request in the pieces in which they came, for what must not be copied together: the generated
//! services gather every message in one buffer, which costs a large blob a fifth of all its processor time.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;
use prost::Message;
use tonic::Status;

use crate::status;

/// A flag, then the length of the message that follows.
const HEAD_BYTES: usize = 5;

/// Pieces below this size are copied to the one before.
const COPIED_BYTES_MAX: usize = 4 * 1024;
/// What is copied together in one piece, at most.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// The messages of a request's body, which `layers` has bounded.
#[derive(Debug)]
pub(super) struct Messages {
    body: Body,
    came: Pieces,
}

impl Messages {
    /// Of this body.
    pub(super) fn new(body: Body) -> Self {
        Self { body, came: Pieces::default() }
    }

    /// The next message; `None` at the end of the body.
    pub(super) async fn next(&mut self) -> Result<Option<Pieces>, Status> {
        if !self.gather(HEAD_BYTES).await? {
            return if self.came.has_remaining() { Err(status::malformed()) } else { Ok(None) };
        }
        let flag = self.came.get_u8();
        let length = usize::try_from(self.came.get_u32()).unwrap_or(usize::MAX);
        match flag {
            0 => {}
            1 => {
                return Err(status::unimplemented(
                    "compressed messages are not taken: send them as they are",
                ));
            }
            _ => return Err(status::malformed()),
        }
        if !self.gather(length).await? {
            return Err(status::malformed());
        }
        Ok(self.came.take_first(length))
    }

    /// The only message, as methods have it whose requests are no streams.
    pub(super) async fn only<M: Message + Default>(mut self) -> Result<M, Status> {
        let message = self.next().await?.ok_or_else(status::malformed)?;
        M::decode(message).map_err(|_| status::malformed())
    }

    /// Waits for so many bytes; false if the body ends before.
    async fn gather(&mut self, bytes: usize) -> Result<bool, Status> {
        while self.came.remaining() < bytes {
            let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await;
            match frame {
                Some(Ok(frame)) => frame.into_data().into_iter().for_each(|data| self.came.push(data)),
                Some(Err(error)) => return Err(status::of_body(error.into())),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Bytes in pieces.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Pieces {
    /// Small pieces are copied together: each would hold more memory than its bytes, and that of whatever it was read with.
    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len();
        let last = if piece.len() < COPIED_BYTES_MAX { self.pieces.back_mut() } else { None };
        match last.filter(|last| last.len() < GATHERED_BYTES_MAX) {
            Some(last) => {
                let shared = std::mem::take(last);
                let mut gathered = shared.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                gathered.extend_from_slice(&piece);
                *last = gathered.freeze();
            }
            None => self.pieces.push_back(piece),
        }
    }

    /// The first `count` bytes, taken out; `None` if there are not so many.
    pub(super) fn take_first(&mut self, count: usize) -> Option<Self> {
        if count > self.bytes {
            return None;
        }
        let mut taken = Self::default();
        while taken.bytes < count {
            let mut piece = self.pieces.pop_front()?;
            let wanted = count - taken.bytes;
            if piece.len() > wanted {
                self.pieces.push_front(piece.split_off(wanted));
            }
            self.bytes -= piece.len();
            taken.push(piece);
        }
        Some(taken)
    }
}

impl FromIterator<Bytes> for Pieces {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut gathered = Self::default();
        pieces.into_iter().for_each(|piece| gathered.push(piece));
        gathered
    }
}

impl IntoIterator for Pieces {
    type Item = Bytes;
    type IntoIter = std::collections::vec_deque::IntoIter<Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter()
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let Some(piece) = self.pieces.front_mut() else { return };
            let passed = left.min(piece.len());
            piece.advance(passed);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            self.bytes -= passed;
            left -= passed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use futures_util::stream;
    use std::convert::Infallible;

    fn body(content: &[u8], piece: usize) -> Body {
        let pieces: Vec<_> =
            content.chunks(piece).map(Bytes::copy_from_slice).map(Ok::<_, Infallible>).collect();
        Body::from_stream(stream::iter(pieces))
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut framed = vec![0];
        framed.put_u32(message.len() as u32);
        framed.put_slice(message);
        framed
    }

    #[tokio::test]
    async fn messages_are_found_however_the_body_is_cut() {
        let sent: [&[u8]; 4] = [b"", b"x", &[7; 1000], b"end"];
        let content: Vec<u8> = sent.iter().flat_map(|message| framed(message)).collect();
        for piece in [1, 2, 5, 6, 999, 5000] {
            let mut messages = Messages::new(body(&content, piece));
            for expected in sent {
                let message: Vec<u8> =
                    messages.next().await.unwrap().unwrap().into_iter().flatten().collect();
                assert_eq!(message, expected, "{piece}");
            }
            assert!(messages.next().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn body_that_ends_early_is_malformed() {
        let content = framed(b"message");
        for length in 1..content.len() {
            let mut messages = Messages::new(body(&content[..length], 3));
            let status = messages.next().await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{length}");
        }
    }

    #[tokio::test]
    async fn compressed_message_is_refused() {
        let mut content = framed(b"message");
        content[0] = 1;
        let status = Messages::new(body(&content, 100)).next().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
    }

    #[test]
    fn reading_leaves_what_is_behind() {
        let mut pieces = Pieces::default();
        [&b"ab"[..], b"", b"cdef", b"g"].iter().for_each(|piece| pieces.push(Bytes::from_static(piece)));
        pieces.advance(3);
        assert_eq!((pieces.remaining(), pieces.chunk()), (4, &b"defg"[..]));
        assert!(pieces.take_first(5).is_none());
        let taken: Vec<Bytes> = pieces.take_first(2).unwrap().into_iter().collect();
        assert_eq!(taken, ["de"]);
        assert_eq!(pieces.into_iter().flatten().collect::<Vec<u8>>(), b"fg");
    }

    #[test]
    fn small_pieces_are_copied_together_and_large_ones_are_not() {
        let small = (0..200_000).map(|_| Bytes::from_static(b"x"));
        let pieces: Pieces = small.collect();
        assert!(pieces.pieces.len() <= 200_000 / GATHERED_BYTES_MAX + 1, "{}", pieces.pieces.len());
        assert!(pieces.into_iter().flatten().eq(vec![b'x'; 200_000]));
        let large: Pieces = (0..3).map(|_| Bytes::from(vec![7; COPIED_BYTES_MAX])).collect();
        assert_eq!(large.pieces.len(), 3);
    }
}
