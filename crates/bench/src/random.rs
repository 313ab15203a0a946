//! Random choices that cost next to nothing: SplitMix64.

use std::collections::hash_map::RandomState;
use std::f64::consts::TAU;
use std::hash::BuildHasher;

use millpond_proto::reapi::Digest;

/// A sequence of choices.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// One that no other run repeats, so that a server has not seen its blobs.
    pub(crate) fn fresh() -> Self {
        Self(RandomState::new().hash_one(std::process::id()))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Above 0 and at most 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.next().is_multiple_of(times)
    }

    /// Bytes that do not compress.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// The size of a file, in bytes: half are below `median`, few are very large, none is above `largest`. (Log-normal,
    /// by Box and Muller.)
    pub(crate) fn file_size(&mut self, median: f64, sigma: f64, largest: usize) -> usize {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos();
        let size = median * (sigma * normal).exp();
        (size as usize).min(largest)
    }

    /// 64 hexadecimal digits, as a cache key has.
    pub(crate) fn key(&mut self) -> String {
        (0..4).map(|_| format!("{:016x}", self.next())).collect()
    }

    /// The digest of a blob that nobody has.
    pub(crate) fn digest(&mut self) -> Digest {
        Digest { hash: self.key().into(), size_bytes: 142 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_length_asked_for_and_differ() {
        let mut random = Random(7);
        let [first, second] = [random.bytes(4099), random.bytes(4099)];
        assert_eq!((first.len(), second.len()), (4099, 4099));
        assert_ne!(first, second);
        assert!(random.bytes(0).is_empty());
    }

    #[test]
    fn runs_do_not_repeat_each_other() {
        assert_ne!(Random::fresh().next(), Random::fresh().next());
    }

    #[test]
    fn file_sizes_have_the_median_the_spread_and_the_bound() {
        let mut random = Random(7);
        let mut sizes: Vec<_> = (0..20_000).map(|_| random.file_size(3000.0, 1.5, 1 << 20)).collect();
        sizes.sort_unstable();
        assert!((2800..3200).contains(&sizes[10_000]), "{}", sizes[10_000]);
        // One standard deviation above the median is a factor of e^1.5.
        let upper = sizes[20_000 * 8413 / 10_000] as f64 / 3000.0;
        assert!((4.2..4.8).contains(&upper), "{upper}");
        assert!(*sizes.last().unwrap() <= 1 << 20);
    }
}
