//! The power goes at each call to the disk in turn: what was acknowledged as whole is served whole afterwards.
//!
//! Packs and journal lie on the memory disk, which yields any image that a power cut may leave. The database lies on
//! real files beside it, which are as SQLite left them: whatever was committed there is there, as its own syncs see to.

use std::sync::Arc;

use millpond_store::disk::{Disk, Effect, Fault, FaultyDisk, MemoryDisk};
use rustix::io::Errno;

use super::*;

/// Pushes artifacts that share blobs until something fails; returns what was acknowledged.
async fn push_until_cut(fixture: &Fixture) -> Vec<(String, Digest)> {
    let mut acknowledged: Vec<(String, Digest)> = Vec::new();
    for number in 0..12_u8 {
        let push = async {
            let own = fixture.put(vec![number; 3000 * usize::from(number)]).await?;
            let shared = fixture.put(vec![b's'; 700]).await?;
            // Too large for the pack that small blobs share.
            let large = fixture.put(vec![number | 128; 300_000]).await?;
            let child = fixture.put_message(&directory(&[("own", own), ("large", large)], &[])).await?;
            let root = fixture.put_message(&directory(&[("shared", shared)], &[("child", child)])).await?;
            let blob = fixture.put_message(&artifact(root, None)).await?;
            let (strong, weak) = (format!("{ARTIFACT}{number}"), format!("{ARTIFACT}weak"));
            let published = fixture.push(AssetKind::Blob, &[&strong, &weak], blob).await?;
            Ok::<_, Error>((strong, weak, blob, published))
        };
        // A name that a failed disk cannot take in is answered as one that waits: no promise.
        let Ok((strong, weak, blob, Published::Whole)) = push.await else { break };
        acknowledged.retain(|(name, _)| *name != weak);
        acknowledged.extend([(strong, blob), (weak, blob)]);
    }
    acknowledged
}

async fn check_whole(fixture: &Fixture, acknowledged: &[(String, Digest)], context: &str) {
    for (uri, digest) in acknowledged {
        let found = fixture.fetch_digest(AssetKind::Blob, uri).await;
        if uri.ends_with("weak") {
            // The next push may have been committed without being acknowledged.
            assert!(found.is_some(), "{context}: {uri}");
        } else {
            assert_eq!(found, Some(*digest), "{context}: {uri}");
        }
        let mut to_read = vec![found.unwrap()];
        while let Some(digest) = to_read.pop() {
            let content =
                fixture.read(digest).await.unwrap_or_else(|error| panic!("{context}: {uri}: {error}"));
            assert_eq!(Digest::of(&content), digest, "{context}");
            if let Ok(artifact) = buildstream::Artifact::decode(content.clone())
                && let Some(files) = artifact.files
            {
                to_read.push(Digest::parse(&files.hash, files.size_bytes).unwrap());
            } else if let Ok(found) = reapi::Directory::decode(content) {
                let files = found.files.iter().filter_map(|node| node.digest.as_ref());
                let children = found.directories.iter().filter_map(|node| node.digest.as_ref());
                to_read
                    .extend(files.chain(children).filter_map(|d| Digest::parse(&d.hash, d.size_bytes).ok()));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_names_survive_a_power_cut_at_any_call() {
    let mut cuts = 0;
    for nth in (1_u64..).step_by(3) {
        let data = tempfile::tempdir().unwrap();
        let memory = Arc::new(MemoryDisk::default());
        let fault = Fault { call: None, nth, effect: Effect::CutShort(Errno::IO), lasting: true };
        let faulty = Arc::new(FaultyDisk::new(Arc::clone(&memory) as Arc<dyn Disk>, fault));
        let disk = Arc::clone(&faulty) as Arc<dyn Disk>;
        let Ok((cache, _)) = Cache::open_on(options(data.path()), move |_| Ok(disk)).await else {
            continue;
        };
        let fixture = Fixture::of(cache);
        let acknowledged = push_until_cut(&fixture).await;
        let struck = faulty.has_struck();
        fixture.cache.close().await;
        drop(fixture);
        for seed in 0..3 {
            // Opening writes: each image gets files of the database of its own.
            let copy = tempfile::tempdir().unwrap();
            for entry in std::fs::read_dir(data.path()).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
            let image = Arc::new(memory.crash(seed)) as Arc<dyn Disk>;
            let (cache, _) = Cache::open_on(options(copy.path()), move |_| Ok(image)).await.unwrap();
            let fixture = Fixture::of(cache);
            check_whole(&fixture, &acknowledged, &format!("call {nth}, seed {seed}")).await;
            fixture.cache.close().await;
        }
        cuts += 1;
        if !struck {
            break;
        }
    }
    assert!(cuts > 20, "only {cuts} runs got so far as to be cut");
}
