//! The image on a real engine: set up by itself, closed to all but what it is for, and with its volumes whole whatever
//! happens to the container.

pub(crate) mod compose;
pub(crate) mod debian;
pub(crate) mod engine;
mod names;
mod users;
mod volumes;

use std::time::{Duration, Instant};

use self::engine::{Container, Handed, Volume, docker, free_port, image};
use crate::bst::{Client, Settings, Version};
use crate::project::Project;

/// As much taken away as `compose.yaml` takes away.
const BARE: [&str; 5] =
    ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory=1g", "--pids-limit=512"];
/// A push of so many elements can be caught at work.
const ELEMENTS: usize = 60;

/// A server in a container, at two ports of 127.0.0.1, and its volumes.
struct Pond {
    image: String,
    container: Option<Container>,
    handed: Option<Handed>,
    data: Volume,
    keys: Volume,
    pull_port: u16,
    push_port: u16,
}

impl Pond {
    /// One on empty volumes, which serves.
    fn start() -> Option<Self> {
        Self::start_on(Volume::new)
    }

    /// The same, with its data on that volume.
    fn start_on(data: impl FnOnce() -> Volume) -> Option<Self> {
        let image = image()?;
        let (data, keys) = (data(), Volume::new());
        let (pull_port, push_port) = (free_port(), free_port());
        let mut pond = Self { image, container: None, handed: None, data, keys, pull_port, push_port };
        pond.start_anew();
        pond.handed = Some(Handed::by(pond.container()));
        Some(pond)
    }

    /// A new container on the same volumes.
    fn start_anew(&mut self) {
        // Its ports and volumes are free first.
        self.container = None;
        let ports = [(self.pull_port, 11001), (self.push_port, 11002)]
            .map(|(outside, inside)| format!("--publish=127.0.0.1:{outside}:{inside}"));
        let volumes = [(&self.data, "/data"), (&self.keys, "/keys")]
            .map(|(volume, place)| format!("--volume={}:{place}", volume.0));
        let own = ["--env=MILLPOND_DOMAIN=127.0.0.1", "--health-interval=1s"];
        let flags: Vec<_> =
            (BARE.into_iter().chain(own)).chain(ports.iter().chain(&volumes).map(String::as_str)).collect();
        let container = Container::start(&self.image, &flags, &[]);
        container.ready();
        self.container = Some(container);
    }

    fn container(&self) -> &Container {
        self.container.as_ref().unwrap()
    }

    fn client(&self, version: Version, pushes: bool) -> Client {
        let handed = self.handed.as_ref().unwrap();
        let (port, settings, auth) = match pushes {
            true => (self.push_port, Settings::pushing(), handed.pusher()),
            false => (self.pull_port, Settings::default(), handed.everybody()),
        };
        Client::with_auth(version, &format!("https://127.0.0.1:{port}"), settings, &auth)
    }
}

#[test]
fn image_says_what_it_is_and_holds_what_it_is_made_of() {
    let Some(image) = image() else { return };
    let inspect = |template: &str| docker(&["image", "inspect", "--format", template, &image]).unwrap();
    let config = inspect("{{json .Config}}");
    for part in [
        "\"User\":\"65532:65532\"",
        "\"/data\":{}",
        "\"/keys\":{}",
        "\"11001/tcp\":{}",
        "\"11002/tcp\":{}",
        "\"Test\":[\"CMD\",\"/usr/bin/millpond\",\"health\"]",
        "\"Entrypoint\":[\"/usr/bin/millpond\"]",
        "\"org.opencontainers.image.licenses\":\"Apache-2.0\"",
    ] {
        assert!(config.contains(part), "{part}: {config}");
    }
    let container = Container::start(&image, &[], &["--version"]);
    let listed = tempfile::tempdir().unwrap();
    let to = listed.path().to_str().unwrap();
    docker(&["cp", &format!("{}:/usr/share/millpond/sbom.cdx.json", container.0), to]).unwrap();
    let sbom = std::fs::read(listed.path().join("sbom.cdx.json")).unwrap();
    let sbom: serde_json::Value = serde_json::from_slice(&sbom).unwrap();
    let components = sbom["components"].as_array().unwrap();
    for (name, hashed) in [("rustls", true), ("libsqlite3-sys", true), ("millpond", false), ("glibc", false)]
    {
        let found = components.iter().find(|component| component["name"] == name);
        let found = found.unwrap_or_else(|| panic!("{name} is not listed"));
        assert_eq!(found["hashes"].is_array(), hashed, "{found}");
    }
    assert!(
        !components.iter().any(|component| component["name"] == "proptest"),
        "what only tests use is listed"
    );
}

