//! What every row's set-up needs: requests with the instance in them, and blobs on the server.

use std::time::Duration;

use bytes::Bytes;
use millpond_proto::bytestream::{ReadRequest, WriteRequest};
use millpond_proto::reapi::batch_update_blobs_request::Request;
use millpond_proto::reapi::{
    BatchReadBlobsRequest, BatchUpdateBlobsRequest, Digest, FindMissingBlobsRequest,
};

use crate::blob::Blob;
use crate::failure::Failure;
use crate::plan::{Operation, Plan};
use crate::progress::Progress;
use crate::random::Random;
use crate::run::Pool;
use crate::wire::{Call, Expect, method};

/// What one message of a stream holds of a blob at most.
pub(crate) const STREAM_STEP_BYTES: usize = 1 << 20;
/// Content of a batch at most, in bytes: what everybody takes in a message, less its digests.
pub(crate) const BATCH_BYTES: usize = 3 << 20;
/// Blobs of a batch at most, so that their digests and names stay below what the bytes leave.
const BATCH_BLOBS: usize = 2000;

/// Where a row gets what it needs.
pub(crate) struct Setup<'a> {
    pub(crate) pool: &'a mut Pool,
    pub(crate) progress: &'a mut Progress,
    pub(crate) instance: &'a str,
    /// What the content of a batch may take, in bytes.
    pub(crate) batch_bytes: usize,
    pub(crate) random: Random,
    /// How many operations the row has yet to make at most.
    pub(crate) count: usize,
    /// How many of them fit into memory at a time, if each has content of its own.
    pub(crate) part_max: usize,
}

impl Setup<'_> {
    /// How many operations to prepare of which each is made once.
    pub(crate) fn part(&self) -> usize {
        self.count.min(self.part_max)
    }

    /// Makes these calls, and fails with the first that fails.
    pub(crate) async fn perform(&mut self, operations: Vec<Operation>) -> Result<(), Failure> {
        let outcome = self.pool.run(Plan::once(operations), Duration::MAX, self.progress).await;
        match outcome.failures.into_errors().into_iter().next() {
            Some(errors) => Err(Failure { code: errors.code, message: errors.message }),
            None => Ok(()),
        }
    }

    /// Puts blobs on the server.
    pub(crate) async fn upload(&mut self, blobs: &[Blob]) -> Result<(), Failure> {
        let operations = self.uploads(blobs).into_iter().map(|call| Operation::one(call, 0)).collect();
        self.perform(operations).await
    }

    /// The calls that upload blobs: batches, and streams for what is too large for them.
    pub(crate) fn uploads(&self, blobs: &[Blob]) -> Vec<Call> {
        let (small, large): (Vec<_>, Vec<_>) =
            blobs.iter().partition(|blob| blob.content.len() <= self.batch_bytes);
        let batches = batches(small, self.batch_bytes, |blob| blob.content.len());
        let batches = batches.iter().map(|batch| self.batch_update(batch));
        batches.chain(large.into_iter().map(|blob| self.write(blob))).collect()
    }

    /// The calls that download blobs, in the same way.
    pub(crate) fn downloads(&self, digests: &[Digest]) -> Vec<Call> {
        let (small, large): (Vec<_>, Vec<_>) =
            digests.iter().partition(|digest| size(digest) <= self.batch_bytes);
        let batches = batches(small, self.batch_bytes, size);
        let batches = batches.iter().map(|batch| self.batch_read(batch));
        batches.chain(large.into_iter().map(|digest| self.read(digest))).collect()
    }

    /// One call for these blobs.
    pub(crate) fn batch_update(&self, blobs: &[&Blob]) -> Call {
        let request = |blob: &&Blob| Request {
            digest: Some(blob.digest.clone()),
            data: blob.content.clone(),
            ..Default::default()
        };
        let requests = blobs.iter().map(request).collect();
        let request =
            BatchUpdateBlobsRequest { instance_name: self.instance(), requests, ..Default::default() };
        Call::new(method::BATCH_UPDATE, &request, Expect::Updated(blobs.len()))
    }

    /// One call for these blobs.
    pub(crate) fn batch_read(&self, digests: &[&Digest]) -> Call {
        let total = digests.iter().map(|digest| size(digest)).sum();
        let digests = digests.iter().copied().cloned().collect();
        let request = BatchReadBlobsRequest { instance_name: self.instance(), digests, ..Default::default() };
        Call::new(method::BATCH_READ, &request, Expect::Blobs(total))
    }

    /// Streams a blob up.
    pub(crate) fn write(&self, blob: &Blob) -> Call {
        let mut frames = Vec::new();
        let mut rest = blob.content.clone();
        while !rest.is_empty() || frames.is_empty() {
            let data = rest.split_to(STREAM_STEP_BYTES.min(rest.len()));
            let first = frames.is_empty();
            let offset = blob.content.len() - rest.len() - data.len();
            let name = if first { self.upload_name(&blob.digest) } else { String::new() };
            frames.push(write_frame(name, offset, data, rest.is_empty()));
        }
        Call::stream(method::WRITE, frames, Expect::Committed(blob.content.len()))
    }

    /// Streams a blob down.
    pub(crate) fn read(&self, digest: &Digest) -> Call {
        let resource_name = format!("{}blobs/{}/{}", self.prefix(), digest.hash, digest.size_bytes);
        let request = ReadRequest { resource_name, ..Default::default() };
        Call::new(method::READ, &request, Expect::Read(size(digest)))
    }

    /// Asks which of these are missing, of which `missing` are.
    pub(crate) fn find_missing(&self, blob_digests: Vec<Digest>, missing: usize) -> Call {
        let request =
            FindMissingBlobsRequest { instance_name: self.instance(), blob_digests, ..Default::default() };
        Call::new(method::FIND_MISSING, &request, Expect::Missing(missing))
    }

    /// The resource name to write a blob to.
    pub(crate) fn upload_name(&self, digest: &Digest) -> String {
        let Digest { hash, size_bytes } = digest;
        format!("{}uploads/2b1f0a52-8f0a-4d3f-9d0a-0a4f6e1c2b3d/blobs/{hash}/{size_bytes}", self.prefix())
    }

    /// The instance's name, for a request.
    pub(crate) fn instance(&self) -> String {
        self.instance.to_owned()
    }

    /// The instance's name, before a resource name.
    fn prefix(&self) -> String {
        if self.instance.is_empty() { String::new() } else { format!("{}/", self.instance) }
    }
}

/// A message of a written stream.
pub(crate) fn write_frame(resource_name: String, offset: usize, data: Bytes, finish_write: bool) -> Bytes {
    let write_offset = i64::try_from(offset).unwrap_or(i64::MAX);
    Call::frame(&WriteRequest { resource_name, write_offset, finish_write, data })
}

fn size(digest: &Digest) -> usize {
    usize::try_from(digest.size_bytes).unwrap_or_default()
}

/// Cuts a list where one message would be too large.
fn batches<T: Copy>(items: Vec<T>, most: usize, size: impl Fn(T) -> usize) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = size(item);
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_BLOBS && bytes + size <= most => {
                batch.push(item);
                bytes += size;
            }
            _ => {
                batches.push(vec![item]);
                bytes = size;
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_in_bytes_and_in_number() {
        let lengths = |sizes: &[usize]| {
            batches(sizes.to_vec(), 100, |size| size).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&[]), []);
        assert_eq!(lengths(&[100, 1, 99, 1, 101]), [1, 2, 1, 1]);
        assert_eq!(lengths(&[0; BATCH_BLOBS + 1]), [BATCH_BLOBS, 1]);
    }
}
