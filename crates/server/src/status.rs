//! The only errors on the wire: from the domain's error to a gRPC status, nowhere else.
//!
//! | `millpond_cache::Error` | gRPC | log | the client reads |
//! | --- | --- | --- | --- |
//! | `NotFound` | NOT_FOUND | | what is not there |
//! | `Incomplete` | FAILED_PRECONDITION | info | how many blobs are missing, the first few, what to do |
//! | `Denied` | PERMISSION_DENIED | info, by `layers` | what to do |
//! | `Unauthenticated` | UNAUTHENTICATED | info, by `layers` | what is wrong with the credential, or which to show |
//! | `Invalid` | INVALID_ARGUMENT | debug | what is wrong, what to do |
//! | `OutOfRange` | OUT_OF_RANGE | | where the blob ends |
//! | `NoSpace`, `FullOfKept`, `TooLarge` | RESOURCE_EXHAUSTED | warn | figures, and which setting to raise |
//! | `TooMuchToKeep` | FAILED_PRECONDITION | | figures, and what to do |
//! | `Poisoned` | RESOURCE_EXHAUSTED | warn | that the operator has to look |
//! | `Busy` | UNAVAILABLE | warn | what is going on |
//! | `Internal` | INTERNAL | error, with all causes | "internal error" and the request's id |
//!
//! RESOURCE_EXHAUSTED is the one code with which all generations of BuildStream let a build go on when an upload is
//! refused, so a store that takes nothing in for another reason than space says it too.
//!
//! Warnings are written now and then only: a full volume refuses thousands of blobs.
//!
//! **In a pull** ([`pull`]) whatever a rebuild can cure is NOT_FOUND: BuildStream 1 and 2 take that for a miss, and let
//! any other code stop the user's build.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response};
use millpond_cache::{Error, Limit, now_and_then};
use millpond_proto::rpc;
use tonic::{Code, Status};

use crate::caller::RequestId;
use crate::layers::method::Nature;
use crate::quirks::Generation;
use crate::quota::Over;

/// The status of a call that failed.
pub(crate) fn failed(error: Error, request: RequestId) -> Status {
    let (code, words) = translate(error, request);
    Status::new(code, words)
}

/// The status of a call that only pulls.
pub(crate) fn pull(error: Error, request: RequestId) -> Status {
    failed(as_miss(error, request), request)
}

/// The status of one blob in a batch with which all went well.
pub(crate) fn blob_is_well() -> rpc::Status {
    rpc::Status::default()
}

/// The status of one blob in a batch that is not there, without words.
pub(crate) fn blob_is_missing() -> rpc::Status {
    rpc::Status { code: Code::NotFound as i32, ..Default::default() }
}

/// The status of one blob in a batch that was uploaded.
pub(crate) fn of_blob(error: Error, request: RequestId) -> rpc::Status {
    let (code, message) = translate(error, request);
    rpc::Status { code: code as i32, message, details: Vec::new() }
}

/// The status of one blob in a batch that was asked for. BuildStream prints its number only, so a miss has no words:
/// there can be many in one answer.
pub(crate) fn of_pulled_blob(error: Error, request: RequestId) -> rpc::Status {
    let (code, message) = translate(as_miss(error, request), request);
    if code == Code::NotFound {
        return blob_is_missing();
    }
    rpc::Status { code: code as i32, message, details: Vec::new() }
}

/// A service or method that is not offered, or not to this caller.
pub(crate) fn unimplemented(words: &'static str) -> Status {
    Status::unimplemented(words)
}

/// A request that does not get on.
pub(crate) fn idle(limit: Duration) -> Status {
    let seconds = limit.as_secs();
    Status::deadline_exceeded(format!("no byte came within {seconds} seconds: send the request again"))
}

/// A request that holds memory and does not get on.
pub(crate) fn too_slow(time: Duration, rate: u32) -> Status {
    let seconds = time.as_secs();
    Status::deadline_exceeded(format!(
        "the request brought less than {rate} bytes a second for {seconds} seconds: send it again on a faster line, or in smaller parts"
    ))
}

/// A request that found no memory, and no room to wait for it, or waited too long.
///
/// - A look-up or read is a miss: any other code stops a user's build.
/// - BuildStream 1 lives with RESOURCE_EXHAUSTED alone in a push, which begins with FindMissingBlobs.
/// - BuildStream 2 lives with it in uploads alone. FindMissingBlobs and names fail with any code, but UNAVAILABLE is
///   tried four times more before.
pub(crate) fn overloaded(nature: Nature, generation: Generation) -> Status {
    for_now(
        "requests have all the memory that they may: send fewer at a time, or try again later",
        nature,
        generation,
    )
}

