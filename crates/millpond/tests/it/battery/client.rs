//! One connection, and the calls of a client on it.

use std::time::Duration;

use bytes::Bytes;
use millpond_proto::asset::fetch_client::FetchClient;
use millpond_proto::asset::push_client::PushClient;
use millpond_proto::asset::{FetchBlobRequest, FetchDirectoryRequest, PushBlobRequest, PushDirectoryRequest};
use millpond_proto::buildstream::reference_storage_client::ReferenceStorageClient;
use millpond_proto::buildstream::{GetReferenceRequest, UpdateReferenceRequest};
use millpond_proto::bytestream::byte_stream_client::ByteStreamClient;
use millpond_proto::bytestream::{ReadRequest, WriteRequest};
use millpond_proto::reapi::action_cache_client::ActionCacheClient;
use millpond_proto::reapi::batch_update_blobs_request::Request;
use millpond_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use millpond_proto::reapi::{
    BatchReadBlobsRequest, BatchUpdateBlobsRequest, Digest, FindMissingBlobsRequest, GetActionResultRequest,
    GetTreeRequest, UpdateActionResultRequest,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::artifact::{Publish, Pushed};
use super::content::Blob;
use super::ledger::{Name, Target};

/// No call takes longer unless the server hangs.
const CALL: Duration = Duration::from_secs(60);
/// Answers are read up to this size.
const MESSAGE: usize = 64 << 20;

/// All services on one connection.
#[derive(Clone)]
pub(crate) struct Client {
    pub cas: ContentAddressableStorageClient<Channel>,
    pub bytes: ByteStreamClient<Channel>,
    pub actions: ActionCacheClient<Channel>,
    pub fetch: FetchClient<Channel>,
    pub push: PushClient<Channel>,
    pub references: ReferenceStorageClient<Channel>,
}

impl Client {
    pub(crate) async fn connect(url: &str) -> Result<Self, Status> {
        let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
        let endpoint = endpoint.timeout(CALL).connect_timeout(CALL);
        let channel = endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Self::on(channel))
    }

    /// On a connection that is there.
    pub(crate) fn on(channel: Channel) -> Self {
        Self {
            cas: ContentAddressableStorageClient::new(channel.clone()).max_decoding_message_size(MESSAGE),
            bytes: ByteStreamClient::new(channel.clone()).max_decoding_message_size(MESSAGE),
            actions: ActionCacheClient::new(channel.clone()).max_decoding_message_size(MESSAGE),
            fetch: FetchClient::new(channel.clone()),
            push: PushClient::new(channel.clone()),
            references: ReferenceStorageClient::new(channel),
        }
    }

    /// Which of these the server lacks.
    pub(crate) async fn missing(&mut self, blob_digests: Vec<Digest>) -> Result<Vec<Digest>, Status> {
        let request = FindMissingBlobsRequest { blob_digests, ..Default::default() };
        Ok(self.cas.find_missing_blobs(request).await?.into_inner().missing_blob_digests)
    }

    /// Uploads a batch, and is only content if each blob of it was taken.
    pub(crate) async fn update(&mut self, blobs: &[Blob]) -> Result<(), Status> {
        let request = |blob: &Blob| Request {
            digest: Some(blob.digest.clone()),
            data: blob.content.clone(),
            compressor: 0,
        };
        let requests = blobs.iter().map(request).collect();
        let request = BatchUpdateBlobsRequest { requests, ..Default::default() };
        let response = self.cas.batch_update_blobs(request).await?.into_inner();
        if response.responses.len() != blobs.len() {
            let (sent, answered) = (blobs.len(), response.responses.len());
            return Err(Status::data_loss(format!("{answered} answers to {sent} blobs")));
        }
        let refused = response.responses.into_iter().filter_map(|response| response.status);
        match refused.into_iter().find(|status| status.code != 0) {
            Some(status) => Err(Status::new(Code::from_i32(status.code), status.message)),
            None => Ok(()),
        }
    }

    /// Streams a blob up in messages of `step` bytes, at most `most` of them: fewer than it takes is a client that
    /// goes away in the middle.
    pub(crate) async fn write(&mut self, blob: &Blob, step: usize, most: usize) -> Result<(), Status> {
        let size = blob.content.len();
        let Digest { hash, size_bytes } = &blob.digest;
        let name = format!("uploads/2b1f0a52-8f0a-4d3f-9d0a-0a4f6e1c2b3d/blobs/{hash}/{size_bytes}");
        let message = |offset: usize| WriteRequest {
            resource_name: if offset == 0 { name.clone() } else { String::new() },
            write_offset: offset as i64,
            data: blob.content.slice(offset..size.min(offset + step)),
            finish_write: offset + step >= size,
        };
        let messages: Vec<_> = (0..size.max(1)).step_by(step).take(most).map(message).collect();
        let whole = messages.last().is_some_and(|message| message.finish_write);
        let committed = self.bytes.write(tokio_stream::iter(messages)).await?.into_inner().committed_size;
        if whole && committed != *size_bytes {
            return Err(Status::data_loss(format!("committed {committed} of {size_bytes}")));
        }
        Ok(())
    }

    /// Publishes by the call that the client generation uses.
    pub(crate) async fn publish(&mut self, pushed: &Pushed) -> Result<(), Status> {
        let digest = Some(pushed.root.clone());
        match &pushed.publish {
            Publish::Blob { uris, references_blobs, references_directories } => {
                let request = PushBlobRequest {
                    uris: uris.clone(),
                    blob_digest: digest,
                    references_blobs: references_blobs.clone(),
                    references_directories: references_directories.clone(),
                    ..Default::default()
                };
                self.push.push_blob(request).await.map(drop)
            }
            Publish::Directory { uris } => {
                let request = PushDirectoryRequest {
                    uris: uris.clone(),
                    root_directory_digest: digest,
                    ..Default::default()
                };
                self.push.push_directory(request).await.map(drop)
            }
            Publish::Reference { keys } => {
                let request = UpdateReferenceRequest { keys: keys.clone(), digest, ..Default::default() };
                self.references.update_reference(request).await.map(drop)
            }
            Publish::Action { action, result } => {
                let request = UpdateActionResultRequest {
                    action_digest: Some(action.clone()),
                    action_result: result.clone(),
                    ..Default::default()
                };
                self.actions.update_action_result(request).await.map(drop)
            }
        }
    }

    /// What a name points to, if it is there.
    pub(crate) async fn look_up(&mut self, name: &Name) -> Result<Option<Target>, Status> {
        let answer = match name {
            Name::Blob(uri) => {
                let request = FetchBlobRequest { uris: vec![uri.clone()], ..Default::default() };
                let answer = self.fetch.fetch_blob(request).await;
                answer.map(|answer| Target::Digest(answer.into_inner().blob_digest.unwrap_or_default()))
            }
            Name::Directory(uri) => {
                let request = FetchDirectoryRequest { uris: vec![uri.clone()], ..Default::default() };
                let answer = self.fetch.fetch_directory(request).await;
                let digest = answer.map(|answer| answer.into_inner().root_directory_digest);
                digest.map(|digest| Target::Digest(digest.unwrap_or_default()))
            }
            Name::Action(action) => {
                let request =
                    GetActionResultRequest { action_digest: Some(action.clone()), ..Default::default() };
                let answer = self.actions.get_action_result(request).await;
                answer.map(|answer| Target::Result(answer.into_inner().into_bytes()))
            }
        };
        found(answer)
    }

    /// The same of a BuildStream 1 reference.
    pub(crate) async fn reference(&mut self, key: &str) -> Result<Option<Target>, Status> {
        let request = GetReferenceRequest { key: key.to_owned(), ..Default::default() };
        let answer = self.references.get_reference(request).await;
        found(answer.map(|answer| Target::Digest(answer.into_inner().digest.unwrap_or_default())))
    }

    /// Reads a batch; each with what came, or the code instead.
    pub(crate) async fn read_batch(
        &mut self,
        digests: Vec<Digest>,
    ) -> Result<Vec<(Digest, Bytes, i32)>, Status> {
        let request = BatchReadBlobsRequest { digests, ..Default::default() };
        let responses = self.cas.batch_read_blobs(request).await?.into_inner().responses;
        Ok(responses
            .into_iter()
            .map(|response| {
                let code = response.status.map_or(0, |status| status.code);
                (response.digest.unwrap_or_default(), response.data, code)
            })
            .collect())
    }

    /// Reads one as a stream.
    pub(crate) async fn read(&mut self, digest: &Digest) -> Result<Vec<u8>, Status> {
        let resource_name = format!("blobs/{}/{}", digest.hash, digest.size_bytes);
        let request = ReadRequest { resource_name, ..Default::default() };
        let mut stream = self.bytes.read(request).await?.into_inner();
        let mut content = Vec::new();
        while let Some(message) = stream.message().await? {
            content.extend_from_slice(&message.data);
        }
        Ok(content)
    }

    /// The directories of a tree, serialised, over all pages.
    pub(crate) async fn tree(&mut self, root: &Digest) -> Result<Vec<Bytes>, Status> {
        let request = GetTreeRequest { root_digest: Some(root.clone()), ..Default::default() };
        let mut stream = self.cas.get_tree(request).await?.into_inner();
        let mut directories = Vec::new();
        while let Some(page) = stream.message().await? {
            directories.extend(page.directories);
        }
        Ok(directories)
    }
}

fn found(answer: Result<Target, Status>) -> Result<Option<Target>, Status> {
    match answer {
        Err(status) if status.code() == Code::NotFound => Ok(None),
        answer => answer.map(Some),
    }
}
