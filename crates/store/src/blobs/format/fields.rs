//! Fixed-width little-endian fields, read one after the other and never beyond the end.

use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// Bytes of which fields are taken from the front.
#[derive(Clone, Copy, Debug)]
pub(in crate::blobs) struct Fields<'a>(pub(in crate::blobs) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `N` bytes as they are.
    pub(in crate::blobs) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    /// The next `len` bytes as they are.
    pub(in crate::blobs) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(field)
    }

    /// The next byte.
    pub(in crate::blobs) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// The next two bytes.
    pub(in crate::blobs) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes.
    pub(in crate::blobs) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub(in crate::blobs) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Fills `out` with fields in order. Their sizes are the caller's layout: a const assertion there compares the sum.
pub(in crate::blobs) fn put(out: &mut Vec<u8>, fields: &[&[u8]]) {
    for field in fields {
        out.extend_from_slice(field);
    }
}

/// The keyed checksum: SipHash-2-4 under the volume's salt, of the pack, the offset in it, and the bytes.
pub(super) fn keyed_checksum(salt: &[u8; 16], pack: u32, offset: u64, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(salt);
    hasher.write(&pack.to_le_bytes());
    hasher.write(&offset.to_le_bytes());
    hasher.write(bytes);
    hasher.finish()
}
