//! Who may give a name another value.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use millpond_store::catalog::Target;

use super::*;
use crate::access::Allowed;
use crate::closure::{References, Subject};
use crate::name::UriForm;
use crate::publish::Publication;
use crate::{Grant, Identity, Otherwise, Pattern, Replacement, ReplacementRule, Rights};

const BASE: &str = "urn:fdc:buildstream.build:2020:";

/// A cache, and permits of two identities.
struct Scene {
    fixture: Fixture,
    alice: Permit<Push>,
    bob: Permit<Push>,
}

impl Scene {
    async fn open(data: &Path, rules: Vec<ReplacementRule>) -> Self {
        let options = CacheOptions { replacement: rules, ..options(data) };
        let fixture = Fixture::of(Cache::open(options).await.unwrap().0);
        let push = |name: &str| {
            let identity =
                Identity { name: name.into(), grants: vec![Grant::everywhere(Rights::Push)], lacks: None };
            let bounds = Bounds { most: Rights::Push, anonymous: Rights::Pull };
            let client = Client { identity: name.into(), address: None };
            Access::known(bounds, Arc::new(identity))
                .push(fixture.cache.instance("").unwrap(), &client)
                .unwrap()
        };
        Self { alice: push("alice"), bob: push("bob"), fixture }
    }

    async fn artifact(&self, note: &str, strong: &str, success: bool) -> Digest {
        let artifact = buildstream::Artifact {
            build_success: success,
            build_error: note.into(),
            strong_key: strong.into(),
            weak_key: "weak".into(),
            ..Default::default()
        };
        self.fixture.put_message(&artifact).await.unwrap()
    }

    async fn push(&self, permit: &Permit<Push>, uris: &[&str], digest: Digest) -> Result<Published> {
        self.fixture.cache.push_asset(permit, asset(AssetKind::Blob, uris, digest)).await
    }

    async fn in_force(&self, uri: &str) -> Option<Digest> {
        self.fixture.fetch_digest(AssetKind::Blob, uri).await
    }
}

fn rule(names: &str, replacement: Replacement, otherwise: Otherwise) -> ReplacementRule {
    ReplacementRule { names: Pattern::new(names).unwrap(), replacement, otherwise }
}

#[tokio::test]
async fn strong_key_keeps_its_first_value_and_the_weak_one_beside_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::open(&folder.path().join("data"), Vec::new()).await;
    let (strong, weak) = (format!("{BASE}artifact:p/e/strong"), format!("{BASE}artifact:p/e/weak"));
    let names = [&*strong, &*weak];
    let first = scene.artifact("first", "strong", true).await;
    let second = scene.artifact("second", "strong", true).await;
    assert_eq!(scene.push(&scene.alice, &names, first).await.unwrap(), Published::Whole);
    assert_eq!(scene.push(&scene.bob, &names, second).await.unwrap(), Published::Kept);
    assert_eq!(scene.in_force(&strong).await, Some(first));
    assert_eq!(scene.in_force(&weak).await, Some(second));
    assert_eq!(scene.fixture.cache.figures().names_kept, 1);
    // Nor may somebody who is nobody; and whoever pushed it may.
    let third = scene.artifact("third", "strong", true).await;
    assert_eq!(scene.push(&scene.fixture.push, &[&strong], third).await.unwrap(), Published::Kept);
    assert_eq!(scene.push(&scene.alice, &[&strong], third).await.unwrap(), Published::Whole);
    assert_eq!(scene.in_force(&strong).await, Some(third));
    scene.fixture.cache.close().await;
}

/// That a new value calls its name a weak one changes nothing: what counts is what the value in force says.
#[tokio::test]
async fn value_in_force_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::open(&folder.path().join("data"), Vec::new()).await;
    let name = format!("{BASE}artifact:p/e/strong");
    let first = scene.artifact("first", "strong", true).await;
    let forged = scene.artifact("forged", "another", true).await;
    scene.push(&scene.alice, &[&name], first).await.unwrap();
    assert_eq!(scene.push(&scene.bob, &[&name], forged).await.unwrap(), Published::Kept);
    assert_eq!(scene.in_force(&name).await, Some(first));
    scene.fixture.cache.close().await;
}

