use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::blobs::format::PackId;

const SECRET: [u8; 16] = [7; 16];

fn digest(number: u64) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn location(pack: u32, offset: u32) -> Location {
    Location { place: Place { pack: PackId::new(pack), offset }, stored: Stored::of(100) }
}

fn level(seconds: u32) -> Level {
    Level::from_seconds(seconds)
}

#[test]
fn key_tells_sizes_and_volumes_apart() {
    let index = Index::new(&SECRET);
    let one = digest(1);
    let longer = Digest::from_parts(one.function(), *one.hash(), one.size() + 1).unwrap();
    assert_ne!(index.key(&one), index.key(&longer));
    assert_ne!(index.key(&one), Index::new(&[8; 16]).key(&one));
    assert_eq!(index.key(&one), Index::new(&SECRET).key(&one));
}

#[test]
fn stored_sizes_above_4_gib_are_rounded_up_and_smaller_ones_are_exact() {
    for bytes in [0, 8, 4096, (4 << 30) - 8] {
        assert_eq!(Stored::of(bytes).bytes(), bytes);
    }
    for bytes in [4 << 30, (4 << 30) + 8, 5 << 40] {
        let stored = Stored::of(bytes);
        assert!(stored.bytes() >= bytes && stored.bytes() - bytes < 64 * 1024, "{bytes}");
        assert_eq!(Stored::from_bits(stored.bits()), stored);
    }
    assert_eq!(Stored::of(13).bytes(), 16);
}

#[test]
fn identical_record_keeps_the_old_place_and_raises() {
    let index = Index::new(&SECRET);
    let key = index.key(&digest(1));
    assert_eq!(index.insert(key, location(1, 8), level(10), level(5)), Inserted::New);
    assert_eq!(index.insert(key, location(2, 8), level(20), level(5)), Inserted::Kept(location(1, 8)));
    let entry = index.get(key, level(5)).unwrap();
    assert_eq!((entry.location, entry.level), (location(1, 8), level(20)));
}

#[test]
fn entry_below_the_waterline_is_missing_and_replaced() {
    let index = Index::new(&SECRET);
    let key = index.key(&digest(1));
    index.insert(key, location(1, 8), level(10), level(5));
    assert_eq!(index.get(key, level(11)), None);
    assert_eq!(index.raise(key, level(30), level(11)), None);
    assert_eq!(index.insert(key, location(2, 8), level(20), level(11)), Inserted::Replaced(location(1, 8)));
    assert_eq!(index.get(key, level(11)).unwrap().location, location(2, 8));
}

#[test]
fn at_start_the_higher_pack_wins_with_the_higher_level() {
    for order in [[(3, 10), (5, 1)], [(5, 1), (3, 10)]] {
        let index = Index::new(&SECRET);
        let key = index.key(&digest(1));
        for (pack, seconds) in order {
            index.restore(key, location(pack, 8), level(seconds));
        }
        let entry = index.get(key, Level::ZERO).unwrap();
        assert_eq!((entry.location, entry.level, entry.checked), (location(5, 8), level(10), false));
    }
}

#[test]
fn raise_all_tells_each_digest_and_leaves_the_fresh_alone() {
    let index = Index::new(&SECRET);
    // More than two groups, each of many shards.
    let count = 2 * GROUP_MAX as u64 + 77;
    let digests: Vec<Digest> = (0..count).map(digest).collect();
    for number in (0..count).filter(|number| !number.is_multiple_of(3)) {
        let age = if number.is_multiple_of(2) { 50 } else { 10 };
        index.insert(index.key(&digest(number)), location(1, 8), level(age), Level::ZERO);
    }
    let mut seen = vec![None; digests.len()];
    index.raise_all(&digests, level(60), level(40), Level::ZERO, |position, entry| {
        assert_eq!(seen[position], None, "each digest is told once");
        seen[position] = Some(entry.is_some());
    });
    for (number, (digest, seen)) in (0..count).zip(digests.iter().zip(seen)) {
        assert_eq!(seen, Some(!number.is_multiple_of(3)), "{number}");
        let expected = if number.is_multiple_of(2) { 50 } else { 60 };
        if let Some(entry) = index.get(index.key(digest), Level::ZERO) {
            assert_eq!(entry.level, level(expected), "{number}");
        }
    }
}

