//! Remote Asset, Fetch: look-ups of names. Nothing is fetched from elsewhere.
//!
//! A request without URIs is how BuildStream 1.6 and 2 ask whether this service is here, and INVALID_ARGUMENT is the one
//! answer that all of them take for yes.

use millpond_cache::{AssetKind, AssetQuery, FoundAsset, Result};
use millpond_proto::asset::fetch_server::Fetch;
use millpond_proto::asset::{
    FetchBlobRequest, FetchBlobResponse, FetchDirectoryRequest, FetchDirectoryResponse, Qualifier,
};
use prost_types::Timestamp;
use tonic::{Request, Response, Status, async_trait};

use super::{Service, digests};
use crate::caller::Caller;
use crate::name_line::{Deed, NameLine};
use crate::{deadline, status};

#[async_trait]
impl Fetch for Service {
    async fn fetch_blob(
        &self,
        request: Request<FetchBlobRequest>,
    ) -> std::result::Result<Response<FetchBlobResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let line = NameLine::begin(&request, Deed::Pull, &request.get_ref().uris);
        let asked = request.into_inner();
        let query = AssetQuery {
            kind: AssetKind::Blob,
            uris: asked.uris,
            qualifiers: pairs(&asked.qualifiers),
            oldest_content_accepted: asked.oldest_content_accepted.map(seconds),
        };
        let found = self.fetch(&caller, &asked.instance_name, asked.digest_function, query);
        let found = found.await;
        line.pulled(&found, |found| Some(found.digest));
        let found = found.map_err(|error| status::pull(error, caller.request))?;
        Ok(Response::new(FetchBlobResponse {
            status: None,
            blob_digest: Some(digests::to_wire(&found.digest)),
            expires_at: found.expires_at.map(timestamp),
            uri: found.uri,
            qualifiers: asked.qualifiers,
            digest_function: 0,
        }))
    }

    async fn fetch_directory(
        &self,
        request: Request<FetchDirectoryRequest>,
    ) -> std::result::Result<Response<FetchDirectoryResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let line = NameLine::begin(&request, Deed::Pull, &request.get_ref().uris);
        let asked = request.into_inner();
        let query = AssetQuery {
            kind: AssetKind::Directory,
            uris: asked.uris,
            qualifiers: pairs(&asked.qualifiers),
            oldest_content_accepted: asked.oldest_content_accepted.map(seconds),
        };
        let found = self.fetch(&caller, &asked.instance_name, asked.digest_function, query);
        let found = found.await;
        line.pulled(&found, |found| Some(found.digest));
        let found = found.map_err(|error| status::pull(error, caller.request))?;
        Ok(Response::new(FetchDirectoryResponse {
            status: None,
            root_directory_digest: Some(digests::to_wire(&found.digest)),
            expires_at: found.expires_at.map(timestamp),
            uri: found.uri,
            qualifiers: asked.qualifiers,
            digest_function: 0,
        }))
    }
}

impl Service {
    async fn fetch(
        &self,
        caller: &Caller,
        instance: &str,
        function: i32,
        query: AssetQuery,
    ) -> Result<FoundAsset> {
        let permit = caller.pull(&self.cache, instance)?;
        digests::function(function)?;
        deadline::look_up(&self.cache, self.cache.fetch_asset(&permit, query)).await
    }
}

/// Qualifiers as the domain has them.
pub(super) fn pairs(qualifiers: &[Qualifier]) -> Vec<(String, String)> {
    qualifiers.iter().map(|qualifier| (qualifier.name.clone(), qualifier.value.clone())).collect()
}

/// Unix seconds; what lies before 1970 is 0.
pub(super) fn seconds(timestamp: Timestamp) -> u64 {
    timestamp.seconds.try_into().unwrap_or(0)
}

fn timestamp(seconds: u64) -> Timestamp {
    Timestamp { seconds: seconds.try_into().unwrap_or(i64::MAX), nanos: 0 }
}
