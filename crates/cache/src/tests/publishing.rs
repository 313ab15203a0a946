//! What is acknowledged, what waits, what is refused, and what a look-up answers.

use std::sync::Arc;

use millpond_store::disk::{Call, Disk, Effect, Fault, FaultyDisk, MemoryDisk};

use super::*;

#[tokio::test]
async fn whole_artifact_is_served_under_both_names_and_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let file = fixture.put("content").await.unwrap();
    let root = fixture.put_message(&directory(&[("file", file)], &[])).await.unwrap();
    let blob = fixture.put_message(&artifact(root, None)).await.unwrap();
    let (strong, weak) = (format!("{ARTIFACT}strong"), format!("{ARTIFACT}weak"));
    let published = fixture.push(AssetKind::Blob, &[&strong, &weak], blob).await;
    assert_eq!(published.unwrap(), Published::Whole);
    fixture.cache.close().await;
    drop(fixture);
    let fixture = Fixture::open(data.path()).await;
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &strong).await, Some(blob));
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &weak).await, Some(blob));
    assert_eq!(fixture.fetch_digest(AssetKind::Directory, &weak).await, None);
    assert_eq!(fixture.read(file).await.unwrap(), "content");
}

#[tokio::test]
async fn incomplete_artifact_waits_and_the_value_before_stays_in_force() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let uri = format!("{ARTIFACT}weak");
    let old_root = fixture.put_message(&directory(&[], &[])).await.unwrap();
    let old = fixture.put_message(&artifact(old_root, None)).await.unwrap();
    fixture.push(AssetKind::Blob, &[&uri], old).await.unwrap();

    let files = ["first", "second"].map(|content| Digest::of(content.as_bytes()));
    let root = directory(&[("a", files[0]), ("b", files[1])], &[]);
    let root = fixture.put_message(&root).await.unwrap();
    let new = fixture.put_message(&artifact(root, None)).await.unwrap();
    assert_eq!(fixture.push(AssetKind::Blob, &[&uri], new).await.unwrap(), Published::Pending);
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &uri).await, Some(old));
    assert_eq!(fixture.cache.figures().pending_names, 1);
    // One that waits and was never there otherwise is no stranger.
    let waiting = format!("{ARTIFACT}strong");
    fixture.push(AssetKind::Blob, &[&waiting], new).await.unwrap();
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &waiting).await, None);
    let figures = fixture.cache.figures();
    assert_eq!((figures.pending_lookups, figures.unknown_lookups), (1, 0));
    for content in ["first", "second"] {
        assert_eq!(fixture.fetch_digest(AssetKind::Blob, &uri).await, Some(old));
        fixture.put(content).await.unwrap();
    }
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &uri).await, Some(new));
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &waiting).await, Some(new));
    assert_eq!(fixture.cache.figures().pending_names, 0);
}

#[tokio::test]
async fn later_push_wins_over_a_value_that_still_waits() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let uri = format!("{ARTIFACT}weak");
    let missing = Digest::of(b"late");
    let root = fixture.put_message(&directory(&[("a", missing)], &[])).await.unwrap();
    let waiting = fixture.put_message(&artifact(root, None)).await.unwrap();
    fixture.push(AssetKind::Blob, &[&uri], waiting).await.unwrap();
    let empty = fixture.put_message(&directory(&[], &[])).await.unwrap();
    let later = fixture.put_message(&artifact(empty, None)).await.unwrap();
    fixture.push(AssetKind::Blob, &[&uri], later).await.unwrap();
    fixture.put("late").await.unwrap();
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &uri).await, Some(later));
}

#[tokio::test]
async fn incomplete_reference_is_refused_with_what_is_missing() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let missing = Digest::of(b"never sent");
    let root = fixture.put_message(&directory(&[("a", missing)], &[])).await.unwrap();
    let uri = crate::reference_uri("project/element/key").unwrap();
    match fixture.push(AssetKind::Directory, &[&uri], root).await {
        Err(Error::Incomplete { missing: named, count: 1 }) => assert_eq!(named, [missing]),
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.fetch_digest(AssetKind::Directory, &uri).await, None);
}

