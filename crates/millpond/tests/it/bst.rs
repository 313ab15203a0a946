//! A real BuildStream client: one version, with a home, caches and a configuration file of its own.
//!
//! The versions are those that `scripts/test-clients` made. What a command prints is kept, and shown when the
//! command does not end as the test wants it to.

use std::cell::Cell;
use std::env;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::statvfs;
use tempfile::TempDir;

use crate::project::Project;

/// How much memory must be free on the file system in memory for clients to live there.
const MEMORY_NEEDED: u64 = 8_000_000_000;

/// The two dialects of BuildStream: of the command line, the configuration and the projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// BuildStream 1.
    One,
    /// BuildStream 2.
    Two,
}

/// An installed version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(&'static str);

impl Version {
    /// The version, or nothing where `scripts/test-clients` found no Python for it. Fails if that was never run.
    pub(crate) fn find(number: &'static str) -> Option<Self> {
        let version = Self(number);
        if version.program().exists() {
            return Some(version);
        }
        let skipped = fs::read_to_string(clients_folder().join("skipped")).unwrap_or_default();
        let reason = skipped.lines().find(|line| line.starts_with(&format!("BuildStream {number}:")));
        let reason =
            reason.unwrap_or_else(|| panic!("there is no BuildStream {number}: run scripts/test-clients"));
        eprintln!("skipped {reason}");
        None
    }

    /// Its dialect.
    pub(crate) fn generation(self) -> Generation {
        if self.0.starts_with("1.") { Generation::One } else { Generation::Two }
    }

    fn program(self) -> PathBuf {
        clients_folder().join(format!("bst-{}/bin/bst", self.0))
    }
}

/// Where `scripts/test-clients` puts the clients.
pub(crate) fn clients_folder() -> PathBuf {
    let cache = || {
        env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap()).join(".cache"))
    };
    env::var_os("MILLPOND_CLIENTS").map(PathBuf::from).unwrap_or_else(|| cache().join("millpond/clients"))
}

/// Where clients have their homes: in memory if there is room, since they write 60 000 files several times over.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let free = statvfs(memory).map_or(0, |status| status.f_bavail * status.f_frsize);
    if free > MEMORY_NEEDED { memory.to_owned() } else { env!("CARGO_TARGET_TMPDIR").into() }
}

/// How a client is configured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// `push: true` for the server.
    pub(crate) push: bool,
    /// The server keeps sources too (BuildStream 2).
    pub(crate) source_cache: bool,
    /// `instance-name` (BuildStream 2).
    pub(crate) instance: Option<&'static str>,
    /// `cache-buildtrees`, if not the default (BuildStream 2).
    pub(crate) cache_buildtrees: Option<&'static str>,
    /// `pull-buildtrees` (BuildStream 2).
    pub(crate) pull_buildtrees: bool,
}

impl Settings {
    /// Pushes artifacts.
    pub(crate) fn pushing() -> Self {
        Self { push: true, ..Self::default() }
    }
}

/// Files that a client has for TLS.
#[derive(Clone, Debug, Default)]
pub(crate) struct Auth {
    /// The key under which it stands in the configuration, and the file.
    pub(crate) files: Vec<(&'static str, PathBuf)>,
}

impl Auth {
    /// The same, with one more.
    pub(crate) fn with(&self, key: &'static str, file: impl Into<PathBuf>) -> Self {
        let mut files = self.files.clone();
        files.push((key, file.into()));
        Self { files }
    }

    fn lines(&self, indent: &str) -> String {
        let line = |(key, file): &(&str, PathBuf)| format!("{indent}{key}: {}\n", file.display());
        self.files.iter().map(line).collect()
    }
}

/// Two threads of BuildStream that ask for its own buildbox-casd first at the same moment: the channel is there to be seen
/// before what goes through it is. It happens before any server is asked.
const CLIENT_RACE: &str = "'NoneType' object has no attribute 'FindMissingBlobs'";

/// What a command did.
pub(crate) struct Outcome {
    command: String,
    success: bool,
    output: String,
}

impl Outcome {
    /// What it printed, if it ended well; fails otherwise.
    pub(crate) fn expect_success(self) -> String {
        assert!(self.success, "{} failed:\n{}", self.command, self.output);
        self.output
    }

    /// What it printed, if it failed; fails otherwise.
    pub(crate) fn expect_failure(self) -> String {
        assert!(!self.success, "{} should have failed:\n{}", self.command, self.output);
        self.output
    }
}

/// A command that runs.
pub(crate) struct Running {
    command: String,
    since: Instant,
    child: Child,
    output: PathBuf,
}

impl Running {
    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Outcome {
        let status = self.child.wait().unwrap();
        let output = fs::read(&self.output).unwrap();
        let outcome = Outcome {
            command: format!("{} ({status}, {:.1} s)", self.command, self.since.elapsed().as_secs_f32()),
            success: status.success(),
            output: String::from_utf8_lossy(&output).into_owned(),
        };
        // Seen when the test fails, or with --nocapture.
        eprintln!("{}", outcome.command);
        outcome
    }

