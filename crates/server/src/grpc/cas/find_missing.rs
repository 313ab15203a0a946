//! FindMissingBlobs. An error here crashes BuildStream 2, so only what no client sends is one.

use std::collections::HashSet;

use millpond_cache::{Cache, Error, Result};
use millpond_proto::reapi::{Digest, FindMissingBlobsRequest, FindMissingBlobsResponse};

use crate::caller::Caller;
use crate::grpc::digests;

/// Names each missing digest once. A hash of another form than ours is one that we have not: it is missing, as it is for
/// buildbox-casd, and its upload will be told what is wrong.
pub(super) fn answer(
    cache: &Cache,
    caller: &Caller,
    request: FindMissingBlobsRequest,
) -> Result<FindMissingBlobsResponse> {
    let permit = caller.pull(cache, &request.instance_name)?;
    digests::function(request.digest_function)?;
    let mut wanted = Vec::with_capacity(request.blob_digests.len());
    let mut strange: HashSet<Digest> = HashSet::new();
    for digest in request.blob_digests {
        if digest.hash.is_empty() || digest.size_bytes < 0 {
            return Err(Error::Invalid("a digest in the request has no hash, or a size below 0".into()));
        }
        match digests::parse(&digest) {
            Ok(parsed) => wanted.push(parsed),
            Err(_) => {
                strange.insert(digest);
            }
        }
    }
    let missing = cache.missing_blobs(&permit, &wanted)?;
    let missing_blob_digests = missing.iter().map(digests::to_wire).chain(strange).collect();
    Ok(FindMissingBlobsResponse { missing_blob_digests })
}