#[tokio::test]
async fn qualifiers_expiry_and_age_decide_what_is_found() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let blob = fixture.put("x").await.unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut push = asset(AssetKind::Blob, &["https://example.org/x"], blob);
    push.qualifiers = vec![pair("a", "1"), pair("b", "2")];
    fixture.cache.push_asset(&fixture.push, push.clone()).await.unwrap();
    let query = |qualifiers, oldest| AssetQuery {
        kind: AssetKind::Blob,
        uris: vec!["urn:unknown".into(), "https://example.org/x".into()],
        qualifiers,
        oldest_content_accepted: oldest,
    };
    let found = fixture.cache.fetch_asset(&fixture.pull, query(vec![pair("b", "2"), pair("a", "1")], None));
    assert_eq!(found.await.unwrap().uri, "https://example.org/x");
    let other = fixture.cache.fetch_asset(&fixture.pull, query(vec![pair("a", "1")], None));
    assert!(matches!(other.await, Err(Error::NotFound(_))));
    let future = millpond_store::Clock::unix_seconds() + 1000;
    let too_old = fixture.cache.fetch_asset(&fixture.pull, query(push.qualifiers.clone(), Some(future)));
    assert!(matches!(too_old.await, Err(Error::NotFound(_))));
    push.expire_at = Some(1);
    fixture.cache.push_asset(&fixture.push, push.clone()).await.unwrap();
    let expired = fixture.cache.fetch_asset(&fixture.pull, query(push.qualifiers, None));
    assert!(matches!(expired.await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn instances_have_names_of_their_own_and_share_blobs() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let blob = fixture.put("shared").await.unwrap();
    fixture.push(AssetKind::Blob, &["urn:x"], blob).await.unwrap();
    let other = Access::anonymous(Bounds::OPEN)
        .pull(fixture.cache.instance("other").unwrap(), &Client::default())
        .unwrap();
    assert!(fixture.cache.has_blob(&other, &blob).unwrap());
    let elsewhere = Fixture { pull: other, push: fixture.push.clone(), cache: fixture.cache.clone() };
    assert_eq!(elsewhere.fetch_digest(AssetKind::Blob, "urn:x").await, None);
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, "urn:x").await, Some(blob));
    assert!(matches!(fixture.cache.instance("unknown"), Err(Error::Invalid(_))));
}

#[tokio::test]
async fn action_result_comes_back_as_it_was_sent_with_fields_unknown_here() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let (file, stdout) = (Digest::of(b"output"), Digest::of(b"said"));
    let result = reapi::ActionResult {
        output_files: vec![reapi::OutputFile {
            path: "o".into(),
            digest: Some(wire(file)),
            ..Default::default()
        }],
        stdout_digest: Some(wire(stdout)),
        stdout_raw: Bytes::from_static(b"said"),
        ..Default::default()
    };
    let mut sent = result.encode_to_vec();
    // Field 15 000, a varint.
    sent.extend_from_slice(&[0xc0, 0xa9, 0x07, 0x01]);
    let action = Digest::of(b"an action");
    let update = |sent: Vec<u8>| fixture.cache.update_action_result(&fixture.push, action, sent.into());
    assert!(matches!(update(sent.clone()).await, Err(Error::Incomplete { .. })));
    fixture.put("output").await.unwrap();
    update(sent.clone()).await.unwrap();
    assert_eq!(fixture.cache.action_result(&fixture.pull, action).await.unwrap(), sent);
    assert_eq!(fixture.read(stdout).await.unwrap(), "said");
    // Larger than what a row holds.
    let exit = reapi::ActionResult { stderr_raw: vec![7; 100_000].into(), ..result }.encode_to_vec();
    update(exit.clone()).await.unwrap();
    assert_eq!(fixture.cache.action_result(&fixture.pull, action).await.unwrap(), exit);
}

#[tokio::test]
async fn push_cannot_multiply_references_by_its_uris() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let blob = fixture.put("x").await.unwrap();
    let uris: Vec<String> = (0..100).map(|number| format!("urn:{number}")).collect();
    let mut push = asset(AssetKind::Blob, &[], blob);
    push.uris = uris;
    push.references_blobs = (0..2000_u32).map(|number| Digest::of(&number.to_le_bytes())).collect();
    let pushed = fixture.cache.push_asset(&fixture.push, push.clone()).await;
    assert!(matches!(pushed, Err(Error::Invalid(_))), "{pushed:?}");
    // The same digest many times counts once.
    push.references_blobs = vec![blob; 50_000];
    assert_eq!(fixture.cache.push_asset(&fixture.push, push).await.unwrap(), Published::Whole);
}

