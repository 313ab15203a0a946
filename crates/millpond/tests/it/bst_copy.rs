//! What real clients pushed to other servers that run comes out of Millpond once it was copied by their protocols.

use std::fs;
use std::process::Command;

use crate::admin::ask;
use crate::bst::{Client, Generation, Settings, Version, clients_folder};
use crate::bst_import::{Other, casd, large_object};
use crate::copy::told;
use crate::project::{IMPORTS, Project};
use crate::server::Server;

/// Has a client build and push, copies, and has another client pull from the copy.
fn copy(number: &'static str, other: &Other, names: impl FnOnce(&Client, &Project) -> String) {
    let Some(version) = Version::find(number) else { return };
    let project = Project::new(version.generation(), "copied");
    let builder = Client::new(version, &other.url, Settings::pushing());
    builder.succeed(&project, &["build", "all.bst"]);
    let built = builder.check_out(&project, "all.bst");

    // BuildStream 2 publishes each artifact under two names, of which one was given.
    let count = if version.generation() == Generation::Two { 8 } else { 4 };
    let server = Server::start();
    let names = format!("{} {}", other.url, names(&builder, &project));
    let (code, planned) = told(&server, &format!("copy {names} --dry-run"));
    assert_eq!((code, &planned["names"]), (0, &count.into()), "{planned}");
    let (code, copied) = told(&server, &format!("copy {names}"));
    assert_eq!((code, &copied["names"], &copied["bytes"]), (0, &count.into(), &planned["bytes"]), "{copied}");
    let (code, again) = told(&server, &format!("copy {names}"));
    assert_eq!((code, &again["present"], &again["blobs"]), (0, &count.into(), &0.into()), "{again}");
    let (code, compared) = told(&server, &format!("verify {}", other.url));
    assert_eq!((code, &compared["same"]), (0, &count.into()), "{compared}");

    project.take_sources_away();
    let user = Client::new(version, server.url(), Settings::default());
    user.pull(&project, &["all.bst"]);
    crate::tree::assert_same(&built, &user.check_out(&project, "all.bst"));
    assert_eq!(ask(&server, "fsck").0, 0);

    // What the other server loses is found: some do not even serve the name then.
    fs::remove_file(large_object(other.directory())).unwrap();
    let (code, compared) = told(&server, &format!("verify {}", other.url));
    let difference = compared["differences"][0]["difference"].as_str().unwrap();
    assert!(code == 3 && ["lacks-there", "only-here"].contains(&difference), "{compared}");
}

#[test]
fn what_2_8_1_pushed_to_casd_is_pulled_after_the_copy() {
    if Version::find("2.8.1").is_none() {
        return;
    }
    let other = Other::start(|address, data| {
        let mut command = Command::new(casd());
        command.arg(format!("--bind={address}")).arg(data);
        command
    });
    copy("2.8.1", &other, |builder, project| {
        format!("{} --with-dependencies", builder.artifact(project, "all"))
    });
}

#[test]
fn what_1_6_9_pushed_to_its_own_server_is_pulled_after_the_copy() {
    if Version::find("1.6.9").is_none() {
        return;
    }
    let server = clients_folder().join("bst-1.6.9/bin/bst-artifact-server");
    let other = Other::start(|address, data| {
        let mut command = Command::new(server);
        command.args(["--enable-push", "--port", address.rsplit(':').next().unwrap()]).arg(data);
        command
    });
    copy("1.6.9", &other, |builder, project| {
        let names = IMPORTS.iter().chain(&["all"]).map(|element| builder.artifact(project, element));
        names.collect::<Vec<_>>().join(" ")
    });
}
