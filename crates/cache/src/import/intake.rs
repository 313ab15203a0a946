//! Taking blobs in: read there, hashed as any upload is, kept here.
//!
//! **Invariant:** of all that is read at the same time no more than [`AT_A_TIME`] × [`TOGETHER_BYTES`] are in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond_store::{Digest, Error as StoreError, Held};
use tokio::sync::Semaphore;

use super::lacking::{Lack, NOT_THERE, OTHER_BYTES};
use super::source::{Had, Source};
use crate::cache::Inner;
use crate::{Error, Result};

/// Blobs up to this size are read whole, many at a time.
pub(super) const SMALL: u64 = 1 << 20;
/// Bytes of small blobs that are read together, and how many: what the batches of most servers take.
const TOGETHER_BYTES: u64 = 3 << 20;
const TOGETHER: usize = 512;
/// Groups of small blobs, and large ones, that are read at the same time.
const AT_A_TIME: usize = 8;
/// For so long it waits for room: until the lease is as short as it may get.
const PATIENCE: Duration = Duration::from_secs(300);
/// After so long it tries again.
const PAUSE: Duration = Duration::from_secs(2);

/// What became of a blob.
pub(super) type Taken = (Digest, std::result::Result<(), Lack>);

/// Who takes in. Clones share their turns.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    inner: Arc<Inner>,
    source: Source,
    turns: Arc<Semaphore>,
}

/// Cuts digests into groups whose blobs may be in memory together; a large one is a group of its own.
pub(super) fn groups(digests: &[Digest]) -> Vec<Vec<Digest>> {
    let (mut groups, mut group, mut bytes) = (Vec::new(), Vec::new(), 0);
    for digest in digests {
        if !group.is_empty() && (group.len() >= TOGETHER || bytes + digest.size() > TOGETHER_BYTES) {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes = digest.size().saturating_add(bytes);
        group.push(*digest);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

impl Intake {
    pub(super) fn new(inner: Arc<Inner>, source: Source) -> Self {
        Self { inner, source, turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Takes a group in once it is its turn. What is wrong with blobs is told of them; all else is an error.
    pub(super) async fn take(self, group: Vec<Digest>) -> Result<Vec<Taken>> {
        let _turn = self.turns.acquire().await.map_err(Error::internal)?;
        self.inner.go_on()?;
        match *group {
            [digest] if digest.size() > SMALL => Ok(vec![(digest, self.take_large(digest).await?)]),
            _ => self.take_small(group).await,
        }
    }

    async fn take_small(&self, digests: Vec<Digest>) -> Result<Vec<Taken>> {
        let (mut blobs, mut taken) = (Vec::new(), Vec::new());
        for (digest, had) in self.source.read_whole(digests).await? {
            match lack(had) {
                Ok(content) => blobs.push((digest, content)),
                Err(lack) => taken.push((digest, Err(lack))),
            }
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let outcomes = self.inner.blobs.put_many(blobs.clone()).await;
            let mut again = Vec::new();
            for ((digest, content), outcome) in blobs.into_iter().zip(outcomes) {
                if is_for_room(&outcome) && Instant::now() < end {
                    again.push((digest, content));
                } else {
                    taken.push((digest, self.judged(outcome)?));
                }
            }
            if again.is_empty() {
                return Ok(taken);
            }
            self.inner.go_on()?;
            blobs = again;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn take_large(&self, digest: Digest) -> Result<std::result::Result<(), Lack>> {
        let end = Instant::now() + PATIENCE;
        loop {
            let outcome = match self.upload(digest).await? {
                Ok(outcome) => outcome,
                Err(lack) => return Ok(Err(lack)),
            };
            if !is_for_room(&outcome) || Instant::now() > end {
                return self.judged(outcome);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What an upload came to, if there is something to upload.
    async fn upload(&self, digest: Digest) -> Result<std::result::Result<millpond_store::Result<()>, Lack>> {
        let mut reading = match lack(self.source.open(digest).await?) {
            Ok(reading) => reading,
            Err(lack) => return Ok(Err(lack)),
        };
        let mut upload = match self.inner.blobs.create(digest).await {
            Ok(upload) => upload,
            Err(error) => return Ok(Ok(Err(error))),
        };
        loop {
            self.inner.go_on()?;
            let piece: Bytes;
            (piece, reading) = match reading.next().await? {
                Ok(next) => next,
                Err(why) => return Ok(Err(Lack::Unknown(why))),
            };
            if piece.is_empty() {
                break;
            }
            if let Err(error) = upload.write(piece).await {
                return Ok(Ok(Err(error)));
            }
        }
        Ok(Ok(upload.finish().await))
    }

    /// Whatever is wrong with the bytes is told of the blob; all else ends the import.
    fn judged(&self, outcome: millpond_store::Result<()>) -> Result<std::result::Result<(), Lack>> {
        match outcome {
            Ok(()) => Ok(Ok(())),
            Err(StoreError::Mismatch(_)) => Ok(Err(Lack::Gone(OTHER_BYTES))),
            Err(StoreError::TooLarge { .. }) => Ok(Err(Lack::Gone("is larger than this cache takes"))),
            Err(error) => Err(self.inner.refusal(error)),
        }
    }
}

fn lack<T>(had: Had<T>) -> std::result::Result<T, Lack> {
    match had {
        Ok(Some(had)) => Ok(had),
        Ok(None) => Err(Lack::Gone(NOT_THERE)),
        Err(why) => Err(Lack::Unknown(why)),
    }
}

/// Whether it is refused for want of room, which may be there once leases are over or shorter.
fn is_for_room(outcome: &millpond_store::Result<()>) -> bool {
    matches!(outcome, Err(StoreError::NoSpace { held: Held::Limit | Held::Lease, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_store::DigestFunction;

    fn digest(number: u8, size: u64) -> Digest {
        Digest::from_parts(DigestFunction::Sha256, [number; 32], size).unwrap()
    }

    #[test]
    fn groups_hold_what_fits_together_and_large_ones_alone() {
        let small: Vec<_> = (0..4).map(|number| digest(number, SMALL)).collect();
        let sizes = |digests: &[Digest]| groups(digests).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(&small), [3, 1]);
        assert_eq!(sizes(&[digest(1, 0), digest(2, u64::MAX >> 1), digest(3, 1)]), [1, 1, 1]);
        assert_eq!(sizes(&vec![digest(1, 1); TOGETHER + 1]), [TOGETHER, 1]);
        assert_eq!(sizes(&[]), [0; 0]);
    }
}
