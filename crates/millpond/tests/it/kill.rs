//! The kill battery: clients push while the server is killed with SIGKILL at random moments and started again where it
//! was. After each kill every name that it acknowledged is looked up and walked, and every blob read and hashed.
//!
//! `MILLPOND_KILLS` says how many kills, `MILLPOND_SEED` repeats a run's choices.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::battery::{Ledger, Random, Totals, Writers, seeded, setting, verify};
use crate::server::Server;

/// Clients that push at once.
const WRITERS: u64 = 4;
/// Small volumes, whose packs are small and sealed often.
const SIZES: [&str; 3] = ["64MB", "100MB", "200MB"];

#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    kills_starting: u64,
    clean_stops: u64,
    volumes: u64,
    full: u64,
    acknowledged: u64,
    read: Totals,
}

/// One data directory and what was acknowledged for it.
struct Volume {
    server: Server,
    ledger: Ledger,
    project: u64,
    full: bool,
}

impl Volume {
    fn new(random: &mut Random) -> Self {
        let size = random.choose(&SIZES);
        let server = Server::start_with(&["--max-size", size, "--metrics", "off"]);
        Self { server, ledger: Ledger::default(), project: random.next(), full: false }
    }

    /// Pushes for a while, then kills the server in the middle of it.
    fn push_and_kill(&mut self, runtime: &Runtime, random: &mut Random) {
        let pause = random.choose(&[Duration::ZERO, Duration::from_millis(20)]);
        let url = self.server.url().to_owned();
        let writers = runtime
            .block_on(async { Writers::start(&url, WRITERS, random, self.project, &self.ledger, pause) });
        let longest = random.choose(&[30, 300, 1200]);
        std::thread::sleep(random.pause(Duration::from_millis(longest)));
        self.server.kill();
        self.full |= runtime.block_on(writers.stop());
    }

    /// Pushes for a while, then ends the server as a service manager does, while clients go on pushing.
    fn push_and_stop(&mut self, runtime: &Runtime, random: &mut Random) {
        let url = self.server.url().to_owned();
        let writers = runtime.block_on(async {
            Writers::start(&url, WRITERS, random, self.project, &self.ledger, Duration::ZERO)
        });
        std::thread::sleep(random.pause(Duration::from_millis(300)));
        self.server.stop();
        self.full |= runtime.block_on(writers.stop());
    }

    fn verify(&self, runtime: &Runtime, what: &str) -> Totals {
        let totals = runtime.block_on(verify(self.server.url(), &self.ledger, self.ledger.now()));
        let complaints = self.ledger.complaints();
        assert!(complaints.is_empty(), "after {what}:\n{}", complaints.join("\n"));
        assert!(!self.server.log().contains("panicked"), "the server panicked");
        totals
    }
}

#[test]
fn kill_battery_loses_and_halves_no_acknowledged_name() {
    let kills = setting("MILLPOND_KILLS", 50);
    let mut random = seeded("kill battery");
    let runtime = Runtime::new().unwrap();
    let mut figures = Figures::default();
    let began = Instant::now();
    while figures.kills < kills {
        let mut volume = Volume::new(&mut random);
        figures.volumes += 1;
        while figures.kills < kills && !volume.full {
            live_and_die(&mut volume, &runtime, &mut random, &mut figures);
            let what = format!("kill {} of the battery", figures.kills);
            figures.read += volume.verify(&runtime, &what);
        }
        figures.full += u64::from(volume.full);
        figures.acknowledged += volume.ledger.acknowledged();
    }
    eprintln!("kill battery: {figures:#?} in {:.0?}", began.elapsed());
    assert!(figures.acknowledged > figures.kills, "hardly anything was acknowledged: {figures:?}");
}

/// Pushes, ends the server, and starts it again, perhaps killing it while it starts.
fn live_and_die(volume: &mut Volume, runtime: &Runtime, random: &mut Random, figures: &mut Figures) {
    if random.one_in(8) {
        volume.push_and_stop(runtime, random);
        figures.clean_stops += 1;
    } else {
        volume.push_and_kill(runtime, random);
        figures.kills += 1;
    }
    while random.one_in(4) {
        let after = random.pause(Duration::from_millis(250));
        volume.server.start_and_kill(|| std::thread::sleep(after));
        figures.kills += 1;
        figures.kills_starting += 1;
    }
    volume.server.start_again();
}
