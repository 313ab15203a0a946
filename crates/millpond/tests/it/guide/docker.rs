//! The page of Docker, with the image of this build, and real BuildStream where that is there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use super::Page;
use crate::bst::{Version, clients_folder};
use crate::company::Company;
use crate::docker::compose::program;
use crate::docker::engine::{docker, free_port, image, new_name};
use crate::issued::Keys;
use crate::server::skip;

/// The user of the image.
const USER: u32 = 65532;

/// What the page makes in the engine, which goes with the test.
struct Made(String);

impl Drop for Made {
    fn drop(&mut self) {
        let label = format!("label=com.docker.compose.project={}", self.0);
        let containers = docker(&["ps", "--all", "--quiet", "--filter", &label]).unwrap_or_default();
        for container in containers.split_whitespace().chain([self.0.as_str()]) {
            let _ = docker(&["rm", "--force", "--volumes", container]);
        }
        for volume in ["_data", "_keys", "-millpond-data", "-millpond-keys"] {
            let _ = docker(&["volume", "rm", "--force", &format!("{}{volume}", self.0)]);
        }
        let _ = docker(&["network", "rm", &format!("{}_default", self.0)]);
    }
}

/// A directory that belongs to the user of the image.
fn given_away(path: &Path) {
    fs::create_dir_all(path).unwrap();
    chown(path, Some(USER), Some(USER)).unwrap();
}

pub(super) fn page(path: &'static str) {
    let (Some(image), Some(compose)) = (image(), program()) else { return };
    let Some(_) = Version::find("2.8.1") else { return };
    if !rustix::process::getuid().is_root() {
        return skip(&format!("the commands of {path}: only root can give directories away"));
    }
    let mut page = Page::open(path);
    let made = Made(new_name());
    let compose = compose.join(" ");
    page.copy("deploy");
    let [pull, push] = [(); 2].map(|()| free_port());
    for (name, value) in [
        ("COMPOSE_PROJECT_NAME", made.0.as_str()),
        ("MILLPOND_IMAGE", &image),
        ("MILLPOND_ADDRESS", "127.0.0.1"),
        ("MILLPOND_PULL_PORT", &pull.to_string()),
        ("MILLPOND_PUSH_PORT", &push.to_string()),
        ("MILLPOND_MAX_SIZE", "500MB"),
        ("MILLPOND_ACME_DIRECTORY", "https://127.0.0.1:1/directory"),
    ] {
        page.prepare(&format!("export {name}={value}"));
    }
    page.replace("docker compose", &compose);
    // There is no terminal here.
    for exec in ["docker compose exec ", "docker compose exec -T "] {
        page.replace(exec, &format!("{compose} exec -T "));
    }
    page.replace(" millpond restore ", &format!(" {image} restore "));
    page.replace(" millpond fsck ", &format!(" {image} fsck "));
    page.replace("/keys:/keys millpond", &format!("/keys:/keys {image}"));
    page.replace("-p 11001:11001 -p 11002:11002 millpond", &image);
    page.replace("--name millpond", &format!("--name {}", made.0));
    for volume in ["millpond-data:", "millpond-keys:"] {
        page.replace(volume, &format!("{}-{volume}", made.0));
    }
    let deployed = page.place("deploy/docker");
    page.replace("/srv/cache", deployed.to_str().unwrap());
    for (shown, port) in [(11001, pull), (11002, push)] {
        page.replace(&format!("https://cache.example.org:{shown}"), &format!("https://localhost:{port}"));
    }
    let examples = page.examples("yaml");
    let [pusher, everybody, mounted] = examples.as_slice() else { panic!("{path} has other examples") };

    page.until("bst build");
    let bst = clients_folder().join("bst-2.8.1/bin");
    page.prepare(&format!("PATH=$PATH:{}", bst.display()));
    configure(&mut page, "pusher", pusher);
    page.until("bst artifact pull");
    configure(&mut page, "everybody", everybody);

    page.until("exec millpond millpond status");
    given_away(&page.place("mnt/backup"));
    fs::write(deployed.join("compose.override.yaml"), mounted).unwrap();
    page.until("millpond backup");
    ready(&mut page);
    page.until("docker run --rm --tmpfs");
    given_away(&page.place("srv/new"));

    page.until("chown -R");
    let own = Keys::new();
    let certificates = page.place("srv/certificates");
    fs::create_dir(&certificates).unwrap();
    for (from, to) in [("server.crt", "fullchain.pem"), ("server.key", "privkey.pem")] {
        fs::copy(own.path().join(from), certificates.join(to)).unwrap();
    }
    page.until("MILLPOND_ACME_TERMS_AGREED");
    ready(&mut page);
    // Port 443 of an address that nobody else has.
    page.prepare("export MILLPOND_ADDRESS=127.0.0.44");

    page.until("mkdir /srv/company");
    ready(&mut page);
    Company::new(&deployed, "corp");
    fs::set_permissions(deployed.join("corp.crt"), Permissions::from_mode(0o644)).unwrap();
    page.until("docker run -d");
    ready(&mut page);
    page.until("-v /srv/keys");
    fs::create_dir(page.place("srv/keys")).unwrap();
    page.rest();
}

/// Somebody with a home of their own, and this configuration.
fn configure(page: &mut Page, who: &str, configuration: &str) {
    let home = page.place(who);
    fs::create_dir_all(home.join(".config")).unwrap();
    fs::write(home.join(".config/buildstream.conf"), configuration).unwrap();
    page.prepare(&format!(
        "export HOME={0} XDG_CACHE_HOME={0}/.cache XDG_CONFIG_HOME={0}/.config",
        home.display()
    ));
}

/// Waits until the server serves that was brought up.
fn ready(page: &mut Page) {
    page.prepare(&page.here("docker compose exec millpond millpond health --ready"));
}
