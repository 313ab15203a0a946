//! Blobs that are on their way: two names that need the same one at the same time have it read once.
//!
//! **Invariant:** whoever waits for others has nothing of its own on its way, so nobody waits for ever.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millpond_store::Digest;
use tokio::sync::Notify;

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Coming(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    digests: Mutex<HashSet<Digest>>,
    fewer: Notify,
}

/// Those that one brings; they are on their way until this is dropped, however that ends.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) digests: Vec<Digest>,
    coming: Coming,
}

impl Coming {
    fn digests(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.0.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims what nobody brings yet; what others bring is given back.
    pub(super) fn claim(&self, digests: Vec<Digest>) -> (Claim, Vec<Digest>) {
        let mut coming = self.digests();
        let (mine, others) = digests.into_iter().partition(|digest| coming.insert(*digest));
        (Claim { digests: mine, coming: self.clone() }, others)
    }

    /// Waits until none of these is on its way.
    pub(super) async fn none_of(&self, digests: &[Digest]) {
        loop {
            let mut fewer = std::pin::pin!(self.0.fewer.notified());
            fewer.as_mut().enable();
            if !self.is_any(digests) {
                return;
            }
            fewer.await;
        }
    }

    fn is_any(&self, digests: &[Digest]) -> bool {
        let coming = self.digests();
        digests.iter().any(|digest| coming.contains(digest))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut coming = self.coming.digests();
        for digest in &self.digests {
            coming.remove(digest);
        }
        drop(coming);
        self.coming.0.fewer.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_blob_is_claimed_by_one_until_it_came_or_was_given_up() {
        let (coming, [one, two]) = (Coming::default(), [b"1", b"2"].map(|content| Digest::of(content)));
        let (first, others) = coming.claim(vec![one]);
        assert_eq!((&first.digests, others), (&vec![one], vec![]));
        let (second, others) = coming.claim(vec![one, two]);
        assert_eq!((&second.digests, &others), (&vec![two], &vec![one]));
        let waiting = tokio::spawn({
            let coming = coming.clone();
            async move { coming.none_of(&others).await }
        });
        tokio::task::yield_now().await;
        drop(second);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        assert_eq!(coming.claim(vec![one, two]).0.digests.len(), 2);
    }
}
