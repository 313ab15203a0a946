//! A value as bytes: what the row checksum is taken over and what the journal holds.
//!
//! Numbers are little-endian; a part of variable length is its length in 4 bytes and its bytes. The row checksum is
//! XXH3-64 over `seq` and the body, so over all but level and touched, which change while a value lives.
//!
//! **Invariant:** [`decode`] of what [`encode`] made is the value; any other bytes are refused or are another value,
//! never a panic.

use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::{Name, NameKind, NewValue, State, Target, Value};
use crate::{Digest, DigestFunction, Level};

/// `seq`, level and touched.
const HEAD: usize = 16;
/// A digest: function, size, hash.
pub(super) const DIGEST: usize = 1 + 8 + 32;

const BLOB: u8 = 1;
const DIRECTORY: u8 = 2;
const INLINE: u8 = 3;

/// The image of a value.
pub(super) fn encode(value: &Value) -> Vec<u8> {
    let mut image = Vec::with_capacity(512);
    image.extend_from_slice(&value.seq.to_le_bytes());
    image.extend_from_slice(&value.level().seconds().to_le_bytes());
    image.extend_from_slice(&value.touched().seconds().to_le_bytes());
    let (target, content) = target_parts(&value.target);
    let missing = missing_part(&value.state);
    image.extend_from_slice(&[
        value.name.kind as u8,
        target,
        state_number(&value.state),
        u8::from(value.expires.is_some()),
    ]);
    image.extend_from_slice(&value.expires.unwrap_or(0).to_le_bytes());
    image.extend_from_slice(&value.pushed.to_le_bytes());
    for part in [
        value.name.instance.as_bytes(),
        value.name.text.as_bytes(),
        value.name.qualifiers.as_bytes(),
        value.pusher.as_bytes(),
        value.address.as_bytes(),
        &content,
        missing.as_deref().unwrap_or_default(),
        &value.references,
    ] {
        image.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        image.extend_from_slice(part);
    }
    image
}

/// The value of an image; `None` if it is none.
pub(super) fn decode(image: &[u8]) -> Option<Value> {
    let mut fields = Fields(image);
    let seq = fields.u64()?;
    let level = Level::from_seconds(fields.u32()?);
    let touched = Level::from_seconds(fields.u32()?);
    let [kind, target, pending, expires] = fields.array()?;
    let kind = NameKind::from_number(kind)?;
    let expires = match (expires, fields.u64()?) {
        (0, 0) => None,
        (1, seconds) => Some(seconds),
        _ => return None,
    };
    let pushed = fields.u64()?;
    let name = Name {
        instance: fields.text()?.into(),
        kind,
        text: fields.text()?.into(),
        qualifiers: fields.text()?.into(),
    };
    let pusher = fields.text()?.into();
    let address = fields.text()?.into();
    let target = target_of(target, fields.part()?)?;
    let state = state_of(pending, fields.part()?)?;
    let references = Bytes::copy_from_slice(fields.part()?);
    let new = NewValue { name, target, references, level, touched, expires, pushed, pusher, address, state };
    fields.0.is_empty().then(|| Value::new(new, seq))
}

/// The row checksum of the value with this image.
pub(super) fn checksum(image: &[u8]) -> u64 {
    let mut covered = Vec::with_capacity(image.len());
    covered.extend_from_slice(image.get(..8).unwrap_or_default());
    covered.extend_from_slice(image.get(HEAD..).unwrap_or_default());
    XxHash3_64::oneshot(&covered)
}

/// Number and content of a target, as row and image hold them.
pub(super) fn target_parts(target: &Target) -> (u8, Vec<u8>) {
    match target {
        Target::Blob(digest) => (BLOB, digest_bytes(digest)),
        Target::Directory(digest) => (DIRECTORY, digest_bytes(digest)),
        Target::Inline(content) => (INLINE, content.to_vec()),
    }
}

/// The target of a number and a content.
pub(super) fn target_of(number: u8, content: &[u8]) -> Option<Target> {
    match number {
        BLOB => digest_of(content).map(Target::Blob),
        DIRECTORY => digest_of(content).map(Target::Directory),
        INLINE => Some(Target::Inline(Bytes::copy_from_slice(content))),
        _ => None,
    }
}

