//! The page of systemd, on a Debian in a container whose first process that is.

use std::process::Command;

use super::{Page, Shell};
use crate::docker::debian::Machine;
use crate::docker::engine::{docker, project};

/// What `sudo` comes to for root.
const SUDO: &str = "#!/bin/sh\nif [ \"$1\" = -u ]; then user=$2; shift 2; exec runuser -u \"$user\" -- \"$@\"; fi\nexec env \"$@\"\n";
/// Where the commands of the container are run.
const HOME: &str = "/srv";

pub(super) fn page(path: &'static str) {
    let Some(machine) = Machine::start() else { return };
    let mut page = Page::open(path);
    let (program, packages) = (env!("CARGO_BIN_EXE_millpond"), page.place("target/debian"));
    let build = project().join("deploy/debian/build");
    let built_by = format!("COMPRESSION='-Zgzip -z1' {} {program} {}", build.display(), packages.display());
    page.replace("deploy/debian/build", &built_by);
    let architecture = page.prepare("dpkg --print-architecture");
    page.replace("amd64", architecture.trim());
    page.until("MILLPOND_DOMAIN");

    let copy = |from: &str, to: &str| {
        docker(&["cp", from, &format!("{}:{HOME}/{to}", machine.0.0)]).unwrap();
    };
    copy(&format!("{}/.", packages.display()), "");
    let mut shell = Command::new("docker");
    shell.args(["exec", "--interactive", "--workdir", HOME, &machine.0.0, "sh"]);
    page.shell = Shell::start(shell, page.folder.path());
    page.prepare(&format!("printf '%s' '{SUDO}' >/usr/bin/sudo && chmod 755 /usr/bin/sudo"));
    // Directories of the page are those of the container.
    page.replaced.clear();
    page.replace("cache.example.org", "localhost");
    page.replace("journalctl -u millpond -f", "journalctl -u millpond --no-pager");
    page.until("install -m 755");

    page.prepare("MILLPOND_PURGE=data DEBIAN_FRONTEND=noninteractive apt-get -y purge millpond");
    page.prepare("mkdir -p target/release");
    copy(program, "target/release/millpond");
    copy(project().join("deploy").to_str().unwrap(), "");
    page.rest();
}
