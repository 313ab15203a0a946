//! Volumes as earlier releases left them: every later release opens them and serves all that is in them.
//!
//! `volumes/format-1` was written by the first release: closed in order, with names of each kind, one that waits for
//! its blobs, small and large blobs, and a pack of zstd records. `UPDATE=1` writes it anew, for a new format only, and
//! then under a new name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond_store::Level;
use millpond_store::blobs::format::{Encoding, PackId};
use millpond_store::blobs::pack::OpenPack;
use millpond_store::blobs::volume::Volume;
use millpond_store::disk::{Disk, RealDisk};

use super::*;

const REFERENCE: &str = "urn:fdc:buildstream.build:2020:v1:project/element/key";

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/volumes/format-1")
}

/// Folders of packs that are empty are not kept; opening makes them again.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if !path.is_dir() {
            fs::copy(path, target).unwrap();
        } else if fs::read_dir(&path).unwrap().next().is_some() {
            copy(&path, &target);
        }
    }
}

fn large() -> Vec<u8> {
    (0..400_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect()
}

fn compressible() -> String {
    "the same words again and again, ".repeat(5000)
}

fn action_result() -> Bytes {
    let file = reapi::OutputFile {
        path: "out".into(),
        digest: Some(wire(Digest::of(compressible().as_bytes()))),
        ..Default::default()
    };
    reapi::ActionResult { output_files: vec![file], exit_code: 3, ..Default::default() }
        .encode_to_vec()
        .into()
}

async fn write_volume(data: &Path) {
    let made = {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(data).unwrap());
        let now = Level::from_seconds(1);
        let volume = Volume::open(&*disk, now).unwrap();
        let pack = OpenPack::create(disk, &volume.keys, PackId::new(1), now).unwrap();
        let blobs: Vec<_> = [Bytes::from(compressible()), Bytes::from_static(b"little")]
            .map(|content| (Digest::of(&content), content))
            .into();
        pack.append_batch(&blobs, now, Encoding::Zstd).unwrap();
        pack.seal().unwrap();
        blobs
    };
    let fixture = Fixture::open(data).await;
    assert!(made.iter().all(|(digest, _)| fixture.cache.has_blob(&fixture.pull, digest).unwrap()));
    let small = fixture.put("small").await.unwrap();
    let large = fixture.put(large()).await.unwrap();
    let child = fixture.put_message(&directory(&[("small", small)], &[])).await.unwrap();
    let root = directory(&[("large", large), ("compressed", made[0].0)], &[("child", child)]);
    let root = fixture.put_message(&root).await.unwrap();
    fixture.push(AssetKind::Directory, &[REFERENCE], root).await.unwrap();
    let blob = fixture.put_message(&artifact(root, Some(Digest::of(b"dangling")))).await.unwrap();
    fixture.push(AssetKind::Blob, &[&format!("{ARTIFACT}key")], blob).await.unwrap();
    let late = fixture.put_message(&directory(&[("late", Digest::of(b"late"))], &[])).await.unwrap();
    let waiting = fixture.put_message(&artifact(late, None)).await.unwrap();
    let pushed = fixture.push(AssetKind::Blob, &[&format!("{ARTIFACT}late")], waiting).await;
    assert_eq!(pushed.unwrap(), Published::Pending);
    let action = Digest::of(b"action");
    fixture.cache.update_action_result(&fixture.push, action, action_result()).await.unwrap();
    fixture.cache.close().await;
}

async fn check_volume(data: &Path) {
    let fixture = Fixture::open(data).await;
    let root = fixture.fetch_digest(AssetKind::Directory, REFERENCE).await.unwrap();
    let artifact = fixture.fetch_digest(AssetKind::Blob, &format!("{ARTIFACT}key")).await.unwrap();
    let artifact = buildstream::Artifact::decode(fixture.read(artifact).await.unwrap()).unwrap();
    assert_eq!(artifact.files, Some(wire(root)));
    let tree = reapi::Directory::decode(fixture.read(root).await.unwrap()).unwrap();
    assert_eq!(tree.files.len(), 2);
    assert_eq!(fixture.read(Digest::of(&large())).await.unwrap(), large());
    assert_eq!(fixture.read(Digest::of(compressible().as_bytes())).await.unwrap(), compressible());
    assert_eq!(fixture.read(Digest::of(b"little")).await.unwrap(), "little");
    assert_eq!(fixture.read(Digest::of(b"small")).await.unwrap(), "small");
    let late = format!("{ARTIFACT}late");
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &late).await, None);
    fixture.put("late").await.unwrap();
    assert!(fixture.fetch_digest(AssetKind::Blob, &late).await.is_some());
    let result = fixture.cache.action_result(&fixture.pull, Digest::of(b"action")).await.unwrap();
    assert_eq!(result, action_result());
    fixture.cache.close().await;
}

#[tokio::test]
async fn volume_of_format_1_is_served_whole() {
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        let made = tempfile::tempdir().unwrap();
        write_volume(made.path()).await;
        assert!(!stored().exists(), "a stored volume is never replaced");
        copy(made.path(), &stored());
    }
    let data = tempfile::tempdir().unwrap();
    copy(&stored(), data.path());
    check_volume(data.path()).await;
}

#[tokio::test]
async fn volume_written_now_is_served_whole() {
    let data = tempfile::tempdir().unwrap();
    write_volume(data.path()).await;
    check_volume(data.path()).await;
}

/// Without snapshots, clean note and catalog the volume still says all that it holds.
#[tokio::test]
async fn volume_of_format_1_is_served_whole_from_packs_and_journal_alone() {
    let data = tempfile::tempdir().unwrap();
    copy(&stored(), data.path());
    for name in ["snapshot.a", "snapshot.b", "clean", "catalog.db", "format"] {
        let _ = fs::remove_file(data.path().join(name));
    }
    check_volume(data.path()).await;
}
