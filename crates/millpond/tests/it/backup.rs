//! Backups: what is restored from one is whole, whatever happened while it was made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::Code;

use crate::admin::{answer, ask};
use crate::battery::{Client, Pushed, Random, Volume, digest_of, seeded, setting};
use crate::full_volume::figure;
use crate::names::Pond;
use crate::server::Server;

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A command without a server: its exit code, and what it printed and complained of.
fn millpond(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_millpond")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json((code, printed, complaint): (i32, String, String)) -> Value {
    assert_eq!((code, complaint.as_str()), (0, ""), "{printed}");
    serde_json::from_str(&printed).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn back_up(server: &Server, directory: &Path) -> Value {
    answer(server, &format!("backup {} --json", text(directory)))
}

/// What a check of a directory that nobody serves comes to, when nothing is wrong.
fn check(directory: &Path) -> Value {
    let found = json(millpond(&["fsck", "--json", "--data", text(directory)]));
    for what in ["bad", "not_whole", "damaged"] {
        assert_eq!(found[what].as_array().unwrap().len(), 0, "{found}");
    }
    found
}

fn restore(directory: &Path, data: &Path) -> Value {
    json(millpond(&["restore", text(directory), "--data", text(data), "--json"]))
}

/// Names that a server serves, with what they point to. Rows of such as were let go just now may still be there.
fn served(server: &Server) -> HashMap<String, String> {
    let (_, printed, complaint) = ask(server, "names show * --json");
    let line = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}{complaint}"));
        let word = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let name = format!("{} {} {} {}", word("instance"), word("kind"), word("uri"), word("qualifiers"));
        (entry["whole"] == true && entry["let_go"] == false).then(|| (name, word("digest")))
    };
    printed.lines().filter_map(line).collect()
}

/// Packs, each with its inode: another one if it was written anew.
fn packs(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let folders = fs::read_dir(directory.join("packs")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap()).map(|file| (file.path(), file.metadata().unwrap().ino())).collect()
}

