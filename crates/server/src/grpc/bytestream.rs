//! ByteStream: blobs of any size.

use std::pin::Pin;

use futures_core::Stream;
use millpond_cache::Error;
use millpond_proto::bytestream::byte_stream_server::ByteStream;
use millpond_proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{Service, bytestream_read, bytestream_write};
use crate::caller::Caller;
use crate::resource_name::parse_write;
use crate::status;

#[async_trait]
impl ByteStream for Service {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<ReadResponse, Status>> + Send>>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let caller = Caller::of(&request);
        let pieces = bytestream_read::pieces(&self.cache, &caller, &request.into_inner()).await;
        pieces.map(Response::new).map_err(|error| status::pull(error, caller.request))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteRequest>>,
    ) -> Result<Response<WriteResponse>, Status> {
        let caller = Caller::of(&request);
        let committed_size = bytestream_write::write(&self.cache, &caller, request.into_inner()).await?;
        Ok(Response::new(WriteResponse { committed_size }))
    }

    /// Complete, or not there: an upload that broke off is begun anew.
    async fn query_write_status(
        &self,
        request: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        let caller = Caller::of(&request);
        let answer = || {
            let name = parse_write(&request.get_ref().resource_name)?;
            let permit = caller.pull(&self.cache, name.instance)?;
            if !self.cache.has_blob(&permit, &name.digest)? {
                return Err(Error::NotFound(format!("blob {}", name.digest)));
            }
            Ok(QueryWriteStatusResponse { committed_size: name.digest.size_i64(), complete: true })
        };
        answer().map(Response::new).map_err(|error| status::pull(error, caller.request))
    }
}
