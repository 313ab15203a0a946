//! How many fields a message has at its top level, counted as it comes.
//!
//! A field of two bytes can become seventy in memory, so a message's length alone bounds nothing. All lists that clients
//! send are lists of such fields: digests, blobs, names, qualifiers.

/// The most in one message: as many digests as fit the largest one.
pub(crate) const FIELDS_MAX: u32 = 256 * 1024;

/// Follows one message.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    count: u32,
    state: State,
    varint: u64,
    varint_bytes: u32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Key,
    Varint,
    Length,
    Skip(u64),
    /// Not what a message looks like: whoever decodes it will say so.
    Lost,
}

impl Fields {
    /// Takes the message's next bytes. How many fields have begun so far.
    pub(crate) fn count(&mut self, mut piece: &[u8]) -> u32 {
        while let Some((byte, rest)) = piece.split_first() {
            match &mut self.state {
                State::Lost => break,
                State::Skip(left) => {
                    let passed = piece.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= passed as u64;
                    if *left == 0 {
                        self.state = State::Key;
                    }
                    piece = piece.get(passed..).unwrap_or_default();
                }
                State::Key | State::Varint | State::Length => {
                    self.read(*byte);
                    piece = rest;
                }
            }
        }
        self.count
    }

    fn read(&mut self, byte: u8) {
        self.varint |= u64::from(byte & 0x7f).checked_shl(7 * self.varint_bytes).unwrap_or_default();
        self.varint_bytes += 1;
        if byte & 0x80 != 0 {
            return;
        }
        let value = std::mem::take(&mut self.varint);
        self.varint_bytes = 0;
        self.state = match self.state {
            State::Key => {
                self.count += 1;
                match value & 7 {
                    0 => State::Varint,
                    1 => State::Skip(8),
                    2 => State::Length,
                    5 => State::Skip(4),
                    // A group's inside is counted as well.
                    3 | 4 => State::Key,
                    _ => State::Lost,
                }
            }
            State::Length if value > 0 => State::Skip(value),
            _ => State::Key,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_proto::reapi::{Digest, FindMissingBlobsRequest};
    use prost::Message;

    #[test]
    fn fields_are_counted_however_the_message_is_cut() {
        let digest = |size_bytes| Digest { hash: "0f".repeat(32).into(), size_bytes };
        let request = FindMissingBlobsRequest {
            instance_name: "main".into(),
            blob_digests: (0..300).map(|number| digest(number * 1_000_003)).collect(),
            digest_function: 300,
        };
        let encoded = request.encode_to_vec();
        for size in [1, 2, 3, 70, 1000, 1_000_000] {
            let mut fields = Fields::default();
            let counts: Vec<u32> = encoded.chunks(size).map(|piece| fields.count(piece)).collect();
            assert_eq!(counts.last(), Some(&302), "{size}");
        }
    }

    #[test]
    fn empty_fields_and_fixed_ones_count() {
        assert_eq!(Fields::default().count(&[0x0a, 0, 0x0a, 0]), 2);
        assert_eq!(Fields::default().count(&[0x0d, 1, 2, 3, 4, 0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x08, 1]), 3);
        assert_eq!(Fields::default().count(&[0xff; 100]), 0);
        assert_eq!(Fields::default().count(&[0x07, 0x0a, 0]), 1);
    }

    #[test]
    fn as_many_digests_as_fit_are_allowed() {
        let digest = Digest { hash: "0f".repeat(32).into(), size_bytes: 1 };
        let each = FindMissingBlobsRequest { blob_digests: vec![digest], ..Default::default() }.encoded_len();
        assert!(crate::memory::MESSAGE_BYTES_MAX as usize / each < FIELDS_MAX as usize);
    }
}
