//! Reads an audit log beside whoever writes it, or when nobody does.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::line::{Entry, hex};
use super::walk::Walk;

/// What a check of a whole log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries that hold.
    pub entries: u64,
    /// The number of the first that is still there; 0 if there is none.
    pub first: u64,
    /// The number of the last that holds, and the hash of the chain there.
    pub last: Option<(u64, String)>,
    /// The number of the first entry that is not there as it was written, and the file where it is missed.
    pub broken: Option<(u64, PathBuf)>,
    /// The number of the first entry that a crash tore off together with others.
    pub torn: Option<u64>,
}

/// The segments in `folder`, oldest first, with their numbers; none if there is no such folder.
fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log")?.parse().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}

/// Every entry of the log in `folder` that holds, segment by segment, each of which is read at once; behind one that cannot be
/// read the others come.
///
/// # Errors
/// What the operating system says of a folder or file that cannot be read.
pub fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<Vec<Entry>>> + use<>> {
    let mut segments = segments(folder)?.into_iter();
    let mut walk = Walk::default();
    Ok(std::iter::from_fn(move || {
        let (number, path) = segments.next()?;
        let content = match fs::read(&path) {
            // The oldest one went meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Ok(Vec::new())),
            content => content,
        };
        let mut found = Vec::new();
        let content =
            content.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())));
        Some(content.map(|content| {
            // Whether all holds is for `verify` to say; from a head on entries are readable again.
            if walk.segment(number, &content, |entry| found.push(entry)).is_err() {
                walk = Walk::default();
                // Without what was before, the segment is believed.
                let _ = walk.segment(number, &content, |entry| found.push(entry));
            }
            found
        }))
    }))
}

/// Follows the chain through the whole log in `folder`.
///
/// # Errors
/// As [`entries`].
pub fn verify(folder: &Path) -> io::Result<Verified> {
    let mut verified = Verified::default();
    let mut walk = Walk::default();
    let segments = segments(folder)?;
    let mut expected = segments.first().map_or(1, |(number, _)| *number);
    for (number, path) in &segments {
        let Ok(content) = fs::read(path) else {
            // Whether it is whole nobody can say.
            verified.broken = Some((walk.misfit().seq, path.clone()));
            return Ok(verified);
        };
        let (torn_lines, missing) = (walk.torn_lines, *number != expected);
        let before = walk.misfit().seq;
        let (mut count, mut first) = (0, None);
        let outcome = walk.segment(*number, &content, |entry| {
            count += 1;
            first.get_or_insert(entry.seq);
        });
        if outcome.is_err() || missing {
            verified.broken = Some((before, path.clone()));
            return Ok(verified);
        }
        if torn_lines && verified.torn.is_none() {
            verified.torn = Some(before);
        }
        expected = number + 1;
        verified.entries += count;
        if verified.first == 0 {
            verified.first = first.unwrap_or_default();
        }
        verified.last = walk.link.map(|link| (link.seq, hex(&link.hash)));
    }
    // At the very end a write may be under way, but no whole line can be wrong.
    if let (true, Some((_, path))) = (walk.torn_lines, segments.last()) {
        verified.broken = Some((walk.misfit().seq, path.clone()));
    }
    Ok(verified)
}
