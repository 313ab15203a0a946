//! Counts what a stream of `ReadResponse` holds as it comes in, so that large blobs are never copied together.

use super::call::HEAD_BYTES;
use crate::failure::Failure;

/// `ReadResponse.data`, a field with a length.
const DATA: u8 = 10 << 3 | 2;
/// Flag, length of the message, key and length of the field.
const HEADS_MAX: usize = HEAD_BYTES + 1 + 10;

/// What has come so far.
#[derive(Default)]
pub(super) struct Tally {
    /// The heads of the message that begins, until they are complete.
    heads: Vec<u8>,
    /// Bytes of the message under way that have yet to come.
    left: usize,
    /// Bytes of content that all messages so far have announced.
    content: usize,
}

impl Tally {
    /// Takes what came.
    pub(super) fn add(&mut self, mut chunk: &[u8]) -> Result<(), Failure> {
        while let Some((first, rest)) = chunk.split_first() {
            if self.left > 0 {
                let skipped = self.left.min(chunk.len());
                self.left -= skipped;
                chunk = chunk.get(skipped..).unwrap_or_default();
                continue;
            }
            self.heads.push(*first);
            chunk = rest;
            if let Some(length) = self.content_announced()? {
                self.heads.clear();
                self.content += length;
                self.left = length;
            }
        }
        Ok(())
    }

    /// The length of the message's content, once its heads are there.
    fn content_announced(&self) -> Result<Option<usize>, Failure> {
        let Some((head, field)) = self.heads.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let [flag, length @ ..] = *head;
        let length = u32::from_be_bytes(length) as usize;
        let unreadable = || Failure::wrong("a ReadResponse that holds something else than data");
        if flag != 0 {
            return Err(Failure::wrong("a compressed message"));
        }
        let Some((key, varint)) = field.split_first() else { return Ok((length == 0).then_some(0)) };
        if *key != DATA || self.heads.len() > HEADS_MAX {
            return Err(unreadable());
        }
        if varint.last().is_none_or(|byte| byte & 0x80 != 0) {
            return Ok(None);
        }
        let content = varint.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
        if field.len() + content == length { Ok(Some(content)) } else { Err(unreadable()) }
    }

    /// How many bytes of content came, once the stream has ended.
    pub(super) fn total(&self) -> Result<usize, Failure> {
        if self.left > 0 || !self.heads.is_empty() {
            return Err(Failure::wrong("a stream that ended within a message"));
        }
        Ok(self.content)
    }
}

#[cfg(test)]
mod tests {
    use millpond_proto::bytestream::ReadResponse;
    use millpond_proto::reapi::Digest;

    use super::*;
    use crate::wire::Call;

    fn read(stream: &[u8], step: usize) -> Result<usize, Failure> {
        let mut tally = Tally::default();
        stream.chunks(step).try_for_each(|chunk| tally.add(chunk))?;
        tally.total()
    }

    #[test]
    fn content_is_counted_however_it_is_cut() {
        let message = |size: usize| Call::frame(&ReadResponse { data: vec![7; size].into() });
        let stream = [message(300), message(0), message(1), message(70_000)].concat();
        for step in [1, 2, 5, 7, 300, 1 << 20] {
            assert_eq!(read(&stream, step), Ok(70_301), "{step}");
        }
    }

    #[test]
    fn streams_that_break_off_and_other_messages_are_wrong() {
        let stream = Call::frame(&ReadResponse { data: vec![7; 300].into() });
        for length in 1..stream.len() {
            read(&stream[..length], 11).unwrap_err();
        }
        read(&Call::frame(&Digest { hash: "x".into(), size_bytes: 1 }), 100).unwrap_err();
        read(&[1, 0, 0, 0, 0, 0], 100).unwrap_err();
    }
}
