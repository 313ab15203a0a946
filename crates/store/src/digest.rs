//! Digests: what names a blob. Parsed once at the border; afterwards the type is the proof.
//!
//! **Invariant:** a [`Digest`] holds a hash of its function's length, and a size that fits 63 bits. Whether a blob of
//! that size can have that hash nobody knows: a wrong size is another blob, and that one is missing.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};

/// The hash function of a digest, numbered as REAPI's `DigestFunction.Value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DigestFunction {
    /// SHA-256, 32 bytes.
    Sha256 = 1,
}

impl DigestFunction {
    /// The function with this number, if it is served here.
    pub fn from_number(number: u8) -> Option<Self> {
        (number == Self::Sha256 as u8).then_some(Self::Sha256)
    }
}

/// Names a blob: hash function, hash and size in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    hash: [u8; 32],
    size: u64,
    function: DigestFunction,
}

/// Why a digest from outside is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not 64 lower-case hexadecimal digits.
    #[error("a SHA-256 hash is 64 lower-case hexadecimal digits")]
    Hash,
    /// Negative.
    #[error("a size is a number of bytes from 0 up")]
    Size,
}

impl Digest {
    /// The empty blob, which is always there.
    pub const EMPTY: Self = Self {
        hash: [
            0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
            0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
        ],
        size: 0,
        function: DigestFunction::Sha256,
    };

    /// A SHA-256 digest as it stands on the wire: hexadecimal hash, size in bytes.
    pub fn parse(hash: &str, size: i64) -> Result<Self, DigestError> {
        let size = u64::try_from(size).map_err(|_| DigestError::Size)?;
        let hash = parse_hex(hash.as_bytes()).ok_or(DigestError::Hash)?;
        Ok(Self { hash, size, function: DigestFunction::Sha256 })
    }

    /// A digest from its parts, as read back from a volume. `None` if the size needs more than 63 bits.
    pub fn from_parts(function: DigestFunction, hash: [u8; 32], size: u64) -> Option<Self> {
        i64::try_from(size).ok().map(|_| Self { hash, size, function })
    }

    /// The SHA-256 digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        let (hash, size) = (bytes_of(&digest(&SHA256, content)), content.len() as u64);
        Self { hash, size, function: DigestFunction::Sha256 }
    }

    /// The hash.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The size as the wire has it.
    pub fn size_i64(&self) -> i64 {
        i64::try_from(self.size).unwrap_or(i64::MAX)
    }

    /// The hash function.
    pub fn function(&self) -> DigestFunction {
        self.function
    }

    /// The hash in lower-case hexadecimal digits.
    pub fn hash_digits(&self) -> [u8; 64] {
        let mut digits = [0; 64];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(self.hash) {
            *pair = [byte >> 4, byte & 15].map(|nibble| nibble + if nibble < 10 { b'0' } else { b'a' - 10 });
        }
        digits
    }

    /// The hash in lower-case hexadecimal digits.
    pub fn hash_hex(&self) -> String {
        self.hash_digits().map(char::from).iter().collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.hash_hex(), self.size)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

fn parse_hex(text: &[u8]) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.try_into().ok()?;
    let nibbles = digits.map(nibble);
    if nibbles.iter().fold(0, |all, nibble| all | nibble) > 15 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, [high, low]) in hash.iter_mut().zip(nibbles.as_chunks::<2>().0) {
        *byte = high << 4 | low;
    }
    Some(hash)
}

/// Above 15 for what is no digit, without a branch, so that the compiler takes many at a time. Upper case is none here:
/// two spellings of one digest would be two names of one blob.
fn nibble(digit: u8) -> u8 {
    let decimal = digit.wrapping_sub(b'0');
    let letter = digit.wrapping_sub(b'a');
    let letter = if letter < 6 { letter + 10 } else { u8::MAX };
    if decimal < 10 { decimal } else { letter }
}

/// Hashes bytes as they come in. By AWS-LC, whose assembly is about twice as fast as portable code where the processor has
/// no instructions for SHA-256.
#[derive(Clone)]
pub struct Hasher {
    state: Context,
    size: u64,
    function: DigestFunction,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hasher({:?}, {} bytes)", self.function, self.size)
    }
}

/// SHA-256 is of this length, always.
fn bytes_of(hash: &aws_lc_rs::digest::Digest) -> [u8; SHA256_OUTPUT_LEN] {
    hash.as_ref().try_into().unwrap_or_default()
}

impl Hasher {
    /// Nothing hashed yet.
    pub fn new(function: DigestFunction) -> Self {
        Self { state: Context::new(&SHA256), size: 0, function }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// How many bytes were taken in.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        Digest { hash: bytes_of(&self.state.finish()), size: self.size, function: self.function }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_blob_has_the_well_known_digest() {
        assert_eq!(Digest::of(b""), Digest::EMPTY);
    }

    #[test]
    fn what_is_printed_parses_to_the_same() {
        let digest = Digest::of(b"millpond");
        assert_eq!(Digest::parse(&digest.hash_hex(), 8), Ok(digest));
    }

    #[test]
    fn malformed_hashes_and_sizes_are_refused() {
        let good = Digest::of(b"x").hash_hex();
        for bad in ["", "ab", "../../../../etc/passwd", &good.to_uppercase(), &format!("{good}0"), &good[1..]]
        {
            assert_eq!(Digest::parse(bad, 1), Err(DigestError::Hash), "{bad}");
        }
        assert_eq!(Digest::parse(&good, -1), Err(DigestError::Size));
    }
}
