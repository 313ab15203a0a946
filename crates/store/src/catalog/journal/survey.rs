//! What a pass over all journal files shows: how far they go, and whether they hold everything.
//!
//! **Invariant:** each change has the number after the one before, so a gap cannot hide. The files are *complete* if
//! one of them holds everything that was there when it was begun (it is the first, or says [`Change::Complete`]), and
//! no change after that is missing from it and the files behind it.

use super::File;
use super::format::Change;

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::catalog) struct Seen {
    /// The number of the last change.
    pub(in crate::catalog) last_seq: u64,
    /// Good records.
    pub(in crate::catalog) records: u64,
    /// Places that are no record.
    pub(in crate::catalog) bad: u64,
    /// Whether everything committed up to `last_seq` is there.
    pub(in crate::catalog) complete: bool,
    /// The place in the list of the file from which on they are complete, else the first.
    pub(in crate::catalog) first: usize,
    /// The bytes that the live rows took in that file when it was begun.
    pub(in crate::catalog) live: u64,
}

/// Reads these files, each to the length given, and hands each good record with its number to `visit`.
pub(in crate::catalog) fn survey<E>(
    files: &[(File, u64)],
    mut visit: impl FnMut(u64, Change) -> Result<(), E>,
) -> Result<Seen, E> {
    let mut seen = Seen::default();
    let mut expected = None;
    for (place, (file, end)) in files.iter().enumerate() {
        if file.header.base == 0 {
            seen = Seen { complete: true, first: place, live: 0, ..seen };
        } else if expected != Some(file.header.base + 1) {
            seen.complete = false;
        }
        // Whether the changes in this file follow each other from its base on.
        let (mut next, mut gapless) = (file.header.base + 1, true);
        let mut scan = file.scan(*end);
        while let Some((seq, change)) = scan.next() {
            seen.records += 1;
            seen.last_seq = seen.last_seq.max(seq);
            if matches!(change, Change::Complete) {
                seen = Seen { complete: gapless, first: place, live: scan.offset(), ..seen };
            } else if seq > file.header.base {
                gapless &= seq == next;
                seen.complete &= seq == next;
                next = seq + 1;
            }
            visit(seq, change)?;
        }
        seen.bad += scan.bad();
        seen.complete &= scan.bad() == 0;
        expected = Some(next);
    }
    seen.complete &= !files.is_empty();
    if !seen.complete {
        seen.first = 0;
    }
    Ok(seen)
}