/// A call of an identity that has taken what it may.
pub(crate) fn over_quota(over: Over, nature: Nature, generation: Generation) -> Status {
    let words = match over {
        Over::Requests(count) => {
            Limit::RequestsPerMinute.met();
            format!(
                "more than {count} requests in a minute, which is the quota of this identity: try again later"
            )
        }
        Over::Bytes(bytes) => {
            Limit::UploadPerDay.met();
            format!(
                "more than {bytes} bytes of uploads in a day, which is the quota of this identity: try again tomorrow, or ask the operator of this cache for more"
            )
        }
    };
    for_now(words, nature, generation)
}

fn for_now(words: impl Into<String>, nature: Nature, generation: Generation) -> Status {
    match (nature, generation) {
        (Nature::Pull, _) => Status::not_found(words),
        (Nature::Upload, _) | (_, Generation::BuildStream1) => Status::resource_exhausted(words),
        (Nature::Probe | Nature::Name, Generation::Other) => Status::unavailable(words),
    }
}

/// A message of a stream that is too large.
pub(crate) fn part_too_large(bytes: u32, limit: u32) -> Status {
    let words = "send a blob in messages of 1 MiB or so";
    Status::resource_exhausted(format!(
        "a message of {bytes} bytes in a stream is larger than {limit}: {words}"
    ))
}

/// A message with more fields than any client has reason for.
pub(crate) fn too_many_fields(limit: u32) -> Status {
    Status::invalid_argument(format!("a message has more than {limit} entries: send smaller batches"))
}

/// The answer of another server with more fields than were asked for: the same call would come to the same again.
pub(crate) fn answer_of_too_many_fields(limit: u32) -> Status {
    Status::out_of_range(format!("its answer has more than {limit} fields"))
}

/// A request that goes on after its only message.
pub(crate) fn second_message() -> Status {
    Status::invalid_argument("the request has a second message: this method takes one")
}

/// A message that is too large; the code is the one with which gRPC's own libraries refuse it.
pub(crate) fn message_too_large(bytes: u64, limit: u32) -> Status {
    let words = "send smaller batches, or use ByteStream";
    Status::resource_exhausted(format!("a message of {bytes} bytes is larger than {limit}: {words}"))
}

/// A call in which our code panicked.
pub(crate) fn panicked<B: Default>(request: RequestId) -> Response<B> {
    failed(Error::internal("a panic"), request).into_http()
}

/// An error that the gRPC library found while it read the request: it says INTERNAL for what the client sent wrongly, and
/// names its own parts. Ours with that code begin otherwise.
pub(crate) fn blame_the_request(headers: &mut HeaderMap) {
    let is_ours = |words: &HeaderValue| words.as_bytes().starts_with(b"internal%20error");
    let internal = headers.get("grpc-status").is_some_and(|code| code == "13");
    if internal && !headers.get("grpc-message").is_some_and(is_ours) {
        headers.extend(malformed().into_http::<()>().into_parts().0.headers);
    }
}

/// Whether an answer with these headers refuses the call, for want of a right or of a credential, and with which words.
pub(crate) fn refused(headers: &HeaderMap) -> Option<(&'static str, String)> {
    let status = Status::from_header_map(headers)?;
    let outcome = match status.code() {
        Code::PermissionDenied => "denied",
        Code::Unauthenticated => "not authenticated",
        _ => return None,
    };
    Some((outcome, status.message().to_owned()))
}

/// What ended a request's body: a status of `layers`, or how the connection broke.
pub(crate) fn of_body(error: tower::BoxError) -> Status {
    Status::from_error(error)
}

/// A request that is no message.
pub(crate) fn malformed() -> Status {
    Status::invalid_argument(
        "the request is not a message that this method takes: encode it whole, as the .proto files say",
    )
}

/// The end of an answer whose begin is on the wire already, in which our code panicked.
pub(crate) fn panicked_trailers(request: RequestId) -> HeaderMap {
    trailers(failed(Error::internal("a panic"), request))
}

/// The end of an answer whose begin is on the wire already.
pub(crate) fn trailers(status: Status) -> HeaderMap {
    let mut trailers = status.into_http::<()>().into_parts().0.headers;
    trailers.remove(http::header::CONTENT_TYPE);
    trailers
}

/// Whether an upload was refused for want of space, or as if for that.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::NoSpace { .. } | Error::FullOfKept { .. } | Error::TooLarge { .. } | Error::Poisoned
    )
}

/// What a rebuild can cure becomes a miss, after the log has it.
fn as_miss(error: Error, request: RequestId) -> Error {
    match error {
        Error::NotFound(_)
        | Error::Denied(_)
        | Error::Unauthenticated(_)
        | Error::Invalid(_)
        | Error::OutOfRange(_) => error,
        Error::Incomplete { .. }
        | Error::NoSpace { .. }
        | Error::FullOfKept { .. }
        | Error::TooMuchToKeep { .. }
        | Error::TooLarge { .. }
        | Error::Busy(_)
        | Error::Poisoned
        | Error::Elsewhere(_)
        | Error::Internal(_) => {
            let (code, words) = translate(error, request);
            now_and_then!(warn, %request, ?code, words, "answered as a miss");
            Error::NotFound(format!("what request {request} asked for"))
        }
    }
}

