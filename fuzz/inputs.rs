//! Inputs for the functions that the fuzz targets call, made by changing seeds at random: so these functions are tried with the
//! tests of their crates as well, which include this file.
//!
//! `MILLPOND_FUZZ_SECONDS` is for how long each is tried; without it, with 1000 inputs.

use std::env;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// Inputs, if no time is given.
const COUNT: u64 = 1000;
/// The most bytes of an input.
const BYTES_MAX: usize = 4096;

/// Tries a function with these seeds and with what becomes of them. What it panics at is printed.
pub(crate) fn try_many(seeds: &[&[u8]], mut try_one: impl FnMut(&[u8])) {
    let seconds = env::var("MILLPOND_FUZZ_SECONDS").ok().and_then(|words| words.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut random = Random(RandomState::new().hash_one(0));
    for number in 0_u64.. {
        if end.map_or(number >= COUNT, |end| Instant::now() >= end) {
            eprintln!("{number} inputs");
            return;
        }
        let input = Shown(random.input(seeds));
        try_one(&input.0);
    }
}

struct Shown(Vec<u8>);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was b\"{}\"", self.0.escape_ascii());
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A seed with up to eight changes.
    fn input(&mut self, seeds: &[&[u8]]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].to_vec();
        for _ in 0..self.below(9) {
            self.change(&mut input, seeds);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[&[u8]]) {
        let place = self.below(input.len() + 1);
        let end = place + self.below(input.len() + 1 - place);
        match self.below(7) {
            0 => input.insert(place, self.next() as u8),
            1 => drop(input.drain(place..end)),
            2 => {
                let part = input[place..end].to_vec();
                input.splice(place..place, part);
            }
            3 => {
                let other = seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                input.splice(place..end, other[from..].iter().copied());
            }
            4 => input
                .insert(place, [0, 0xff, 0x7f, 0x80, b'/', b'%', b'*', b'\n', b':', b'='][self.below(10)]),
            5 if place < input.len() => input[place] ^= 1 << self.below(8),
            _ if place < input.len() => input[place] = self.next() as u8,
            _ => {}
        }
    }
}
