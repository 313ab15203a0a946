//! The container engine of this machine: an image of this build, and containers and volumes that go with the test.
//!
//! The image is what the Dockerfile makes of a program that is compiled already: its last stage, laid out by the same
//! script, with this build's `millpond` and the libraries that it is linked to. `MILLPOND_TEST_IMAGE` names another one to
//! be tested instead, such as the one that `just docker` has built from nothing.
//!
//! **Invariant:** ports are published on 127.0.0.1 alone.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::bst::Auth;
use crate::server::skip;

/// How long a container may take to be as it should.
const PATIENCE: Duration = Duration::from_secs(60);
const REPOSITORY: &str = "millpond-test";

/// The root of the project.
pub(crate) fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Runs a program to its end: what it printed, or what it said.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let [printed, said] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() { Ok(printed) } else { Err(format!("{command:?}: {printed}{said}")) }
}

/// Runs the engine's command.
pub(crate) fn docker(arguments: &[&str]) -> Result<String, String> {
    run(Command::new("docker").args(arguments))
}

/// A name that no other test has.
pub(crate) fn new_name() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("millpond-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A port of 127.0.0.1 that was free just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The image to be tested, where there is an engine.
pub(crate) fn image() -> Option<String> {
    if let Err(words) = docker(&["version", "--format", "{{.Server.Version}}"]) {
        eprintln!("{words}");
        skip("the Docker image: there is no Docker engine here");
        return None;
    }
    if let Ok(image) = std::env::var("MILLPOND_TEST_IMAGE") {
        return Some(image);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = File::create(folder.join("docker.lock")).unwrap();
    lock.lock().unwrap();
    let files = ["Dockerfile", "lay-out", "sbom"].map(|file| project().join("deploy/docker").join(file));
    let files = files.into_iter().chain([env!("CARGO_BIN_EXE_millpond").into()]);
    let newest = files.map(|file| fs::metadata(file).unwrap().mtime()).max().unwrap();
    let image = format!("{REPOSITORY}:{newest}");
    if docker(&["image", "inspect", &image]).is_err() {
        // Those of earlier builds, unless a container still runs from one.
        let old = docker(&["image", "ls", "--quiet", REPOSITORY]).unwrap();
        old.split_whitespace().for_each(|old| drop(docker(&["image", "rm", old])));
        build(&image);
    }
    Some(image)
}

fn build(image: &str) {
    let context = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sbom = context.path().join("sbom.cdx.json");
    let script = |name: &str| {
        let mut command = Command::new(project().join("deploy/docker").join(name));
        command.current_dir(project());
        command
    };
    fs::write(&sbom, run(&mut script("sbom")).unwrap()).unwrap();
    let laid_out = context.path().join("image");
    run(script("lay-out").args([env!("CARGO_BIN_EXE_millpond").as_ref(), &*sbom, &laid_out])).unwrap();
    let dockerfile = fs::read_to_string(project().join("deploy/docker/Dockerfile")).unwrap();
    let (_, last_stage) = dockerfile.split_once("\nFROM scratch\n").unwrap();
    let last_stage = last_stage.replace("--from=build ", "").replace(" /image/", " image/");
    fs::write(context.path().join("Dockerfile"), format!("FROM scratch\n{last_stage}")).unwrap();
    docker(&["build", "--quiet", "--tag", image, context.path().to_str().unwrap()]).unwrap();
}

/// A volume of the engine's.
pub(crate) struct Volume(pub(crate) String);

impl Volume {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// One that is mounted with these options.
    pub(crate) fn with(options: &[&str]) -> Self {
        let name = new_name();
        let options = options.iter().flat_map(|&option| ["--opt", option]);
        docker(&["volume", "create"].into_iter().chain(options).chain([&*name]).collect::<Vec<_>>()).unwrap();
        Self(name)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(words) = docker(&["volume", "rm", "--force", &self.0]) {
            eprintln!("{words}");
        }
    }
}

/// A container that goes with the test.
pub(crate) struct Container(pub(crate) String);

impl Container {
    /// Runs an image in the background, with flags of `docker run` and words for the program.
    pub(crate) fn start(image: &str, flags: &[&str], words: &[&str]) -> Self {
        let container = Self(new_name());
        let before = ["run", "--detach", "--name", &container.0];
        docker(&[&before, flags, &[image], words].concat()).unwrap();
        container
    }

    /// Does something to it, as in `restart`.
    pub(crate) fn tell(&self, verb: &[&str]) {
        docker(&[verb, &[&self.0]].concat()).unwrap();
    }

    /// What the engine knows of it, by a template.
    pub(crate) fn inspect(&self, template: &str) -> String {
        docker(&["inspect", "--format", template, &self.0]).unwrap().trim().to_owned()
    }

    /// Runs `millpond` in it; what it printed, or what it said.
    pub(crate) fn millpond(&self, words: &[&str]) -> Result<String, String> {
        docker(&[&["exec", &self.0, "/usr/bin/millpond"], words].concat())
    }

    /// Waits until it serves.
    pub(crate) fn ready(&self) {
        if let Err(words) = self.millpond(&["health", "--ready"]) {
            panic!("{words}\n{}", self.log());
        }
    }

    /// Waits until the engine says so of it, by a template.
    pub(crate) fn wait_for(&self, template: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.inspect(template);
            if found == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{template} is {found}, not {wanted}:\n{}", self.log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        let output = Command::new("docker").args(["logs", &self.0]).output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the container {} said:\n{}", self.0, self.log());
        }
        if let Err(words) = docker(&["rm", "--force", "--volumes", &self.0]) {
            eprintln!("{words}");
        }
    }
}

/// Copies of what clients of a container need, as `docker cp` brings them.
pub(crate) struct Handed(TempDir);

impl Handed {
    /// Those of what `serve --setup` made.
    pub(crate) fn by(container: &Container) -> Self {
        Self::from(container, "/keys")
    }

    /// Those of a directory of keys.
    pub(crate) fn from(container: &Container, keys: &str) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for file in ["ca.crt", "clients/pusher/client.crt", "clients/pusher/client.key"] {
            let from = format!("{}:{keys}/{file}", container.0);
            docker(&["cp", &from, folder.path().to_str().unwrap()]).unwrap();
        }
        Self(folder)
    }

    /// What everybody has.
    pub(crate) fn everybody(&self) -> Auth {
        Auth::default().with("server-cert", self.0.path().join("ca.crt"))
    }

    /// What the first pusher has.
    pub(crate) fn pusher(&self) -> Auth {
        let [certificate, key] = ["client.crt", "client.key"].map(|file| self.0.path().join(file));
        self.everybody().with("client-cert", certificate).with("client-key", key)
    }
}
