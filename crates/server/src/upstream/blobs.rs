//! Blobs of another server: which are missing, small ones in batches, and large ones by ByteStream.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use millpond_cache::{Answer, Digest, HadBlob, Trouble, UpstreamBlob};
use millpond_proto::bytestream::byte_stream_client::ByteStreamClient;
use millpond_proto::bytestream::{ReadRequest, ReadResponse};
use millpond_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use millpond_proto::reapi::{self, BatchReadBlobsRequest, FindMissingBlobsRequest};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, Streaming};

use super::bounded::Bounded;
use super::calls::{Refusal, SILENCE, Tries, time_for};
use super::{MESSAGE_MAX, Shared};
use crate::grpc::digests::to_wire;

/// Digests that are asked for in one message.
const DIGESTS_MAX: usize = 10_000;
/// What a blob takes in a batch beside its bytes.
const BESIDE: u64 = 256;
/// What words about blobs that are not had may take in a batch.
const ERROR_BYTES_MAX: u64 = 64 << 10;
/// Fields that an answer may have beside one for each blob: those that later versions of the protocol may add.
const FIELDS_BESIDE: usize = 16;

impl Shared {
    /// Of an answer about so many blobs, which may have so many bytes.
    fn storage(&self, blobs: usize, answer_max: u64) -> ContentAddressableStorageClient<Bounded> {
        let answer_max = usize::try_from(answer_max).map_or(MESSAGE_MAX, |bytes| bytes.min(MESSAGE_MAX));
        let channel = Bounded::new(self.channel.clone(), blobs + FIELDS_BESIDE);
        ContentAddressableStorageClient::new(channel).max_decoding_message_size(answer_max)
    }

    /// Which of these are not there.
    pub(super) async fn missing(&self, digests: Vec<Digest>) -> Result<Vec<Digest>, Trouble> {
        let mut missing = HashSet::new();
        for some in digests.chunks(DIGESTS_MAX) {
            let message = FindMissingBlobsRequest {
                instance_name: self.instance.clone(),
                blob_digests: some.iter().map(to_wire).collect(),
                ..Default::default()
            };
            let answer = self.calls.ask(0, || {
                let answer_max = BESIDE * (some.len() as u64 + 1);
                let (mut storage, request) =
                    (self.storage(some.len(), answer_max), self.calls.request(message.clone()));
                async move { storage.find_missing_blobs(request).await }
            });
            let answer = answer.await.map_err(|refusal| refusal.words())?;
            missing.extend(answer.missing_blob_digests.iter().filter_map(read_digest));
        }
        Ok(digests.into_iter().filter(|digest| missing.contains(digest)).collect())
    }

    /// What is had of these, which fit into one batch.
    async fn batch(&self, some: &[Digest]) -> Result<HashMap<Digest, HadBlob>, Refusal> {
        let bytes = some.iter().map(|digest| digest.size() + BESIDE).sum();
        self.rate.take(bytes).await;
        let message = BatchReadBlobsRequest {
            instance_name: self.instance.clone(),
            digests: some.iter().map(to_wire).collect(),
            ..Default::default()
        };
        let answer = self.calls.ask(bytes, || {
            let answer_max = bytes + ERROR_BYTES_MAX;
            let (mut storage, request) =
                (self.storage(some.len(), answer_max), self.calls.request(message.clone()));
            async move { storage.batch_read_blobs(request).await }
        });
        let responses = answer.await?.responses;
        let had = responses.into_iter().filter_map(|response| {
            let status = response.status.unwrap_or_default();
            let had = match Code::from(status.code) {
                // It was not asked to compress any.
                Code::Ok if response.compressor == 0 => Ok(Some(response.data)),
                Code::Ok => Err("it compresses what it was not asked to".into()),
                Code::NotFound => Ok(None),
                code => Err(format!("it says {code:?} to it")),
            };
            Some((response.digest.as_ref().and_then(read_digest)?, had))
        });
        Ok(had.collect())
    }
}

fn read_digest(digest: &reapi::Digest) -> Option<Digest> {
    Digest::parse(&digest.hash, digest.size_bytes).ok()
}

