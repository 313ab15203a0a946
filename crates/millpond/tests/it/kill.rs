//! The kill battery: clients push while the server is killed with SIGKILL at random moments and started again where it
//! was. After each kill every name that it acknowledged is looked up and walked, and every blob read and hashed.
//!
//! `MILLPOND_KILLS` says how many kills, `MILLPOND_SEED` repeats a run's choices.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::battery::{Random, Totals, Volume, seeded, setting};
use crate::server::Server;

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

fn new_volume(random: &mut Random) -> Volume {
    let size = random.choose(&SIZES);
    // What lay there at a start is compressed while clients push and until the next kill.
    let compression = random.choose(&["off", "at-once", "cold"]);
    let flags = ["--max-size", size, "--compression", compression, "--compress-after", "0s"];
    Volume::new(Server::start_with(&flags), random)
}

/// Pushes for a while, then kills the server in the middle of it.
fn push_and_kill(volume: &mut Volume, runtime: &Runtime, random: &mut Random) {
    let pause = random.choose(&[Duration::ZERO, Duration::from_millis(20)]);
    volume.push(runtime, random, pause, |server, random| {
        let longest = random.choose(&[30, 300, 1200]);
        std::thread::sleep(random.pause(Duration::from_millis(longest)));
        server.kill();
    });
}

/// Pushes for a while, then ends the server as a service manager does, while clients go on pushing.
fn push_and_stop(volume: &mut Volume, runtime: &Runtime, random: &mut Random) {
    volume.push(runtime, random, Duration::ZERO, |server, random| {
        std::thread::sleep(random.pause(Duration::from_millis(300)));
        server.stop();
    });
}

#[test]
fn kill_battery_loses_and_halves_no_acknowledged_name() {
    let kills = setting("MILLPOND_KILLS", 170);
    let mut random = seeded("kill battery");
    let runtime = Runtime::new().unwrap();
    let mut figures = Figures::default();
    let began = Instant::now();
    while figures.kills < kills {
        let mut volume = new_volume(&mut random);
        figures.volumes += 1;
        while figures.kills < kills && !volume.full {
            live_and_die(&mut volume, &runtime, &mut random, &mut figures);
            let (read, complaints) = volume.verify(&runtime, volume.ledger.now());
            assert!(complaints.is_empty(), "after kill {}:\n{}", figures.kills, complaints.join("\n"));
            figures.read += read;
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
        push_and_stop(volume, runtime, random);
        figures.clean_stops += 1;
    } else {
        push_and_kill(volume, runtime, random);
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
