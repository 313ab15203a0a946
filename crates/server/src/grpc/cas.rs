//! ContentAddressableStorage: which blobs are there, batches of small ones, and trees.

mod batch_read;
mod batch_update;
mod find_missing;
mod get_tree;

use std::pin::Pin;

use futures_core::Stream;
use millpond_cache::{Cache, Limit};
use millpond_proto::reapi::content_addressable_storage_server::ContentAddressableStorage;
use millpond_proto::reapi::{
    BatchReadBlobsRequest, BatchReadBlobsResponse, BatchUpdateBlobsRequest, BatchUpdateBlobsResponse,
    FindMissingBlobsRequest, FindMissingBlobsResponse, GetTreeRequest, GetTreeResponse,
};
use tonic::{Request, Response, Status, async_trait};

use super::Service;
use crate::caller::Caller;
use crate::status;

/// Refuses a batch of absurdly many blobs.
fn check_count(cache: &Cache, count: usize) -> millpond_cache::Result<()> {
    let most = cache.limits().batch_blobs;
    if count > most {
        Limit::BatchBlobs.met();
        return Err(millpond_cache::Error::Invalid(format!(
            "{count} blobs in one batch: give at most {most}"
        )));
    }
    Ok(())
}

#[async_trait]
impl ContentAddressableStorage for Service {
    type GetTreeStream = Pin<Box<dyn Stream<Item = Result<GetTreeResponse, Status>> + Send>>;

    async fn find_missing_blobs(
        &self,
        request: Request<FindMissingBlobsRequest>,
    ) -> Result<Response<FindMissingBlobsResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let answer = find_missing::answer(&self.cache, &caller, request.into_inner());
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<BatchUpdateBlobsRequest>,
    ) -> Result<Response<BatchUpdateBlobsResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let answer = batch_update::answer(&self.cache, &caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    async fn batch_read_blobs(
        &self,
        request: Request<BatchReadBlobsRequest>,
    ) -> Result<Response<BatchReadBlobsResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let answer = batch_read::answer(&self.cache, &caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status::pull(error, caller.request))
    }

    async fn get_tree(
        &self,
        request: Request<GetTreeRequest>,
    ) -> Result<Response<Self::GetTreeStream>, Status> {
        let caller = Caller::of(request.extensions());
        let pages = get_tree::pages(&self.cache, &caller, &request.into_inner()).await;
        pages.map(Response::new).map_err(|error| status::pull(error, caller.request))
    }
}
