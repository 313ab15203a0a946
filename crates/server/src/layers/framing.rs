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
    /// Goes on to where the next message begins in `piece`: how many bytes that is, and how long the message will be.
    /// Without one, the whole piece has been followed.
    pub(crate) fn next(&mut self, piece: &[u8]) -> (usize, Option<u32>) {
        let passed = piece.len().min(self.message_left());
        self.message_left = self.message_left.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
        let of_head = piece.get(passed..).unwrap_or_default();
        let slots = self.head.get_mut(self.head_filled..).unwrap_or_default();
        let filled = of_head.len().min(slots.len());
        for (slot, byte) in slots.iter_mut().zip(of_head) {
            *slot = *byte;
        }
        self.head_filled += filled;
        if self.head_filled < HEAD_BYTES {
            return (piece.len(), None);
        }
        let [_, length @ ..] = self.head;
        self.head_filled = 0;
        self.message_left = u32::from_be_bytes(length);
        (passed + filled, Some(self.message_left))
    }

    /// How many bytes of a message are still to come.
    pub(crate) fn message_left(&self) -> usize {
        usize::try_from(self.message_left).unwrap_or(usize::MAX)
    }

    /// Whether a message has begun that has not ended.
    pub(crate) fn in_message(&self) -> bool {
        self.message_left > 0
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

    fn found(framing: &mut Framing, mut piece: &[u8]) -> Vec<u32> {
        let mut found = Vec::new();
        while !piece.is_empty() {
            let (followed, length) = framing.next(piece);
            found.extend(length);
            piece = &piece[followed..];
        }
        found
    }

    #[test]
    fn lengths_are_found_however_the_body_is_cut() {
        let lengths = [3, 0, 70_000, 1, 0, 5];
        let body = body(&lengths);
        for size in [1, 2, 3, 4, 5, 6, 7, 1000, 1_000_000] {
            let mut framing = Framing::default();
            let found: Vec<u32> = body.chunks(size).flat_map(|piece| found(&mut framing, piece)).collect();
            assert_eq!(found, lengths, "{size}");
            assert!(!framing.in_message());
        }
    }

    #[test]
    fn message_begins_behind_its_head() {
        let mut framing = Framing::default();
        assert_eq!(framing.next(&[0, 0, 0]), (3, None));
        assert_eq!(framing.next(&[0, 2, 9, 9, 0]), (2, Some(2)));
        assert!(framing.in_message());
        assert_eq!(framing.next(&[9, 9, 0]), (3, None));
        assert!(!framing.in_message());
    }

    #[test]
    fn largest_length_is_no_overflow() {
        let mut framing = Framing::default();
        assert_eq!(framing.next(&[1, 0xff, 0xff, 0xff, 0xff, 9]), (5, Some(u32::MAX)));
        assert_eq!(framing.next(&[0; 100]), (100, None));
    }
}
