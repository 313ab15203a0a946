use super::super::format::Place;
use super::super::index::{Key, Location, Stored};
use super::*;
use crate::disk::RealDisk;

fn entries(count: u32) -> Vec<Entry> {
    (1..=count)
        .map(|number| Entry {
            key: Key { high: u64::from(number) << 32, low: u64::from(number) },
            location: Location {
                place: Place { pack: PackId::new(number), offset: number * 3 },
                stored: Stored::of(u64::from(number) << 16),
            },
            level: Level::from_seconds(number * 7),
            checked: false,
        })
        .collect()
}

fn content(generation: u64) -> Content {
    Content {
        volume: [9; 16],
        generation,
        level: Level::from_seconds(77),
        last_pack: PackId::new(5000),
        packs: (1..=3000).map(|number| (PackId::new(number), u64::from(number) << 33)).collect(),
    }
}

fn write_all(disk: &dyn Disk, file: &'static str, content: &Content, entries: &[Entry]) {
    write(disk, file, content, |visit| entries.iter().for_each(visit)).unwrap();
}

type Found = (Vec<(PackId, u64)>, Vec<Entry>);

fn read_all(disk: &dyn Disk, file: &'static str) -> Option<Found> {
    let summary = read_summary(disk, file, &[9; 16])?;
    let (mut packs, mut found) = (Vec::new(), Vec::new());
    read(disk, &summary, |id, len| packs.push((id, len)), |entry| found.push(*entry)).ok()?;
    Some((packs, found))
}

#[test]
fn what_was_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    for count in [0, 1, 2048, 5000] {
        write_all(&disk, FILES[0], &content(3), &entries(count));
        let summary = read_summary(&disk, FILES[0], &[9; 16]).unwrap();
        assert_eq!((summary.generation, summary.level), (3, Level::from_seconds(77)));
        assert_eq!(summary.last_pack, PackId::new(5000));
        assert_eq!(read_all(&disk, FILES[0]), Some((content(3).packs, entries(count))), "{count}");
    }
    assert_eq!(read_summary(&disk, FILES[0], &[8; 16]), None, "another volume's");
    assert_eq!(read_summary(&disk, FILES[1], &[9; 16]), None, "none there");
}

#[test]
fn a_flipped_bit_anywhere_makes_it_unusable() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    let content = Content { packs: vec![(PackId::new(1), 100)], ..content(1) };
    write_all(&disk, FILES[1], &content, &entries(3));
    let path = folder.path().join(FILES[1]);
    let good = std::fs::read(&path).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bad).unwrap();
        let found = read_all(&disk, FILES[1]);
        assert_eq!(found, None, "bit {bit}");
    }
}

#[test]
fn a_snapshot_cut_short_anywhere_is_unusable() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    write_all(&disk, FILES[0], &Content { packs: Vec::new(), ..content(1) }, &entries(3));
    let path = folder.path().join(FILES[0]);
    let good = std::fs::read(&path).unwrap();
    for len in 0..good.len() {
        std::fs::write(&path, &good[..len]).unwrap();
        assert_eq!(read_all(&disk, FILES[0]), None, "{len}");
    }
}

#[test]
fn a_block_of_an_earlier_snapshot_is_not_taken_for_one_of_this() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    let path = folder.path().join(FILES[0]);
    let read_bytes = |generation| {
        write_all(&disk, FILES[0], &Content { packs: Vec::new(), ..content(generation) }, &entries(3));
        std::fs::read(&path).unwrap()
    };
    let (earlier, mut later) = (read_bytes(1), read_bytes(2));
    assert_ne!(later, earlier);
    later.truncate(Header::LEN);
    later.extend_from_slice(&earlier[Header::LEN..]);
    std::fs::write(&path, &later).unwrap();
    assert_eq!(read_all(&disk, FILES[0]), None);
}

#[test]
fn snapshot_of_the_document_is_one_and_its_tables_add_up() {
    use super::super::format::document::{assert_written, example, table_len};
    let lens = [
        ("snapshot header", Header::LEN),
        ("snapshot block", Block::HEADER_LEN + 8),
        ("snapshot pack", PACK_LEN),
        ("snapshot entry", ENTRY_LEN),
    ];
    for (name, len) in lens {
        assert_eq!(table_len(name), len, "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    let pack = PackId::new(0x12c);
    let volume = *b"volume id (16 B)";
    let level = Level::from_seconds(0x0d00_0000);
    let index = super::super::index::Index::new(b"secret (16 byte)");
    let location = Location { place: Place { pack, offset: 10 }, stored: Stored::of(96) };
    let entry = Entry { key: index.key(&crate::Digest::of(b"millpond")), location, level, checked: false };
    let packs = vec![(pack, 360)];
    let content = Content { volume, generation: 1, level, last_pack: pack, packs: packs.clone() };
    write_all(&disk, FILES[0], &content, &[entry]);
    let path = folder.path().join(FILES[0]);
    assert_written("snapshot", &std::fs::read(&path).unwrap());
    std::fs::write(&path, example("snapshot")).unwrap();
    let summary = read_summary(&disk, FILES[0], &volume).unwrap();
    assert_eq!((summary.level, summary.last_pack), (level, pack));
    let mut found = (Vec::new(), Vec::new());
    read(&disk, &summary, |id, len| found.0.push((id, len)), |entry| found.1.push(*entry)).unwrap();
    assert_eq!(found, (packs, vec![entry]));
}
