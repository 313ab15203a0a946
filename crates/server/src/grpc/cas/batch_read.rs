//! BatchReadBlobs: small blobs, each with an outcome of its own.

use millpond_cache::{Cache, Error, Result};
use millpond_proto::reapi::batch_read_blobs_response::Response;
use millpond_proto::reapi::{self, BatchReadBlobsRequest, BatchReadBlobsResponse};

use crate::caller::Caller;
use crate::grpc::digests;
use crate::quirks::{Generation, buildstream1};
use crate::{deadline, status};

/// The most data in one answer, whatever was advertised.
const DATA_BYTES_MAX: i64 = 4 * 1024 * 1024;

/// One response for each digest asked, in their order; for BuildStream 1 what it can receive.
pub(super) async fn answer(
    cache: &Cache,
    caller: &Caller,
    request: BatchReadBlobsRequest,
) -> Result<BatchReadBlobsResponse> {
    let permit = caller.pull(cache, &request.instance_name)?;
    digests::function(request.digest_function)?;
    bounded(cache, &request.digests)?;
    let mut wanted = Vec::with_capacity(request.digests.len());
    let mut responses = Vec::with_capacity(request.digests.len());
    for digest in request.digests {
        let status = match digests::parse(&digest) {
            Ok(parsed) => {
                wanted.push(parsed);
                None
            }
            Err(error) => Some(status::of_pulled_blob(error, caller.request)),
        };
        responses.push(Response { digest: Some(digest), status, ..Default::default() });
    }
    let read = deadline::look_up_many(cache, wanted.len(), cache.read_blobs(&permit, &wanted)).await;
    let open = responses.iter_mut().filter(|response| response.status.is_none());
    for (response, outcome) in open.zip(read) {
        match outcome {
            Ok(data) => {
                response.data = data;
                response.status = Some(status::blob_is_well());
            }
            Err(error) => response.status = Some(status::of_pulled_blob(error, caller.request)),
        }
    }
    if caller.generation == Generation::BuildStream1 {
        responses = buildstream1::fit(responses);
    }
    Ok(BatchReadBlobsResponse { responses })
}

fn bounded(cache: &Cache, digests: &[reapi::Digest]) -> Result<()> {
    super::check_count(cache, digests.len())?;
    let sum = digests.iter().fold(0_i64, |sum, digest| sum.saturating_add(digest.size_bytes.max(0)));
    if sum > DATA_BYTES_MAX {
        return Err(Error::Invalid(format!(
            "{sum} bytes are more than the {DATA_BYTES_MAX} that one batch may have: ask for fewer, or use ByteStream.Read"
        )));
    }
    Ok(())
}