    /// Waits until it has printed something so many times; fails if it ends before that.
    pub(crate) fn wait_for(&mut self, text: &str, times: usize) {
        loop {
            let ended = self.child.try_wait().unwrap().is_some();
            let output = String::from_utf8_lossy(&fs::read(&self.output).unwrap()).into_owned();
            if output.matches(text).count() >= times {
                return;
            }
            assert!(!ended, "{} ended without saying {times} times {text:?}:\n{output}", self.command);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

/// One user's BuildStream.
pub(crate) struct Client {
    version: Version,
    home: TempDir,
    /// How many files and folders its commands have left.
    paths: Cell<u32>,
}

impl Client {
    /// A client with empty caches that knows one server.
    pub(crate) fn new(version: Version, url: &str, settings: Settings) -> Self {
        let home = TempDir::with_prefix_in("millpond-test-", scratch()).unwrap();
        let client = Self { version, home, paths: Cell::new(0) };
        client.configure(url, settings);
        client
    }

    /// A client that knows one server with TLS.
    pub(crate) fn with_auth(version: Version, url: &str, settings: Settings, auth: &Auth) -> Self {
        let client = Self::new(version, url, settings);
        client.configure_with(url, settings, auth);
        client
    }

    /// Replaces the configuration; the caches stay.
    pub(crate) fn configure(&self, url: &str, settings: Settings) {
        self.configure_with(url, settings, &Auth::default());
    }

    /// The same, with files for TLS.
    pub(crate) fn configure_with(&self, url: &str, settings: Settings, auth: &Auth) {
        let caches = self.caches().display().to_string();
        let push = settings.push;
        let mut text = format!("sourcedir: {caches}/sources\nlogdir: {caches}/logs\n");
        match self.version.generation() {
            Generation::One => {
                let _ = write!(text, "builddir: {caches}/build\nartifactdir: {caches}/artifacts\n");
                let _ = write!(text, "artifacts:\n- url: {url}\n  push: {push}\n");
                text.push_str(&auth.lines("  "));
            }
            Generation::Two => {
                let _ = writeln!(text, "cachedir: {caches}");
                let _ = write!(text, "artifacts:\n  servers:\n  - url: {url}\n    push: {push}\n");
                let files = auth.lines("      ");
                let files = if files.is_empty() { files } else { format!("    auth:\n{files}") };
                text.push_str(&files);
                if let Some(instance) = settings.instance {
                    let _ = writeln!(text, "    instance-name: {instance}");
                }
                if settings.source_cache {
                    let _ =
                        write!(text, "source-caches:\n  servers:\n  - url: {url}\n    push: {push}\n{files}");
                }
                let buildtrees = settings.cache_buildtrees.unwrap_or("auto");
                let pull = settings.pull_buildtrees;
                let _ = write!(text, "cache:\n  cache-buildtrees: {buildtrees}\n  pull-buildtrees: {pull}\n");
            }
        }
        fs::write(self.home.path().join("buildstream.conf"), text).unwrap();
    }

    /// Replaces the configuration by one with two servers that it pushes to: one for names, and one for blobs
    /// (BuildStream 2).
    pub(crate) fn configure_split(&self, index: &str, storage: &str) {
        let caches = self.caches().display().to_string();
        let text = format!(
            "sourcedir: {caches}/sources\nlogdir: {caches}/logs\ncachedir: {caches}\nartifacts:\n  servers:\n\
             \x20 - url: {index}\n    type: index\n    push: true\n\
             \x20 - url: {storage}\n    type: storage\n    push: true\n"
        );
        fs::write(self.home.path().join("buildstream.conf"), text).unwrap();
    }

    fn caches(&self) -> PathBuf {
        self.home.path().join("caches")
    }

    /// Starts a command and lets it run.
    pub(crate) fn spawn(&self, project: &Project, arguments: &[&str]) -> Running {
        let home = self.home.path();
        let output = self.new_path("output");
        let file = File::create(&output).unwrap();
        let child = Command::new(self.version.program())
            .args(["--no-interactive", "--no-colors", "--config"])
            .arg(home.join("buildstream.conf"))
            .args(arguments)
            .current_dir(project.path())
            // Nothing of the tester's own settings: a proxy, say, or another BuildStream on PATH.
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", home)
            .env("XDG_CACHE_HOME", home.join("xdg-cache"))
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let command = format!("bst {} {}", self.version.0, arguments.join(" "));
        Running { command, since: Instant::now(), child, output }
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, project: &Project, arguments: &[&str]) -> Outcome {
        let outcome = self.spawn(project, arguments).wait();
        if !outcome.output.contains(CLIENT_RACE) {
            return outcome;
        }
        self.spawn(project, arguments).wait()
    }

    /// Runs a command that must end well, and gives what it printed.
    pub(crate) fn succeed(&self, project: &Project, arguments: &[&str]) -> String {
        self.run(project, arguments).expect_success()
    }

    /// Forgets all that it has built, pulled and fetched.
    pub(crate) fn wipe(&self) {
        fs::remove_dir_all(self.caches()).unwrap();
    }

    /// Starts to pull elements and what they depend on.
    pub(crate) fn spawn_pull(&self, project: &Project, elements: &[&str]) -> Running {
        self.spawn(project, &[self.artifact_verb("pull", "all"), elements.to_vec()].concat())
    }

    /// Pulls elements that the server must have. (A pull of something else is skipped, and ends well too.)
    pub(crate) fn pull(&self, project: &Project, elements: &[&str]) {
        let output = self.spawn_pull(project, elements).wait().expect_success();
        assert!(!output.contains("does not have"), "the server lacks some of {elements:?}:\n{output}");
    }

    /// Pulls one element, by itself, that the server must not have.
    pub(crate) fn pull_in_vain(&self, project: &Project, element: &str) {
        let output = self.succeed(project, &[self.artifact_verb("pull", "none"), vec![element]].concat());
        assert!(output.contains("does not have"), "the server has {element}:\n{output}");
    }

    /// Pushes elements and what they depend on, and gives what that printed.
    pub(crate) fn push(&self, project: &Project, elements: &[&str]) -> String {
        self.succeed(project, &[self.artifact_verb("push", "all"), elements.to_vec()].concat())
    }

    fn artifact_verb<'a>(&self, verb: &'a str, deps: &'a str) -> Vec<&'a str> {
        match self.version.generation() {
            Generation::One => vec![verb, "--deps", deps],
            Generation::Two => vec!["artifact", verb, "--deps", deps],
        }
    }

    /// Checks a cached element out, with all that it needs when it runs, or just an artifact by its name.
    pub(crate) fn check_out(&self, project: &Project, element: &str) -> PathBuf {
        let deps = if element.ends_with(".bst") { "run" } else { "none" };
        self.check_out_with(project, &[], element, deps)
    }

    /// Checks an element out whatever has become of its dependencies since it was built, and without them.
    pub(crate) fn check_out_loosely(&self, project: &Project, element: &str) -> PathBuf {
        self.check_out_with(project, &["--no-strict"], element, "none")
    }

    fn check_out_with(&self, project: &Project, mode: &[&str], element: &str, deps: &str) -> PathBuf {
        let place = self.new_path("checkout");
        let place_name = place.to_str().unwrap();
        let verb: &[&str] = match self.version.generation() {
            Generation::One => &["checkout", element, place_name],
            Generation::Two => &["artifact", "checkout", "--directory", place_name, element],
        };
        self.succeed(project, &[mode, verb, &["--no-integrate", "--deps", deps]].concat());
        place
    }

    /// Checks the sources of an element out (BuildStream 2).
    pub(crate) fn check_out_sources(&self, project: &Project, element: &str) -> PathBuf {
        let place = self.new_path("sources");
        self.succeed(project, &["source", "checkout", "--directory", place.to_str().unwrap(), element]);
        place
    }

    /// A path in the client's home where nothing is yet.
    fn new_path(&self, what: &str) -> PathBuf {
        self.paths.set(self.paths.get() + 1);
        self.home.path().join(format!("{what}-{}", self.paths.get()))
    }

    /// What `bst show` says of one element, by one of its formats such as `state`, without asking the server.
    pub(crate) fn show(&self, project: &Project, element: &str, what: &str) -> String {
        const MARK: &str = "shown: ";
        let format = format!("{MARK}%{{{what}}}");
        let output = self.succeed(project, &["show", "--deps", "none", "--format", &format, element]);
        let line = output.lines().find_map(|line| line.strip_prefix(MARK));
        line.unwrap_or_else(|| panic!("no {what} of {element} in:\n{output}")).to_owned()
    }

    /// The name of an element's artifact, as `bst artifact` takes it.
    pub(crate) fn artifact(&self, project: &Project, element: &str) -> String {
        let key = self.show(project, &format!("{element}.bst"), "full-key");
        format!("{}/{element}/{key}", project.name())
    }
}
