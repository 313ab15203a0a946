//! The server under test, and the ways to call it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use bytes::Bytes;
use millpond_cache::{Bounds, Cache, CacheOptions, InstanceOptions, MaxSize};
use millpond_proto::asset::fetch_client::FetchClient;
use millpond_proto::asset::push_client::PushClient;
use millpond_proto::buildstream::reference_storage_client::ReferenceStorageClient;
use millpond_proto::bytestream::WriteRequest;
use millpond_proto::bytestream::byte_stream_client::ByteStreamClient;
use millpond_proto::reapi;
use millpond_proto::reapi::action_cache_client::ActionCacheClient;
use millpond_proto::reapi::capabilities_client::CapabilitiesClient;
use millpond_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use millpond_server::{Listener, Options, Proxies, Server};
use prost::Message;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

pub const CASD: &str = "grpc-c++/1.81.1 grpc-c/54.0.0 (linux; chttp2)";
pub const BUILDSTREAM_1: &str = "grpc-python/1.62.1 grpc-c/39.0.0 (linux; chttp2)";

pub struct TestServer {
    server: Server,
    stop: oneshot::Sender<()>,
    cache: Arc<Cache>,
    data: TempDir,
    pub open: SocketAddr,
    pub pull_only: SocketAddr,
    pub metrics: SocketAddr,
}

/// On a free port, in plain text.
fn listener(bounds: Bounds) -> Listener {
    Listener { socket: bind(), bounds, tls: None, proxies: Proxies::default(), drops_writes: false }
}

fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(None, &Options::default()).await
    }

    pub async fn start_with(max_size: Option<u64>, options: &Options) -> Self {
        let data = tempfile::tempdir().unwrap();
        let cache_options = CacheOptions {
            data: data.path().to_owned(),
            max_size: max_size.map(MaxSize::Bytes),
            instances: ["main", "team/a"]
                .map(|name| InstanceOptions { name: name.into(), ..InstanceOptions::default() })
                .into(),
            ..CacheOptions::default()
        };
        let cache = Arc::new(Cache::open(cache_options).await.unwrap().0);
        let listeners = vec![listener(Bounds::OPEN), listener(Bounds::PULL_ONLY)];
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let server = Server::start(
            listeners,
            Some(bind()),
            None,
            Arc::clone(&cache),
            Arc::default(),
            options,
            shutdown,
        )
        .unwrap();
        let [open, pull_only] = server.addresses().try_into().unwrap();
        let metrics = server.metrics_address().unwrap();
        Self { server, stop, cache, data, open, pull_only, metrics }
    }

    /// Tells the server to end; what is returned ends with it.
    pub fn stop(self) -> impl Future<Output = ()> {
        let _ = self.stop.send(());
        // All of it: the data directory goes with the last of its parts.
        let (server, cache, data) = (self.server, self.cache, self.data);
        async move {
            server.finished().await;
            cache.close().await;
            drop(data);
        }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.open, CASD).await
    }

    pub async fn buildstream1(&self) -> Client {
        Client::connect(self.open, BUILDSTREAM_1).await
    }

    pub async fn reader(&self) -> Client {
        Client::connect(self.pull_only, CASD).await
    }
}

/// All services on one connection.
#[derive(Clone)]
pub struct Client {
    pub channel: Channel,
    pub cas: ContentAddressableStorageClient<Channel>,
    pub bytes: ByteStreamClient<Channel>,
    pub actions: ActionCacheClient<Channel>,
    pub capabilities: CapabilitiesClient<Channel>,
    pub fetch: FetchClient<Channel>,
    pub push: PushClient<Channel>,
    pub references: ReferenceStorageClient<Channel>,
}

impl Client {
    pub async fn connect(address: SocketAddr, agent: &'static str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.user_agent(agent).unwrap().connect().await.unwrap();
        const LIMIT: usize = 64 * 1024 * 1024;
        let cas = ContentAddressableStorageClient::new(channel.clone());
        Self {
            cas: cas.max_decoding_message_size(LIMIT),
            bytes: ByteStreamClient::new(channel.clone()),
            actions: ActionCacheClient::new(channel.clone()),
            capabilities: CapabilitiesClient::new(channel.clone()),
            fetch: FetchClient::new(channel.clone()),
            push: PushClient::new(channel.clone()),
            references: ReferenceStorageClient::new(channel.clone()),
            channel,
        }
    }