#[test]
fn empty_volumes_need_a_name_and_the_image_says_so() {
    let Some(image) = image() else { return };
    let said = docker(&["run", "--rm", "--read-only", &image]).unwrap_err();
    assert!(said.contains("set MILLPOND_DOMAIN or give --domain"), "{said}");
}

fn survives(number: &'static str) {
    let Some(version) = Version::find(number) else { return };
    let Some(mut pond) = Pond::start() else { return };
    let project = Project::new(version.generation(), "docker");
    pond.client(version, true).succeed(&project, &["build", "small.bst"]);
    project.take_sources_away();
    let pulls = |pond: &Pond| pond.client(version, false).pull(&project, &["small.bst"]);
    pulls(&pond);
    pond.container().wait_for("{{.State.Health.Status}}", "healthy");
    let found = pond.container().millpond(&["doctor", "--config", "/keys/millpond.toml"]);
    let found = found.unwrap_or_else(|words| words);
    assert!(found.contains("certificate  ") && !found.contains("bad   ports"), "{found}");

    pond.container().tell(&["restart", "--time=30"]);
    pond.container().ready();
    pulls(&pond);

    pond.container().tell(&["kill"]);
    assert_eq!(pond.container().inspect("{{.State.ExitCode}}"), "137");
    pond.container().tell(&["start"]);
    pond.container().ready();
    pulls(&pond);

    pond.start_anew();
    pulls(&pond);
    assert!(!pond.container().log().contains("pusher pushes, until"), "it was set up again");
}

#[test]
fn what_was_pushed_survives_restart_kill_and_another_container_with_2_8_1() {
    survives("2.8.1");
}

#[test]
fn what_was_pushed_survives_restart_kill_and_another_container_with_1_6_9() {
    survives("1.6.9");
}

#[test]
fn sigterm_reaches_the_server_in_a_push_and_ends_it_in_order() {
    let Some(version) = Version::find("2.8.1") else { return };
    let Some(pond) = Pond::start() else { return };
    let project = Project::new(version.generation(), "sigterm");
    project.many_elements(ELEMENTS);
    let builder = pond.client(version, true);
    let mut pushing = builder.spawn(&project, &["build", "many.bst"]);
    pushing.wait_for("Pushed artifact", 3);
    let since = Instant::now();
    pond.container().tell(&["stop", "--time=30"]);
    assert!(since.elapsed() < Duration::from_secs(25), "it took {:?}", since.elapsed());
    assert_eq!(pond.container().inspect("{{.State.ExitCode}} {{.State.OOMKilled}}"), "0 false");
    assert!(pond.container().log().contains("ended: the volume is closed"), "{}", pond.container().log());
    pond.container().tell(&["start"]);
    pond.container().ready();
    // It goes on where it was, or has given some up, which are pushed below.
    drop(pushing.wait());
    assert!(!pond.container().log().contains("the last stop was not a clean one"));
    builder.push(&project, &["many.bst"]);
    project.take_sources_away();
    let user = pond.client(version, false);
    user.pull(&project, &["many.bst"]);
    project.assert_has_many(&user.check_out(&project, "many.bst"), ELEMENTS);
}

#[test]
fn health_turns_when_the_server_hangs() {
    let Some(image) = image() else { return };
    let flags = [
        "--env=MILLPOND_DOMAIN=localhost",
        "--health-interval=1s",
        "--health-timeout=8s",
        "--health-retries=1",
    ];
    let container =
        Container::start(&image, &[&BARE[..], &flags, &["--health-start-period=0s"]].concat(), &[]);
    container.wait_for("{{.State.Health.Status}}", "healthy");
    // PID 1 of a container is sent what stops a process from outside alone.
    let pid = container.inspect("{{.State.Pid}}").parse().unwrap();
    let server = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(server, rustix::process::Signal::STOP).unwrap();
    container.wait_for("{{.State.Health.Status}}", "unhealthy");
    let said = container.inspect("{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}");
    rustix::process::kill_process(server, rustix::process::Signal::CONT).unwrap();
    assert!(said.contains("1 error: the server has not answered for 5 s"), "{said}");
    container.wait_for("{{.State.Health.Status}}", "healthy");
}
