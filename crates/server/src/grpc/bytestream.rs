//! ByteStream: blobs of any size. Not by the generated service, which would copy them.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::routing::post;
use millpond_cache::{Cache, Error, Result};
use millpond_proto::bytestream::{QueryWriteStatusRequest, QueryWriteStatusResponse, WriteResponse};
use tonic::Status;

use super::messages::Messages;
use super::{answer, bytestream_read, bytestream_write};
use crate::caller::Caller;
use crate::layers::Terms;
use crate::resource_name::parse_write;
use crate::{layers, status};

/// Its methods by their paths.
pub(super) fn routes(cache: Arc<Cache>) -> Router {
    Router::new()
        .route("/google.bytestream.ByteStream/Read", post(read))
        .route("/google.bytestream.ByteStream/Write", post(write))
        .route("/google.bytestream.ByteStream/QueryWriteStatus", post(query_write_status))
        .with_state(cache)
}

/// Whatever does not say that it is gRPC is no message.
fn messages(request: Request) -> std::result::Result<Messages, Status> {
    if layers::is_grpc(request.headers()) {
        Ok(Messages::new(request.into_body()))
    } else {
        Err(status::malformed())
    }
}

async fn read(State(cache): State<Arc<Cache>>, request: Request) -> Response<Body> {
    let caller = Caller::of(request.extensions());
    let answer = async {
        let request = messages(request)?.only().await?;
        let pieces = bytestream_read::pieces(&cache, &caller, &request).await;
        pieces.map_err(|error| status::pull(error, caller.request))
    };
    answer::many(answer.await)
}

async fn write(State(cache): State<Arc<Cache>>, request: Request) -> Response<Body> {
    let caller = Caller::of(request.extensions());
    let answer = async {
        let terms = Terms::of(request.extensions());
        let committed_size = bytestream_write::write(&cache, &caller, terms, messages(request)?).await?;
        Ok(WriteResponse { committed_size })
    };
    answer::one(answer.await)
}

/// Complete, or not there: an upload that broke off is begun anew.
async fn query_write_status(State(cache): State<Arc<Cache>>, request: Request) -> Response<Body> {
    let caller = Caller::of(request.extensions());
    let answer = async {
        let request: QueryWriteStatusRequest = messages(request)?.only().await?;
        write_status(&cache, &caller, &request).map_err(|error| status::pull(error, caller.request))
    };
    answer::one(answer.await)
}

fn write_status(
    cache: &Cache,
    caller: &Caller,
    request: &QueryWriteStatusRequest,
) -> Result<QueryWriteStatusResponse> {
    let name = parse_write(&request.resource_name)?;
    let permit = caller.pull(cache, name.instance)?;
    if !cache.has_blob(&permit, &name.digest)? {
        return Err(Error::NotFound(format!("blob {}", name.digest)));
    }
    Ok(QueryWriteStatusResponse { committed_size: name.digest.size_i64(), complete: true })
}