#[test]
fn levels_fall_to_the_cap_and_to_nothing_without_a_mark_which_stays_with_an_entry_that_moves() {
    let index = Index::new(&SECRET);
    for (number, seconds) in [(1, 1000), (2, 1000), (3, 50), (4, 50), (5, 95)] {
        index.insert(index.key(&digest(number)), location(1, 8), level(seconds), Level::ZERO);
    }
    index.mark(&[digest(4)]);
    index.cap(level(100));
    index.raise(index.key(&digest(1)), level(1000), Level::ZERO);
    index.mark(&[digest(1), digest(3), digest(77)]);
    assert!(index.relocate(index.key(&digest(3)), location(1, 8).place, location(9, 80)));
    let mut unmarked = 0;
    index.sweep(|entry| {
        unmarked += 1;
        entry.level < level(90)
    });
    let found = [1, 2, 3, 4, 5].map(|number| index.get(index.key(&digest(number)), Level::ZERO).unwrap());
    assert_eq!(found.map(|entry| entry.level.seconds()), [1000, 100, 50, 0, 95]);
    assert_eq!((unmarked, found[2].location, found[2].checked), (3, location(9, 80), true));
    // The marks are gone.
    index.sweep(|_| true);
    let left = [1, 3].map(|number| index.get(index.key(&digest(number)), Level::ZERO).unwrap().level);
    assert_eq!(left, [Level::ZERO; 2]);
}

#[test]
fn entries_in_the_order_of_their_keys_are_put_in_without_stepping_over_each_other() {
    let index = Index::new(&[7; 16]);
    let mut keys: Vec<Key> =
        (0..200_000_u64).map(|number| index.key(&Digest::of(&number.to_le_bytes()))).collect();
    keys.sort_unstable();
    index.reserve(keys.len() as u64);
    let bytes = index.memory_bytes();
    for key in &keys {
        index.restore(*key, location(7, 8), Level::from_seconds(1));
    }
    assert_eq!(index.memory_bytes(), bytes, "a table grew all the same");
    assert!(bytes / keys.len() < 56, "{bytes} bytes");
    assert!(keys.iter().all(|key| index.get(*key, Level::ZERO).is_some()));
    // Less than there is makes nothing smaller.
    index.reserve(10);
    assert_eq!(index.memory_bytes(), bytes);
}

#[test]
fn remove_spares_an_entry_that_has_moved() {
    let index = Index::new(&SECRET);
    let key = index.key(&digest(1));
    index.insert(key, location(4, 8), level(1), Level::ZERO);
    assert_eq!(index.remove(key, location(3, 8).place), None);
    assert_eq!(index.remove(key, location(4, 8).place).map(|entry| entry.location), Some(location(4, 8)));
    assert_eq!(index.len(), 0);
}

#[test]
fn raises_are_never_lost_while_the_table_grows_and_shrinks() {
    let index = Index::new(&SECRET);
    let kept: Vec<Digest> = (0..2000).map(digest).collect();
    for digest in &kept {
        index.insert(index.key(digest), location(1, 8), level(1), Level::ZERO);
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 10_000..60_000 {
                let key = index.key(&digest(number));
                index.insert(key, location(2, 8), level(1), Level::ZERO);
                if number.is_multiple_of(3) {
                    index.remove(key, location(2, 8).place);
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut to = 1;
        while !done.load(Ordering::SeqCst) {
            to += 1;
            index.raise_all(&kept, level(to), level(to), Level::ZERO, |_, entry| assert!(entry.is_some()));
            for digest in &kept {
                assert!(index.get(index.key(digest), level(to)).is_some());
            }
        }
    });
}

/// Sizes from 100 000 blobs up, just before and just after the shards grow; the figure holds for all in between.
#[test]
fn index_takes_at_most_56_bytes_a_blob_at_all_sizes() {
    let index = Index::new(&SECRET);
    let mut worst = 0.0_f64;
    for number in 0..600_000_u64 {
        let high = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = Key { high, low: high.rotate_left(17) ^ number };
        index.insert(key, location(1, 8), level(1), Level::ZERO);
        if number >= 100_000 && number.is_multiple_of(500) {
            worst = worst.max(index.memory_bytes() as f64 / (number + 1) as f64);
        }
    }
    println!("at worst {worst:.1} bytes a blob");
    assert!(worst <= 56.0, "{worst}");
}