#[tokio::test]
async fn failed_build_is_replaced_by_a_success_and_not_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = rule("artifact:q/*", Replacement::Nobody, Otherwise::Refuse);
    let scene = Scene::open(&folder.path().join("data"), vec![nobody]).await;
    for name in [format!("{BASE}artifact:p/e/strong"), format!("{BASE}artifact:q/e/strong")] {
        let failed = scene.artifact("no compiler", "strong", false).await;
        let failed_too = scene.artifact("no disk", "strong", false).await;
        let success = scene.artifact("", "strong", true).await;
        scene.push(&scene.alice, &[&name], failed).await.unwrap();
        let refused = scene.push(&scene.bob, &[&name], failed_too).await;
        assert!(matches!(refused, Ok(Published::Kept) | Err(Error::Denied(_))), "{refused:?}");
        assert_eq!(scene.push(&scene.bob, &[&name], success).await.unwrap(), Published::Whole);
        let refused = scene.push(&scene.alice, &[&name], failed).await;
        assert!(matches!(refused, Ok(Published::Kept) | Err(Error::Denied(_))), "{refused:?}");
        assert_eq!(scene.in_force(&name).await, Some(success));
    }
    scene.fixture.cache.close().await;
}

#[tokio::test]
async fn what_is_unknown_is_replaced_by_anyone_unless_a_rule_protects_it() {
    let folder = tempfile::tempdir().unwrap();
    let rules = vec![
        rule("urn:mine:*", Replacement::SameIdentity, Otherwise::Refuse),
        rule("urn:fixed:*", Replacement::Nobody, Otherwise::KeepQuietly),
        rule("artifact:free/*", Replacement::Anyone, Otherwise::Refuse),
    ];
    let scene = Scene::open(&folder.path().join("data"), rules).await;
    let one = scene.fixture.put("one").await.unwrap();
    let two = scene.fixture.put("two").await.unwrap();
    for (name, by_bob, by_alice) in [
        ("urn:any:1", Ok(Published::Whole), Ok(Published::Whole)),
        ("urn:mine:1", Err(()), Ok(Published::Whole)),
        ("urn:fixed:1", Ok(Published::Kept), Ok(Published::Kept)),
    ] {
        scene.push(&scene.alice, &[name], one).await.unwrap();
        // The same value again is no other one.
        scene.push(&scene.bob, &[name], one).await.unwrap();
        assert_eq!(scene.push(&scene.bob, &[name], two).await.map_err(|_| ()), by_bob, "{name}");
        assert_eq!(scene.push(&scene.alice, &[name], two).await.map_err(|_| ()), by_alice, "{name}");
    }
    let free = format!("{BASE}artifact:free/e/strong");
    for (permit, note) in [(&scene.alice, "first"), (&scene.bob, "second")] {
        let artifact = scene.artifact(note, "strong", true).await;
        assert_eq!(scene.push(permit, &[&free], artifact).await.unwrap(), Published::Whole);
        assert_eq!(scene.in_force(&free).await, Some(artifact));
    }
    scene.fixture.cache.close().await;
}

/// A value that nobody is served any more keeps nobody out.
#[tokio::test]
async fn expired_value_is_replaced_by_anyone() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::open(&folder.path().join("data"), Vec::new()).await;
    let name = format!("{BASE}artifact:p/e/strong");
    let expired = scene.artifact("expired", "strong", true).await;
    let push = AssetPush { expire_at: Some(1), ..asset(AssetKind::Blob, &[&name], expired) };
    scene.fixture.cache.push_asset(&scene.alice, push).await.unwrap();
    let second = scene.artifact("second", "strong", true).await;
    assert_eq!(scene.push(&scene.bob, &[&name], second).await.unwrap(), Published::Whole);
    assert_eq!(scene.in_force(&name).await, Some(second));
    scene.fixture.cache.close().await;
}

/// That so many wait for a walk that look-ups are misses does not make a value one that may be replaced.
#[tokio::test]
async fn strong_key_stays_though_there_is_no_turn_to_look_whether_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let name = format!("{BASE}artifact:p/e/strong");
    let scene = Scene::open(&data, Vec::new()).await;
    let first = scene.artifact("first", "strong", true).await;
    scene.push(&scene.alice, &[&name], first).await.unwrap();
    let walks = &scene.fixture.cache.inner.walks;
    let mut turns = Vec::new();
    while let Some(turn) = walks.turn().now_or_never() {
        turns.push(turn.unwrap());
    }
    // As many as may wait: from here on a look-up sheds.
    let second = scene.artifact("second", "strong", true).await;
    let waiting = CacheOptions::default().look_ups_waiting;
    let mut others: Vec<_> = (0..waiting).map(|_| Box::pin(walks.turn())).collect();
    others.iter_mut().for_each(|other| assert!(other.as_mut().now_or_never().is_none()));
    assert!(walks.is_full());
    let names = [&*name];
    let mut push = Box::pin(scene.push(&scene.bob, &names, second));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut push).await.is_err());
    drop((others, turns));
    assert_eq!(push.await.unwrap(), Published::Kept);
    assert_eq!(scene.in_force(&name).await, Some(first));
    scene.fixture.cache.close().await;
}

