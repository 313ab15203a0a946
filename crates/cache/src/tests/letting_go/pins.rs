//! Pins and shares: what they keep stays while all else goes, and what they do not keep goes as it would have.

use super::super::*;
use super::*;
use crate::cache::Inner;
use crate::start::Begun;
use crate::{Access, Admin, NamesWanted, Pattern, PinWanted, Pinned, PinsWanted, RemovalKind, RetentionRule};

/// Nobody lets go here but the test, and time stands still until it says so.
struct Scene {
    data: tempfile::TempDir,
    memory: Arc<MemoryDisk>,
    begun: Begun,
    fixture: Fixture,
}

impl Scene {
    async fn open(retention: Vec<RetentionRule>) -> Self {
        let (data, memory) = (tempfile::tempdir().unwrap(), Arc::new(MemoryDisk::default()));
        let begun = Self::begin(data.path(), &memory, 100_000, retention).await;
        let fixture = Fixture::of(Cache { inner: Arc::clone(&begun.inner) });
        Self { data, memory, begun, fixture }
    }

    async fn begin(data: &Path, memory: &Arc<MemoryDisk>, now: u32, retention: Vec<RetentionRule>) -> Begun {
        let disk = Arc::clone(memory);
        let clock = move |last: Level| millpond_store::Clock::manual(last.max(Level::from_seconds(now)));
        let options = CacheOptions { retention, ..run::cache_options(data, 0) };
        Begun::open(options, |_| Ok(disk as Arc<dyn millpond_store::disk::Disk>), clock).await.unwrap()
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.begun.inner
    }

    fn permit(&self) -> Permit<Admin> {
        let identity = crate::Identity {
            name: "operator".into(),
            grants: vec![crate::Grant::everywhere(crate::Rights::Admin)],
            lacks: None,
        };
        let client = Client { identity: "operator".into(), address: None };
        let cache = &self.fixture.cache;
        Access::known(Bounds::ADMIN_ONLY, Arc::new(identity))
            .admin(cache.instance("").unwrap(), &client)
            .unwrap()
    }

    /// Pushes another value of a name.
    async fn push_value(&self, name: &str, value: u8) -> Digest {
        self.inner().clock.advance(LEASE / 4);
        let digest = self.fixture.put(vec![value; 3000]).await.unwrap();
        self.fixture.push(AssetKind::Blob, &[name], digest).await.unwrap();
        digest
    }

    /// After a kill, with or without the database.
    async fn start_again(&mut self, catalog_is_gone: bool) {
        self.memory = Arc::new(self.memory.crash(1));
        let now = self.inner().clock.now().seconds();
        self.fixture.cache.close().await;
        if catalog_is_gone {
            std::fs::remove_file(self.data.path().join("catalog.db")).unwrap();
        }
        self.begun = Self::begin(self.data.path(), &self.memory, now, Vec::new()).await;
        self.fixture = Fixture::of(Cache { inner: Arc::clone(self.inner()) });
        assert!(!self.begun.opened.clean);
        tokio::task::block_in_place(|| self.begun.restore());
    }

