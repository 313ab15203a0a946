//! BuildStream 1.2 to 1.6 (`grpc-python`).
//!
//! - It takes no message above gRPC's 4 MiB, and asks for as many blobs at once as their data alone fits the limit that
//!   we name: 60 000 files of 8 bytes in one directory make an answer of 4.8 MB, which it must reject, for ever. So the
//!   limit we name to it is one at which such trees fit, and an answer that would still be too large is cut short
//!   with a miss.
//! - Full: it goes on only if the *call* fails with RESOURCE_EXHAUSTED. As the status of one blob that fails its job.

use std::collections::HashSet;

use millpond_proto::reapi::batch_read_blobs_response::Response;
use prost::Message;

use crate::status;

/// What we name as `max_batch_total_size_bytes`.
pub(crate) const BATCH_BYTES: i64 = 256 * 1024;

/// gRPC's limit for received messages, less a page.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024 - 4096;

/// Room for one answer that says no.
const REFUSAL_BYTES: usize = 128;

/// Makes an answer to BatchReadBlobs that this client can receive.
///
/// Equal digests are answered once: it uses what comes, whatever it asked for. The first blob that does not fit becomes
/// a miss, and so do those after it as far as even their misses fit: one miss makes the whole pull a miss, which ends in
/// a build, while a message too large ends in an error. So a tree is never silently incomplete.
pub(crate) fn fit(responses: Vec<Response>) -> Vec<Response> {
    let mut seen = HashSet::with_capacity(responses.len());
    let mut fitting = Vec::with_capacity(responses.len());
    let mut bytes = 0;
    let mut full = false;
    for response in responses {
        if !seen.insert(response.digest.clone()) {
            continue;
        }
        let response = if full { miss(response) } else { response };
        let needed = encoded_bytes(&response);
        if bytes + needed + REFUSAL_BYTES <= ANSWER_BYTES_MAX {
            bytes += needed;
            fitting.push(response);
            continue;
        }
        if full {
            break;
        }
        full = true;
        let refusal = miss(response);
        bytes += encoded_bytes(&refusal);
        fitting.push(refusal);
    }
    fitting
}

fn miss(response: Response) -> Response {
    Response { digest: response.digest, status: Some(status::blob_is_missing()), ..Default::default() }
}

/// With the key and the length in front of it in the whole answer.
fn encoded_bytes(response: &Response) -> usize {
    let bytes = response.encoded_len();
    1 + prost::length_delimiter_len(bytes) + bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_proto::reapi::{BatchReadBlobsResponse, Digest};

    fn response(number: usize, data_bytes: usize) -> Response {
        let digest = Digest { hash: format!("{number:064x}").into(), size_bytes: data_bytes as i64 };
        Response { digest: Some(digest), data: vec![7; data_bytes].into(), ..Default::default() }
    }

    fn codes(responses: &[Response]) -> HashSet<i32> {
        responses.iter().map(|response| response.status.as_ref().map_or(0, |status| status.code)).collect()
    }

    #[test]
    fn tiny_files_at_the_named_limit_all_fit() {
        let count = BATCH_BYTES as usize / 8;
        let fitted = fit((0..count).map(|number| response(number, 8)).collect());
        assert_eq!(fitted.len(), count);
        assert_eq!(codes(&fitted), HashSet::from([0]));
        assert!(BatchReadBlobsResponse { responses: fitted }.encoded_len() < 4 * 1024 * 1024);
    }

    #[test]
    fn what_does_not_fit_is_a_miss_in_a_message_that_does() {
        for (count, data_bytes) in [(60_000, 8), (131_072, 2), (5, 1024 * 1024), (1, 8 * 1024 * 1024)] {
            let fitted = fit((0..count).map(|number| response(number, data_bytes)).collect());
            assert!(codes(&fitted).contains(&5), "{count} of {data_bytes}");
            assert!(BatchReadBlobsResponse { responses: fitted }.encoded_len() < 4 * 1024 * 1024);
        }
    }

    #[test]
    fn equal_digests_are_answered_once() {
        let fitted = fit(vec![response(1, 8), response(2, 8), response(1, 8)]);
        assert_eq!(fitted, [response(1, 8), response(2, 8)]);
    }
}
