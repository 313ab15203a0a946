//! The data directory: that it can be one, and whose it is.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::Access;
use rustix::process::geteuid;

use super::finding::Finding;
use super::patient::Patient;
use crate::directory;

const CHECK: &str = "directory";
/// What the server itself has there.
const FILES: [&str; 6] = ["lock", "format", "catalog.db", "packs", "journal", "audit"];

pub(super) fn data(patient: &Patient) -> Vec<Finding> {
    if let Err(failure) = directory::check(&patient.settings) {
        return vec![Finding::bad(CHECK, failure.sentence(), failure.remedy())];
    }
    let data = patient.data();
    let shown = data.display();
    let user = geteuid().as_raw();
    let there = patient.data_or_above();
    if let Err(error) = rustix::fs::access(&there, Access::WRITE_OK | Access::EXEC_OK) {
        return vec![Finding::bad(
            CHECK,
            format!("{} cannot be written by this user (number {user}): {error}", there.display()),
            format!(
                "let the user that the server runs as own it (`chown {user} DIR`), or run this as that user"
            ),
        )];
    }
    let Ok(found) = fs::metadata(&data) else {
        return vec![Finding::good(CHECK, format!("{shown} is not there yet, and can be made"))];
    };
    let mut findings: Vec<_> = others_files(&data, &found).into_iter().collect();
    if found.mode() & 0o007 != 0 {
        findings.push(Finding::look(
            CHECK,
            format!(
                "others on this machine may look into {shown} (mode {:o})",
                found.permissions().mode() & 0o777
            ),
            format!("`chmod 700 {shown}`"),
        ));
    }
    if user != found.uid() && user != 0 {
        findings.push(Finding::look(
            CHECK,
            format!("{shown} belongs to the user with the number {}, and this runs as {user}", found.uid()),
            "run this as the user that the server runs as",
        ));
    }
    if findings.is_empty() {
        let as_root =
            if user == 0 && found.uid() != 0 { "; this runs as root, which may do everything" } else { "" };
        let says = format!("{shown} belongs to the user with the number {} alone{as_root}", found.uid());
        findings.push(Finding::good(CHECK, says));
    }
    findings
}

/// Whether something in it is not its owner's, as after a run as root.
fn others_files(data: &Path, directory: &Metadata) -> Option<Finding> {
    let of_others = FILES
        .iter()
        .find(|name| fs::metadata(data.join(name)).is_ok_and(|found| found.uid() != directory.uid()))?;
    let path = data.join(of_others);
    Some(Finding::bad(
        CHECK,
        format!(
            "{} does not belong to the owner of the directory, and that is whom the server runs as",
            path.display()
        ),
        format!("`chown -R {} {}`, while no server runs", directory.uid(), data.display()),
    ))
}