    /// Stores blobs and checks that each was taken.
    pub async fn put(&mut self, blobs: &[&[u8]]) {
        let response = self.cas.batch_update_blobs(update(blobs)).await.unwrap().into_inner();
        assert_eq!(response.responses.len(), blobs.len());
        for outcome in response.responses {
            assert_eq!(outcome.status.unwrap().code, 0);
        }
    }

    /// Stores a message as a blob.
    pub async fn put_message(&mut self, message: &impl Message) -> reapi::Digest {
        let encoded = message.encode_to_vec();
        self.put(&[&encoded]).await;
        digest(&encoded)
    }

    /// Writes a stream of messages.
    pub async fn write(&mut self, messages: Vec<WriteRequest>) -> Result<i64, Status> {
        let response = self.bytes.write(tokio_stream::iter(messages)).await?;
        Ok(response.into_inner().committed_size)
    }

    /// Which of these are missing.
    pub async fn missing(&mut self, digests: Vec<reapi::Digest>) -> Result<Vec<reapi::Digest>, Status> {
        let request = reapi::FindMissingBlobsRequest { blob_digests: digests, ..Default::default() };
        Ok(self.cas.find_missing_blobs(request).await?.into_inner().missing_blob_digests)
    }

    /// A blob read as a stream.
    pub async fn read(&mut self, name: &str, offset: i64, limit: i64) -> Result<Vec<u8>, Status> {
        let request = millpond_proto::bytestream::ReadRequest {
            resource_name: name.into(),
            read_offset: offset,
            read_limit: limit,
        };
        let mut stream = self.bytes.read(request).await?.into_inner();
        let mut content = Vec::new();
        while let Some(message) = stream.message().await? {
            assert!(message.data.len() <= 2 * 1024 * 1024);
            content.extend_from_slice(&message.data);
        }
        Ok(content)
    }
}

pub fn digest(content: &[u8]) -> reapi::Digest {
    let digest = millpond_cache::Digest::of(content);
    reapi::Digest { hash: digest.hash_hex().into(), size_bytes: digest.size_i64() }
}

/// A digest of the right form that nobody has.
pub fn unknown_digest() -> reapi::Digest {
    reapi::Digest { hash: "0f".repeat(32).into(), size_bytes: 4 }
}

pub fn update(blobs: &[&[u8]]) -> reapi::BatchUpdateBlobsRequest {
    let request = |blob: &&[u8]| reapi::batch_update_blobs_request::Request {
        digest: Some(digest(blob)),
        data: Bytes::copy_from_slice(blob),
        compressor: 0,
    };
    reapi::BatchUpdateBlobsRequest { requests: blobs.iter().map(request).collect(), ..Default::default() }
}

pub fn upload_name(content: &[u8]) -> String {
    let digest = digest(content);
    format!("uploads/6b1f0a52-8f0a-4d3f-9d0a-0a4f6e1c2b3d/blobs/{}/{}", digest.hash, digest.size_bytes)
}

/// The messages of an upload, of so many bytes each.
pub fn messages(blob: &[u8], bytes: usize) -> Vec<WriteRequest> {
    let message = |offset: usize| WriteRequest {
        resource_name: if offset == 0 { upload_name(blob) } else { String::new() },
        write_offset: offset as i64,
        finish_write: offset + bytes >= blob.len(),
        data: Bytes::copy_from_slice(&blob[offset..blob.len().min(offset + bytes)]),
    };
    (0..blob.len()).step_by(bytes).map(message).collect()
}

pub fn blob_name(digest: &reapi::Digest) -> String {
    format!("blobs/{}/{}", digest.hash, digest.size_bytes)
}

/// Bytes that differ for each seed and do not repeat soon.
pub fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut content: Vec<u8> = std::iter::from_fn(|| Some(next())).take(bytes / 8 + 1).flatten().collect();
    content.truncate(bytes);
    content
}

/// The code of a call that must have failed, and its words must tell what to do.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    let status = answer.unwrap_err();
    assert!(!status.message().is_empty(), "{status:?}");
    status.code()
}

#[track_caller]
pub fn ok<T>(answer: Result<Response<T>, Status>) -> T {
    answer.unwrap().into_inner()
}
