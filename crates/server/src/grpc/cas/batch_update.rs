//! BatchUpdateBlobs: small blobs, each with an outcome of its own. A batch is as large as its message may be, whatever
//! was advertised.

use bytes::Bytes;
use millpond_cache::{Cache, Digest, Error, Permit, Push, Result};
use millpond_proto::reapi::batch_update_blobs_request::Request;
use millpond_proto::reapi::batch_update_blobs_response::Response;
use millpond_proto::reapi::compressor::Value as Compressor;
use millpond_proto::reapi::{self, BatchUpdateBlobsRequest, BatchUpdateBlobsResponse};
use millpond_proto::rpc;

use crate::caller::Caller;
use crate::grpc::digests;
use crate::quirks::Generation;
use crate::status;

/// Stores what is in order, and says of each blob what became of it, in the order given.
pub(super) async fn answer(
    cache: &Cache,
    caller: &Caller,
    request: BatchUpdateBlobsRequest,
) -> Result<BatchUpdateBlobsResponse> {
    let permit = caller.push(cache, &request.instance_name)?;
    digests::function(request.digest_function)?;
    super::check_count(cache, request.requests.len())?;
    let mut names = Vec::with_capacity(request.requests.len());
    let mut parsed = Vec::with_capacity(request.requests.len());
    for mut blob in request.requests {
        names.push(blob.digest.take());
        parsed.push(check(names.last().and_then(Option::as_ref), blob));
    }
    let outcomes = store(cache, &permit, parsed).await;
    let mut responses = Vec::with_capacity(outcomes.len());
    for (digest, outcome) in names.into_iter().zip(outcomes) {
        responses.push(Response { digest, status: Some(refuse(caller, outcome)?) });
    }
    Ok(BatchUpdateBlobsResponse { responses })
}

fn check(digest: Option<&reapi::Digest>, blob: Request) -> Result<(Digest, Bytes)> {
    if blob.compressor != Compressor::Identity as i32 {
        return Err(Error::Invalid("compressed blobs are not taken here; send the blob as it is".into()));
    }
    Ok((digests::required(digest, "digest for one of its blobs")?, blob.data))
}

/// One outcome for each of `parsed`, in its order; the errors among them stay what they are.
async fn store(
    cache: &Cache,
    permit: &Permit<Push>,
    parsed: Vec<Result<(Digest, Bytes)>>,
) -> Vec<Result<()>> {
    let mut good = Vec::with_capacity(parsed.len());
    let mut errors = Vec::with_capacity(parsed.len());
    for blob in parsed {
        match blob {
            Ok(blob) => {
                good.push(blob);
                errors.push(None);
            }
            Err(error) => errors.push(Some(error)),
        }
    }
    let mut stored =
        if good.is_empty() { Vec::new() } else { cache.put_blobs(permit, good).await }.into_iter();
    let outcome = |error: Option<Error>| match error {
        Some(error) => Err(error),
        None => stored.next().unwrap_or_else(|| Err(Error::internal("a blob without an outcome"))),
    };
    errors.into_iter().map(outcome).collect()
}

/// A blob's status; or the call's error, which is how BuildStream 1 has to be told that there is no room.
fn refuse(caller: &Caller, outcome: Result<()>) -> Result<rpc::Status> {
    match outcome {
        Ok(()) => Ok(status::blob_is_well()),
        Err(error) if caller.generation == Generation::BuildStream1 && status::is_refusal(&error) => {
            Err(error)
        }
        Err(error) => Ok(status::of_blob(error, caller.request)),
    }
}
