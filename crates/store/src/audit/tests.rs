use std::path::Path;

use super::*;
use crate::disk::{Call, Effect, Fault, FaultyDisk, RealDisk};
use rustix::io::Errno;

fn entry(name: &str) -> Entry {
    Entry {
        seq: 0,
        time: 7,
        what: Deed::Published,
        who: "alice".into(),
        address: "192.0.2.1".into(),
        instance: String::new(),
        name: name.into(),
        digest: "00/0".into(),
        more: 0,
    }
}

fn open(folder: &Path, keep: u64) -> Audit {
    Audit::open(Arc::new(RealDisk::open(folder).unwrap()), keep).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let segments = entries(&folder.join(FOLDER)).unwrap();
    segments.flat_map(Result::unwrap).map(|entry| entry.name).collect()
}

/// A log with three entries in two lives.
fn three(folder: &Path) {
    open(folder, 1 << 20).append([entry("a"), entry("b")]).unwrap();
    open(folder, 1 << 20).append([entry("c\n\"")]).unwrap();
}

#[test]
fn log_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    three(folder.path());
    assert_eq!(names(folder.path()), ["a", "b", "c\n\""]);
    let verified = verify(&folder.path().join(FOLDER)).unwrap();
    assert_eq!((verified.entries, verified.first, verified.broken, verified.torn), (3, 1, None, None));
    assert_eq!(verified.last.unwrap().0, 3);
    assert!(folder.path().join(path(1)).exists() && !folder.path().join(path(2)).exists());
}

#[test]
fn every_byte_that_is_changed_shows_and_names_the_entry() {
    let folder = tempfile::tempdir().unwrap();
    three(folder.path());
    let path = folder.path().join(path(1));
    let written = std::fs::read(&path).unwrap();
    // Lines are the head and three entries.
    for place in 0..written.len() {
        let mut changed = written.clone();
        changed[place] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let line = written[..place].iter().filter(|byte| **byte == b'\n').count() as u64;
        let verified = verify(&folder.path().join(FOLDER)).unwrap();
        let last_line_feed = place == written.len() - 1;
        if !last_line_feed {
            assert_eq!(verified.broken.map(|(seq, _)| seq), Some(line.max(1)), "byte {place}");
        }
    }
    std::fs::write(&path, &written).unwrap();
    let lines: Vec<_> = written.split_inclusive(|byte| *byte == b'\n').collect();
    for without in 0..3 {
        let rest: Vec<_> = lines.iter().enumerate().filter(|(place, _)| *place != without).collect();
        std::fs::write(&path, rest.into_iter().flat_map(|(_, line)| line.to_vec()).collect::<Vec<_>>())
            .unwrap();
        assert!(verify(&folder.path().join(FOLDER)).unwrap().broken.is_some(), "line {without}");
    }
}

#[test]
fn torn_end_is_told_by_the_next_segment_and_stops_no_start() {
    let whole = tempfile::tempdir().unwrap();
    three(whole.path());
    let written = std::fs::read(whole.path().join(path(1))).unwrap();
    let lines = |length: usize| written[..length].iter().filter(|byte| **byte == b'\n').count();
    for length in 0..=written.len() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        std::fs::write(folder.path().join(path(1)), &written[..length]).unwrap();
        open(folder.path(), 1 << 20).append([entry("after")]).unwrap();
        let verified = verify(&folder.path().join(FOLDER)).unwrap();
        assert_eq!((verified.broken, verified.torn), (None, None), "{length}");
        let kept = lines(length).saturating_sub(1);
        assert_eq!(verified.entries as usize, kept + 1, "{length}");
        assert_eq!(names(folder.path()).last().unwrap(), "after");
    }
}

#[test]
fn whole_lines_that_were_torn_off_are_told() {
    let folder = tempfile::tempdir().unwrap();
    three(folder.path());
    let path = folder.path().join(path(1));
    let mut written = std::fs::read(&path).unwrap();
    let end = written.len();
    written[end - 400..end - 300].fill(0);
    std::fs::write(&path, &written).unwrap();
    open(folder.path(), 1 << 20).append([entry("after")]).unwrap();
    let verified = verify(&folder.path().join(FOLDER)).unwrap();
    assert!(verified.broken.is_none() && verified.torn.is_some(), "{verified:?}");
}

#[test]
fn old_segments_leave_and_what_stays_holds() {
    let folder = tempfile::tempdir().unwrap();
    let keep = 8 * SEGMENT_BYTES.0;
    let audit = open(folder.path(), keep);
    for number in 0..2000 {
        audit.note(entry(&number.to_string())).unwrap();
        let bytes: u64 = audit.state().segments.iter().map(|(_, len)| len).sum();
        assert!(bytes <= keep, "{bytes}");
    }
    let verified = verify(&folder.path().join(FOLDER)).unwrap();
    assert!(verified.broken.is_none() && verified.first > 1, "{verified:?}");
    assert_eq!(verified.last.unwrap().0, 2000);
    let first = audit.state().segments[1].0;
    std::fs::remove_file(folder.path().join(path(first))).unwrap();
    assert!(verify(&folder.path().join(FOLDER)).unwrap().broken.is_some());
}

#[test]
fn what_found_no_room_is_written_before_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
    // After that of the head and that of the first entry.
    let effect = Effect::CutShort(Errno::NOSPC);
    let fault = Fault { call: Some(Call::Write), nth: 3, effect, lasting: false };
    let audit = Audit::open(Arc::new(FaultyDisk::new(disk, fault)), 1 << 20).unwrap();
    audit.append([entry("a")]).unwrap();
    assert!(matches!(audit.append([entry("b")]), Err(Error::NoSpace { .. })));
    audit.ready().unwrap();
    audit.append([entry("c")]).unwrap();
    assert_eq!(names(folder.path()), ["a", "b", "c"]);
    assert_eq!(verify(&folder.path().join(FOLDER)).unwrap().broken, None);
}

/// A log that cannot be read is no reason not to serve, but it shows.
#[test]
fn segment_that_cannot_be_read_stays_and_the_log_goes_on_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    three(folder.path());
    let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
    let fault = Fault { call: Some(Call::Read), nth: 1, effect: Effect::Fail(Errno::IO), lasting: false };
    let audit = Audit::open(Arc::new(FaultyDisk::new(disk, fault)), 1 << 20).unwrap();
    audit.append([entry("d")]).unwrap();
    assert_eq!(names(folder.path()), ["a", "b", "c\n\"", "d"]);
    assert_eq!(verify(&folder.path().join(FOLDER)).unwrap().broken.unwrap().0, 4);

    // For readers as well: what is behind it is told.
    let first = folder.path().join(path(1));
    std::fs::remove_file(&first).unwrap();
    std::fs::create_dir(&first).unwrap();
    let found: Vec<_> = entries(&folder.path().join(FOLDER)).unwrap().collect();
    assert!(found[0].is_err());
    assert_eq!(found[1].as_ref().unwrap()[0].name, "d");
    assert_eq!(verify(&folder.path().join(FOLDER)).unwrap().broken.unwrap().1, first);
    drop(audit);
    open(folder.path(), 1 << 20).append([entry("e")]).unwrap();
    assert_eq!(names_behind(folder.path()), ["d", "e"]);
}

/// Of all segments that can be read.
fn names_behind(folder: &Path) -> Vec<String> {
    let segments = entries(&folder.join(FOLDER)).unwrap();
    segments.flatten().flatten().map(|entry| entry.name).collect()
}
