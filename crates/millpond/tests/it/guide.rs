//! Every command of the guide is run as it is written, in the order of its page, and prints what the page shows.
//!
//! What belongs to a machine is replaced: directories by those of a scratch directory, names of hosts by this one's, names of what is
//! stored by such as there are. Pages whose commands start servers by themselves have a network of their own, where the ports are
//! free that they name.

mod docker;
mod pages;
mod reading;
mod systemd;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use self::reading::{Shown, commands, is_like, masked};
use crate::bst::clients_folder;
use crate::docker::engine::project;
use crate::server::{Server, skip};

/// What no test runs: the page, how the command begins, and why.
const LEFT_OUT: [(&str, &str, &str); 8] = [
    ("README.md", "scripts/test", "it runs this test and all others"),
    ("docs/start.md", "cargo install", "it compiles for minutes"),
    ("docs/bench.md", "scripts/bench-peers", "it measures for an hour"),
    ("docs/bench.md", "scripts/soak", "it takes a day"),
    ("docs/docker.md", "docker build", "it compiles for minutes"),
    ("docs/systemd.md", "sudo apt-get install dpkg-dev", "it changes this machine"),
    ("docs/systemd.md", "cargo build", "it compiles for minutes"),
    ("docs/upgrading.md", "sudo systemctl restart", "that of docs/systemd.md is run"),
];
/// Programs of others that a machine may lack.
const OF_OTHERS: [&str; 3] = ["curl", "promtool", "prometheus"];
/// Commands that go on until they are stopped, and what each says once it does what it is for.
const GO_ON: [(&str, &str); 2] =
    [("millpond serve", "\nlistening on "), ("prometheus ", "Server is ready to receive web requests")];
/// How long such a command may take to say so.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the shell says behind what a command has printed.
const ENDED: &str = "-- the command ended with ";

/// A test for each page that has commands, with what makes all that they count on.
macro_rules! pages {
    ($($name:ident: $path:literal, $prepared:path;)*) => {
        const PAGES: &[&str] = &[$($path),*];
        $(
            #[test]
            fn $name() {
                $prepared($path);
            }
        )*
    };
}

pages! {
    administration: "docs/administration.md", pages::administration;
    backup: "docs/backup.md", pages::backup;
    bench: "docs/bench.md", pages::bench;
    ci: "docs/ci.md", pages::ci;
    docker: "docs/docker.md", docker::page;
    doctor: "docs/doctor.md", pages::doctor;
    letting_go: "docs/letting-go.md", pages::letting_go;
    monitoring: "docs/monitoring.md", pages::monitoring;
    moving: "docs/moving.md", pages::moving;
    readme: "README.md", pages::readme;
    retention: "docs/retention.md", pages::retention;
    security: "docs/security.md", pages::security;
    sizing: "docs/sizing.md", pages::sizing;
    start: "docs/start.md", pages::start;
    systemd: "docs/systemd.md", systemd::page;
    upgrading: "docs/upgrading.md", pages::upgrading;
}

fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).unwrap()
}

#[test]
fn every_page_with_commands_is_run() {
    let docs = fs::read_dir(project().join("docs")).unwrap();
    let docs = docs.map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()));
    let with_commands: Vec<_> = (["README.md".to_owned()].into_iter().chain(docs))
        .filter(|path| path.ends_with(".md") && !commands(&read(path)).is_empty())
        .collect();
    assert!(with_commands.len() > 10, "the guide was not found");
    let forgotten: Vec<_> = with_commands.iter().filter(|path| !PAGES.contains(&path.as_str())).collect();
    assert!(forgotten.is_empty(), "no test runs the commands of {forgotten:?}");
    for (path, words, _) in LEFT_OUT {
        let stands = commands(&read(path)).iter().any(|shown| shown.command.starts_with(words));
        assert!(stands, "{path} has no {words} to be left out");
    }
}

/// A page whose commands are run, all of them until the test ends.
struct Page {
    path: &'static str,
    text: String,
    left: std::vec::IntoIter<Shown>,
    /// What stands on the page, and what is there.
    replaced: Vec<(String, String)>,
    // Ended before its folder goes.
    shell: Shell,
    folder: TempDir,
}

