//! What names point to on another server.

use millpond_cache::{AssetKind, Digest, Trouble, UpstreamName, UpstreamValue, reference_key};
use millpond_proto::asset::fetch_client::FetchClient;
use millpond_proto::asset::{FetchBlobRequest, FetchDirectoryRequest, Qualifier};
use millpond_proto::buildstream::GetReferenceRequest;
use millpond_proto::buildstream::reference_storage_client::ReferenceStorageClient;
use millpond_proto::reapi::action_cache_client::ActionCacheClient;
use millpond_proto::reapi::{self, GetActionResultRequest};
use millpond_proto::rpc;
use prost_types::Timestamp;
use tonic::Code;
use tonic::transport::Channel;

use super::calls::Refusal;
use super::{MESSAGE_MAX, NAME_ANSWER_MAX, Shared};
use crate::grpc::digests::to_wire;

/// What is found of a name: the digest, and until when.
type Found = Option<(Option<reapi::Digest>, Option<Timestamp>)>;

impl Shared {
    /// What a name points to; `None` if it is not there.
    pub(super) async fn value(&self, name: &UpstreamName) -> Result<Option<UpstreamValue>, Trouble> {
        let found = match name {
            UpstreamName::ActionResult(action) => return self.action_result(action).await,
            UpstreamName::Asset { kind, uri, qualifiers } if self.assets => {
                self.asset(*kind, uri, qualifiers).await?
            }
            UpstreamName::Asset { kind: AssetKind::Directory, uri, .. } => match reference_key(uri) {
                Some(key) => self.reference(key).await?,
                None => None,
            },
            UpstreamName::Asset { .. } => None,
        };
        let Some((digest, expires)) = found else { return Ok(None) };
        let digest = digest.ok_or("it points to nothing there")?;
        let digest = Digest::parse(&digest.hash, digest.size_bytes)
            .map_err(|error| format!("it points to what is no digest there: {error}"))?;
        let expires = expires.and_then(|at| u64::try_from(at.seconds).ok());
        Ok(Some(UpstreamValue::Asset { digest, expires }))
    }

    fn fetch(&self) -> FetchClient<Channel> {
        FetchClient::new(self.channel.clone()).max_decoding_message_size(NAME_ANSWER_MAX)
    }

    async fn asset(
        &self,
        kind: AssetKind,
        uri: &str,
        qualifiers: &[(String, String)],
    ) -> Result<Found, Trouble> {
        let uris = vec![uri.to_owned()];
        let qualifier =
            |(name, value): &(String, String)| Qualifier { name: name.clone(), value: value.clone() };
        let qualifiers: Vec<_> = qualifiers.iter().map(qualifier).collect();
        let instance_name = self.instance.clone();
        match kind {
            AssetKind::Blob => {
                let message = FetchBlobRequest { instance_name, uris, qualifiers, ..Default::default() };
                let answer = self.calls.ask(0, || {
                    let (mut fetch, request) = (self.fetch(), self.calls.request(message.clone()));
                    async move { fetch.fetch_blob(request).await }
                });
                let Some(answer) = is_there(answer.await)? else { return Ok(None) };
                let found = (answer.blob_digest, answer.expires_at);
                Ok(is_well(answer.status)?.then_some(found))
            }
            AssetKind::Directory => {
                let message = FetchDirectoryRequest { instance_name, uris, qualifiers, ..Default::default() };
                let answer = self.calls.ask(0, || {
                    let (mut fetch, request) = (self.fetch(), self.calls.request(message.clone()));
                    async move { fetch.fetch_directory(request).await }
                });
                let Some(answer) = is_there(answer.await)? else { return Ok(None) };
                let found = (answer.root_directory_digest, answer.expires_at);
                Ok(is_well(answer.status)?.then_some(found))
            }
        }
    }

    async fn reference(&self, key: &str) -> Result<Found, Trouble> {
        let message = GetReferenceRequest { instance_name: self.instance.clone(), key: key.to_owned() };
        let answer = self.calls.ask(0, || {
            let mut references = ReferenceStorageClient::new(self.channel.clone());
            let request = self.calls.request(message.clone());
            async move { references.get_reference(request).await }
        });
        Ok(is_there(answer.await)?.map(|answer| (answer.digest, None)))
    }

    async fn action_result(&self, action: &Digest) -> Result<Option<UpstreamValue>, Trouble> {
        let message = GetActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(to_wire(action)),
            ..Default::default()
        };
        let answer = self.calls.ask(0, || {
            let client = ActionCacheClient::new(self.channel.clone());
            let mut client = client.max_decoding_message_size(MESSAGE_MAX);
            let request = self.calls.request(message.clone());
            async move { client.get_action_result(request).await }
        });
        Ok(is_there(answer.await)?.map(|answer| UpstreamValue::ActionResult(answer.into_bytes())))
    }
}

/// A service that it has not has no names either.
fn is_there<T>(answer: Result<T, Refusal>) -> Result<Option<T>, Trouble> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(refusal) if matches!(refusal.code(), Some(Code::NotFound | Code::Unimplemented)) => Ok(None),
        Err(refusal) => Err(refusal.words()),
    }
}

/// The same of an answer that has a status of its own.
fn is_well(status: Option<rpc::Status>) -> Result<bool, Trouble> {
    match Code::from(status.unwrap_or_default().code) {
        Code::Ok => Ok(true),
        Code::NotFound => Ok(false),
        code => Err(format!("it says {code:?} to its name")),
    }
}
