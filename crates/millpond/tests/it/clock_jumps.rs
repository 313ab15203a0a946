//! Wall clocks that jump by decades under a running server, and between its lives: nothing goes that space does not ask
//! for, and of a full volume no more than what comes in needs.
//!
//! The program's calls for the time go through Debian's libfaketime, which adds what a file says at that moment; clocks
//! that only count are left alone, as they are by whoever sets a machine's time.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::admin::answer;
use crate::battery::{Blob, Client, Publish, Pushed, Random, Volume, seeded};
use crate::server::{Server, skip};

/// Forty years on, back, six years back, a minute on, and once more far away: what is added to the machine's time.
const JUMPS: [&str; 6] = ["+14600d", "+0d", "-2190d", "+60s", "+400d", "+0d"];

/// What a machine's time may be set to, while a program runs on it.
struct Machine {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Machine {
    fn find() -> Option<Self> {
        let folders = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
        let library = folders
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists())?;
        let machine = Self { folder: tempfile::tempdir().unwrap(), library };
        machine.jump("+0d");
        Some(machine)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("added")
    }

    /// Takes effect with the next question for the time.
    fn jump(&self, added: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{added}\n")).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn server(&self, arguments: &[&str]) -> Server {
        let library = format!("LD_PRELOAD={}", self.library.display());
        let file = format!("FAKETIME_TIMESTAMP_FILE={}", self.file().display());
        Server::start_by(
            &[
                "/usr/bin/env",
                &library,
                &file,
                "FAKETIME_NO_CACHE=1",
                "FAKETIME_DONT_FAKE_MONOTONIC=1",
                "NO_FAKE_STAT=1",
            ],
            arguments,
        )
    }
}

const NEEDS: &str = "wall clocks that jump under a running server: Debian's faketime is not here";

#[test]
fn clock_that_jumps_by_decades_lets_nothing_go_of_a_volume_with_room() {
    let Some(machine) = Machine::find() else { return skip(NEEDS) };
    let runtime = Runtime::new().unwrap();
    let mut random = seeded("clock jumps");
    let mut volume = Volume::new(machine.server(&["--max-size", "1GB", "--lease", "1m"]), &mut random);
    for (number, jump) in JUMPS.into_iter().enumerate() {
        volume.push(&runtime, &mut random, Duration::from_millis(100), |server, random| {
            std::thread::sleep(random.pause(Duration::from_millis(400)));
            machine.jump(jump);
            std::thread::sleep(Duration::from_millis(1500));
            match number % 3 {
                0 => {}
                1 => drop(server.stop()),
                _ => server.kill(),
            }
        });
        if number % 3 != 0 {
            volume.server.start_again();
        }
        let (read, complaints) = volume.verify(&runtime, volume.ledger.now());
        assert!(complaints.is_empty(), "after {jump}:\n{}", complaints.join("\n"));
        assert!(read.names > 0, "nothing was pushed");
        let status = answer(&volume.server, "status --json");
        assert_eq!(status["names_let_go"], 0, "after {jump}: {status}");
    }
    assert!(!volume.full, "it was to have room");
    machine.jump(JUMPS[0]);
    volume.server.stop();
    volume.server.start_again();
    let log = volume.server.log();
    assert!(log.lines().any(|line| line.starts_with("206")), "the jumps did not reach it:\n{log}");
}

#[test]
fn clock_that_jumps_by_decades_lets_go_of_a_full_volume_no_more_than_what_comes_in_needs() {
    const BLOB: u64 = 2_000_000;
    let Some(machine) = Machine::find() else { return skip(NEEDS) };
    let mut random = seeded("clock jumps, full");
    let mut server = machine.server(&["--max-size", "60MB", "--lease", "1s"]);
    let runtime = Runtime::new().unwrap();
    let mut push = |server: &Server, count: u32| {
        for _ in 0..count {
            let name = format!("urn:{}", random.key());
            runtime.block_on(push_one(server.url(), name, &mut random, BLOB)).unwrap();
        }
    };
    push(&server, 40);
    let mut before = answer(&server, "status --json");
    assert!(before["names_let_go"].as_u64().unwrap() > 5, "it was not full: {before}");
    for (number, jump) in JUMPS.into_iter().enumerate() {
        machine.jump(jump);
        if number % 2 == 1 {
            server.kill();
            server.start_again();
            before["names_let_go"] = 0.into();
        }
        push(&server, 3);
        let after = answer(&server, "status --json");
        let went = after["names_let_go"].as_u64().unwrap() - before["names_let_go"].as_u64().unwrap();
        // Three come in, and what was let go before the jump may have left room for one or two, or not quite.
        assert!(went <= 8, "{went} names went after {jump} for 3 that came: {before} {after}");
        assert!(after["names"].as_u64().unwrap() >= 10, "after {jump}: {after}");
        before = after;
    }
}

/// An asset of a blob of its own.
async fn push_one(url: &str, uri: String, random: &mut Random, bytes: u64) -> Result<(), tonic::Status> {
    let blob = Blob::new(random.bytes(bytes));
    let mut client = Client::connect(url).await?;
    client.write(&blob, 1 << 20, usize::MAX).await?;
    let (references_blobs, references_directories) = (Vec::new(), Vec::new());
    let publish = Publish::Blob { uris: vec![uri], references_blobs, references_directories };
    client.publish(&Pushed::new(publish, blob.digest)).await
}