impl Page {
    /// Its commands are run in the network of this machine.
    fn open(path: &'static str) -> Self {
        Self::with(path, Command::new("sh"))
    }

    /// Its commands are run in a network of their own, where that may be made.
    fn alone(path: &'static str) -> Option<Self> {
        let unshare = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "--net", "sh", "-c", script]);
            command
        };
        let possible = unshare("ip link set lo up").output();
        if !possible.is_ok_and(|tried| tried.status.success()) {
            skip(&format!("the commands of {path}: no network of its own may be made here"));
            return None;
        }
        Some(Self::with(path, unshare("ip link set lo up && exec sh")))
    }

    fn with(path: &'static str, shell: Command) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for name in ["srv", "mnt/backup", "etc/millpond", "programs"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_millpond"), folder.path().join("programs/millpond")).unwrap();
        let text = read(path);
        let shell = Shell::start(shell, folder.path());
        let left = commands(&text).into_iter();
        let mut page = Self { path, text, left, replaced: Vec::new(), shell, folder };
        for name in ["/srv", "/mnt/backup", "/etc/millpond"] {
            page.replace(name, &page.place(&name[1..]).display().to_string());
        }
        page.replace("cache.example.org", "localhost");
        // All of it is this user's.
        page.replace("sudo ", "");
        page
    }

    /// Where something of the page lies.
    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From here on the page means something else by these words, whatever it meant by a part of them before.
    fn replace(&mut self, words: &str, by: &str) {
        self.replaced.insert(0, (words.to_owned(), by.to_owned()));
    }

    /// From here on this server has its data where the page says.
    fn is_at(&mut self, place: &str, server: &Server) {
        self.replace(place, server.data().to_str().unwrap());
    }

    /// The words of the page with what is there in their place.
    fn here(&self, text: &str) -> String {
        let (mut here, mut rest) = (String::new(), text);
        while let Some(next) = rest.chars().next() {
            let found = self.replaced.iter().find(|(words, _)| rest.starts_with(words.as_str()));
            let (length, by) = found.map_or((next.len_utf8(), None), |(words, by)| (words.len(), Some(by)));
            here.push_str(by.map_or(&rest[..length], String::as_str));
            rest = &rest[length..];
        }
        here
    }

    /// The examples of this kind on the page, as in `toml`.
    fn examples(&self, kind: &str) -> Vec<String> {
        let begin = format!("```{kind}\n");
        let blocks = self.text.split(&begin).skip(1);
        blocks.map(|block| self.here(block.split("```").next().unwrap())).collect()
    }

    /// Does something for the page that it does not show; what that printed.
    fn prepare(&mut self, command: &str) -> String {
        let (code, printed) = self.shell.run(command);
        assert_eq!(code, 0, "{}: {command}: {printed}", self.path);
        printed
    }

    /// Serves for the page, until it starts a server by itself.
    fn serve(&mut self, flags: &str) {
        self.shell.leave(&format!("millpond serve {flags}"), GO_ON[0].1);
    }

    /// Copies a folder of the project to where commands are run.
    fn copy(&mut self, folder: &str) {
        self.prepare(&format!("cp -r {} .", project().join(folder).display()));
    }

    /// Runs the next commands of the page, up to the one that has these words.
    fn until(&mut self, words: &str) {
        let ahead = self.left.as_slice().iter().position(|shown| shown.command.contains(words));
        let ahead = ahead.unwrap_or_else(|| panic!("{} has no more {words}", self.path));
        (0..ahead).for_each(|_| self.step());
    }

    /// Runs what is left of the page.
    fn rest(mut self) {
        while !self.left.as_slice().is_empty() {
            self.step();
        }
    }

    /// Runs the next command, unless it is left out, and looks whether it prints what is shown.
    fn step(&mut self) {
        let (shown, printed) = self.next();
        let Some(printed) = printed.filter(|_| !shown.output.is_empty()) else { return };
        let wanted = self.here(&shown.output);
        if !is_like(&wanted, &printed) {
            let (wanted, masked) = (masked(&wanted), masked(&printed));
            let place = self.place_of(&shown);
            panic!("{place} is shown to print\n{wanted}\nand printed\n{masked}\nwhich was\n{printed}");
        }
    }

    fn place_of(&self, shown: &Shown) -> String {
        format!("{}:{}: {}", self.path, shown.line, self.here(&shown.command))
    }

    /// The next command, and what it printed unless it is left out. It has ended as is shown.
    fn next(&mut self) -> (Shown, Option<String>) {
        let shown = self.left.next().expect("a command is left");
        let left_out =
            |(path, words, _): &&(&str, &str, &str)| *path == self.path && shown.command.starts_with(words);
        if let Some((_, words, why)) = LEFT_OUT.iter().find(left_out) {
            println!("{}: {words} is not run: {why}", self.path);
            return (shown, None);
        }
        let command = self.here(&shown.command);
        let goes_on = GO_ON.iter().find(|(words, _)| command.starts_with(words));
        let (code, printed) = match goes_on {
            Some((_, ready)) => (0, self.shell.leave(command.trim_end_matches(" &"), ready)),
            None => self.shell.run(&command),
        };
        let program = command.split(' ').next().unwrap_or_default();
        if code == 127 && OF_OTHERS.contains(&program) {
            skip(&format!("{} of {}: there is no {program} here", shown.command, self.path));
            return (shown, None);
        }
        let place = self.place_of(&shown);
        assert_eq!(code != 0, shown.fails(), "{place} ended with {code}:\n{printed}");
        (shown, Some(printed))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let left = self.left.as_slice().first();
        if let Some(left) = left.filter(|_| !thread::panicking()) {
            panic!("{}:{}: {} was not run", self.path, left.line, left.command);
        }
    }
}

