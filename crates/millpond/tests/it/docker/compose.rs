//! `compose.yaml` and its variants, with whichever of the two programs reads it on this machine.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::engine::{Container, Handed, docker, free_port, image, new_name, project, run};
use crate::bst::{Auth, Client, Settings, Version};
use crate::company::Company;
use crate::issued::Keys;
use crate::project::Project;
use crate::server::skip;

/// What stands before the arguments of Compose here: the program of before, or the engine's plug-in.
pub(crate) fn program() -> Option<&'static [&'static str]> {
    let programs: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    let found = programs.into_iter().find(|program| {
        let version = Command::new(program[0]).args(&program[1..]).arg("version").output();
        version.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        skip("compose.yaml: there is no Docker Compose here");
    }
    found
}

/// What was brought up, until the test ends.
struct Up {
    program: &'static [&'static str],
    files: Vec<String>,
    environment: Vec<(&'static str, String)>,
    project: String,
    pull_port: u16,
    push_port: u16,
}

impl Up {
    fn new(variants: &[&str], more: &[(&'static str, String)]) -> Option<Self> {
        let image = image()?;
        let program = program()?;
        let (pull_port, push_port) = (free_port(), free_port());
        let mut environment = vec![
            ("MILLPOND_IMAGE", image),
            ("MILLPOND_DOMAIN", "127.0.0.1".to_owned()),
            ("MILLPOND_ADDRESS", "127.0.0.1".to_owned()),
            ("MILLPOND_PULL_PORT", pull_port.to_string()),
            ("MILLPOND_PUSH_PORT", push_port.to_string()),
            ("MILLPOND_MAX_SIZE", "500MB".to_owned()),
        ];
        environment.extend_from_slice(more);
        let files = [&["compose.yaml"], variants].concat();
        let files = files.iter().map(|file| project().join("deploy/docker").join(file).display().to_string());
        let (files, project) = (files.collect(), new_name());
        let up = Self { program, files, environment, project, pull_port, push_port };
        up.tell(&["up", "-d", "--no-build"]).unwrap();
        Some(up)
    }

    fn tell(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.program[0]);
        command.args(&self.program[1..]).args(["-p", &self.project]);
        for file in &self.files {
            command.args(["-f", file]);
        }
        run(command.args(words).envs(self.environment.iter().map(|(name, value)| (name, value))))
    }

    fn container(&self) -> Container {
        Container(self.tell(&["ps", "-q", "millpond"]).unwrap().trim().to_owned())
    }

    fn client(&self, version: Version, auth: &Auth, pushes: bool) -> Client {
        let (port, settings) = if pushes {
            (self.push_port, Settings::pushing())
        } else {
            (self.pull_port, Settings::default())
        };
        Client::with_auth(version, &format!("https://127.0.0.1:{port}"), settings, auth)
    }

    /// Somebody builds and pushes, somebody else pulls.
    fn pushed_and_pulled(&self, version: Version, pusher: &Auth, everybody: &Auth) {
        let project = Project::new(version.generation(), "compose");
        self.client(version, pusher, true).succeed(&project, &["build", "small.bst"]);
        project.take_sources_away();
        self.client(version, everybody, false).pull(&project, &["small.bst"]);
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Err(words) = self.tell(&["down", "--volumes", "--timeout", "30"]) {
            eprintln!("{words}");
        }
    }
}

#[test]
fn compose_serves_both_buildstreams_and_opens_nothing_else() {
    let (Some(two), Some(one)) = (Version::find("2.8.1"), Version::find("1.6.9")) else { return };
    let Some(up) = Up::new(&[], &[]) else { return };
    let container = up.container();
    container.ready();
    let handed = Handed::by(&container);
    for version in [two, one] {
        up.pushed_and_pulled(version, &handed.pusher(), &handed.everybody());
    }
    for (template, wanted) in [
        ("{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}", "true [ALL]"),
        ("{{.HostConfig.SecurityOpt}}", "[no-new-privileges:true]"),
        ("{{.HostConfig.RestartPolicy.Name}}", "unless-stopped"),
        (
            "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}}",
            "2147483648 1024 2000000000",
        ),
        ("{{.HostConfig.LogConfig.Type}}", "json-file"),
        ("{{index .HostConfig.LogConfig.Config \"max-size\"}}", "10m"),
        ("{{len .HostConfig.PortBindings}}", "2"),
    ] {
        assert_eq!(container.inspect(template), wanted, "{template}");
    }
    let inside = container.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let mut scraper = TcpStream::connect((inside.as_str(), 9464)).unwrap();
    scraper.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    scraper.read_to_string(&mut page).unwrap();
    assert!(page.contains("millpond_calls_total"), "{page}");

    up.tell(&["restart", "-t", "30"]).unwrap();
    container.ready();
    let project = Project::new(two.generation(), "compose");
    project.take_sources_away();
    up.client(two, &handed.everybody(), false).pull(&project, &["small.bst"]);
}

/// Files for the image's user alone, in a directory that is mounted.
fn files(folder: &Path, made: &[(&Path, &str)]) {
    for (from, name) in made {
        let to = folder.join(name);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o400)).unwrap();
        chown(&to, Some(65532), Some(65532)).unwrap();
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn certificate_may_come_from_files() {
    let Some(version) = Version::find("2.8.1") else { return };
    let public = Keys::new();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (certificate, key) = (public.path().join("server.crt"), public.path().join("server.key"));
    files(folder.path(), &[(&certificate, "fullchain.pem"), (&key, "privkey.pem")]);
    let place = folder.path().display().to_string();
    let Some(up) = Up::new(&["compose.certificates.yaml"], &[("MILLPOND_CERTIFICATES", place)]) else {
        return;
    };
    let container = up.container();
    container.ready();
    assert!(!container.log().contains("server-cert: /keys/ca.crt"), "{}", container.log());
    // Clients know who signed it, and not the server's own CA.
    let everybody = Auth::default().with("server-cert", public.ca());
    let copies = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut pusher = everybody.clone();
    for (name, file) in [("client-cert", "client.crt"), ("client-key", "client.key")] {
        let to = copies.path().join(file);
        docker(&["cp", &format!("{}:/keys/clients/pusher/{file}", container.0), to.to_str().unwrap()])
            .unwrap();
        pusher = pusher.with(name, to);
    }
    up.pushed_and_pulled(version, &pusher, &everybody);
}

/// The settings reach the program, which serves while the authority is away, and port 443 leads to it.
#[test]
fn certificate_may_be_asked_of_an_authority() {
    let of_nobody = ("MILLPOND_ACME_DIRECTORY", "https://127.0.0.1:1/directory".to_owned());
    let address = ("MILLPOND_ADDRESS", "127.0.0.43".to_owned());
    let agreed = ("MILLPOND_ACME_TERMS_AGREED", "true".to_owned());
    let Some(up) = Up::new(&["compose.acme.yaml"], &[of_nobody, address, agreed]) else { return };
    let container = up.container();
    container.ready();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !container.log().contains("no certificate of 127.0.0.1 was issued: https://127.0.0.1:1/directory: ")
    {
        assert!(Instant::now() < deadline, "{}", container.log());
        thread::sleep(Duration::from_millis(200));
    }
    assert!(!container.log().contains("server-cert: /keys/ca.crt"), "{}", container.log());
    TcpStream::connect("127.0.0.43:443").unwrap();
}

#[test]
fn company_may_vouch_for_clients() {
    let Some(version) = Version::find("2.8.1") else { return };
    let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let company = Company::new(made.path(), "corp");
    company.issue("builder", "builder.example.org");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let configuration = project().join("deploy/docker/company.toml");
    files(folder.path(), &[(&configuration, "millpond.toml"), (&made.path().join("corp.crt"), "corp.crt")]);
    let place = folder.path().display().to_string();
    let Some(up) = Up::new(&["compose.company.yaml"], &[("MILLPOND_COMPANY", place)]) else { return };
    let container = up.container();
    container.ready();
    let handed = Handed::by(&container);
    let everybody = handed.everybody();
    let builder = everybody
        .with("client-cert", made.path().join("builder.crt"))
        .with("client-key", made.path().join("builder.key"));
    up.pushed_and_pulled(version, &builder, &everybody);
}
