//! Kills a process that publishes, with SIGKILL at any moment, and looks whether every acknowledged value is there.
//!
//! The process is this test again, told by its environment to be the one that publishes. It prints each value once it
//! was acknowledged.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test from the first line to the last")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_store::catalog::{
    Catalog, CatalogOptions, CatalogStarted, Name, NameKind, NewValue, State, Target,
};
use millpond_store::disk::RealDisk;
use millpond_store::{Digest, Error, Level};

const FOLDER: &str = "MILLPOND_TEST_FOLDER";
const BEGIN: &str = "MILLPOND_TEST_BEGIN";
const NAMES: u32 = 64;

fn new_value(number: u32, version: u64) -> NewValue {
    NewValue {
        name: Name {
            instance: "".into(),
            kind: NameKind::ActionResult,
            text: format!("{number}").into(),
            qualifiers: "".into(),
        },
        target: Target::Blob(Digest::of(format!("{number} {version}").as_bytes())),
        // Enough that SQLite's log is written back and the journal rewritten now and then.
        references: vec![number as u8; 3000].into(),
        level: Level::from_seconds(1),
        touched: Level::from_seconds(1),
        expires: None,
        pushed: version,
        pusher: "".into(),
        address: "".into(),
        state: State::Whole,
    }
}

fn open(folder: &Path) -> (Catalog, CatalogStarted) {
    let disk = Arc::new(RealDisk::open(folder).unwrap());
    let options = CatalogOptions { wal_bytes: 512 << 10, ..CatalogOptions::default() };
    Catalog::open(folder, disk, &options).unwrap()
}

/// The publishing process: eight at once, each with its own names, until it is killed or refused.
#[tokio::test]
async fn publishing_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let begin: u64 = std::env::var(BEGIN).unwrap().parse().unwrap();
    let (catalog, _) = open(Path::new(&folder));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let catalog = catalog.clone();
        tasks.spawn(async move {
            for version in begin.. {
                for number in (task..NAMES).step_by(8) {
                    match catalog.publish(vec![new_value(number, version)]).await {
                        Ok(_) => writeln!(std::io::stdout(), "\nacknowledged {number} {version}").unwrap(),
                        Err(Error::Poisoned(_)) => return,
                        Err(error) => writeln!(std::io::stdout(), "\nrefused {error:?}").unwrap(),
                    }
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    assert_eq!(
        catalog.look_up(&new_value(0, 0).name).await.unwrap().map(|value| value.name.clone()),
        Some(new_value(0, 0).name)
    );
    writeln!(std::io::stdout(), "\npoisoned").unwrap();
}

/// Runs the publishing process through `shell`, a command line before its own, until `until` or until it ends. Notes
/// what it acknowledged, and returns all that it said besides.
fn publish_for(
    folder: &Path,
    begin: u64,
    until: Duration,
    shell: &str,
    acknowledged: &mut [u64],
) -> Vec<String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("{shell} exec \"$0\" --exact publishing_process --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder)
        .env(BEGIN, begin.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (mut said, mut since) = (Vec::new(), None);
    for line in output.lines() {
        let line = line.unwrap();
        match *line.split(' ').collect::<Vec<_>>() {
            ["acknowledged", number, version] => {
                acknowledged[number.parse::<usize>().unwrap()] = version.parse().unwrap();
                // Counted from the first answer on, so that a slow start is not all there is.
                if since.get_or_insert_with(Instant::now).elapsed() > until {
                    // What is in the pipe by now was acknowledged as well.
                    child.kill().unwrap();
                }
            }
            _ => said.push(line),
        }
    }
    child.wait().unwrap();
    said
}

async fn assert_all_there(catalog: &Catalog, acknowledged: &[u64], round: u64) {
    for (number, version) in (0..NAMES).zip(acknowledged) {
        let value = catalog.look_up(&new_value(number, 0).name).await.unwrap();
        let Some(value) = value else {
            assert_eq!(*version, 0, "round {round}: {number} is gone");
            continue;
        };
        assert!(value.pushed >= *version, "round {round}: {number} is {}, not {version}", value.pushed);
        let expected = new_value(number, value.pushed);
        assert_eq!((&value.target, &value.references), (&expected.target, &expected.references));
    }
}

#[tokio::test]
async fn acknowledged_values_survive_kill_9_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = vec![0; NAMES as usize];
    for round in 0..12 {
        let until = Duration::from_millis(round * 37 % 400);
        let said = publish_for(folder.path(), round * 1_000_000 + 1, until, "", &mut acknowledged);
        assert!(acknowledged.iter().any(|version| *version > round * 1_000_000), "round {round}: {said:?}");
        let (catalog, started) = open(folder.path());
        assert!(!started.clean && !started.rebuilt, "{started:?}");
        assert_all_there(&catalog, &acknowledged, round).await;
        assert_eq!(catalog.check().unwrap().database, Vec::<String>::new());
        let journal_alone = round % 2 == 1;
        while journal_alone && !catalog.figures().journal_complete {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Its thread would else keep the folder for a moment longer than it is needed here.
        catalog.close().unwrap();
        drop(catalog);
        if journal_alone {
            std::fs::remove_file(folder.path().join("catalog.db")).unwrap();
            let (catalog, started) = open(folder.path());
            assert!(started.rebuilt);
            assert_all_there(&catalog, &acknowledged, round).await;
            catalog.close().unwrap();
        }
    }
}

#[tokio::test]
async fn failing_write_of_the_database_poisons_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = vec![0; NAMES as usize];
    publish_for(folder.path(), 1, Duration::ZERO, "", &mut acknowledged);
    // A limit on the size of files, in units of 512 bytes, is an error in a write that is not lack of space.
    let shell = "trap '' XFSZ; ulimit -f 900;";
    let said = publish_for(folder.path(), 1_000_000, Duration::from_secs(60), shell, &mut acknowledged);
    assert!(said.iter().any(|line| line == "poisoned"), "{said:?}");
    assert!(!said.iter().any(|line| line.starts_with("refused NoSpace")), "{said:?}");
    let (catalog, _) = open(folder.path());
    assert_all_there(&catalog, &acknowledged, 0).await;
    assert_eq!(catalog.check().unwrap().database, Vec::<String>::new());
}
