//! What instances promise by what they keep.

use super::*;
use crate::InstanceKind;

async fn open(data: &Path, kind: InstanceKind) -> Fixture {
    let instances = vec![InstanceOptions { name: String::new(), kind }];
    Fixture::of(Cache::open(CacheOptions { instances, ..options(data) }).await.unwrap().0)
}

#[tokio::test]
async fn index_serves_names_whose_blobs_are_not_here_and_takes_no_blobs() {
    let volume = tempfile::tempdir().unwrap();
    let fixture = open(volume.path(), InstanceKind::IndexOnly).await;
    let elsewhere = Digest::of(b"on another server");
    for kind in [AssetKind::Blob, AssetKind::Directory] {
        let uri = format!("{ARTIFACT}{kind:?}");
        assert_eq!(fixture.push(kind, &[&uri], elsewhere).await.unwrap(), Published::Whole);
        assert_eq!(fixture.fetch_digest(kind, &uri).await, Some(elsewhere));
    }
    assert!(matches!(fixture.put("content").await, Err(Error::Denied(_))));
    assert!(matches!(fixture.cache.create_blob(&fixture.push, elsewhere).await, Err(Error::Denied(_))));
    fixture.cache.close().await;
    drop(fixture);

    let fixture = open(volume.path(), InstanceKind::IndexOnly).await;
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &format!("{ARTIFACT}Blob")).await, Some(elsewhere));
    fixture.cache.close().await;
    drop(fixture);

    // Declared to keep blobs as well, it promises that a name is whole; this one is not.
    let fixture = open(volume.path(), InstanceKind::All).await;
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &format!("{ARTIFACT}Blob")).await, None);
}

#[tokio::test]
async fn index_keeps_action_results_of_every_size_as_they_were_sent() {
    let volume = tempfile::tempdir().unwrap();
    let fixture = open(volume.path(), InstanceKind::IndexOnly).await;
    for bytes in [10, 200_000] {
        let result = reapi::ActionResult {
            output_files: vec![reapi::OutputFile {
                path: "x".repeat(bytes),
                digest: Some(wire(Digest::of(b"on another server"))),
                ..Default::default()
            }],
            ..Default::default()
        };
        let action = Digest::of(&bytes.to_le_bytes());
        let sent = Bytes::from(result.encode_to_vec());
        fixture.cache.update_action_result(&fixture.push, action, sent.clone()).await.unwrap();
        assert_eq!(fixture.cache.action_result(&fixture.pull, action).await.unwrap(), sent);
    }
}

#[tokio::test]
async fn storage_takes_blobs_and_no_names() {
    let volume = tempfile::tempdir().unwrap();
    let fixture = open(volume.path(), InstanceKind::StorageOnly).await;
    let digest = fixture.put("content").await.unwrap();
    assert_eq!(fixture.read(digest).await.unwrap(), "content");
    let pushed = fixture.push(AssetKind::Blob, &["urn:x:1"], digest).await;
    assert!(matches!(pushed, Err(Error::Denied(_))), "{pushed:?}");
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, "urn:x:1").await, None);
    let updated = fixture.cache.update_action_result(&fixture.push, digest, Bytes::new()).await;
    assert!(matches!(updated, Err(Error::Denied(_))), "{updated:?}");
}
