//! The catalog over real files, through its public interface.

mod damaged;
mod journal;
mod ordinary;
mod pins;
mod removed;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::Digest;
use crate::disk::RealDisk;

fn open(folder: &Path) -> (Catalog, CatalogStarted) {
    let disk = Arc::new(RealDisk::open(folder).unwrap());
    Catalog::open(folder, disk, &CatalogOptions::default()).unwrap()
}

/// What the disk would hold if the process were killed now.
fn copy(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_into(folder, copy.path());
    copy
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_into(&entry.path(), &target);
        } else {
            match fs::copy(entry.path(), target) {
                // A catalog that is still closing takes its log away.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

fn name(number: u32) -> Name {
    Name {
        instance: "main".into(),
        kind: NameKind::AssetBlob,
        text: format!("urn:fdc:buildstream.build:2020:artifact:{number}").into(),
        qualifiers: "".into(),
    }
}

/// The `version`th value of a name: a different one each.
fn new_value(number: u32, version: u32) -> NewValue {
    NewValue {
        name: name(number),
        target: Target::Blob(Digest::of(format!("{number} {version}").as_bytes())),
        references: Bytes::from(format!("references of {number} {version}")),
        level: Level::from_seconds(100),
        touched: Level::from_seconds(100),
        expires: version.is_multiple_of(2).then_some(u64::MAX),
        pushed: u64::from(version),
        pusher: "ada".into(),
        address: "192.0.2.1".into(),
        state: State::Whole,
    }
}

fn pending_value(number: u32, version: u32) -> NewValue {
    NewValue { state: State::Pending(Digest::of(b"absent")), ..new_value(number, version) }
}

async fn publish(catalog: &Catalog, value: NewValue) -> Arc<Value> {
    catalog.publish(vec![value]).await.unwrap().remove(0)
}

fn assert_is(value: &Value, new: &NewValue) {
    let columns = (&value.name, &value.target, value.expires, value.pushed, value.state);
    assert_eq!(columns, (&new.name, &new.target, new.expires, new.pushed, new.state));
    assert!(value.references == new.references, "references of {:?}", value.name);
    assert_eq!((&value.pusher, &value.address), (&new.pusher, &new.address));
}

async fn assert_serves(catalog: &Catalog, new: &NewValue) {
    let value = catalog.look_up(&new.name).await.unwrap();
    assert_is(&value.unwrap_or_else(|| panic!("{:?} is gone", new.name)), new);
}