#[tokio::test]
async fn names_take_no_more_than_their_share_and_those_there_are_served() {
    let data = tempfile::tempdir().unwrap();
    let small = CacheOptions { max_size: Some(MaxSize::Bytes(8 << 20)), ..options(data.path()) };
    let fixture = Fixture::of(Cache::open(small).await.unwrap().0);
    let blob = fixture.put("x").await.unwrap();
    let uris = |round: usize| (0..100).map(|number| format!("urn:{round}:{number}")).collect();
    let mut rounds = 0;
    let refused = loop {
        let push = AssetPush { uris: uris(rounds), ..asset(AssetKind::Blob, &[], blob) };
        match fixture.cache.push_asset(&fixture.push, push).await {
            Ok(_) => rounds += 1,
            Err(error) => break error,
        }
        assert!(rounds < 100, "never refused");
    };
    assert!(matches!(refused, Error::NoSpace { .. }) && rounds > 0, "{rounds}: {refused}");
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, "urn:0:7").await, Some(blob));
    // BuildStream 2 has its build stopped by a refusal: its push is answered as one that waits.
    let root = fixture.put_message(&directory(&[], &[])).await.unwrap();
    let artifact = fixture.put_message(&artifact(root, None)).await.unwrap();
    let uri = format!("{ARTIFACT}key");
    assert_eq!(fixture.push(AssetKind::Blob, &[&uri], artifact).await.unwrap(), Published::Pending);
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &uri).await, None);
}

#[tokio::test]
async fn stop_while_closing_refuses_new_calls_and_the_next_start_is_clean() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let blob = fixture.put("x").await.unwrap();
    fixture.push(AssetKind::Blob, &["urn:x"], blob).await.unwrap();
    fixture.cache.close().await;
    let late = fixture.push(AssetKind::Blob, &["urn:late"], blob).await;
    assert!(matches!(late, Err(Error::Busy(_))), "{late:?}");
    drop(fixture);
    let (cache, opened) = Cache::open(options(data.path())).await.unwrap();
    assert!(opened.clean);
    assert_eq!(Fixture::of(cache).fetch_digest(AssetKind::Blob, "urn:x").await, Some(blob));
}

#[tokio::test]
async fn action_result_that_is_kept_does_not_keep_the_buffer_that_it_came_in() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let result = reapi::ActionResult { exit_code: 7, ..Default::default() }.encode_to_vec();
    let buffer = Bytes::from([vec![0; 8192], result].concat());
    let action = Digest::of(b"action");
    fixture.cache.update_action_result(&fixture.push, action, buffer.slice(8192..)).await.unwrap();
    assert!(buffer.is_unique());
    assert_eq!(fixture.cache.action_result(&fixture.pull, action).await.unwrap(), buffer[8192..]);
}

/// The catalog's COMMIT is the other sync that a publish waits for; its journal is synced every few seconds beside that.
#[tokio::test(flavor = "multi_thread")]
async fn publish_waits_for_one_sync_of_its_pack_and_those_at_once_share_it() {
    let data = tempfile::tempdir().unwrap();
    let never = Fault { call: Some(Call::Sync), nth: u64::MAX, effect: Effect::Unwind, lasting: false };
    let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default()), never));
    let volume = Arc::clone(&disk) as Arc<dyn Disk>;
    let fixture =
        Arc::new(Fixture::of(Cache::open_on(options(data.path()), move |_| Ok(volume)).await.unwrap().0));

    let before = disk.calls();
    for number in 0..10 {
        let blob = fixture.put(format!("one after the other {number}")).await.unwrap();
        fixture.push(AssetKind::Blob, &[&format!("urn:{number}")], blob).await.unwrap();
    }
    let alone = disk.calls() - before;
    assert!((10..20).contains(&alone), "{alone}");

    let mut blobs = Vec::new();
    for number in 0..200 {
        blobs.push(fixture.put(format!("at once {number}")).await.unwrap());
    }
    let before = disk.calls();
    let pushes = blobs.into_iter().enumerate().map(|(number, blob)| {
        let fixture = Arc::clone(&fixture);
        tokio::spawn(
            async move { fixture.push(AssetKind::Blob, &[&format!("urn:at-once:{number}")], blob).await },
        )
    });
    for push in pushes.collect::<Vec<_>>() {
        assert_eq!(push.await.unwrap().unwrap(), Published::Whole);
    }
    let shared = disk.calls() - before;
    assert!((1..20).contains(&shared), "{shared}");
}
