//! What a call must answer to count: a server that answers quickly and wrongly is not fast.

use bytes::Bytes;
use millpond_proto::asset::FetchBlobResponse;
use millpond_proto::buildstream::GetReferenceResponse;
use millpond_proto::bytestream::WriteResponse;
use millpond_proto::reapi::{BatchReadBlobsResponse, BatchUpdateBlobsResponse, Digest, GetTreeResponse};
use millpond_proto::rpc;
use prost::Message;

use crate::failure::Failure;

/// What an answer must say. The largest are not compared byte by byte, which would take the client longer than many a
/// server, but counted.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    /// That it was done.
    Done,
    /// That so many bytes were written.
    Committed(usize),
    /// So many bytes, in messages of `ReadResponse`.
    Read(usize),
    /// That so many blobs were each taken.
    Updated(usize),
    /// So many bytes of blobs, each of them there.
    Blobs(usize),
    /// That so many are missing.
    Missing(usize),
    /// So many directories, in messages of `GetTreeResponse`.
    Directories(usize),
    /// The digest behind an asset.
    Asset(Digest),
    /// The digest behind a reference.
    Reference(Digest),
}

/// A `FindMissingBlobsResponse` whose digests are left encoded.
#[derive(Clone, PartialEq, Message)]
struct Missing {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    digests: Vec<Bytes>,
}

impl Expect {
    /// Holds the messages of an answer against it.
    pub(super) fn check(&self, messages: Vec<Bytes>) -> Result<(), Failure> {
        match self {
            // Streams were counted as they came.
            Self::Done | Self::Read(_) => Ok(()),
            Self::Committed(size) => {
                let answer: WriteResponse = only(messages)?;
                self.size(*size, usize::try_from(answer.committed_size).unwrap_or_default())
            }
            Self::Updated(count) => {
                let answer: BatchUpdateBlobsResponse = only(messages)?;
                answer.responses.iter().try_for_each(|response| each(response.status.as_ref()))?;
                self.size(*count, answer.responses.len())
            }
            Self::Blobs(size) => {
                let answer: BatchReadBlobsResponse = only(messages)?;
                answer.responses.iter().try_for_each(|response| each(response.status.as_ref()))?;
                self.size(*size, answer.responses.iter().map(|response| response.data.len()).sum())
            }
            Self::Missing(count) => self.size(*count, only::<Missing>(messages)?.digests.len()),
            Self::Directories(count) => {
                let mut found = 0;
                for message in messages {
                    found += decode::<GetTreeResponse>(message)?.directories.len();
                }
                self.size(*count, found)
            }
            Self::Asset(digest) => {
                let answer: FetchBlobResponse = only(messages)?;
                each(answer.status.as_ref())?;
                same(digest, answer.blob_digest)
            }
            Self::Reference(digest) => same(digest, only::<GetReferenceResponse>(messages)?.digest),
        }
    }

    /// Compares a count.
    pub(super) fn size(&self, expected: usize, found: usize) -> Result<(), Failure> {
        if found == expected {
            Ok(())
        } else {
            Err(Failure::wrong(format!("{found} where it should be {self:?}")))
        }
    }
}

fn decode<M: Message + Default>(message: Bytes) -> Result<M, Failure> {
    M::decode(message).map_err(|error| Failure::wrong(error.to_string()))
}

/// The answer of a method that has one.
fn only<M: Message + Default>(messages: Vec<Bytes>) -> Result<M, Failure> {
    let count = messages.len();
    let first = messages.into_iter().next().filter(|_| count == 1);
    decode(first.ok_or_else(|| Failure::wrong(format!("{count} messages where there should be one")))?)
}

/// What a batch says of one blob.
fn each(status: Option<&rpc::Status>) -> Result<(), Failure> {
    match status {
        Some(status) if status.code != 0 => Err(Failure::told(status.code, &status.message)),
        _ => Ok(()),
    }
}

fn same(expected: &Digest, found: Option<Digest>) -> Result<(), Failure> {
    match found {
        Some(found) if found == *expected => Ok(()),
        found => Err(Failure::wrong(format!("{found:?} where it should be {expected:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use millpond_proto::reapi::FindMissingBlobsResponse;
    use millpond_proto::reapi::batch_read_blobs_response::Response;

    use super::*;

    fn check(expect: &Expect, answer: &impl Message) -> Result<(), Failure> {
        expect.check(vec![answer.encode_to_vec().into()])
    }

    #[test]
    fn short_answers_are_wrong() {
        let answer = WriteResponse { committed_size: 7 };
        check(&Expect::Committed(7), &answer).unwrap();
        assert_eq!(check(&Expect::Committed(8), &answer).unwrap_err().code, "WRONG_ANSWER");
        let missing = FindMissingBlobsResponse { missing_blob_digests: vec![Digest::default(); 3] };
        check(&Expect::Missing(3), &missing).unwrap();
        check(&Expect::Missing(4), &missing).unwrap_err();
        Expect::Committed(0).check(Vec::new()).unwrap_err();
    }

    #[test]
    fn one_blob_refused_in_a_batch_is_a_failure_with_its_code() {
        let status = rpc::Status { code: 5, message: "gone".into(), ..Default::default() };
        let there = Response { data: "four".into(), ..Default::default() };
        let gone = Response { status: Some(status), ..Default::default() };
        let answer = |responses| BatchReadBlobsResponse { responses };
        check(&Expect::Blobs(4), &answer(vec![there.clone()])).unwrap();
        let failure = check(&Expect::Blobs(4), &answer(vec![there, gone])).unwrap_err();
        assert_eq!((failure.code, &failure.message[..]), ("NOT_FOUND", "gone"));
    }
}