    /// Pushes an asset of its own bytes a while after the last one.
    async fn push(&self, name: &str, size: usize) -> Digest {
        self.inner().clock.advance(LEASE / 4);
        let mut random = Random(name.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte)));
        let content: Vec<u8> = (0..size).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        let digest = self.fixture.put(content).await.unwrap();
        self.fixture.push(AssetKind::Blob, &[name], digest).await.unwrap();
        digest
    }

    async fn is_there(&self, name: &str) -> bool {
        self.fixture.fetch_digest(AssetKind::Blob, name).await.is_some()
    }

    async fn pin(&self, pattern: &str, with_needs: bool) -> Result<Pinned> {
        self.pin_revisions(pattern, 1, with_needs).await
    }

    async fn pin_revisions(&self, pattern: &str, revisions: u32, with_needs: bool) -> Result<Pinned> {
        let wanted = PinWanted {
            pattern: Pattern::new(pattern).unwrap(),
            instance: None,
            reason: "release 1".into(),
            owner: None,
            until: None,
            revisions,
            dependencies: with_needs,
            sources: with_needs,
            dry_run: false,
        };
        self.fixture.cache.pin_names(&self.permit(), wanted).await
    }

    async fn unpin(&self, pattern: &str) -> usize {
        let wanted = PinsWanted { pattern: Some(Pattern::new(pattern).unwrap()), ..PinsWanted::default() };
        self.fixture.cache.unpin_names(&self.permit(), wanted).await.unwrap().len()
    }

    /// Lets everything go that was not used in the lease and that nothing keeps.
    async fn let_all_go(&self) {
        self.inner().raise_waterline(Level::PINNED).unwrap();
        self.commit().await;
    }

    /// Drops what is below the waterline.
    async fn commit(&self) {
        let (inner, mut progress) = (self.inner(), Progress::at_start());
        inner.commit_and_drop(&mut progress).await;
        inner.tidy_up(&mut progress, true).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pinned_name_outlives_all_others_and_goes_by_its_last_use_once_it_is_unpinned() {
    let scene = Scene::open(Vec::new()).await;
    for name in ["kept:1", "other:1", "other:2"] {
        scene.push(name, 70_000).await;
    }
    let pinned = scene.pin("kept:*", false).await.unwrap();
    assert_eq!((pinned.names, pinned.kept.bytes), (vec!["kept:1".to_owned()], 70_000));
    assert_eq!((pinned.missing_count, &*pinned.pins[0].terms.owner), (0, "operator"));
    // What comes later is pinned by its push, and more so where it replaces.
    scene.push("kept:2", 70_000).await;
    for _ in 0..2 {
        scene.inner().clock.advance(3 * LEASE);
        scene.let_all_go().await;
        scene.inner().relevel().await.unwrap();
    }
    assert_eq!(scene.fixture.cache.figures().names, 2);
    assert!(scene.is_there("kept:1").await && scene.is_there("kept:2").await);

    scene.push("other:3", 70_000).await;
    assert_eq!(scene.unpin("kept:*").await, 1);
    assert!(scene.fixture.cache.pins(&scene.permit()).is_empty());
    let released = scene.inner().relevel().await.unwrap();
    assert_eq!((released.lowered_names, released.kept_names), (2, 0));
    scene.inner().clock.advance(2 * LEASE);
    assert!(scene.is_there("other:3").await && scene.is_there("kept:2").await);
    scene.let_all_go().await;
    let there = ["kept:1", "kept:2", "other:3"].map(|name| scene.is_there(name));
    let [first, second, third] = there;
    assert_eq!((first.await, second.await, third.await), (false, true, true));
    scene.fixture.cache.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pin_keeps_so_many_values_of_a_name_that_is_pushed_again() {
    for catalog_is_gone in [false, true] {
        let mut scene = Scene::open(Vec::new()).await;
        let mut values = vec![scene.push_value("latest", 0).await];
        scene.pin_revisions("latest", 3, false).await.unwrap();
        for value in 1..5 {
            values.push(scene.push_value("latest", value).await);
        }
        // The same again is no other value.
        values.push(scene.push_value("latest", 4).await);
        if catalog_is_gone {
            scene.start_again(true).await;
        }
        let there = |scene: &Scene| -> Vec<bool> {
            values[..5].iter().map(|value| scene.inner().blobs.contains(value)).collect()
        };
        for _ in 0..2 {
            scene.inner().clock.advance(3 * LEASE);
            scene.let_all_go().await;
            scene.inner().relevel().await.unwrap();
        }
        assert_eq!(there(&scene), [false, false, true, true, true], "{catalog_is_gone}");
        assert_eq!(scene.fixture.fetch_digest(AssetKind::Blob, "latest").await, values.last().copied());

        // The last but one comes back when the last is removed.
        let all = NamesWanted::default();
        let mut removal = scene.fixture.cache.remove_names(&scene.permit(), &all, RemovalKind::SetAside(0));
        while removal.next_page().await.unwrap().is_some() {}
        let mut restoration = scene.fixture.cache.restore_names(&scene.permit(), all);
        let restored = restoration.next_page().await.unwrap().unwrap();
        let came_back: Vec<_> = restored.iter().map(|(_, outcome)| outcome.is_ok()).collect();
        assert_eq!(came_back, [false, true, false], "{restored:?}");
        assert_eq!(scene.fixture.fetch_digest(AssetKind::Blob, "latest").await, values.get(3).copied());

        // Nothing but the one in force, once nothing keeps the others.
        assert_eq!(scene.unpin("latest").await, 1);
        for _ in 0..2 {
            scene.inner().relevel().await.unwrap();
            scene.inner().clock.advance(3 * LEASE);
        }
        scene.commit().await;
        assert_eq!(there(&scene), [false, false, false, true, false], "{catalog_is_gone}");
        scene.fixture.cache.close().await;
    }
}

/// What a walk had raised for a pin counts for nothing once levels fell: whoever publishes the same tree raises it anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tree_that_was_kept_is_raised_by_the_next_name_after_levels_fell() {
    let scene = Scene::open(Vec::new()).await;
    let fixture = &scene.fixture;
    let file = fixture.put(vec![7; 70_000]).await.unwrap();
    let root = fixture.put_message(&directory(&[("file", file)], &[])).await.unwrap();
    fixture.push(AssetKind::Directory, &["kept"], root).await.unwrap();
    scene.pin("kept", false).await.unwrap();
    let all = NamesWanted::default();
    let mut removal = fixture.cache.remove_names(&scene.permit(), &all, RemovalKind::ForGood);
    while removal.next_page().await.unwrap().is_some() {}
    scene.inner().relevel().await.unwrap();
    let fell = scene.inner().clock.now();
    scene.inner().clock.advance(LEASE / 16);
    fixture.push(AssetKind::Directory, &["other"], root).await.unwrap();
    // Above where levels fell to, and below that push.
    scene.inner().clock.advance(2 * LEASE);
    scene.inner().raise_waterline(fell.plus(LEASE / 32)).unwrap();
    scene.commit().await;
    assert_eq!(scene.inner().blobs.waterline(), fell.plus(LEASE / 32));
    assert!([file, root].iter().all(|digest| scene.inner().blobs.contains(digest)));
    assert_eq!(fixture.fetch_digest(AssetKind::Directory, "other").await, Some(root));
    scene.fixture.cache.close().await;
}

/// What an artifact says that it needs was pushed by anybody: it cannot have other names pinned, nor keep the rest from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn needed_name_that_is_none_is_told_and_pins_nothing() {
    let scene = Scene::open(Vec::new()).await;
    let fixture = &scene.fixture;
    let uri = |name: &str| format!("urn:fdc:buildstream.build:2020:artifact:{name}");
    let tree = fixture.put_message(&directory(&[], &[])).await.unwrap();
    let needs = |project: &str, key: String| buildstream::artifact::Dependency {
        project_name: project.into(),
        element_name: "lib.bst".into(),
        cache_key: key,
        ..Default::default()
    };
    let hostile = vec![needs("*", "*".into()), needs("sdk", "x".repeat(20_000)), needs("sdk", "a\nb".into())];
    let mut message = buildstream::Artifact { build_deps: hostile, ..artifact(tree, None) };
    message.build_deps.push(needs("sdk", "good".into()));
    let digest = fixture.put_message(&message).await.unwrap();
    fixture.push(AssetKind::Blob, &[&uri("sdk/app/1")], digest).await.unwrap();
    for name in ["sdk/lib/good", "sdk/lib/other"] {
        let digest = fixture.put_message(&artifact(tree, None)).await.unwrap();
        fixture.push(AssetKind::Blob, &[&uri(name)], digest).await.unwrap();
    }
    let pinned = scene.pin("artifact:sdk/app/1", true).await.unwrap();
    let patterns: Vec<_> = pinned.pins.iter().map(|pin| &*pin.terms.pattern).collect();
    assert_eq!(patterns, ["artifact:sdk/app/1", "artifact:sdk/lib/good"]);
    let whys: Vec<_> = pinned.missing.iter().map(|missing| &*missing.why).collect();
    assert_eq!(whys.iter().filter(|why| why.contains("no name")).count(), 3, "{whys:?}");
    scene.inner().clock.advance(3 * LEASE);
    scene.let_all_go().await;
    assert_eq!(scene.fixture.cache.figures().names, 2);
    scene.fixture.cache.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pin_that_does_not_fit_is_refused_with_figures_and_changes_nothing() {
    let scene = Scene::open(Vec::new()).await;
    for number in 0..12 {
        scene.push(&format!("large:{number}"), 1_000_000).await;
    }
    let refused = scene.pin("large:*", false).await.unwrap_err();
    let Error::TooMuchToKeep { more, kept, most, room } = refused else { panic!("{refused}") };
    assert!(more > 12_000_000 && kept == 0 && most < more && most == room / 100 * 75);
    assert!(scene.fixture.cache.pins(&scene.permit()).is_empty());
    assert_eq!(scene.inner().blobs.bytes_above(scene.inner().clock.now()), 0);
    // Half of it, and then no more.
    assert_eq!(scene.pin("large:1*", false).await.unwrap().kept.names, 3);
    assert_eq!(scene.pin("large:1", false).await.unwrap().more_bytes, 0);
    let refused = scene.pin("large:*", false).await.unwrap_err();
    assert!(matches!(refused, Error::TooMuchToKeep { kept: 3_000_000.., .. }), "{refused}");
    scene.fixture.cache.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pin_is_in_force_after_a_kill_and_after_the_catalog_was_made_anew() {
    for catalog_is_gone in [false, true] {
        let mut scene = Scene::open(Vec::new()).await;
        for name in ["kept", "other"] {
            scene.push(name, 70_000).await;
        }
        scene.pin("kept", false).await.unwrap();
        scene.start_again(catalog_is_gone).await;
        assert_eq!(scene.fixture.cache.pins(&scene.permit()).len(), 1);
        scene.inner().clock.advance(3 * LEASE);
        scene.let_all_go().await;
        assert!(scene.is_there("kept").await && !scene.is_there("other").await, "{catalog_is_gone}");
        scene.fixture.cache.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependencies_and_sources_are_pinned_by_name_and_what_is_not_there_is_told() {
    let scene = Scene::open(Vec::new()).await;
    let fixture = &scene.fixture;
    let uri = |kind: &str, name: &str| format!("urn:fdc:buildstream.build:2020:{kind}:{name}");
    let tree = fixture.put_message(&directory(&[], &[])).await.unwrap();
    let sources = fixture.put_message(&directory(&[("s", tree)], &[])).await.unwrap();
    let needs = |name: &str| buildstream::artifact::Dependency {
        project_name: "sdk".into(),
        element_name: format!("parts/{name}.bst"),
        cache_key: "1".into(),
        ..Default::default()
    };
    let chain =
        [("app", vec!["lib", "tool"]), ("lib", vec!["base"]), ("base", vec!["gone"]), ("tool", vec![])];
    for (name, needed) in chain {
        let message = buildstream::Artifact {
            strong_key: name.into(),
            build_deps: needed.into_iter().map(needs).collect(),
            ..artifact(tree, (name != "tool").then_some(sources))
        };
        let digest = fixture.put_message(&message).await.unwrap();
        let name = uri("artifact", &format!("sdk/parts-{name}/1"));
        fixture.push(AssetKind::Blob, &[&name], digest).await.unwrap();
    }
    let source = buildstream::Source { files: Some(wire(sources)), ..Default::default() };
    let source = fixture.put_message(&source).await.unwrap();
    fixture.push(AssetKind::Blob, &[&uri("source", "of-all")], source).await.unwrap();
    fixture.push(AssetKind::Blob, &["stranger"], tree).await.unwrap();

    let pinned = scene.pin("artifact:sdk/parts-app/*", true).await.unwrap();
    let artifact = |name: &str| format!("artifact:sdk/parts-{name}/1");
    let mut names = pinned.names.clone();
    names.sort();
    let expected =
        [artifact("app"), artifact("base"), artifact("lib"), artifact("tool"), "source:of-all".into()];
    assert_eq!(names, expected);
    let patterns: Vec<_> = pinned.pins.iter().map(|pin| &*pin.terms.pattern).collect();
    let gone = artifact("gone");
    let tool = artifact("tool");
    let pins = [&artifact("base"), &gone, &artifact("lib"), &tool, "source:of-all"];
    assert_eq!(patterns, [&["artifact:sdk/parts-app/*"][..], &pins].concat());
    let missing: Vec<_> = pinned.missing.iter().map(|missing| &missing.name).collect();
    assert_eq!((missing, pinned.missing_count), (vec![&tool, &gone], 2));

    scene.inner().clock.advance(3 * LEASE);
    scene.let_all_go().await;
    assert_eq!(scene.fixture.cache.figures().names, 5);
    assert!(scene.is_there(&uri("artifact", "sdk/parts-base/1")).await);
    scene.fixture.cache.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_more_than_its_share_goes_by_its_last_use() {
    let rule = RetentionRule {
        names: Some(Pattern::new("shared:*").unwrap()),
        at_most: Some(350_000),
        ..RetentionRule::default()
    };
    let scene = Scene::open(vec![rule]).await;
    scene.push("other", 100_000).await;
    for number in 0..5 {
        scene.push(&format!("shared:{number}"), 100_000).await;
    }
    // Another name of the same content takes nothing.
    let fourth = scene.push("shared:4", 100_000).await;
    scene.fixture.push(AssetKind::Blob, &["shared:again"], fourth).await.unwrap();
    scene.inner().clock.advance(LEASE / 4);
    assert!(scene.is_there("shared:0").await);
    scene.pin("shared:1", false).await.unwrap();
    let report = scene.fixture.cache.retention_plan(&scene.permit()).await.unwrap();
    let rule = &report.rules[0];
    assert_eq!((rule.goes.names, rule.goes.bytes, rule.leaves.names), (2, 200_000, 3));
    assert_eq!((report.pinned.names, report.unmatched.names), (1, 1));
    assert_eq!(report.going, ["shared:2", "shared:3"]);
    let done = scene.inner().relevel().await.unwrap();
    assert_eq!((done.ended_names, done.kept_names), (2, 1));
    for (name, stays) in [("0", true), ("1", true), ("2", false), ("3", false), ("4", true), ("again", true)]
    {
        assert_eq!(scene.is_there(&format!("shared:{name}")).await, stays, "{name}");
    }
    assert!(scene.is_there("other").await);
    assert_eq!(scene.inner().relevel().await.unwrap().ended_names, 0);
    scene.fixture.cache.close().await;
}