/// BuildStream 1 has its keys in the artifact's tree.
#[tokio::test]
async fn strong_key_of_buildstream_1_keeps_its_first_value() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::open(&folder.path().join("data"), Vec::new()).await;
    let cache = &scene.fixture.cache;
    let tree = async |note: &str| {
        let keys = scene.fixture.put(format!("strong: abc\nweak: def\n# {note}\n")).await.unwrap();
        let file =
            reapi::FileNode { name: "keys.yaml".into(), digest: Some(wire(keys)), ..Default::default() };
        let meta = reapi::Directory { files: vec![file], ..Default::default() };
        let meta = scene.fixture.put_message(&meta).await.unwrap();
        let node = reapi::DirectoryNode { name: "meta".into(), digest: Some(wire(meta)) };
        let root = reapi::Directory { directories: vec![node], ..Default::default() };
        scene.fixture.put_message(&root).await.unwrap()
    };
    let (first, second) = (tree("first").await, tree("second").await);
    let names = ["abc", "def"].map(|key| format!("{BASE}v1:p/e/{key}"));
    for (permit, root) in [(&scene.alice, first), (&scene.bob, second)] {
        for name in &names {
            cache.push_asset(permit, asset(AssetKind::Directory, &[name], root)).await.unwrap();
        }
    }
    let in_force = async |name: &str| scene.fixture.fetch_digest(AssetKind::Directory, name).await;
    assert_eq!(in_force(&names[0]).await, Some(first));
    assert_eq!(in_force(&names[1]).await, Some(second));
    cache.close().await;
}

/// Of many who push a name at once, one is the first, and all hear OK.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_first_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::open(&folder.path().join("data"), Vec::new()).await;
    for round in 0..20 {
        let name = format!("{BASE}artifact:p/e{round}/strong");
        let one = scene.artifact(&format!("one {round}"), "strong", true).await;
        let two = scene.artifact(&format!("two {round}"), "strong", true).await;
        let names = [&*name];
        let pushes = (scene.push(&scene.alice, &names, one), scene.push(&scene.bob, &names, two));
        let (by_alice, by_bob) = tokio::join!(pushes.0, pushes.1);
        let kept = match (by_alice.unwrap(), by_bob.unwrap()) {
            (Published::Whole, Published::Kept) => one,
            (Published::Kept, Published::Whole) => two,
            other => panic!("{other:?}"),
        };
        assert_eq!(scene.in_force(&name).await, Some(kept));
    }
    scene.fixture.cache.close().await;
}

/// As for one that is copied from elsewhere: between the look at what is here and the publish somebody may push.
#[tokio::test]
async fn place_that_was_looked_at_is_taken_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::open(&folder.path().join("data"), Vec::new()).await;
    let (uri, inner) = ("urn:one", &scene.fixture.cache.inner);
    let name = crate::name::asset(scene.fixture.push.instance(), AssetKind::Blob, uri, "");
    let publish = async |digest: Digest, in_place_of: Option<u64>| {
        let references = Arc::new(References::default());
        let subject = Subject::Asset {
            form: UriForm::of(AssetKind::Blob, uri),
            kind: AssetKind::Blob,
            digest,
            references: Arc::clone(&references),
        };
        let publication = Publication {
            names: vec![(Allowed::stored(&name), subject)],
            target: Target::Blob(digest),
            references: references.encode(),
            expires: None,
            client: Client { identity: "carol".into(), address: None },
            pushed: None,
            may_wait: false,
            promotes: None,
            in_place_of: Some(in_place_of),
        };
        inner.publish(publication).await.unwrap()
    };
    let number = async || inner.catalog.look_up(&name).await.unwrap().map(|value| value.seq);
    let mut digests = Vec::new();
    for content in ["first", "second", "third"] {
        digests.push(scene.fixture.put(content).await.unwrap());
    }
    assert_eq!(publish(digests[0], None).await, Published::Whole);
    let first = number().await;
    assert_eq!(publish(digests[1], None).await, Published::Kept);
    assert_eq!(scene.in_force(uri).await, Some(digests[0]));
    scene.push(&scene.alice, &[uri], digests[1]).await.unwrap();
    assert_eq!(publish(digests[2], first).await, Published::Kept);
    assert_eq!(scene.in_force(uri).await, Some(digests[1]));
    assert_eq!(publish(digests[2], number().await).await, Published::Whole);
    assert_eq!(scene.in_force(uri).await, Some(digests[2]));
    scene.fixture.cache.close().await;
}
