//! The domain over real files, and over the memory disk where the power goes.

mod access;
mod backup_hangs;
mod bad_sector;
mod clocks;
mod closures;
mod faults;
mod flips;
mod instances;
mod kept;
mod letting_go;
mod no_space;
mod overload;
mod overwrite;
mod power_cut;
mod publishing;
mod slow_disk;
mod stored_volume;
mod usage;

use std::path::Path;

use bytes::Bytes;
use millpond_proto::{buildstream, reapi};
use millpond_store::Digest;
use prost::Message;

use crate::{
    Access, AssetKind, AssetPush, AssetQuery, Bounds, Cache, CacheOptions, Client, Error, FoundAsset,
    InstanceOptions, MaxSize, Permit, Published, Pull, Push, Result,
};

/// A cache with a permit for everything.
struct Fixture {
    cache: Cache,
    push: Permit<Push>,
    pull: Permit<Pull>,
}

fn options(data: &Path) -> CacheOptions {
    CacheOptions {
        data: data.to_owned(),
        max_size: Some(MaxSize::Bytes(256 << 20)),
        instances: vec![InstanceOptions { name: "other".into(), ..InstanceOptions::default() }],
        ..CacheOptions::default()
    }
}

impl Fixture {
    async fn open(data: &Path) -> Self {
        Self::of(Cache::open(options(data)).await.unwrap().0)
    }

    fn of(cache: Cache) -> Self {
        let push =
            Access::anonymous(Bounds::OPEN).push(cache.instance("").unwrap(), &Client::default()).unwrap();
        Self { pull: push.to_pull(), push, cache }
    }

    async fn put(&self, content: impl Into<Bytes>) -> Result<Digest> {
        let content = content.into();
        let digest = Digest::of(&content);
        self.cache.put_blobs(&self.push, vec![(digest, content)]).await.remove(0).map(|()| digest)
    }

    async fn put_message(&self, message: &impl Message) -> Result<Digest> {
        self.put(message.encode_to_vec()).await
    }

    async fn push(&self, kind: AssetKind, uris: &[&str], digest: Digest) -> Result<Published> {
        self.cache.push_asset(&self.push, asset(kind, uris, digest)).await
    }

    async fn fetch(&self, kind: AssetKind, uri: &str) -> Result<FoundAsset> {
        let query = AssetQuery {
            kind,
            uris: vec![uri.into()],
            qualifiers: Vec::new(),
            oldest_content_accepted: None,
        };
        self.cache.fetch_asset(&self.pull, query).await
    }

    async fn fetch_digest(&self, kind: AssetKind, uri: &str) -> Option<Digest> {
        match self.fetch(kind, uri).await {
            Ok(found) => Some(found.digest),
            Err(Error::NotFound(_)) => None,
            Err(error) => panic!("{uri}: {error}"),
        }
    }

    async fn read(&self, digest: Digest) -> Result<Bytes> {
        self.cache.read_blobs(&self.pull, &[digest]).await.remove(0)
    }
}

fn asset(kind: AssetKind, uris: &[&str], digest: Digest) -> AssetPush {
    AssetPush {
        kind,
        uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
        qualifiers: Vec::new(),
        digest,
        expire_at: None,
        references_blobs: Vec::new(),
        references_directories: Vec::new(),
    }
}

fn wire(digest: Digest) -> reapi::Digest {
    reapi::Digest { hash: digest.hash_hex().into(), size_bytes: digest.size_i64() }
}

fn directory(files: &[(&str, Digest)], directories: &[(&str, Digest)]) -> reapi::Directory {
    let file = |(name, digest): &(&str, Digest)| reapi::FileNode {
        name: (*name).into(),
        digest: Some(wire(*digest)),
        ..Default::default()
    };
    let child = |(name, digest): &(&str, Digest)| reapi::DirectoryNode {
        name: (*name).into(),
        digest: Some(wire(*digest)),
    };
    reapi::Directory {
        files: files.iter().map(file).collect(),
        directories: directories.iter().map(child).collect(),
        ..Default::default()
    }
}

fn artifact(files: Digest, sources: Option<Digest>) -> buildstream::Artifact {
    buildstream::Artifact {
        version: 2,
        build_success: true,
        files: Some(wire(files)),
        sources: sources.map(wire),
        // BuildStream 2.0 to 2.6 send empty digests for what an artifact lacks.
        buildtree: Some(reapi::Digest::default()),
        ..Default::default()
    }
}

const ARTIFACT: &str = "urn:fdc:buildstream.build:2020:artifact:project/element/";
