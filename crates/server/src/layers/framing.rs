//! Where messages begin in a gRPC body, and how long they say they are, whatever pieces the body comes in.

/// A flag, then the length of the message that follows.
const HEAD_BYTES: usize = 5;

/// Follows a body.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    head: [u8; HEAD_BYTES],
    head_filled: usize,
    message_left: u32,
}

impl Framing {
    /// Takes the next piece of the body. The length of the longest message that begins in it.
    pub(crate) fn longest(&mut self, mut piece: &[u8]) -> u32 {
        let mut longest = 0;
        while let Some((first, rest)) = piece.split_first() {
            if self.message_left > 0 {
                let passed = piece.len().min(usize::try_from(self.message_left).unwrap_or(usize::MAX));
                self.message_left =
                    self.message_left.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
                piece = piece.get(passed..).unwrap_or_default();
                continue;
            }
            if let Some(slot) = self.head.get_mut(self.head_filled) {
                *slot = *first;
                self.head_filled += 1;
                piece = rest;
            }
            if self.head_filled == HEAD_BYTES {
                let [_, length @ ..] = self.head;
                self.head_filled = 0;
                self.message_left = u32::from_be_bytes(length);
                longest = longest.max(self.message_left);
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(lengths: &[u32]) -> Vec<u8> {
        let message =
            |length: &u32| [&[0][..], &length.to_be_bytes(), &vec![0xff; *length as usize]].concat();
        lengths.iter().flat_map(message).collect()
    }

    #[test]
    fn lengths_are_found_however_the_body_is_cut() {
        let body = body(&[3, 0, 70_000, 1, 0, 5]);
        for size in [1, 2, 3, 4, 5, 6, 7, 1000, 1_000_000] {
            let mut framing = Framing::default();
            let found: Vec<u32> = body.chunks(size).map(|piece| framing.longest(piece)).collect();
            assert_eq!(found.iter().max(), Some(&70_000), "{size}");
            if size == 1 {
                let found: Vec<u32> = found.into_iter().filter(|length| *length > 0).collect();
                assert_eq!(found, [3, 70_000, 1, 5]);
            }
        }
    }

    #[test]
    fn largest_length_is_no_overflow() {
        let mut framing = Framing::default();
        assert_eq!(framing.longest(&[1, 0xff, 0xff, 0xff, 0xff, 9]), u32::MAX);
        assert_eq!(framing.longest(&[0; 100]), 0);
    }
}
