//! Remote Asset, Push: names for blobs and trees. OK means durable, or kept aside until its blobs are there.
//!
//! A request without URIs asks whether the caller may push, and what it is told decides whether BuildStream uses this
//! server at all:
//!
//! | request | who may push | who may only pull |
//! | --- | --- | --- |
//! | `PushBlob({})` | INVALID_ARGUMENT | PERMISSION_DENIED: BuildStream 2 sends it with `push: true` only, and shows our words |
//! | `PushDirectory({})` | INVALID_ARGUMENT | UNIMPLEMENTED: BuildStream 1.6 sends it; its versions up to 1.6.7 send it always, and with any other code lose the remote for pulls as well |
//! | any other | as it turns out | PERMISSION_DENIED |

use millpond_cache::{AssetKind, AssetPush, Published, Result};
use millpond_proto::asset::push_server::Push;
use millpond_proto::asset::{PushBlobRequest, PushBlobResponse, PushDirectoryRequest, PushDirectoryResponse};
use tonic::{Request, Response, Status, async_trait};

use super::asset_fetch::{pairs, seconds};
use super::{Service, digests};
use crate::caller::Caller;
use crate::name_line::{Deed, NameLine};
use crate::status;

#[async_trait]
impl Push for Service {
    async fn push_blob(
        &self,
        request: Request<PushBlobRequest>,
    ) -> std::result::Result<Response<PushBlobResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let line = NameLine::begin(&request, Deed::Push, &request.get_ref().uris);
        let request = PushRequest::from(request.into_inner());
        let pushed = self.push(&caller, request, line).await;
        pushed
            .map(|_| Response::new(PushBlobResponse {}))
            .map_err(|error| status::failed(error, caller.request))
    }

    async fn push_directory(
        &self,
        request: Request<PushDirectoryRequest>,
    ) -> std::result::Result<Response<PushDirectoryResponse>, Status> {
        let caller = Caller::of(request.extensions());
        if request.get_ref().uris.is_empty() && !caller.access.may_push() {
            return Err(status::unimplemented("this address serves pulls only"));
        }
        let line = NameLine::begin(&request, Deed::Push, &request.get_ref().uris);
        let request = PushRequest::from(request.into_inner());
        let pushed = self.push(&caller, request, line).await;
        pushed
            .map(|_| Response::new(PushDirectoryResponse {}))
            .map_err(|error| status::failed(error, caller.request))
    }
}

/// Both requests: they differ in what they call the digest.
struct PushRequest {
    kind: AssetKind,
    digest_name: &'static str,
    message: PushBlobRequest,
}

impl From<PushBlobRequest> for PushRequest {
    fn from(message: PushBlobRequest) -> Self {
        Self { kind: AssetKind::Blob, digest_name: "blob_digest", message }
    }
}

impl From<PushDirectoryRequest> for PushRequest {
    fn from(message: PushDirectoryRequest) -> Self {
        let message = PushBlobRequest {
            instance_name: message.instance_name,
            uris: message.uris,
            qualifiers: message.qualifiers,
            expire_at: message.expire_at,
            blob_digest: message.root_directory_digest,
            references_blobs: message.references_blobs,
            references_directories: message.references_directories,
            digest_function: message.digest_function,
        };
        Self { kind: AssetKind::Directory, digest_name: "root_directory_digest", message }
    }
}

impl Service {
    async fn push(&self, caller: &Caller, request: PushRequest, line: NameLine) -> Result<Published> {
        let digest = request.message.blob_digest.as_ref().and_then(|digest| digests::parse(digest).ok());
        let pushed = self.push_asset(caller, request).await;
        line.pushed(digest, &pushed);
        pushed
    }

    async fn push_asset(&self, caller: &Caller, request: PushRequest) -> Result<Published> {
        let PushRequest { kind, digest_name, message } = request;
        let permit = caller.push(&self.cache, &message.instance_name)?;
        digests::function(message.digest_function)?;
        let push = AssetPush {
            kind,
            uris: message.uris,
            qualifiers: pairs(&message.qualifiers),
            digest: digests::required(message.blob_digest.as_ref(), digest_name)?,
            expire_at: message.expire_at.map(seconds),
            references_blobs: digests::references(&message.references_blobs)?,
            references_directories: digests::references(&message.references_directories)?,
        };
        self.cache.push_asset(&permit, push).await
    }
}
