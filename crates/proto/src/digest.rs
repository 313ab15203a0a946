//! The `Digest` message, which is in nearly every other one: decoded and encoded without an allocation.

use std::fmt;
use std::ops::Deref;

use bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

/// Hexadecimal digits of a SHA-256 hash.
const INLINE_BYTES: usize = 64;

/// `build.bazel.remote.execution.v2.Digest`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest {
    /// The hash, in hexadecimal digits if the sender keeps to the rules.
    pub hash: HashText,
    /// The size of the blob in bytes.
    pub size_bytes: i64,
}

/// The text of a hash. One as long as SHA-256's, or shorter, takes no memory of its own.
#[derive(Clone)]
pub struct HashText(Repr);

#[derive(Clone)]
enum Repr {
    /// **Invariant:** the first `len` bytes are UTF-8, the others are 0.
    Inline {
        len: u8,
        bytes: [u8; INLINE_BYTES],
    },
    Allocated(Box<str>),
}

impl HashText {
    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Inline { len, bytes } => {
                let text = bytes.get(..usize::from(*len)).unwrap_or_default();
                std::str::from_utf8(text).unwrap_or_default()
            }
            Repr::Allocated(text) => text,
        }
    }

    /// From exactly the digits of a SHA-256 hash; what is not ASCII among them makes an empty text.
    pub fn from_digits(digits: [u8; INLINE_BYTES]) -> Self {
        if digits.is_ascii() {
            Self(Repr::Inline { len: INLINE_BYTES as u8, bytes: digits })
        } else {
            Self::default()
        }
    }
}

impl Default for HashText {
    fn default() -> Self {
        Self(Repr::Inline { len: 0, bytes: [0; INLINE_BYTES] })
    }
}

impl From<&str> for HashText {
    fn from(text: &str) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(text.as_bytes());
                Self(Repr::Inline { len, bytes })
            }
            _ => Self(Repr::Allocated(text.into())),
        }
    }
}

impl From<String> for HashText {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl Deref for HashText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for HashText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl fmt::Display for HashText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl PartialEq for HashText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for HashText {}

impl PartialOrd for HashText {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HashText {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl std::hash::Hash for HashText {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Message for Digest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if !self.hash.is_empty() {
            encoding::encode_key(1, WireType::LengthDelimited, buf);
            encoding::encode_varint(self.hash.len() as u64, buf);
            buf.put_slice(self.hash.as_bytes());
        }
        if self.size_bytes != 0 {
            encoding::int64::encode(2, &self.size_bytes, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let named = |mut error: DecodeError, field| {
            error.push("Digest", field);
            error
        };
        match tag {
            1 => merge_hash(&mut self.hash, wire_type, buf, context).map_err(|error| named(error, "hash")),
            2 => encoding::int64::merge(wire_type, &mut self.size_bytes, buf, context)
                .map_err(|error| named(error, "size_bytes")),
            _ => encoding::skip_field(wire_type, tag, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let hash = match self.hash.len() {
            0 => 0,
            len => encoding::key_len(1) + encoding::encoded_len_varint(len as u64) + len,
        };
        let size = if self.size_bytes == 0 { 0 } else { encoding::int64::encoded_len(2, &self.size_bytes) };
        hash + size
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A hash in one piece of the buffer and of the usual length is copied; all else goes the way of any string.
fn merge_hash(
    hash: &mut HashText,
    wire_type: WireType,
    buf: &mut impl Buf,
    context: DecodeContext,
) -> Result<(), DecodeError> {
    const LENGTH: u8 = INLINE_BYTES as u8;
    if wire_type == WireType::LengthDelimited
        && let Some(([LENGTH], rest)) = buf.chunk().split_first_chunk()
        && let Some(digits) = rest.first_chunk::<INLINE_BYTES>()
        && digits.is_ascii()
    {
        *hash = HashText(Repr::Inline { len: LENGTH, bytes: *digits });
        buf.advance(1 + INLINE_BYTES);
        return Ok(());
    }
    let mut text = String::new();
    encoding::string::merge(wire_type, &mut text, buf, context)?;
    *hash = text.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// The message as any generator would make it.
    #[derive(Clone, PartialEq, Message)]
    struct Plain {
        #[prost(string, tag = "1")]
        hash: String,
        #[prost(int64, tag = "2")]
        size_bytes: i64,
    }

    fn texts() -> Vec<String> {
        let long = "é".repeat(40);
        [0, 1, 31, 32, 62, 63, 64, 65, 100, 300]
            .map(|len| "0123456789abcdef".repeat(20)[..len].to_owned())
            .into_iter()
            .chain(["é".repeat(32), "é".repeat(31), long])
            .collect()
    }

    #[test]
    fn every_text_and_size_is_encoded_and_decoded_as_a_plain_message() {
        for text in texts() {
            for size_bytes in [0, 1, 300, -1, i64::MAX, i64::MIN] {
                let plain = Plain { hash: text.clone(), size_bytes };
                let encoded = plain.encode_to_vec();
                let decoded = Digest::decode(&encoded[..]).unwrap();
                assert_eq!((&*decoded.hash, decoded.size_bytes), (&*text, size_bytes));
                assert_eq!(decoded.encode_to_vec(), encoded);
                assert_eq!(decoded.encoded_len(), encoded.len());
                let in_pieces = Buf::chain(&encoded[..encoded.len() / 2], &encoded[encoded.len() / 2..]);
                assert_eq!(Digest::decode(in_pieces).unwrap(), decoded);
            }
        }
    }

    #[test]
    fn what_is_no_digest_is_an_error() {
        let cut = [0x0a, 64, b'a', b'b'];
        let other_type = [0x08, 1];
        let mut not_text = vec![0x0a, 64];
        not_text.extend([0xff; 64]);
        for bad in [&cut[..], &other_type[..], &not_text[..], &[0x12, 1, 0][..]] {
            assert!(Digest::decode(bad).is_err(), "{bad:?}");
            assert!(Plain::decode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn unknown_fields_are_passed_over_and_the_last_of_a_field_counts() {
        let mut encoded = Plain { hash: "a".repeat(64), size_bytes: 1 }.encode_to_vec();
        encoded.extend([0x1a, 2, 7, 7]);
        encoded.extend(Plain { hash: "b".repeat(64), size_bytes: 2 }.encode_to_vec());
        let digest = Digest::decode(Bytes::from(encoded)).unwrap();
        assert_eq!((&*digest.hash, digest.size_bytes), (&*"b".repeat(64), 2));
    }

    #[test]
    fn digits_that_are_none_make_no_text() {
        assert_eq!(&*HashText::from_digits([b'a'; 64]), "a".repeat(64));
        assert_eq!(&*HashText::from_digits([0xff; 64]), "");
    }
}