/// The missing digest of a pending value, or until when a removed one may come back.
pub(super) fn missing_part(state: &State) -> Option<Vec<u8>> {
    match state {
        State::Whole => None,
        State::Pending(digest) => Some(digest_bytes(digest)),
        // The highest byte first, so that SQLite compares them as times.
        State::Removed { until } => Some(until.to_be_bytes().to_vec()),
    }
}

/// The number of a state.
fn state_number(state: &State) -> u8 {
    match state {
        State::Whole => 0,
        State::Pending(_) => 1,
        State::Removed { .. } => 2,
    }
}

/// The place of a value among those of its name: that of the one in force, of the one that waits, or, behind these, one of its
/// own.
pub(super) fn place(value: &Value) -> i64 {
    match value.state {
        State::Removed { .. } => FIRST_REMOVED.saturating_add_unsigned(value.seq),
        ref state => state_number(state).into(),
    }
}

/// Values of places from here on were removed.
pub(super) const FIRST_REMOVED: i64 = 2;

/// The state of a value in this place, with its missing part.
pub(super) fn state_in(place: i64, missing: &[u8]) -> Option<State> {
    state_of(u8::try_from(place.clamp(-1, FIRST_REMOVED)).ok()?, missing)
}

/// The state of a number and a missing part, empty if there is none.
pub(super) fn state_of(pending: u8, missing: &[u8]) -> Option<State> {
    match (pending, missing) {
        (0, []) => Some(State::Whole),
        (1, missing) => digest_of(missing).map(State::Pending),
        (2, until) => Some(State::Removed { until: u64::from_be_bytes(until.try_into().ok()?) }),
        _ => None,
    }
}

fn digest_bytes(digest: &Digest) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DIGEST);
    bytes.push(digest.function() as u8);
    bytes.extend_from_slice(&digest.size().to_le_bytes());
    bytes.extend_from_slice(digest.hash());
    bytes
}

fn digest_of(bytes: &[u8]) -> Option<Digest> {
    let mut fields = Fields(bytes);
    let [function] = fields.array()?;
    let size = fields.u64()?;
    let hash = fields.array::<32>()?;
    let digest = Digest::from_parts(DigestFunction::from_number(function)?, hash, size)?;
    fields.0.is_empty().then_some(digest)
}

/// Reads fields off the front of bytes; `None` where they end too early.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.part()?).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::catalog) fn example() -> NewValue {
        NewValue {
            name: Name {
                instance: "main".into(),
                kind: NameKind::AssetDirectory,
                text: "urn:x".into(),
                qualifiers: "a=b".into(),
            },
            target: Target::Directory(Digest::of(b"root")),
            references: Bytes::from_static(b"refs"),
            level: Level::from_seconds(7),
            touched: Level::from_seconds(6),
            expires: Some(99),
            pushed: 55,
            pusher: "ada".into(),
            address: "::1".into(),
            state: State::Whole,
        }
    }

    pub(in crate::catalog) fn assert_same(left: &Value, right: &Value) {
        assert_eq!(encode(left), encode(right));
    }

    #[test]
    fn image_decodes_to_the_value_in_each_state_and_target() {
        let inline = Target::Inline(Bytes::from_static(b"result"));
        for target in [Target::Blob(Digest::EMPTY), Target::Directory(Digest::EMPTY), inline] {
            for state in
                [State::Whole, State::Pending(Digest::of(b"absent")), State::Removed { until: 1 << 40 }]
            {
                let value = Value::new(NewValue { target: target.clone(), state, ..example() }, 3);
                let decoded = decode(&encode(&value)).unwrap();
                assert_eq!((&decoded.target, decoded.state), (&target, state));
                assert_same(&decoded, &value);
            }
        }
    }

    #[test]
    fn checksum_covers_all_but_level_and_touched() {
        let image = encode(&Value::new(example(), 3));
        for at in 0..image.len() {
            let mut other = image.clone();
            other[at] ^= 1;
            let same = checksum(&other) == checksum(&image);
            assert_eq!(same, (8..HEAD).contains(&at), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_nothing_or_to_their_value(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(value) = decode(&bytes) {
                prop_assert_eq!(encode(&value), bytes);
            }
        }

        #[test]
        fn changed_images_decode_to_nothing_or_to_their_value(at in 0usize..200, to in any::<u8>()) {
            let mut image = encode(&Value::new(example(), 3));
            if let Some(byte) = image.get_mut(at) {
                *byte = to;
            }
            if let Some(value) = decode(&image) {
                prop_assert_eq!(encode(&value), image);
            }
        }
    }
}
