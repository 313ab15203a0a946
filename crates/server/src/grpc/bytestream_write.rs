//! ByteStream.Write: a blob as a stream of messages.
//!
//! **Invariant:** bytes count from the first message's 0 on without gaps, and only `finish_write` makes a blob of them.
//! A stream that ends before that, for whatever reason, leaves nothing behind.

use bytes::Buf;
use millpond_cache::{Cache, Creation, Error, Result, Upload};
use tonic::Status;

use super::messages::Messages;
use super::write_request::WriteRequest;
use crate::caller::Caller;
use crate::layers::Terms;
use crate::resource_name::parse_write;
use crate::status;

/// Takes the blob in and returns the committed size. A blob that is there already is answered after the first message.
pub(super) async fn write(
    cache: &Cache,
    caller: &Caller,
    terms: Option<Terms>,
    mut messages: Messages,
) -> std::result::Result<i64, Status> {
    let failed = |error| status::failed(error, caller.request);
    let Some(mut message) = next(&mut messages).await? else {
        return Err(failed(invalid("the stream has no message: name the blob in the first")));
    };
    let name = std::mem::take(&mut message.resource_name);
    let (size, creation) = begin(cache, caller, &name, &message).await.map_err(failed)?;
    let Creation::Upload(mut upload) = creation else { return Ok(size) };
    // What comes whole in one message needs no more room than that message has.
    if let Some(terms) = terms.filter(|_| !message.finish_write) {
        terms.gather(upload.gathers()).await?;
    }
    let mut written = 0;
    loop {
        let finish = message.finish_write;
        written = append(&mut upload, written, &name, message).await.map_err(failed)?;
        if finish {
            upload.finish().await.map_err(failed)?;
            return Ok(size);
        }
        message = match next(&mut messages).await? {
            Some(message) => message,
            None => {
                let words = "the stream ended without finish_write: set it on the last message";
                return Err(failed(invalid(words)));
            }
        };
    }
}

async fn next(messages: &mut Messages) -> std::result::Result<Option<WriteRequest>, Status> {
    messages.next().await?.map(WriteRequest::decode).transpose()
}

async fn begin(cache: &Cache, caller: &Caller, name: &str, first: &WriteRequest) -> Result<(i64, Creation)> {
    let name = parse_write(name)?;
    let permit = caller.push(cache, name.instance)?;
    if first.write_offset != 0 {
        let offset = first.write_offset;
        let words = format!("the first write_offset is {offset}, not 0: uploads begin at their first byte");
        return Err(Error::Invalid(words));
    }
    Ok((name.digest.size_i64(), cache.create_blob(&permit, name.digest).await?))
}

async fn append(upload: &mut Upload, written: u64, name: &str, message: WriteRequest) -> Result<u64> {
    if !message.resource_name.is_empty() && message.resource_name != name {
        return Err(invalid("the resource name changed within the stream: one stream is one blob"));
    }
    if u64::try_from(message.write_offset) != Ok(written) {
        let offset = message.write_offset;
        return Err(Error::Invalid(format!("write_offset is {offset} where {written} bytes were written")));
    }
    let bytes = message.data.remaining() as u64;
    for piece in message.data {
        upload.write(piece).await?;
    }
    Ok(written + bytes)
}

fn invalid(words: &str) -> Error {
    Error::Invalid(words.into())
}
