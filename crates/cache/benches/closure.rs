//! Walking closures: publishing trees, new ones and known ones, and looking names up. A publish waits for the disk as
//! well; the system's temporary directory may be in memory.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run may end at once, as a test may")]

use bytes::Bytes;
use divan::Bencher;
use millpond_cache::{
    Access, AssetKind, AssetPush, AssetQuery, Bounds, Cache, CacheOptions, Client, Digest, MaxSize, Permit,
    Published, Push,
};
use millpond_proto::reapi;
use prost::Message;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const DIRECTORIES: u64 = 100;
const FILES: u64 = 100;

fn main() {
    divan::main();
}

struct Bench {
    cache: Cache,
    push: Permit<Push>,
    subdirectories: Vec<reapi::DirectoryNode>,
    runtime: Runtime,
    _volume: TempDir,
}

fn wire(digest: Digest) -> reapi::Digest {
    reapi::Digest { hash: digest.hash_hex().into(), size_bytes: digest.size_i64() }
}

impl Bench {
    /// With 100 directories of 100 files each.
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let volume = tempfile::tempdir().unwrap();
        let options = CacheOptions {
            data: volume.path().to_owned(),
            max_size: Some(MaxSize::Bytes(4 << 30)),
            ..CacheOptions::default()
        };
        let (cache, _) = runtime.block_on(Cache::open(options)).unwrap();
        let push =
            Access::anonymous(Bounds::OPEN).push(cache.instance("").unwrap(), &Client::default()).unwrap();
        let mut bench = Self { cache, push, subdirectories: Vec::new(), runtime, _volume: volume };
        bench.subdirectories = (0..DIRECTORIES).map(|number| bench.subdirectory(number)).collect();
        bench
    }

    fn subdirectory(&self, number: u64) -> reapi::DirectoryNode {
        let contents: Vec<Bytes> =
            (0..FILES).map(|file| Bytes::from(format!("file {file} of directory {number}"))).collect();
        let files = contents.iter().enumerate().map(|(file, content)| reapi::FileNode {
            name: format!("file-{file}"),
            digest: Some(wire(Digest::of(content))),
            ..Default::default()
        });
        let directory = reapi::Directory { files: files.collect(), ..Default::default() };
        self.put(contents);
        reapi::DirectoryNode {
            name: format!("directory-{number}"),
            digest: Some(wire(self.put_message(&directory))),
        }
    }

    fn put(&self, contents: Vec<Bytes>) {
        let blobs = contents.into_iter().map(|content| (Digest::of(&content), content)).collect();
        for outcome in self.runtime.block_on(self.cache.put_blobs(&self.push, blobs)) {
            outcome.unwrap();
        }
    }

    fn put_message(&self, message: &impl Message) -> Digest {
        let content = Bytes::from(message.encode_to_vec());
        let digest = Digest::of(&content);
        self.put(vec![content]);
        digest
    }

    /// A tree that no other number gives, with all the directories below it.
    fn root(&self, number: u64) -> Digest {
        let link =
            reapi::SymlinkNode { name: "number".into(), target: number.to_string(), ..Default::default() };
        self.put_message(&reapi::Directory {
            directories: self.subdirectories.clone(),
            symlinks: vec![link],
            ..Default::default()
        })
    }

    fn publish(&self, digest: Digest) {
        let asset = AssetPush {
            kind: AssetKind::Directory,
            uris: vec!["urn:example:tree".into()],
            qualifiers: Vec::new(),
            digest,
            expire_at: None,
            references_blobs: Vec::new(),
            references_directories: Vec::new(),
        };
        let published = self.runtime.block_on(self.cache.push_asset(&self.push, asset)).unwrap();
        assert_eq!(published, Published::Whole);
    }
}

#[divan::bench(max_time = 3)]
fn publish_new_tree(bencher: Bencher<'_, '_>) {
    let bench = Bench::start();
    let mut number = 0;
    bencher
        .with_inputs(|| {
            number += 1;
            bench.root(number)
        })
        .bench_local_values(|root| bench.publish(root));
}

#[divan::bench(max_time = 3)]
fn publish_known_tree(bencher: Bencher<'_, '_>) {
    let bench = Bench::start();
    let root = bench.root(0);
    bench.publish(root);
    bencher.bench_local(|| bench.publish(root));
}

#[divan::bench]
fn look_up(bencher: Bencher<'_, '_>) {
    let bench = Bench::start();
    let root = bench.root(0);
    bench.publish(root);
    let pull = bench.push.to_pull();
    bencher.bench_local(|| {
        let query = AssetQuery {
            kind: AssetKind::Directory,
            uris: vec!["urn:example:tree".into()],
            qualifiers: Vec::new(),
            oldest_content_accepted: None,
        };
        bench.runtime.block_on(bench.cache.fetch_asset(&pull, query)).unwrap()
    });
}
