//! ActionCache: results of actions, handed on byte for byte.

use millpond_cache::Result;
use millpond_proto::EncodedActionResult;
use millpond_proto::reapi::action_cache_server::ActionCache;
use millpond_proto::reapi::{Digest, GetActionResultRequest, UpdateActionResultRequest};
use tonic::{Request, Response, Status, async_trait};

use super::{Service, digests};
use crate::caller::Caller;
use crate::name_line::{Deed, NameLine};
use crate::{deadline, status};

#[async_trait]
impl ActionCache for Service {
    /// Wishes for inlined outputs are left unfulfilled, as the API allows.
    async fn get_action_result(
        &self,
        request: Request<GetActionResultRequest>,
    ) -> std::result::Result<Response<EncodedActionResult>, Status> {
        let caller = Caller::of(request.extensions());
        let action = request.get_ref().action_digest.iter();
        let line = NameLine::begin(&request, Deed::PullResult, action.map(written));
        let found = self.look_up(&caller, request.get_ref()).await;
        line.pulled(&found, |_| None);
        found.map(Response::new).map_err(|error| status::pull(error, caller.request))
    }

    async fn update_action_result(
        &self,
        request: Request<UpdateActionResultRequest>,
    ) -> std::result::Result<Response<EncodedActionResult>, Status> {
        let caller = Caller::of(request.extensions());
        let action = request.get_ref().action_digest.iter();
        let line = NameLine::begin(&request, Deed::PushResult, action.map(written));
        let kept = self.update(&caller, request.into_inner()).await;
        line.pushed_result(&kept);
        kept.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }
}

fn written(action: &Digest) -> String {
    format!("{}/{}", action.hash, action.size_bytes)
}

impl Service {
    async fn look_up(
        &self,
        caller: &Caller,
        request: &GetActionResultRequest,
    ) -> Result<EncodedActionResult> {
        let permit = caller.pull(&self.cache, &request.instance_name)?;
        digests::function(request.digest_function)?;
        let action = digests::required(request.action_digest.as_ref(), "action_digest")?;
        Ok(deadline::look_up(&self.cache, self.cache.action_result(&permit, action)).await?.into())
    }

    async fn update(
        &self,
        caller: &Caller,
        request: UpdateActionResultRequest,
    ) -> Result<EncodedActionResult> {
        let permit = caller.push(&self.cache, &request.instance_name)?;
        digests::function(request.digest_function)?;
        let action = digests::required(request.action_digest.as_ref(), "action_digest")?;
        self.cache.update_action_result(&permit, action, request.action_result.clone()).await?;
        Ok(request.action_result.into())
    }
}