/// A shell in which one command after the other is run, with the program on its PATH.
struct Shell {
    child: Child,
    told: ChildStdin,
    said: BufReader<ChildStdout>,
    folder: PathBuf,
    /// How many commands were left running.
    left: usize,
}

impl Shell {
    fn start(mut command: Command, folder: &Path) -> Self {
        let path = std::env::var("PATH").unwrap();
        let prometheus = clients_folder().join("prometheus/usr/bin");
        let path = format!("{}:{path}:{}", folder.join("programs").display(), prometheus.display());
        let mut child = (command.current_dir(folder).env("PATH", path))
            // The log is not what pages show.
            .env("MILLPOND_LOG", "error")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, said) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, told, said, folder: folder.to_owned(), left: 0 }
    }

    /// Runs a command to its end: its exit code, and what it printed and complained of.
    fn run(&mut self, command: &str) -> (i32, String) {
        writeln!(self.told, "{{\n{command}\n}} </dev/null 2>&1\ncode=$?\necho\necho '{ENDED}'$code").unwrap();
        let (mut printed, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "the shell ended at {command}: {printed}");
            if let Some(code) = line.strip_prefix(ENDED) {
                return (code.trim().parse().unwrap(), printed.trim_end().to_owned());
            }
            printed.push_str(&line);
        }
    }

    /// Ends the command that was left running before, if one was, and leaves another one running; what it has printed once it is ready.
    fn leave(&mut self, command: &str, ready: &str) -> String {
        if self.left > 0 {
            self.run("kill $running && wait $running");
        }
        self.left += 1;
        let printed = self.folder.join(format!("printed-{}", self.left));
        self.run(&format!("{command} </dev/null >{} 2>&1 &\nrunning=$!", printed.display()));
        let deadline = Instant::now() + PATIENCE;
        let text = || fs::read_to_string(&printed).unwrap_or_default();
        while !text().contains(ready) {
            assert!(Instant::now() < deadline, "{command} is not ready: {}", text());
            thread::sleep(Duration::from_millis(50));
        }
        // What a server says of its other listeners follows at once.
        thread::sleep(Duration::from_millis(200));
        text()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // With all that it left running.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
