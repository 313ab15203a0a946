//! A server that hashes what it is sent, remembers the digests, and stores nothing: what `millpond bench` measures of it
//! is the most that a server with the same libraries could do on the machine.
//!
//! Its argument is the port, on loopback; without one it takes a free one. Reads answer zeroes. Names and trees are not offered.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use millpond_proto::bytestream::byte_stream_server::{ByteStream, ByteStreamServer};
use millpond_proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use millpond_proto::reapi::content_addressable_storage_server::{
    ContentAddressableStorage, ContentAddressableStorageServer,
};
use millpond_proto::reapi::{
    BatchReadBlobsRequest, BatchReadBlobsResponse, BatchUpdateBlobsRequest, BatchUpdateBlobsResponse, Digest,
    FindMissingBlobsRequest, FindMissingBlobsResponse, GetTreeRequest, GetTreeResponse,
    batch_read_blobs_response, batch_update_blobs_request, batch_update_blobs_response,
};
use sha2::{Digest as _, Sha256};
use tokio_stream::Stream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming, async_trait};

/// The same as Millpond's, so that the wire costs the same.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const FRAME_BYTES_MAX: u32 = 1 << 20;
const STEP_BYTES: usize = 1 << 20;
static ZEROES: [u8; STEP_BYTES] = [0; STEP_BYTES];

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The digests that it was sent.
#[derive(Default)]
struct Nothing(Mutex<HashSet<String>>);

impl Nothing {
    fn remember(&self, hash: Sha256) -> String {
        let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hash.clone());
        hash
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn not_here<T>() -> Result<T, Status> {
    Err(Status::new(Code::Unimplemented, "this server stores nothing"))
}

fn zeroes(size: usize) -> Bytes {
    match ZEROES.get(..size) {
        Some(zeroes) => Bytes::from_static(zeroes),
        None => vec![0; size].into(),
    }
}

#[async_trait]
impl ContentAddressableStorage for Nothing {
    async fn find_missing_blobs(
        &self,
        request: Request<FindMissingBlobsRequest>,
    ) -> Result<Response<FindMissingBlobsResponse>, Status> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = request.into_inner().blob_digests.into_iter();
        let missing_blob_digests = asked.filter(|digest| !known.contains(&*digest.hash)).collect();
        Ok(Response::new(FindMissingBlobsResponse { missing_blob_digests }))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<BatchUpdateBlobsRequest>,
    ) -> Result<Response<BatchUpdateBlobsResponse>, Status> {
        let take = |blob: batch_update_blobs_request::Request| {
            let hash = self.remember(Sha256::new_with_prefix(&blob.data));
            let digest = Some(Digest { hash: hash.into(), size_bytes: blob.data.len() as i64 });
            batch_update_blobs_response::Response { digest, status: None }
        };
        let responses = request.into_inner().requests.into_iter().map(take).collect();
        Ok(Response::new(BatchUpdateBlobsResponse { responses }))
    }

    async fn batch_read_blobs(
        &self,
        request: Request<BatchReadBlobsRequest>,
    ) -> Result<Response<BatchReadBlobsResponse>, Status> {
        let give = |digest: Digest| batch_read_blobs_response::Response {
            data: zeroes(digest.size_bytes as usize),
            digest: Some(digest),
            ..Default::default()
        };
        let responses = request.into_inner().digests.into_iter().map(give).collect();
        Ok(Response::new(BatchReadBlobsResponse { responses }))
    }

    type GetTreeStream = Answers<GetTreeResponse>;

    async fn get_tree(&self, _: Request<GetTreeRequest>) -> Result<Response<Self::GetTreeStream>, Status> {
        not_here()
    }
}

#[async_trait]
impl ByteStream for Nothing {
    type ReadStream = Answers<ReadResponse>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let name = request.into_inner().resource_name;
        let size: usize = name.rsplit('/').next().and_then(|size| size.parse().ok()).unwrap_or_default();
        let steps = (0..size).step_by(STEP_BYTES);
        let answers =
            steps.map(move |offset| Ok(ReadResponse { data: zeroes(STEP_BYTES.min(size - offset)) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteRequest>>,
    ) -> Result<Response<WriteResponse>, Status> {
        let mut messages = request.into_inner();
        let (mut hash, mut committed_size) = (Sha256::new(), 0);
        while let Some(message) = messages.message().await? {
            hash.update(&message.data);
            committed_size += message.data.len() as i64;
        }
        self.remember(hash);
        Ok(Response::new(WriteResponse { committed_size }))
    }

    async fn query_write_status(
        &self,
        _: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        not_here()
    }
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "whoever starts it waits for this line")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).unwrap_or_default().parse().unwrap_or(0);
    let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, port).into())?.with_nodelay(Some(true));
    println!("listening on {}", incoming.local_addr()?);
    let nothing = Arc::new(Nothing::default());
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .add_service(
            ContentAddressableStorageServer::from_arc(Arc::clone(&nothing))
                .max_decoding_message_size(16 << 20),
        )
        .add_service(ByteStreamServer::from_arc(nothing).max_decoding_message_size(16 << 20))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
