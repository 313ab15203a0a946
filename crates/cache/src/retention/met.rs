//! What was met before, in little memory.

use millpond_store::Digest;

/// Bits of the filter for each blob that is there.
const BITS_PER_BLOB: usize = 32;

/// Whether a pair was met before, nearly always right.
#[derive(Debug)]
pub(crate) struct Met(Vec<u64>);

impl Met {
    /// For so many blobs.
    pub(crate) fn new(blobs: usize) -> Self {
        Self(vec![0; (blobs.max(1024) * BITS_PER_BLOB).div_ceil(64)])
    }

    /// Whether it is met for the first time.
    pub(crate) fn first(&mut self, list: u64, digest: &Digest) -> bool {
        let halves = digest.hash().as_chunks::<8>().0;
        let half = |at: usize| halves.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let (mut place, step) = (half(0) ^ list.wrapping_mul(0x9e37_79b9_7f4a_7c15), half(1) | 1);
        let bits = self.0.len() as u64 * 64;
        let mut first = false;
        for _ in 0..4 {
            place = place.wrapping_add(step);
            let bit = usize::try_from(place % bits).unwrap_or(0);
            if let Some(word) = self.0.get_mut(bit / 64) {
                first |= *word & (1 << (bit % 64)) == 0;
                *word |= 1 << (bit % 64);
            }
        }
        first
    }
}
