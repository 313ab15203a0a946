//! What goes wrong inside, and how little of it is heard.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use millpond_store::Level;
use millpond_store::disk::{Call, Disk, Effect, Fault, FaultyDisk, MemoryDisk};
use rustix::io::Errno;
use tracing::field::{Field, Visit};
use tracing::span;

use super::*;
use crate::access::Allowed;

/// The warnings and errors that this thread writes to the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn count(&self, message: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(message)).count()
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

fn packs(data: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(data.join("packs")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let mut packs: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    packs.sort();
    packs
}

fn number(pack: &Path) -> u32 {
    u32::from_str_radix(pack.file_stem().unwrap().to_str().unwrap(), 16).unwrap()
}

/// Flips a bit of a blob where it lies.
fn flip(data: &Path, content: &str) {
    for pack in packs(data) {
        let mut bytes = fs::read(&pack).unwrap();
        if let Some(at) = bytes.windows(content.len()).position(|window| window == content.as_bytes()) {
            bytes[at] ^= 1;
            fs::write(&pack, bytes).unwrap();
        }
    }
}

#[tokio::test]
async fn what_names_lack_is_counted_until_they_are_whole_again_or_gone() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let contents = ["what comes again", "what does not come again"];
    for (uri, content) in [("urn:healed", contents[0]), ("urn:gone", contents[1])] {
        let blob = fixture.put(content).await.unwrap();
        fixture.push(AssetKind::Blob, &[uri], blob).await.unwrap();
    }
    fixture.cache.close().await;
    drop(fixture);
    contents.iter().for_each(|content| flip(data.path(), content));
    let fixture = Fixture::open(data.path()).await;
    let inner = &fixture.cache.inner;
    let lacking = || {
        let figures = fixture.cache.figures();
        (figures.names_lacking, figures.blobs_lacking)
    };
    assert_eq!(lacking(), (0, 0));
    for uri in ["urn:healed", "urn:gone"] {
        assert_eq!(fixture.fetch_digest(AssetKind::Blob, uri).await, None);
    }
    assert_eq!(lacking(), (2, 2));
    inner.look_at_lacking_names().await;
    assert_eq!(lacking(), (2, 2));
    fixture.put(contents[0]).await.unwrap();
    inner.look_at_lacking_names().await;
    assert_eq!(lacking(), (1, 1));
    let instance = fixture.cache.instance("").unwrap();
    let gone = crate::name::asset(&instance, AssetKind::Blob, "urn:gone", "");
    let seq = inner.catalog.look_up(&gone).await.unwrap().unwrap().seq;
    assert!(inner.catalog.remove(&gone, seq).await.unwrap());
    inner.look_at_lacking_names().await;
    assert_eq!(lacking(), (0, 0));
    let counted = fixture.cache.figures().names_counted;
    let other = counted.iter().find(|counted| counted.kind == "other").unwrap();
    assert!(other.look_ups.contains(&("incomplete", 2)), "{other:?}");
}

#[tokio::test]
async fn broken_name_asked_for_a_thousand_times_fills_no_log() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let content = "what will be found bad";
    let blob = fixture.put(content).await.unwrap();
    fixture.push(AssetKind::Blob, &["urn:broken"], blob).await.unwrap();
    fixture.cache.close().await;
    drop(fixture);
    flip(data.path(), content);
    let fixture = Fixture::open(data.path()).await;
    let log = Log::default();
    let _writes = tracing::subscriber::set_default(log.clone());
    for _ in 0..1000 {
        assert_eq!(fixture.fetch_digest(AssetKind::Blob, "urn:broken").await, None);
    }
    assert_eq!(fixture.cache.figures().incomplete_lookups, 1000);
    // Two if it took more than ten seconds.
    assert!((1..=2).contains(&log.count("is not whole")), "{:?}", log.0);
}

