//! The package on a Debian whose first process is systemd, in a container: installed, served from, started again without a
//! connection refused, upgraded, removed and purged. `scripts/test-clients` makes the image.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::engine::{Container, Handed, docker, project, run};
use crate::bst::{Client, Settings, Version};
use crate::project::Project;
use crate::server::skip;

const IMAGE: &str = "millpond-debian-systemd";
/// Control groups of the container alone, as systemd wants to have them; all other file systems it mounts itself.
const BOOT: &str = "\
if [ \"$(stat -fc %T /sys/fs/cgroup)\" = cgroup2fs ]; then
    mount -o remount,rw /sys/fs/cgroup
else
    umount -R /sys/fs/cgroup && mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
fi
exec /lib/systemd/systemd";
/// What systemd needs to sandbox its services, but for what not every machine can give.
const FLAGS: [&str; 9] = [
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
    "--cgroupns=private",
    "--env=container=docker",
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
];
/// How long it may take to be as it should.
const PATIENCE: Duration = Duration::from_secs(60);
const CONFIGURATION: &str = "/etc/millpond/millpond.toml";

/// A package of this build, in a folder, with a version.
fn package(folder: &Path, version: &str) -> Option<PathBuf> {
    let tools = ["dpkg-deb", "dpkg-shlibdeps", "strip"];
    if let Some(missing) =
        tools.into_iter().find(|tool| Command::new(tool).arg("--version").output().is_err())
    {
        skip(&format!("the Debian package: there is no {missing} here"));
        return None;
    }
    let mut build = Command::new(project().join("deploy/debian/build"));
    build.arg(env!("CARGO_BIN_EXE_millpond")).arg(folder).env("VERSION", version);
    build
        .env("DEBFULLNAME", "A Packager")
        .env("DEBEMAIL", "packager@example.net")
        .env("COMPRESSION", "-Zgzip -z1");
    Some(run(&mut build).unwrap().trim().into())
}

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn package_is_without_fault() {
    let folder = folder();
    let Some(package) = package(folder.path(), "0.1.0-1") else { return };
    let package = package.to_str().unwrap();
    let listed = run(Command::new("dpkg-deb").args(["--contents", package])).unwrap();
    for part in [
        "-rwxr-xr-x root/root ./usr/bin/millpond",
        "./lib/systemd/system/millpond.service",
        "./lib/systemd/system/millpond.socket",
        "./usr/lib/sysusers.d/millpond.conf",
        "./etc/millpond/millpond.toml",
    ] {
        assert!(part.split(' ').all(|word| listed.contains(word)), "{part}: {listed}");
    }
    if Command::new("lintian").arg("--version").output().is_err() {
        skip("the faults that lintian finds in the Debian package: there is no lintian here");
        return;
    }
    let mut lintian = Command::new("lintian");
    let said =
        run(lintian.args(["--allow-root", "--fail-on=error,warning", "--tag-display-limit=0", package]));
    said.unwrap();
}

/// A Debian that has come up.
pub(crate) struct Machine(pub(crate) Container);

impl Machine {
    pub(crate) fn start() -> Option<Self> {
        if docker(&["image", "inspect", IMAGE]).is_err() {
            skip(
                "the Debian package on a Debian: there is no engine for containers here, or no image (scripts/test-clients)",
            );
            return None;
        }
        let machine = Self(Container::start(IMAGE, &FLAGS, &["sh", "-c", BOOT]));
        machine.until("it has come up", || {
            let state = machine.shell("systemctl is-system-running || true").unwrap_or_default();
            matches!(state.trim(), "running" | "degraded")
        });
        Some(machine)
    }

    fn shell(&self, words: &str) -> Result<String, String> {
        docker(&["exec", &self.0.0, "sh", "-c", words])
    }

    fn property(&self, name: &str) -> String {
        self.shell(&format!("systemctl show --property {name} --value millpond.service"))
            .unwrap()
            .trim()
            .to_owned()
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}\n{}", self.journal());
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn journal(&self) -> String {
        self.shell(
            "systemctl status millpond.service millpond.socket; journalctl -o cat -u millpond | tail -50",
        )
        .unwrap_or_else(|words| words)
    }

    /// Installs a package with what a machine without network has.
    fn install(&self, package: &Path) -> String {
        docker(&["cp", package.to_str().unwrap(), &format!("{}:/tmp/millpond.deb", self.0.0)]).unwrap();
        let install = "MILLPOND_DOMAIN=$(hostname -i) DEBIAN_FRONTEND=noninteractive apt-get -y --no-install-recommends install";
        let said = self.shell(&format!("{install} /tmp/millpond.deb 2>&1")).unwrap();
        assert!(!said.contains("Failed to") && !said.contains("error:"), "{said}");
        said
    }

    fn ready(&self) {
        let health = format!("millpond health --ready --config {CONFIGURATION}");
        self.shell(&health).unwrap_or_else(|words| panic!("{words}\n{}", self.journal()));
    }

    /// Where clients connect to it, without a proxy of the engine between.
    fn address(&self, port: u16) -> SocketAddr {
        let address = self.0.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
        SocketAddr::new(address.parse().unwrap(), port)
    }
}

/// Somebody who connects again and again, until they are to stop.
struct Knocking {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<std::io::Error>>,
}

impl Knocking {
    fn at(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut refused = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                refused.extend(TcpStream::connect_timeout(&address, Duration::from_secs(10)).err());
                thread::sleep(Duration::from_millis(5));
            }
            refused
        });
        Self { stop, thread }
    }

    fn was_never_refused(self) {
        self.stop.store(true, Ordering::Relaxed);
        let refused = self.thread.join().unwrap();
        assert!(refused.is_empty(), "{refused:?}");
    }
}

