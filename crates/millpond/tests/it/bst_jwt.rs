//! A real BuildStream that shows the token of a CI job.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::bst::{Auth, Client, Settings, Version, clients_folder};
use crate::issuer::{AUDIENCE, Issuer, Key};
use crate::project::Project;
use crate::server::Server;

const GRANTS: &str =
    "[[issuer.grant]]\nclaims = { project_path = \"team/app\", ref_protected = true }\nallow = \"push\"\n";

/// A server with TLS, and the issuer whose tokens it takes.
struct Pond {
    folder: TempDir,
    issuer: Issuer,
    key: Key,
    server: Server,
}

impl Pond {
    fn new() -> Self {
        let key = Key::rsa("r");
        let issuer = Issuer::start(&[&key]);
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("millpond.toml");
        let text = format!("[identity]\nkeys = \"keys\"\n{}", issuer.configuration("", GRANTS));
        fs::write(&path, text).unwrap();
        let init = millpond(folder.path(), &["keys", "init", "127.0.0.1", "--keys", "keys"]);
        assert!(init.contains("127.0.0.1"), "{init}");
        let server = Server::start_with(&["--tls", "--config", path.to_str().unwrap()]);
        Self { folder, issuer, key, server }
    }

    fn authority(&self) -> PathBuf {
        self.folder.path().join("keys/ca.crt")
    }

    /// A client with a token of a job on such a branch.
    fn client(&self, version: Version, protected: bool) -> Client {
        let mut claims = self.issuer.claims();
        claims["ref_protected"] = json!(protected.to_string());
        let file = self.folder.path().join(format!("token-{protected}"));
        fs::write(&file, self.key.sign(&claims)).unwrap();
        let auth = Auth::default().with("server-cert", self.authority()).with("access-token", file);
        Client::with_auth(version, self.server.url(), Settings::pushing(), &auth)
    }
}

fn millpond(folder: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_millpond")).args(arguments).current_dir(folder).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn job_with_the_right_claims_pushes_and_another_reads_which_it_lacks_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let pond = Pond::new();
    let project = Project::new(version.generation(), "job");
    let refused = pond.client(version, false);
    refused.succeed(&project, &["build", "small.bst"]);
    let said = refused.run(&project, &["artifact", "push", "small.bst"]).expect_failure();
    assert!(said.contains("may not push") && said.contains("ref_protected (it has false)"), "{said}");

    let job = pond.client(version, true);
    job.succeed(&project, &["build", "small.bst"]);
    project.take_sources_away();
    job.wipe();
    job.pull(&project, &["small.bst"]);
}

/// What `millpond tokens job` prints is run as GitLab and GitHub run it, but for the element's name.
#[test]
fn printed_jobs_push_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let pond = Pond::new();
    let token = pond.key.sign(&pond.issuer.claims());
    for service in ["gitlab", "github"] {
        let arguments = ["tokens", "job", service, "--config", "millpond.toml", "--issuer", "gitlab"];
        let printed = millpond(pond.folder.path(), &arguments);
        assert!(printed.contains(&format!("'{AUDIENCE}'")) && printed.contains("push: true"), "{printed}");
        let (_, script) = printed.split_once("|\n").unwrap();
        let script = script.replace("https://127.0.0.1:11002", pond.server.url()).replace("ELEMENT", "small");
        let indent = script.len() - script.trim_start().len();
        let lines: Vec<_> = script.lines().map(|line| line.get(indent..).unwrap_or_default()).collect();
        let project = Project::new(version.generation(), service);
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        // GitHub's service for tokens is asked by curl, so it is this that stands for it.
        let stub = home.path().join("curl");
        fs::write(&stub, format!("#!/bin/sh\ncase \"$*\" in *audience={AUDIENCE}*bearer\\ secret*) echo '{{\"value\":\"{token}\"}}';; esac\n")).unwrap();
        Command::new("chmod").args(["755", stub.to_str().unwrap()]).status().unwrap();
        let bst = clients_folder().join("bst-2.8.1/bin");
        let path = format!("{}:{}:{}", home.path().display(), bst.display(), std::env::var("PATH").unwrap());
        let ran = Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", &lines.join("\n")])
            .env("PATH", path)
            .env("HOME", home.path())
            .env("XDG_CACHE_HOME", home.path().join("cache"))
            .env("MILLPOND_TOKEN", &token)
            .env("MILLPOND_CA", pond.authority())
            .env("MILLPOND_CA_TEXT", fs::read_to_string(pond.authority()).unwrap())
            .env("MILLPOND_AUDIENCE", AUDIENCE)
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", "https://actions.example.org/token?api-version=2")
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret")
            .current_dir(project.path())
            .output()
            .unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(
            ran.status.success() && said.contains("Pushed artifact"),
            "{service}: {said}\n{}",
            lines.join("\n")
        );
    }
}
