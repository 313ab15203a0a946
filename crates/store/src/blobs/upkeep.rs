//! What is done beside serving: syncing in the background, snapshots, and closing.
//!
//! A clean stop leaves a file that names the generation of its snapshot; the next start removes it before anything
//! else, so that a later crash cannot pass for a clean stop.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use twox_hash::XxHash3_64;

use super::format::Fields;
use super::scan_levels::scan;
use super::shared::Shared;
use super::snapshot::{self, Content};
use crate::disk::{Disk, write_error};
use crate::{Error, Level, Result, now_and_then};

/// How old the figures by age may get.
const AGES_KEPT: Duration = Duration::from_secs(60);

const CLEAN: &str = "clean";
const CLEAN_MAGIC: &[u8; 8] = b"MILLSTOP";

impl Shared {
    /// See [`super::Blobs::background_sync`].
    pub(super) fn background_sync(self: &Arc<Self>) {
        for group in self.packs.unsealed() {
            if group.target().needs_sync() {
                // An error is told to those who wait for this pack, and poisons where it must.
                let _ = group.sync_unless_running();
            }
        }
        if let Err(error) = self.make_next_pack() {
            now_and_then!(warn, %error, "the next pack was not made ahead");
        }
        if self.check_open().is_ok()
            && let Err(error) = self.space.hold_ballast()
        {
            self.write_failed(&error, false);
            now_and_then!(warn, %error, "the ballast was not made");
        }
        let fresh = self.lock(&self.ages).as_ref().is_some_and(|(when, _)| when.elapsed() < AGES_KEPT);
        if !fresh {
            let found = scan(&self.index, self.clock.now(), self.waterline());
            *self.lock(&self.ages) = Some((Instant::now(), found));
        }
    }

    /// See [`super::Blobs::snapshot`]. Returns its generation.
    pub(super) fn snapshot(&self, level: Level) -> Result<u64> {
        let mut turn = self.lock(&self.snapshots);
        let generation = turn.generation + 1;
        // Before the first entry is copied: a pack sealed later may hold what this copy does not.
        let packs = self.packs.sealed_lens();
        let last_pack = self.packs.last_id();
        let content = Content { volume: self.keys.id, generation, level, last_pack, packs };
        let bytes = snapshot::write(&*self.disk, turn.file, &content, |visit| {
            self.index.for_each(|entry| visit(entry));
        })?;
        turn.written(generation, bytes);
        self.space.set_snapshots(turn.bytes.iter().sum());
        Ok(generation)
    }

    /// See [`super::Blobs::close`].
    pub(super) fn close(self: &Arc<Self>, level: Level) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        self.end_appending();
        let failures: Vec<Error> =
            self.packs.unsealed().iter().filter_map(|group| group.sync_after_running().err()).collect();
        self.poison.check()?;
        let generation = self.snapshot(level)?;
        match failures.into_iter().next() {
            Some(error) => Err(error),
            None => write_clean(&*self.disk, generation),
        }
    }
}

fn write_clean(disk: &dyn Disk, generation: u64) -> Result<()> {
    let failed = |error| write_error(disk, "noting the clean stop", error);
    let file = disk.create(Path::new(CLEAN)).map_err(failed)?;
    file.write_at(&encode_clean(generation), 0).map_err(failed)?;
    file.sync().map_err(failed)?;
    disk.sync_folder(Path::new("")).map_err(failed)
}

fn encode_clean(generation: u64) -> Vec<u8> {
    let mut bytes = CLEAN_MAGIC.to_vec();
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&XxHash3_64::oneshot(&bytes).to_le_bytes());
    bytes
}

fn decode_clean(bytes: &[u8; 24]) -> Option<u64> {
    let mut fields = Fields(bytes);
    fields.array::<8>()?;
    let generation = fields.u64()?;
    (encode_clean(generation) == bytes).then_some(generation)
}

/// The generation of the snapshot that a clean stop left, if the last stop was one. Gone for good when this returns.
pub(super) fn take_clean(disk: &dyn Disk) -> Result<Option<u64>> {
    let path = Path::new(CLEAN);
    let failed = |error| Error::io("removing the note of a clean stop", error);
    let mut bytes = [0; 24];
    let whole = match disk.open(path).and_then(|file| file.read_at(&mut bytes, 0)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Unreadable counts as a crash, and must go all the same.
        result => result.is_ok_and(|len| len == bytes.len()),
    };
    disk.remove(path).and_then(|()| disk.sync_folder(Path::new(""))).map_err(failed)?;
    Ok(decode_clean(&bytes).filter(|_| whole))
}

#[cfg(test)]
mod tests {
    use super::super::format::document::{assert_written, example, table_len};
    use super::*;

    #[test]
    fn note_of_a_clean_stop_in_the_document_is_one() {
        assert_eq!(table_len("clean"), 24);
        assert_written("clean", &encode_clean(1));
        let mut bytes: [u8; 24] = example("clean").try_into().unwrap();
        assert_eq!(decode_clean(&bytes), Some(1));
        for bit in 0..24 * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_clean(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
