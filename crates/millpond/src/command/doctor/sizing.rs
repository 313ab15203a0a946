//! What this machine can hold and carry, from what was measured.

use super::finding::Finding;
use super::machine::{INDEX_BYTES, for_requests};
use super::patient::Patient;
use crate::size::Size;

/// What a blob has on the average where nothing is known of it, in bytes.
const BLOB_BYTES: u64 = 32_000;
/// From so many blobs on their own average counts.
const BLOBS_LEAST: u64 = 1000;
/// A name takes about so many syncs of its own; those of many clients share them.
const SYNCS_OF_A_NAME: f64 = 3.0;

/// Seconds of a core that a byte of a large blob takes beside its hash: receiving, checking, writing.
const BESIDE_HASHING: f64 = 1.5 / (1_u64 << 30) as f64;

/// Two or three sentences.
pub(super) fn advice(patient: &Patient, findings: &[Finding]) -> Vec<String> {
    let figure = |key: &str| findings.iter().find_map(|finding| finding.figure(key));
    let mut lines = Vec::new();
    if let (Some(limit), Some(room), Some(memory)) =
        (figure("limit_bytes"), figure("room_bytes"), figure("memory_bytes"))
    {
        lines.push(holds(patient, limit, room, memory));
    }
    if let (Some(hash), Some(cores), Some(write)) =
        (figure("sha256_bytes_per_second"), figure("cores"), figure("write_bytes_per_second"))
    {
        let by_processor = cores / (1.0 / hash + BESIDE_HASHING);
        let (least, by) =
            if write < by_processor { (write, "the disk") } else { (by_processor, "the processor") };
        let sync = figure("sync_ms_p50").unwrap_or_default();
        let names = 1000.0 / (SYNCS_OF_A_NAME * sync.max(0.01));
        lines.push(format!(
            "It takes in about {}/s of large blobs, which {by} bounds, and one client pushes up to {names:.0} names a second.",
            Size(least as u64)
        ));
    }
    if patient.volume().is_none_or(|volume| volume.blobs < BLOBS_LEAST) {
        lines.push(format!(
            "Blobs were taken to have {} on the average: look again once there are some, and see docs/performance.md for rates.",
            Size(BLOB_BYTES)
        ));
    }
    lines
}

fn holds(patient: &Patient, limit: f64, room: f64, memory: f64) -> String {
    let average = patient.volume().filter(|volume| volume.blobs >= BLOBS_LEAST);
    let average = average.map_or(BLOB_BYTES, |volume| (volume.live_bytes / volume.blobs).max(1));
    // Half of what requests leave is for the files themselves.
    let for_index = (memory - for_requests(patient) as f64).max(0.0) / 2.0;
    let of_blobs = |bytes: f64| bytes * 0.85 / average as f64;
    let (blobs, by) = least([
        (of_blobs(limit), "max_size"),
        (of_blobs(room), "what is free on the file system"),
        (for_index / INDEX_BYTES as f64, "memory"),
    ]);
    format!(
        "This machine can hold about {} blobs of {}, {} in all, which {by} bounds.",
        count(blobs),
        Size(average),
        Size((blobs * average as f64) as u64)
    )
}

/// The first of those than which none is less.
fn least([first, others @ ..]: [(f64, &'static str); 3]) -> (f64, &'static str) {
    others.into_iter().fold(first, |least, other| if other.0 < least.0 { other } else { least })
}

/// As people say it.
fn count(number: f64) -> String {
    if number >= 1e6 { format!("{:.1} million", number / 1e6) } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_least_of_bounds() {
        for (limit, room, memory, by) in [
            (1.0, 2.0, 3.0, "limit"),
            (2.0, 1.0, 3.0, "room"),
            (2.0, 3.0, 1.0, "memory"),
            (1.0, 1.0, 1.0, "limit"),
        ] {
            assert_eq!(least([(limit, "limit"), (room, "room"), (memory, "memory")]), (1.0, by));
        }
    }
}