#[test]
fn package_is_installed_served_from_started_again_upgraded_removed_and_purged() {
    let Some(version) = Version::find("2.8.1") else { return };
    let folder = folder();
    let Some(machine) = Machine::start() else { return };
    let Some(first) = package(folder.path(), "0.1.0-1") else { return };
    let second = package(folder.path(), "0.1.0-2").unwrap();

    let said = machine.install(&first);
    assert!(said.contains("pusher pushes, until"), "{said}");
    machine.ready();
    assert_eq!(
        machine.shell("systemctl is-enabled millpond.service millpond.socket").unwrap(),
        "enabled\nenabled\n"
    );
    assert!(
        machine.property("StatusText").starts_with("serving at [::]:11001, [::]:11002"),
        "{}",
        machine.journal()
    );
    assert_eq!(machine.property("User"), "millpond");
    let modes = machine.shell("stat -c '%U %a %n' /var/lib/millpond /var/lib/millpond/*").unwrap();
    assert_eq!(modes.matches("millpond 700 ").count(), 3, "{modes}");
    machine.shell("systemd-analyze verify --man=no millpond.service millpond.socket").unwrap();

    // Somebody pushes, and everybody pulls.
    let handed = Handed::from(&machine.0, "/var/lib/millpond/keys");
    let [pull, push] = [11001, 11002].map(|port| machine.address(port));
    let project = Project::new(version.generation(), "debian");
    let pusher =
        Client::with_auth(version, &format!("https://{push}"), Settings::pushing(), &handed.pusher());
    pusher.succeed(&project, &["build", "small.bst"]);
    project.take_sources_away();
    let user =
        Client::with_auth(version, &format!("https://{pull}"), Settings::default(), &handed.everybody());
    let pulls = || user.pull(&project, &["small.bst"]);
    pulls();

    // An operator issues a key, as the server's user.
    let issue = format!("runuser -u millpond -- millpond keys issue alice --push --config {CONFIGURATION}");
    machine.shell(&issue).unwrap_or_else(|words| panic!("{words}"));

    machine.shell(&format!("runuser -u millpond -- millpond config check {CONFIGURATION}")).unwrap();

    let process = machine.property("MainPID");
    let knocking = Knocking::at(pull);
    machine.shell("systemctl restart millpond").unwrap();
    knocking.was_never_refused();
    assert_ne!(machine.property("MainPID"), process);
    assert!(machine.shell("journalctl -o cat -u millpond").unwrap().contains("ended: the volume is closed"));
    pulls();

    // A changed configuration is taken up without a start, and a wrong one is not.
    let process = machine.property("MainPID");
    machine
        .shell(&format!(
            "cp {CONFIGURATION} /tmp/good && printf '\n[log]\nfilter = \"debug\"\n' >>{CONFIGURATION}"
        ))
        .unwrap();
    machine
        .shell("systemctl reload millpond")
        .unwrap_or_else(|words| panic!("{words}\n{}", machine.journal()));
    assert!(machine.journal().contains("taken up: filter in [log]"), "{}", machine.journal());
    // What another try does not change is not tried again, and said.
    machine.shell(&format!("cp /tmp/good {CONFIGURATION} && echo 'nonsense = 1' >>{CONFIGURATION}")).unwrap();
    machine.shell("systemctl reload millpond").unwrap_err();
    assert_eq!((machine.property("ActiveState"), machine.property("MainPID")), ("active".into(), process));
    machine.shell("systemctl stop millpond.socket && systemctl restart millpond").unwrap_err();
    assert_eq!(machine.property("ExecMainStatus"), "2", "{}", machine.journal());
    assert_eq!(machine.property("ActiveState"), "failed");
    machine.shell(&format!("cp /tmp/good {CONFIGURATION} && echo '# mine' >>{CONFIGURATION}")).unwrap();
    machine.shell("systemctl start millpond.socket && systemctl start millpond").unwrap();
    machine.ready();

    // The upgrade keeps the configuration, and refuses nobody.
    let process = machine.property("MainPID");
    let knocking = Knocking::at(push);
    machine.install(&second);
    knocking.was_never_refused();
    machine.ready();
    assert_ne!(machine.property("MainPID"), process);
    assert_eq!(machine.shell("dpkg-query -W -f '${Version}' millpond").unwrap(), "0.1.0-2");
    assert_eq!(machine.shell(&format!("tail -n 1 {CONFIGURATION}")).unwrap(), "# mine\n");
    pulls();

    // Removed, it serves no more; purged, what was stored and the keys are there for another installation.
    machine.shell("apt-get -y remove millpond").unwrap();
    assert!(TcpStream::connect_timeout(&pull, Duration::from_secs(5)).is_err());
    machine
        .shell(&format!("grep '# mine' {CONFIGURATION} && ! systemctl is-active millpond.service"))
        .unwrap();
    // Installed again, it is as it was.
    machine.install(&second);
    machine.ready();
    machine.shell("systemctl is-active millpond.socket millpond.service").unwrap();
    pulls();
    machine.shell("apt-get -y remove millpond").unwrap();
    let said = machine.shell("apt-get -y purge millpond 2>&1").unwrap();
    assert!(said.contains("/var/lib/millpond stays"), "{said}");
    machine.shell(&format!("! test -e {CONFIGURATION} && test -d /var/lib/millpond/data")).unwrap();
    machine.install(&first);
    machine.ready();
    pulls();
    machine.shell("MILLPOND_PURGE=data apt-get -y purge millpond && ! test -e /var/lib/millpond").unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
