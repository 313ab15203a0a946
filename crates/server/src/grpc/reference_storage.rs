//! BuildStream 1's ReferenceStorage: another wire for names of directories. A key here and the URI under which
//! BuildStream 1.6 pushes the same artifact as an asset are one name.

use millpond_cache::{AssetKind, AssetPush, AssetQuery, Digest, Published, Result, reference_uri};
use millpond_proto::buildstream::reference_storage_server::ReferenceStorage;
use millpond_proto::buildstream::{
    GetReferenceRequest, GetReferenceResponse, StatusRequest, StatusResponse, UpdateReferenceRequest,
    UpdateReferenceResponse,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Service, digests};
use crate::caller::Caller;
use crate::name_line::{Deed, NameLine};
use crate::{deadline, status};

#[async_trait]
impl ReferenceStorage for Service {
    async fn get_reference(
        &self,
        request: Request<GetReferenceRequest>,
    ) -> std::result::Result<Response<GetReferenceResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let line = NameLine::begin(&request, Deed::Pull, [&request.get_ref().key]);
        let digest = self.reference(&caller, request.get_ref()).await;
        line.pulled(&digest, |digest| Some(*digest));
        let digest = digest.map_err(|error| status::pull(error, caller.request))?;
        Ok(Response::new(GetReferenceResponse { digest: Some(digests::to_wire(&digest)) }))
    }

    async fn update_reference(
        &self,
        request: Request<UpdateReferenceRequest>,
    ) -> std::result::Result<Response<UpdateReferenceResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let line = NameLine::begin(&request, Deed::Push, &request.get_ref().keys);
        let updated = self.set_reference(&caller, request.get_ref()).await;
        let digest = request.get_ref().digest.as_ref().and_then(|digest| digests::parse(digest).ok());
        line.pushed(digest, &updated);
        updated
            .map(|_| Response::new(UpdateReferenceResponse {}))
            .map_err(|error| status::failed(error, caller.request))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> std::result::Result<Response<StatusResponse>, Status> {
        let caller = Caller::of(request.extensions());
        caller
            .pull(&self.cache, &request.get_ref().instance_name)
            .map_err(|error| status::failed(error, caller.request))?;
        Ok(Response::new(StatusResponse { allow_updates: caller.access.may_push() }))
    }
}

impl Service {
    async fn reference(&self, caller: &Caller, request: &GetReferenceRequest) -> Result<Digest> {
        let permit = caller.pull(&self.cache, &request.instance_name)?;
        let query = AssetQuery {
            kind: AssetKind::Directory,
            uris: vec![reference_uri(&request.key)?],
            qualifiers: Vec::new(),
            oldest_content_accepted: None,
        };
        Ok(deadline::look_up(&self.cache, self.cache.fetch_asset(&permit, query)).await?.digest)
    }

    async fn set_reference(&self, caller: &Caller, request: &UpdateReferenceRequest) -> Result<Published> {
        let permit = caller.push(&self.cache, &request.instance_name)?;
        let push = AssetPush {
            kind: AssetKind::Directory,
            uris: request.keys.iter().map(|key| reference_uri(key)).collect::<Result<_>>()?,
            qualifiers: Vec::new(),
            digest: digests::required(request.digest.as_ref(), "digest")?,
            expire_at: None,
            references_blobs: Vec::new(),
            references_directories: Vec::new(),
        };
        self.cache.push_asset(&permit, push).await
    }
}
