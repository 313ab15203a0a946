//! GetTree: a tree's directories as they lie in the store, page by page.

use std::pin::Pin;

use futures_core::Stream;
use futures_util::stream;
use millpond_cache::{Cache, Error, Result, TreePage};
use millpond_proto::reapi::{GetTreeRequest, GetTreeResponse};
use tonic::Status;

use crate::caller::Caller;
use crate::grpc::digests;
use crate::{deadline, status};

type Pages = Pin<Box<dyn Stream<Item = std::result::Result<GetTreeResponse, Status>> + Send>>;

/// All pages from the one that the request's token names. The token is the number of directories before it.
pub(super) async fn pages(cache: &Cache, caller: &Caller, request: &GetTreeRequest) -> Result<Pages> {
    let permit = caller.pull(cache, &request.instance_name)?;
    digests::function(request.digest_function)?;
    let root = digests::required(request.root_digest.as_ref(), "root_digest")?;
    let page_size = usize::try_from(request.page_size)
        .map_err(|_| Error::Invalid("page_size is below 0; 0 leaves it to the server".into()))?;
    let skip = match request.page_token.as_str() {
        "" => 0,
        token => token.parse().map_err(|_| {
            Error::Invalid("page_token is none of ours; leave it empty to begin at the root".into())
        })?,
    };
    let walk = deadline::look_up(cache, cache.tree(&permit, root, skip, page_size)).await?;
    let request = caller.request;
    Ok(Box::pin(stream::try_unfold((walk, cache.clone()), move |(mut walk, cache)| async move {
        let page = deadline::look_up(&cache, walk.next_page()).await;
        let page = page.map_err(|error| status::pull(error, request))?;
        Ok(page.map(|page| (message(page), (walk, cache))))
    })))
}

fn message(page: TreePage) -> GetTreeResponse {
    let next_page_token = page.next.map(|before| before.to_string()).unwrap_or_default();
    GetTreeResponse { directories: page.directories, next_page_token }
}
