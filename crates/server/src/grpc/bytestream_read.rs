//! ByteStream.Read: a blob from an offset on, piece by piece as the store hands them out.
//!
//! **Invariant:** a read that cannot be finished ends with NOT_FOUND, never as if it had been finished.

use std::pin::Pin;

use futures_core::Stream;
use futures_util::stream;
use millpond_cache::{Cache, Error, Result};
use millpond_proto::bytestream::{ReadRequest, ReadResponse};
use tonic::Status;

use crate::caller::Caller;
use crate::resource_name::parse_read;
use crate::{deadline, status};

type Pieces = Pin<Box<dyn Stream<Item = std::result::Result<ReadResponse, Status>> + Send>>;

/// The messages of the answer. What the client asked for wrongly, or what is not there, is an error before the first.
pub(super) async fn pieces(cache: &Cache, caller: &Caller, request: &ReadRequest) -> Result<Pieces> {
    let name = parse_read(&request.resource_name)?;
    let permit = caller.pull(cache, name.instance)?;
    let offset = u64::try_from(request.read_offset)
        .map_err(|_| Error::OutOfRange("read_offset is below 0; a blob begins at 0".into()))?;
    let limit = match u64::try_from(request.read_limit) {
        Ok(limit) => Some(limit).filter(|limit| *limit > 0),
        Err(_) => return Err(Error::Invalid("read_limit is below 0; 0 reads to the end".into())),
    };
    let reader = deadline::look_up(cache, cache.read_blob(&permit, &name.digest, offset, limit)).await?;
    let request = caller.request;
    Ok(Box::pin(stream::try_unfold((reader, cache.clone()), move |(mut reader, cache)| async move {
        let piece = deadline::look_up(&cache, reader.next()).await;
        let piece = piece.map_err(|error| status::pull(error, request))?;
        Ok(piece.map(|data| (ReadResponse { data }, (reader, cache))))
    })))
}
