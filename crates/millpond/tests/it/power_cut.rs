//! The power-cut battery: clients push, and in the middle of it the disk's image is cloned in an instant. The clone,
//! mounted in the disk's place, has lost whatever was not written by then. On it the server must serve every name whole
//! that it had acknowledged before the clone began, and then it goes on from there to the next cut.
//!
//! `MILLPOND_CUTS` says how many cuts, `MILLPOND_SEED` repeats a run's choices.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::battery::{Ledger, Random, Totals, Writers, seeded, setting, verify};
use crate::loop_disk::LoopDisk;
use crate::server::Server;

/// Clients that push at once.
const WRITERS: u64 = 4;

#[derive(Debug, Default)]
struct Figures {
    cuts: u64,
    cuts_starting: u64,
    volumes: u64,
    acknowledged: u64,
    read: Totals,
}

/// One disk, the server on it, and what was acknowledged for it. The server goes first.
struct Volume {
    server: Server,
    ledger: Ledger,
    project: u64,
    full: bool,
    disk: LoopDisk,
}

impl Volume {
    fn new(disk: LoopDisk, random: &mut Random) -> Self {
        let data = disk.place().join("data");
        let size = random.choose(&["100MB", "200MB", "400MB"]);
        let server = Server::start_at(&data, &["--max-size", size, "--metrics", "off"]);
        Self { server, ledger: Ledger::default(), project: random.next(), full: false, disk }
    }

    /// Pushes until the power is cut in the middle of it, and comes back. The pushes that end after the cut began
    /// count as never acknowledged.
    fn push_and_cut(&mut self, runtime: &Runtime, random: &mut Random) -> Totals {
        let pause = random.choose(&[Duration::ZERO, Duration::from_millis(20)]);
        let url = self.server.url().to_owned();
        let writers = runtime
            .block_on(async { Writers::start(&url, WRITERS, random, self.project, &self.ledger, pause) });
        let longest = random.choose(&[200, 1500, 7000]);
        std::thread::sleep(random.pause(Duration::from_millis(longest)));
        let cut = self.ledger.now();
        let clone = self.disk.clone_image();
        self.server.kill();
        self.full |= runtime.block_on(writers.stop());
        self.disk.become_clone(&clone);
        self.server.start_again();
        let totals = runtime.block_on(verify(self.server.url(), &self.ledger, cut));
        self.check();
        totals
    }

    /// Cuts the power while the server starts, which is when it seals packs, writes footers and rebuilds.
    fn start_and_cut(&mut self, random: &mut Random) {
        self.server.kill();
        let after = random.pause(Duration::from_millis(400));
        let disk = &self.disk;
        let mut clone = None;
        self.server.start_and_kill(|| {
            std::thread::sleep(after);
            clone = Some(disk.clone_image());
        });
        self.disk.become_clone(&clone.expect("it was cloned"));
        self.server.start_again();
    }

    fn check(&mut self) {
        let complaints = self.ledger.complaints();
        if !complaints.is_empty() {
            let kept = self.disk.keep();
            panic!("power cut, images kept in {kept:?}:\n{}", complaints.join("\n"));
        }
        assert!(!self.server.log().contains("panicked"), "the server panicked");
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
        let mut volume = Volume::new(disk, &mut random);
        figures.volumes += 1;
        while figures.cuts < cuts && !volume.full {
            figures.read += volume.push_and_cut(&runtime, &mut random);
            figures.cuts += 1;
            if random.one_in(3) {
                volume.start_and_cut(&mut random);
                figures.cuts += 1;
                figures.cuts_starting += 1;
                let now = volume.ledger.now();
                figures.read += runtime.block_on(verify(volume.server.url(), &volume.ledger, now));
                volume.check();
            }
        }
        figures.acknowledged += volume.ledger.acknowledged();
    }
    eprintln!("power cut battery: {figures:#?} in {:.0?}", began.elapsed());
    assert!(figures.read.names > 0, "nothing was acknowledged before a cut: {figures:?}");
}