#[tokio::test]
async fn name_whose_blob_turns_out_to_be_no_artifact_waits_no_longer() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let uri = format!("{ARTIFACT}key");
    let content = Bytes::from_static(b"\xff\xff\xff\xff");
    let pushed = fixture.push(AssetKind::Blob, &[&uri], Digest::of(&content)).await;
    assert_eq!(pushed.unwrap(), Published::Pending);
    assert_eq!(fixture.cache.figures().pending_names, 1);
    fixture.put(content).await.unwrap();
    let log = Log::default();
    let _writes = tracing::subscriber::set_default(log.clone());
    for _ in 0..3 {
        assert_eq!(fixture.fetch_digest(AssetKind::Blob, &uri).await, None);
        assert_eq!(fixture.cache.figures().pending_names, 0);
    }
    assert_eq!(log.count("that waited for its blobs is given up"), 1, "{:?}", log.0);
    assert_eq!(log.0.lock().unwrap().len(), 1, "{:?}", log.0);
}

#[tokio::test]
async fn bad_records_of_packs_that_are_gone_are_forgotten_at_the_start() {
    let data = tempfile::tempdir().unwrap();
    for content in ["one", "two"] {
        let fixture = Fixture::open(data.path()).await;
        fixture.put(content).await.unwrap();
        fixture.cache.close().await;
    }
    let packs = packs(data.path());
    let (first, last) = (packs.first().unwrap(), packs.last().unwrap());
    assert!(number(first) < number(last), "{packs:?}");
    let above = number(last) + 1000;
    let fixture = Fixture::open(data.path()).await;
    for (pack, offset) in [(number(first), 7), (number(last), 1 << 20), (above, 7)] {
        fixture.cache.inner.catalog.record_damage(pack, offset).unwrap();
    }
    fixture.cache.close().await;
    drop(fixture);
    fs::remove_file(first).unwrap();
    let fixture = Fixture::open(data.path()).await;
    // That number would otherwise be given out again, and the row hit a pack that it does not mean.
    assert_eq!(fixture.cache.inner.catalog.damage().unwrap(), [(number(last), 1 << 20), (above, 7)]);
}

#[tokio::test]
async fn poisoned_catalog_leaves_no_uses_in_memory() {
    // Again and again, because the store's own upkeep writes too, whenever it is its turn.
    for nth in (1..16).cycle().take(600) {
        let data = tempfile::tempdir().unwrap();
        let fault = Fault { call: Some(Call::Write), nth, effect: Effect::Fail(Errno::IO), lasting: false };
        let faulty = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default()), fault));
        let disk = Arc::clone(&faulty) as Arc<dyn Disk>;
        let Ok((cache, _)) = Cache::open_on(options(data.path()), move |_| Ok(disk)).await else { continue };
        let fixture = Fixture::of(cache);
        let Ok(blob) = fixture.put("x").await else { continue };
        if fixture.push(AssetKind::Blob, &["urn:x"], blob).await.is_err() {
            continue;
        }
        let inner = &fixture.cache.inner;
        if !inner.catalog.figures().poisoned {
            continue;
        }
        let value = inner.look_up(&Allowed::stored(&asset_name("urn:x"))).await.unwrap();
        let use_it = |later| {
            let level = Level::from_seconds(value.level().seconds() + later);
            assert!(inner.gate.record_use(&value, level, level, || Level::ZERO));
            inner.gate.uses().len()
        };
        assert_eq!(use_it(100), 1);
        inner.flush_uses().await;
        assert_eq!(inner.gate.uses().len(), 0);
        assert_eq!(use_it(200), 0);
        return;
    }
    panic!("no write was that of the journal");
}

fn asset_name(uri: &str) -> millpond_store::catalog::Name {
    millpond_store::catalog::Name {
        instance: "".into(),
        kind: millpond_store::catalog::NameKind::AssetBlob,
        text: uri.into(),
        qualifiers: "".into(),
    }
}