/// Reads blobs whole, in as few batches as the server allows.
pub(super) async fn read_whole(shared: &Arc<Shared>, digests: &[Digest]) -> Vec<HadBlob> {
    let mut had = HashMap::new();
    let mut rest = digests;
    while !rest.is_empty() && shared.reads_batches() {
        let mut bytes = 0_u64;
        let fits = |digest: &&Digest| {
            bytes = bytes.saturating_add(digest.size().saturating_add(BESIDE));
            bytes <= shared.batch_max
        };
        let (some, more) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        let alone_too_large =
            matches!(some, [digest] if digest.size().saturating_add(BESIDE) > shared.batch_max);
        if alone_too_large {
            rest = more;
            continue;
        }
        match shared.batch(some).await {
            Ok(read) => {
                let missed = |digest: &Digest| (*digest, Err("it leaves it out of its answer".into()));
                had.extend(some.iter().map(missed));
                for (digest, read) in read {
                    // What was not asked for is nobody's.
                    had.entry(digest).and_modify(|had| *had = read);
                }
            }
            Err(refusal) if refusal.code() == Some(Code::Unimplemented) => {
                shared.batches.store(false, Ordering::Relaxed);
                break;
            }
            // One for all, as of a look-up.
            Err(refusal) if refusal.code() == Some(Code::NotFound) => {
                had.extend(some.iter().map(|digest| (*digest, Ok(None))));
            }
            // It takes no batch of so many, or of so much: one by one.
            Err(refusal)
                if matches!(refusal.code(), Some(Code::InvalidArgument | Code::ResourceExhausted)) => {}
            Err(refusal) => had.extend(some.iter().map(|digest| (*digest, Err(refusal.words())))),
        }
        rest = more;
    }
    let mut all = Vec::with_capacity(digests.len());
    for digest in digests {
        all.push(match had.remove(digest) {
            Some(had) => had,
            None => Reading::new(Arc::clone(shared), *digest).whole().await,
        });
    }
    all
}

/// A blob that is read; goes on where it was when the connection breaks.
pub(super) struct Reading {
    shared: Arc<Shared>,
    digest: Digest,
    stream: Option<Streaming<ReadResponse>>,
    got: u64,
    /// For it, whatever its readers took.
    waited: Duration,
    tries: Tries,
}

impl Reading {
    pub(super) fn new(shared: Arc<Shared>, digest: Digest) -> Self {
        Self { shared, digest, stream: None, got: 0, waited: Duration::ZERO, tries: Tries::default() }
    }

    async fn whole(mut self) -> HadBlob {
        let mut content = Vec::new();
        let mut is_there = false;
        while let Some(piece) = self.piece().await? {
            is_there = true;
            content.extend_from_slice(&piece);
        }
        Ok(is_there.then(|| content.into()))
    }

    async fn piece(&mut self) -> HadBlob {
        loop {
            if self.got >= self.digest.size() {
                return Ok(None);
            }
            self.shared.calls.go_on().map_err(|refusal| refusal.words())?;
            let begun = Instant::now();
            let data = timeout(SILENCE, self.data()).await;
            self.waited += begun.elapsed();
            let refusal = match data {
                Ok(Ok(Some(data))) => return self.came(data).await.map(Some),
                Ok(Ok(None)) => {
                    return Err(format!("it ends after {} of {} bytes", self.got, self.digest.size()));
                }
                Ok(Err(status)) if status.code() == Code::NotFound && self.got == 0 => {
                    self.shared.calls.answered();
                    return Ok(None);
                }
                Ok(Err(status)) => Refusal::Said(status),
                Err(_) => Refusal::Silent,
            };
            self.stream = None;
            self.tries.again(&self.shared.calls, refusal).await.map_err(|refusal| refusal.words())?;
        }
    }

    async fn came(&mut self, data: Bytes) -> Result<Bytes, Trouble> {
        self.shared.calls.answered();
        self.tries.begin_anew();
        self.got = self.got.saturating_add(data.len() as u64);
        if self.got > self.digest.size() {
            return Err(format!("it sends more than its {} bytes", self.digest.size()));
        }
        if self.waited > time_for(self.got) {
            return Err(format!("only {} bytes of it came in {} s", self.got, self.waited.as_secs()));
        }
        self.shared.rate.take(data.len() as u64).await;
        Ok(data)
    }

    /// The next bytes, of which there are some.
    async fn data(&mut self) -> Result<Option<Bytes>, Status> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let instance = &self.shared.instance;
                let slash = if instance.is_empty() { "" } else { "/" };
                let message = ReadRequest {
                    resource_name: format!("{instance}{slash}blobs/{}", self.digest),
                    read_offset: i64::try_from(self.got).unwrap_or(i64::MAX),
                    read_limit: 0,
                };
                let client = ByteStreamClient::new(self.shared.channel.clone());
                let mut client = client.max_decoding_message_size(MESSAGE_MAX);
                none.insert(client.read(self.shared.calls.request(message)).await?.into_inner())
            }
        };
        loop {
            match stream.message().await? {
                Some(answer) if answer.data.is_empty() => {}
                answer => return Ok(answer.map(|answer| answer.data)),
            }
        }
    }
}

impl UpstreamBlob for Reading {
    fn next(&mut self) -> Answer<'_, Option<Bytes>> {
        Box::pin(self.piece())
    }
}
