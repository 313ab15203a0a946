//! The power-cut battery: clients push, and in the middle of it the disk's image is cloned in an instant. The clone,
//! mounted in the disk's place, has lost whatever was not written by then. On it the server must serve every name whole
//! that it had acknowledged before the clone began, and then it goes on from there to the next cut.
//!
//! `MILLPOND_CUTS` says how many cuts, `MILLPOND_SEED` repeats a run's choices.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::battery::{Moment, Random, Totals, Volume, seeded, setting};
use crate::loop_disk::LoopDisk;
use crate::server::Server;

#[derive(Debug, Default)]
struct Figures {
    cuts: u64,
    cuts_starting: u64,
    volumes: u64,
    acknowledged: u64,
    read: Totals,
}

/// One disk and the volume on it. The server goes first.
struct Scene {
    volume: Volume,
    disk: LoopDisk,
}

impl Scene {
    fn new(disk: LoopDisk, random: &mut Random) -> Self {
        let data = disk.place().join("data");
        let size = random.choose(&["100MB", "200MB", "400MB"]);
        let volume = Volume::new(Server::start_at(&data, &["--max-size", size]), random);
        Self { volume, disk }
    }

    /// Pushes until the power is cut in the middle of it, and comes back. The pushes that end after the cut began
    /// count as never acknowledged.
    fn push_and_cut(&mut self, runtime: &Runtime, random: &mut Random) -> Totals {
        let pause = random.choose(&[Duration::ZERO, Duration::from_millis(20)]);
        let (disk, ledger) = (&self.disk, self.volume.ledger.clone());
        let (cut, clone) = self.volume.push(runtime, random, pause, |server, random| {
            let longest = random.choose(&[200, 1500, 7000]);
            std::thread::sleep(random.pause(Duration::from_millis(longest)));
            let cut = ledger.now();
            let clone = disk.clone_image();
            server.kill();
            (cut, clone)
        });
        self.disk.become_clone(&clone);
        self.volume.server.start_again();
        self.verify(runtime, cut)
    }

    /// Cuts the power while the server starts, which is when it seals packs, writes footers and rebuilds.
    fn start_and_cut(&mut self, random: &mut Random) {
        let server = &mut self.volume.server;
        server.kill();
        let after = random.pause(Duration::from_millis(400));
        let disk = &self.disk;
        let mut clone = None;
        server.start_and_kill(|| {
            std::thread::sleep(after);
            clone = Some(disk.clone_image());
        });
        self.disk.become_clone(&clone.expect("it was cloned"));
        self.volume.server.start_again();
    }

    fn verify(&mut self, runtime: &Runtime, then: Moment) -> Totals {
        let (totals, complaints) = self.volume.verify(runtime, then);
        if !complaints.is_empty() {
            let kept = self.disk.keep();
            panic!("power cut, images kept in {kept:?}:\n{}", complaints.join("\n"));
        }
        totals
    }
}

#[test]
fn power_cut_battery_loses_and_halves_no_acknowledged_name() {
    let cuts = setting("MILLPOND_CUTS", 8);
    let mut random = seeded("power cut battery");
    let runtime = Runtime::new().unwrap();
    let mut figures = Figures::default();
    let began = Instant::now();
    while figures.cuts < cuts {
        let disk = match LoopDisk::new() {
            Ok(disk) => disk,
            Err(reason) if figures.volumes == 0 => {
                return crate::server::skip(&format!("the power cut on a real file system: {reason}"));
            }
            Err(reason) => panic!("{reason}"),
        };
        let mut scene = Scene::new(disk, &mut random);
        figures.volumes += 1;
        while figures.cuts < cuts && !scene.volume.full {
            figures.read += scene.push_and_cut(&runtime, &mut random);
            figures.cuts += 1;
            if random.one_in(3) {
                scene.start_and_cut(&mut random);
                figures.cuts += 1;
                figures.cuts_starting += 1;
                let now = scene.volume.ledger.now();
                figures.read += scene.verify(&runtime, now);
            }
        }
        figures.acknowledged += scene.volume.ledger.acknowledged();
    }
    eprintln!("power cut battery: {figures:#?} in {:.0?}", began.elapsed());
    assert!(figures.read.names > 0, "nothing was acknowledged before a cut: {figures:?}");
}