fn translate(error: Error, request: RequestId) -> (Code, String) {
    let words = error.to_string();
    let code = match error {
        Error::NotFound(_) => Code::NotFound,
        Error::Incomplete { .. } => {
            tracing::info!(%request, words, "a name was refused");
            Code::FailedPrecondition
        }
        // The log has these from `layers`, with who and from where.
        Error::Denied(_) => Code::PermissionDenied,
        Error::Unauthenticated(_) => Code::Unauthenticated,
        Error::Invalid(_) => {
            tracing::debug!(%request, words, "bad input");
            Code::InvalidArgument
        }
        Error::OutOfRange(_) => Code::OutOfRange,
        Error::TooMuchToKeep { .. } | Error::Elsewhere(_) => Code::FailedPrecondition,
        Error::NoSpace { .. } | Error::FullOfKept { .. } | Error::TooLarge { .. } | Error::Poisoned => {
            now_and_then!(warn, %request, words, "an upload was refused");
            Code::ResourceExhausted
        }
        Error::Busy(_) => {
            now_and_then!(warn, %request, words, "busy");
            Code::Unavailable
        }
        Error::Internal(cause) => {
            tracing::error!(%request, causes = causes(cause.as_ref()), "internal error");
            return (Code::Internal, format!("internal error, request {request}"));
        }
    };
    (code, words)
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

/// That the disk has not answered for so long.
pub(crate) fn disk_hangs(hangs: std::time::Duration) -> String {
    format!(
        "the disk has not answered for {} s: what needs it is a miss, everything else is served; look after the disk",
        hangs.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use millpond_cache::Held;

    use super::*;

    fn every_error() -> Vec<(Error, Code, Code)> {
        let incomplete = Error::Incomplete { missing: vec![], count: 2 };
        vec![
            (Error::NotFound("x".into()), Code::NotFound, Code::NotFound),
            (incomplete, Code::FailedPrecondition, Code::NotFound),
            (Error::Denied("x".into()), Code::PermissionDenied, Code::PermissionDenied),
            (Error::Unauthenticated("x".into()), Code::Unauthenticated, Code::Unauthenticated),
            (Error::Invalid("x".into()), Code::InvalidArgument, Code::InvalidArgument),
            (Error::OutOfRange("x".into()), Code::OutOfRange, Code::OutOfRange),
            (
                Error::NoSpace { held: Held::Limit, used: 1, limit: 1 },
                Code::ResourceExhausted,
                Code::NotFound,
            ),
            (Error::TooLarge { size: 2, limit: 1 }, Code::ResourceExhausted, Code::NotFound),
            (Error::Poisoned, Code::ResourceExhausted, Code::NotFound),
            (Error::Busy("x".into()), Code::Unavailable, Code::NotFound),
            (Error::Elsewhere("x".into()), Code::FailedPrecondition, Code::NotFound),
            (Error::internal("x"), Code::Internal, Code::NotFound),
        ]
    }

    #[test]
    fn every_error_has_its_code() {
        for (error, code, _) in every_error() {
            assert_eq!(failed(error, RequestId::next()).code(), code);
        }
    }

    #[test]
    fn in_a_pull_what_a_rebuild_cures_is_a_miss() {
        for (error, _, code) in every_error() {
            assert_eq!(pull(error, RequestId::next()).code(), code);
        }
        for (error, _, code) in every_error() {
            assert_eq!(of_pulled_blob(error, RequestId::next()).code, code as i32);
        }
    }

    #[test]
    fn without_memory_each_generation_is_told_what_it_survives() {
        use Generation::{BuildStream1, Other};
        for generation in [BuildStream1, Other] {
            assert_eq!(overloaded(Nature::Pull, generation).code(), Code::NotFound);
            assert_eq!(overloaded(Nature::Upload, generation).code(), Code::ResourceExhausted);
        }
        for nature in [Nature::Probe, Nature::Name] {
            assert_eq!(overloaded(nature, BuildStream1).code(), Code::ResourceExhausted);
            assert_eq!(overloaded(nature, Other).code(), Code::Unavailable);
        }
    }

    #[test]
    fn internal_errors_tell_the_client_the_request_and_nothing_of_ours() {
        let request = RequestId::next();
        let status = failed(Error::internal("/srv/data/packs/07/7.pack: EIO"), request);
        assert_eq!(status.message(), format!("internal error, request {request}"));
    }
}
