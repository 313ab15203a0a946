//! What this server can do, as far as the caller should know.

use millpond_proto::reapi::capabilities_server::Capabilities;
use millpond_proto::reapi::digest_function::Value as DigestFunction;
use millpond_proto::reapi::symlink_absolute_path_strategy::Value as AbsoluteSymlinks;
use millpond_proto::reapi::{
    ActionCacheUpdateCapabilities, CacheCapabilities, GetCapabilitiesRequest, ServerCapabilities,
};
use millpond_proto::semver::SemVer;
use tonic::{Request, Response, Status, async_trait};

use super::Service;
use crate::caller::Caller;
use crate::quirks::{Generation, buildstream1, casd};
use crate::status;

#[async_trait]
impl Capabilities for Service {
    async fn get_capabilities(
        &self,
        request: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<ServerCapabilities>, Status> {
        let caller = Caller::of(request.extensions());
        caller
            .pull(&self.cache, &request.get_ref().instance_name)
            .map_err(|error| status::failed(error, caller.request))?;
        let cache = CacheCapabilities {
            digest_functions: vec![DigestFunction::Sha256.into()],
            action_cache_update_capabilities: Some(ActionCacheUpdateCapabilities {
                update_enabled: caller.access.may_push(),
            }),
            max_batch_total_size_bytes: match caller.generation {
                Generation::BuildStream1 => buildstream1::BATCH_BYTES,
                Generation::Other => casd::BATCH_BYTES,
            },
            symlink_absolute_path_strategy: AbsoluteSymlinks::Allowed.into(),
            max_cas_blob_size_bytes: self.cache.largest_blob().try_into().unwrap_or(i64::MAX),
            ..Default::default()
        };
        Ok(Response::new(ServerCapabilities {
            cache_capabilities: Some(cache),
            deprecated_api_version: None,
            low_api_version: Some(SemVer { major: 2, ..Default::default() }),
            high_api_version: Some(SemVer { major: 2, minor: 3, ..Default::default() }),
        }))
    }
}
