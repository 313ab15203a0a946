//! Writes that are taken and thrown away, for clients that upload what they have no right to and mind being told.
//!
//! **Invariant:** nothing of the cache is within reach here: what such a client sends changes nothing.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::routing::post;
use bytes::Buf as _;
use millpond_proto::EncodedActionResult;
use millpond_proto::asset::{PushBlobRequest, PushBlobResponse, PushDirectoryRequest, PushDirectoryResponse};
use millpond_proto::buildstream::{UpdateReferenceRequest, UpdateReferenceResponse};
use millpond_proto::bytestream::WriteResponse;
use millpond_proto::reapi::batch_update_blobs_response::Response as Outcome;
use millpond_proto::reapi::{BatchUpdateBlobsRequest, BatchUpdateBlobsResponse, UpdateActionResultRequest};
use prost::Message;
use tonic::Status;

use super::answer;
use super::messages::Messages;
use super::write_request::WriteRequest;
use crate::resource_name::parse_write;
use crate::status;

/// Every method that writes, by its path.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/google.bytestream.ByteStream/Write", post(write))
        .route(
            "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs",
            post(|request| one(request, batch)),
        )
        .route(
            "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult",
            post(|request| {
                one(request, |update: UpdateActionResultRequest| {
                    Ok(EncodedActionResult::from(update.action_result))
                })
            }),
        )
        .route(
            "/build.bazel.remote.asset.v1.Push/PushBlob",
            post(|request| one(request, |push: PushBlobRequest| named(&push.uris, PushBlobResponse {}))),
        )
        .route(
            "/build.bazel.remote.asset.v1.Push/PushDirectory",
            post(|request| {
                one(request, |push: PushDirectoryRequest| named(&push.uris, PushDirectoryResponse {}))
            }),
        )
        .route(
            "/buildstream.v2.ReferenceStorage/UpdateReference",
            post(|request| one(request, |_: UpdateReferenceRequest| Ok(UpdateReferenceResponse {}))),
        )
}

async fn one<Asked, Answer>(
    request: Request,
    answer: impl FnOnce(Asked) -> Result<Answer, Status>,
) -> Response<Body>
where
    Asked: Message + Default,
    Answer: Message,
{
    let asked = Messages::new(request.into_body()).only().await;
    answer::one(asked.and_then(answer))
}

fn batch(request: BatchUpdateBlobsRequest) -> Result<BatchUpdateBlobsResponse, Status> {
    let well = |digest| Outcome { digest, status: Some(status::blob_is_well()) };
    let responses = request.requests.into_iter().map(|blob| well(blob.digest)).collect();
    Ok(BatchUpdateBlobsResponse { responses })
}

/// The probes of BuildStream are answered as to one that may push.
fn named<Answer>(uris: &[String], answer: Answer) -> Result<Answer, Status> {
    if uris.is_empty() { Err(status::malformed()) } else { Ok(answer) }
}

async fn write(request: Request) -> Response<Body> {
    answer::one(count(Messages::new(request.into_body())).await)
}

/// Takes a stream in, as long as the blob that it names, and keeps nothing of it but its length.
async fn count(mut messages: Messages) -> Result<WriteResponse, Status> {
    let mut size = None;
    let mut written: i64 = 0;
    while let Some(message) = messages.next().await? {
        let message = WriteRequest::decode(message)?;
        let size = match size {
            Some(size) => size,
            None => {
                let name = parse_write(&message.resource_name).map_err(|_| status::malformed())?;
                *size.insert(name.digest.size_i64())
            }
        };
        let bytes = i64::try_from(message.data.remaining()).unwrap_or(i64::MAX);
        written = written.saturating_add(bytes);
        if written > size {
            return Err(status::malformed());
        }
        if message.finish_write {
            break;
        }
    }
    Ok(WriteResponse { committed_size: written })
}