/// Pushes to a volume that is full, and lets go, while it is backed up again and again: what comes out is whole.
#[test]
fn backup_of_a_full_volume_that_is_pushed_to_restores_to_whole_names() {
    let mut random = seeded("backup of a full volume");
    let (runtime, place) = (Runtime::new().unwrap(), folder());
    let [backup, restored] = ["backup", "restored"].map(|name| place.path().join(name));
    let mut volume = Volume::new(Server::start_with(&["--max-size", "30MB", "--lease", "0s"]), &mut random);
    volume.ledger.may_go();
    let rounds = setting("MILLPOND_BACKUPS", 4);
    let (mut kept, mut removed, mut then) = (HashMap::new(), 0, volume.ledger.now());
    let ledger = volume.ledger.clone();
    volume.push(&runtime, &mut random, Duration::ZERO, |server, random| {
        let mut wanted = 20_000_000;
        for round in 0..rounds {
            let end = Instant::now() + Duration::from_secs(60);
            while figure(server, "bytes_let_go") < wanted {
                assert!(Instant::now() < end, "nothing was let go");
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(random.pause(Duration::from_millis(100)));
            let before = served(server);
            then = ledger.now();
            let let_go = figure(server, "bytes_let_go");
            wanted = let_go + 4_000_000;
            let began = Instant::now();
            let done = back_up(server, &backup);
            let (took, let_go) = (began.elapsed(), figure(server, "bytes_let_go") - let_go);
            eprintln!("backup {round} in {took:.1?}, {let_go} bytes let go meanwhile: {done}");
            removed += done["removed_packs"].as_u64().unwrap();
            let after = served(server);
            kept = before.into_iter().filter(|(name, digest)| after.get(name) == Some(digest)).collect();
            check(&backup);
        }
    });
    assert!(removed > 0, "no pack of an earlier backup went");
    assert!(!volume.full, "a backup had pushes refused");
    assert_eq!(volume.ledger.complaints(), [""; 0]);
    volume.server.stop();

    let done = restore(&backup, &restored);
    let found = check(&restored);
    assert!(done["names"].as_u64() >= found["names"].as_u64(), "{done} {found}");
    let source = std::mem::replace(&mut volume.server, Server::start_at(&restored, &["--max-size", "1GB"]));
    let there = served(&volume.server);
    for (name, digest) in &kept {
        assert_eq!(there.get(name), Some(digest), "{name} was served before and after the backup");
    }
    let (read, complaints) = volume.verify(&runtime, then);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    eprintln!("{} names kept, {read:?}", kept.len());
    assert!(kept.len() > 5 && read.names > 20, "{read:?}");
    drop(source);
}

#[test]
fn second_backup_copies_what_is_new_and_a_stopped_server_is_backed_up_as_well() {
    let mut random = seeded("incremental backup");
    let (mut pond, place) = (Pond::new(&["--max-size", "100MB"]), folder());
    let [backup, restored] = ["backup", "restored"].map(|name| place.path().join(name));
    let push = |pond: &Pond, name: &str, random: &mut Random| pond.push(name, &random.bytes(2_000_000));
    for number in 0..5 {
        push(&pond, &format!("a:{number}"), &mut random);
    }
    let wanted = answer(&pond.server, &format!("backup {} --dry-run --json", text(&backup)));
    assert!(!backup.exists(), "a dry run has made it");
    assert_eq!((&wanted["names"], &wanted["dry_run"]), (&5.into(), &true.into()));
    let first = back_up(&pond.server, &backup);
    assert_eq!((&first["names"], &first["copied_packs"]), (&5.into(), &first["packs"]));
    assert!(first["bytes"].as_u64().unwrap() > 10_000_000, "{first}");
    let before = packs(&backup);
    assert_eq!(check(&backup)["names"], 5);

    let again = back_up(&pond.server, &backup);
    assert_eq!((&again["copied_packs"], &again["earlier"]), (&0.into(), &first["taken"]), "{again}");
    push(&pond, "a:5", &mut random);
    let wanted = answer(&pond.server, &format!("backup {} --dry-run --json", text(&backup)));
    assert_eq!(wanted["copied_packs"], 1, "{wanted}");
    assert_eq!(wanted["packs"], first["packs"].as_u64().unwrap() + 1, "{wanted}");
    pond.server.stop();
    let before_offline = fs::metadata(pond.server.data().join("catalog.db")).unwrap().modified().unwrap();
    let second = back_up(&pond.server, &backup);
    assert_eq!((&second["names"], &second["copied_packs"]), (&6.into(), &1.into()), "{second}");
    let after_offline = fs::metadata(pond.server.data().join("catalog.db")).unwrap().modified().unwrap();
    assert_eq!(before_offline, after_offline, "it was opened to look at alone");
    let after = packs(&backup);
    assert!(before.iter().all(|(pack, inode)| after.get(pack) == Some(inode)), "a pack was written anew");
    assert_eq!(after.len(), before.len() + 1);

    // Out of a backup comes a volume, which is none any more, and may itself be backed up.
    let (code, said, _) = millpond(&["restore", text(&backup), "--data", text(&restored), "--dry-run"]);
    assert!(code == 0 && said.contains("would hold 6 names") && !restored.exists(), "{said}");
    restore(&backup, &restored);
    assert!(!restored.join("backup").exists());
    let pond = Pond { server: Server::start_at(&restored, &["--max-size", "100MB"]), ..pond };
    assert!((0..6).all(|number| pond.fetch(&format!("a:{number}")) == Code::Ok));
    let back = back_up(&pond.server, &backup);
    assert_eq!(back["copied_packs"], 0, "the same volume, with nothing new: {back}");
}

/// A backup that is under way.
fn begin(server: &Server, directory: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(["backup", text(directory), "--data", text(server.data())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn server_killed_in_the_middle_leaves_the_earlier_backup_or_the_new_one() {
    let mut random = seeded("killed backups");
    let (mut pond, place) = (Pond::new(&["--max-size", "1GB"]), folder());
    let backup = place.path().join("backup");
    let mut names = BTreeSet::new();
    let kills = setting("MILLPOND_KILLS_BACKING_UP", 8);
    let mut broken_off = 0;
    for kill in 0..kills {
        for number in 0..10 {
            let name = format!("a:{kill}:{number}");
            pond.push(&name, &random.bytes(3_000_000));
            names.insert(name);
        }
        let mut backing_up = begin(&pond.server, &backup);
        std::thread::sleep(random.pause(Duration::from_millis(400)));
        pond.server.kill();
        broken_off += u64::from(!backing_up.wait().unwrap().success());
        if backup.join("packs").exists() {
            let there = check(&backup)["names"].as_u64().unwrap();
            assert!(there.is_multiple_of(10), "{there} names are of no moment at which there was a backup");
        }
        pond.server.start_again();
        if kill % 3 == 2 {
            back_up(&pond.server, &backup);
            assert_eq!(check(&backup)["names"], names.len());
        }
    }
    eprintln!("{broken_off} of {kills} backups were broken off");
    assert!(broken_off > 0);
    let done = back_up(&pond.server, &backup);
    assert_eq!(done["names"], names.len());
    assert_eq!(check(&backup)["names"], names.len());
    let leftovers = packs(&backup).into_keys().filter(|path| path.extension().unwrap() != "pack");
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn directories_that_are_no_place_for_this_backup_are_refused() {
    let (mut pond, other, place) = (Pond::new(&[]), Pond::new(&[]), folder());
    pond.push("a:1", b"content");
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full").join("letter"), "dear").unwrap();
    fs::write(at("file"), "").unwrap();
    fs::create_dir(at("empty")).unwrap();
    back_up(&other.server, &at("of-another"));
    let data = pond.server.data().to_owned();
    std::os::unix::fs::symlink(&data, at("link")).unwrap();
    for (directory, part) in [
        (data.clone(), "is the data directory, or in it"),
        (data.join("packs/backup"), "is the data directory, or in it"),
        (at("link"), "is the data directory, or in it"),
        (data.parent().unwrap().to_owned(), "or has it in it"),
        (at("full"), "no backup, \"letter\" to begin with"),
        (at("file"), "not a directory"),
        (at("file").join("below"), "not a directory"),
        (other.server.data().to_owned(), "no backup but a data directory"),
        (at("of-another"), "it is a copy of the volume"),
    ] {
        for dry_run in ["", " --dry-run"] {
            let flags: Vec<_> = dry_run.split_whitespace().collect();
            let arguments = [&["backup", text(&directory), "--data", text(&data)][..], &flags].concat();
            let (code, printed, complaint) = millpond(&arguments);
            assert!(code == 1 && complaint.contains(part), "{directory:?}: {printed}{complaint}");
        }
    }
    assert_eq!(fs::read_dir(at("full")).unwrap().count(), 1, "something was written there");
    back_up(&pond.server, &at("empty"));

    // Served, a backup is a volume of its own.
    let mut served = Server::start_at(&at("empty"), &[]);
    let (code, _, complaint) = ask(&pond.server, &format!("backup {}", text(&at("empty"))));
    assert!(code == 1 && complaint.contains("no backup"), "{complaint}");
    served.stop();
    let (code, _, complaint) = millpond(&["restore", text(&at("empty")), "--data", text(&at("new"))]);
    assert!(code == 1 && complaint.contains("is no backup"), "{complaint}");
    back_up(&pond.server, &at("second"));
    // What was restored and has gone another way since has other packs with the same numbers.
    restore(&at("second"), &at("twin"));
    let mut twin = Pond { server: Server::start_at(&at("twin"), &[]), ..Pond::new(&[]) };
    for (pond, name) in [(&pond, "b:1"), (&twin, "b:2")] {
        pond.push(name, name.as_bytes());
    }
    back_up(&pond.server, &at("second"));
    for dry_run in ["", " --dry-run"] {
        let (code, _, complaint) = ask(&twin.server, &format!("backup {}{dry_run}", text(&at("second"))));
        assert!(code == 1 && complaint.contains("has another pack"), "{complaint}");
    }
    twin.server.stop();
    for (directory, part) in [
        (at("full"), "holds something already, \"letter\""),
        (
            at("empty"),
            "a data directory already, with a volume that holds names: give a directory that is empty",
        ),
        (at("of-another"), "it is a backup: give"),
    ] {
        for dry_run in [&[][..], &["--dry-run"]] {
            let second = at("second");
            let arguments = [&["restore", text(&second), "--data", text(&directory)][..], dry_run].concat();
            let (code, printed, complaint) = millpond(&arguments);
            assert!(code == 1 && complaint.contains(part), "{directory:?}: {printed}{complaint}");
        }
    }
    let (code, _, complaint) = millpond(&["restore", text(&at("file")), "--data", text(&at("new"))]);
    assert!(code == 10 && !at("new").exists(), "{complaint}");
    pond.server.stop();
}

/// The outcome that `restore --names` tells of each name.
fn outcomes(pond: &Pond, arguments: &str) -> BTreeMap<String, String> {
    let line = |line: &Value| {
        let word = |field: &str| line[field].as_str().unwrap().to_owned();
        (word("name"), word("outcome"))
    };
    pond.lines(&format!("restore {arguments}")).iter().map(line).collect()
}

fn told<const N: usize>(outcomes: [(&str, &str); N]) -> BTreeMap<String, String> {
    outcomes.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).into()
}

#[test]
fn chosen_names_come_back_into_a_server_that_runs() {
    let mut random = seeded("chosen names");
    let (pond, place) = (Pond::new(&["--max-size", "100MB", "--lease", "0s"]), folder());
    let backup = place.path().join("backup");
    let large = random.bytes(3_000_000);
    pond.push("a:large", &large);
    for (name, content) in [("a:removed", "gone"), ("a:same", "same"), ("a:other", "old"), ("b:removed", "b")]
    {
        pond.push(name, content.as_bytes());
    }
    let whole = Pushed::any(&mut random, 1);
    pond.push_whole(&whole);
    back_up(&pond.server, &backup);
    pond.lines("names remove * --for-good");
    pond.push("a:same", b"same");
    pond.push("a:other", b"new");
    let large = digest_of(&large);
    let lacks = || {
        pond.runtime.block_on(async {
            let mut client = Client::connect(pond.server.url()).await.unwrap();
            client.missing(vec![large.clone()]).await.unwrap().len()
        })
    };
    // What nothing reaches goes as well, so that blobs have to come back too.
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(1100));
        ask(&pond.server, "retention apply");
        // To ask for it would be a use.
        if figure(&pond.server, "live_bytes") < 3_000_000 {
            break;
        }
    }
    assert_eq!(lacks(), 1);
    let named = format!("{} --names a:*", text(&backup));
    let expected =
        told([("a:large", "back"), ("a:removed", "back"), ("a:same", "same"), ("a:other", "left_alone")]);
    assert_eq!(outcomes(&pond, &format!("{named} --dry-run")), expected);
    assert_eq!(pond.fetch("a:removed"), Code::NotFound, "a dry run has brought it back");
    assert_eq!(outcomes(&pond, &named), expected);
    assert_eq!(lacks(), 0);
    for (name, code) in [("a:large", Code::Ok), ("a:removed", Code::Ok), ("b:removed", Code::NotFound)] {
        assert_eq!(pond.fetch(name), code, "{name}");
    }
    let other = |pond: &Pond| pond.lines("names list a:other")[0]["digest"].as_str().unwrap().to_owned();
    let new = other(&pond);
    let replaced = outcomes(&pond, &format!("{named} --replace"));
    assert_eq!((replaced["a:other"].as_str(), replaced["a:large"].as_str()), ("back", "same"));
    assert_ne!(other(&pond), new);
    // Trees, references and all.
    let all = outcomes(&pond, &format!("{} --names *", text(&backup)));
    assert!(all.values().all(|outcome| outcome == "back" || outcome == "same"), "{all:?}");
    let found = answer(&pond.server, "fsck --json");
    assert_eq!((&found["not_whole"], &found["names"]), (&Value::Array(vec![]), &all.len().into()));
    // What was set aside and came back so is not left to come back.
    pond.lines("names remove a:same");
    assert_eq!(outcomes(&pond, &format!("{} --names a:same", text(&backup))), told([("a:same", "back")]));
    let (code, printed, complaint) = ask(&pond.server, "names restore a:same");
    assert!(code == 3 && complaint.contains("nothing was removed"), "{printed}{complaint}");
    assert_eq!(pond.fetch("a:same"), Code::Ok);
    let restored = pond.lines("audit").into_iter().filter(|entry| entry["what"] == "restored");
    assert!(restored.count() > 4);
    let (code, _, complaint) = ask(&pond.server, &format!("restore {} --names c:*", text(&backup)));
    assert!(code == 3 && complaint.contains("no name like c:*"), "{complaint}");
    let (code, _, complaint) = ask(&pond.server, &format!("restore {} --names *", text(place.path())));
    assert!(code == 1 && complaint.contains("is no backup"), "{complaint}");
}

#[test]
fn keys_go_along_when_that_is_asked_for_and_are_named_when_not() {
    let (place, mut pond) = (folder(), Pond::new(&[]));
    pond.push("a:1", b"content");
    pond.server.stop();
    let [keys, backup] = ["millpond-keys", "backup"].map(|name| place.path().join(name));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        let output = command.args(arguments).current_dir(place.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["keys", "init", "cache.example.org"]);
    let arguments = ["backup", "backup", "--data", text(pond.server.data())];
    let said = run(&arguments);
    assert!(said.contains(&format!("not copied: the keys in {}", text(&keys))), "{said}");
    assert!(!backup.join("keys").exists());
    run(&[&arguments[..], &["--with-keys"]].concat());
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&backup.join("keys")), 0o700);
    for file in fs::read_dir(&keys).unwrap().map(|file| file.unwrap()).filter(|file| file.path().is_file()) {
        let copy = backup.join("keys").join(file.file_name());
        assert!(
            fs::read(&copy).unwrap() == fs::read(file.path()).unwrap() && mode(&copy) == 0o600,
            "{copy:?}"
        );
    }
    check(&backup);
}
