//! The cache: what the server holds one of.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use millpond_store::Digest;

use crate::{
    AssetPush, AssetQuery, FoundAsset, InstanceName, OpenError, Permit, Published, Pull, Push, Result,
};

/// How a cache is opened.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// The data directory; made if it is not there.
    pub data: PathBuf,
    /// The most bytes that everything below the data directory may take. `None`: 90 % of the volume, leaving the
    /// smaller of 2 GB and 5 % free.
    pub max_size: Option<u64>,
    /// For how long what was looked up stays.
    pub lease: Duration,
    /// Instances beside the empty one.
    pub instances: Vec<String>,
}

/// What opening found, for the log.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The last stop was a clean one.
    pub clean: bool,
    /// Sentences about what was found damaged and set aside or rebuilt.
    pub findings: Vec<String>,
}

/// How things stand.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The most bytes that the data directory may take.
    pub limit_bytes: u64,
    /// Bytes that it takes.
    pub used_bytes: u64,
    /// Bytes of blobs that are there.
    pub live_bytes: u64,
    /// Free bytes of the volume.
    pub volume_free_bytes: u64,
    /// Blobs that are there.
    pub blobs: u64,
    /// Names in force.
    pub names: u64,
    /// Names that wait for their blobs.
    pub pending_names: u64,
    /// Names found to be not whole when they were looked up, since the start.
    pub incomplete_lookups: u64,
    /// Bad records found since the start.
    pub bad_records: u64,
    /// Why nothing is taken in, if so.
    pub poisoned: Option<String>,
}

/// An artifact cache on one volume.
#[derive(Debug)]
pub struct Cache {}

impl Cache {
    /// Opens the data directory, or makes it. Starts the background work; needs a tokio runtime.
    pub async fn open(options: CacheOptions) -> Result<(Self, Opened), OpenError> {
        let _ = options;
        todo!()
    }

    /// The instance of that name; `Invalid` if there is none.
    pub fn instance(&self, name: &str) -> Result<InstanceName> {
        let _ = name;
        todo!()
    }

    /// Publishes an asset: durable once it answers `Whole`.
    pub async fn push_asset(&self, permit: &Permit<Push>, push: AssetPush) -> Result<Published> {
        let _ = (permit, push);
        todo!()
    }

    /// Looks an asset up: whole, and for the lease; else `NotFound`.
    pub async fn fetch_asset(&self, permit: &Permit<Pull>, query: AssetQuery) -> Result<FoundAsset> {
        let _ = (permit, query);
        todo!()
    }

    /// Publishes an action result, serialised as it was sent.
    pub async fn update_action_result(
        &self,
        permit: &Permit<Push>,
        action: Digest,
        result: Bytes,
    ) -> Result<()> {
        let _ = (permit, action, result);
        todo!()
    }

    /// Looks an action result up, serialised as it was sent: whole, and for the lease; else `NotFound`.
    pub async fn action_result(&self, permit: &Permit<Pull>, action: Digest) -> Result<Bytes> {
        let _ = (permit, action);
        todo!()
    }

    /// How things stand.
    pub fn figures(&self) -> Figures {
        todo!()
    }

    /// The largest blob that is taken, in bytes.
    pub fn largest_blob(&self) -> u64 {
        todo!()
    }

    /// Ends the background work, writes down what lay in memory only, and lets the volume go.
    pub async fn close(&self) {
        todo!()
    }
}
