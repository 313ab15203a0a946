//! The power goes at every call of create, append, sync, seal, commit and of the search that follows: what was said to
//! be durable is read back from any image that a cut may leave.

use rustix::io::Errno;

use super::faults::recover;
use super::*;
use crate::disk::{Effect, Fault, FaultyDisk};

const SEEDS: u64 = 40;

/// Two packs after each other and a single, as a server writes them; says what it was told to be durable.
fn serve(disk: &Arc<dyn Disk>) -> (Vec<Digest>, Result<()>) {
    let mut durable = Vec::new();
    let result = (|| {
        let pack = OpenPack::create(Arc::clone(disk), &KEYS, ID, NOW)?;
        let mut waiting = Vec::new();
        for step in 0..4 {
            let blobs = [blob(step, 300), blob(step + 10, 2000), blob(step + 20, 1)];
            pack.append_many(&blobs, NOW)?;
            waiting.extend(blobs.map(|(digest, _)| digest));
            if step % 2 == 1 {
                pack.sync()?;
                durable.append(&mut waiting);
            }
        }
        let (digest, content) = blob(50, 9000);
        let id = PackId::new(ID.number() + 0x100);
        let mut writer = SingleWriter::create(Arc::clone(disk), &KEYS, id, NOW)?;
        for piece in content.chunks(4000) {
            writer.write(&[content.slice_ref(piece)])?;
        }
        let single = writer.finish(&digest)?;
        single.commit()?;
        durable.push(digest);
        pack.append_many(&[blob(60, 10)], NOW)?;
        pack.seal()?;
        durable.push(blob(60, 10).0);
        Ok(())
    })();
    (durable, result)
}

/// A disk whose power goes at the n-th call that changes something.
fn cut_at(memory: &Arc<MemoryDisk>, nth: u64, effect: Effect) -> Arc<FaultyDisk> {
    let fault = Fault { call: None, nth, effect, lasting: true };
    Arc::new(FaultyDisk::new(Arc::clone(memory) as Arc<dyn Disk>, fault))
}

#[test]
fn what_was_durable_survives_power_cut_at_every_call() {
    for effect in [Effect::Fail(Errno::IO), Effect::CutShort(Errno::IO)] {
        for nth in 1.. {
            let memory = memory();
            let faulty = cut_at(&memory, nth, effect);
            let (durable, result) = serve(&(Arc::clone(&faulty) as Arc<dyn Disk>));
            for seed in 0..SEEDS {
                let found = recover(&memory.crash(seed));
                for digest in &durable {
                    assert!(found.contains(digest), "call {nth}, seed {seed}: {digest} is lost");
                }
            }
            if !faulty.has_struck() {
                assert!(nth > 20 && result.is_ok());
                break;
            }
            assert!(result.is_err());
        }
    }
}

#[test]
fn second_power_cut_during_the_search_loses_nothing_either() {
    for (seed, nth) in (2..10).flat_map(|seed| (1..20).map(move |nth| (seed, nth))) {
        let memory = memory();
        let faulty = cut_at(&memory, 12, Effect::Fail(Errno::IO));
        let (durable, _) = serve(&(Arc::clone(&faulty) as Arc<dyn Disk>));
        assert!(!durable.is_empty());
        let image = Arc::new(memory.crash(seed));
        let searching = cut_at(&image, nth, Effect::CutShort(Errno::IO));
        let _ = search_and_seal(searching.as_ref(), &KEYS, ID);
        for seed in 0..8 {
            let found = recover(&image.crash(seed));
            assert!(durable.iter().all(|digest| found.contains(digest)), "call {nth}, seed {seed}");
        }
    }
}
