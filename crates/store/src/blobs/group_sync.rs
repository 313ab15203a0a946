//! Who waits for which pack to be durable, and who syncs it for all of them.
//!
//! One leader a target runs the sync; whoever comes while it runs waits for its end and, if that did not cover what it
//! waits for, for one more. So nobody waits for more than two.
//!
//! **Invariant:** synced <= appended; `synced` rises only by what a sync that began after the append returned. A
//! failed sync is never repeated and believed: the target has failed beyond `synced` for good.
//!
//! It knows nothing of files; a target says what its sync is.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::format::PackId;
use crate::{Error, Held, Result};

/// Up to which byte packs must be durable before something may be promised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncPoints(BTreeMap<PackId, u64>);

impl SyncPoints {
    /// Adds a pack up to a byte.
    pub(crate) fn add(&mut self, pack: PackId, end: u64) {
        let known = self.0.entry(pack).or_default();
        *known = end.max(*known);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(pack, end)| self.add(pack, end));
    }

    /// Whether there is nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many packs there are to wait for.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Packs and the byte that each must be durable up to.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PackId, u64)> {
        self.0.iter().map(|(pack, end)| (*pack, *end))
    }
}

/// What can be made durable.
pub(crate) trait Target: Send + Sync + 'static {
    /// Makes what was appended before this call durable, and says up to where. Blocks. Called by one at a time.
    fn sync(&self) -> Result<u64>;
}

/// Why a target will not become durable beyond `synced`.
#[derive(Clone, Debug)]
enum Failure {
    NoSpace { held: Held, used: u64, limit: u64 },
    Other(String),
}

impl Failure {
    fn of(error: &Error) -> Self {
        match error {
            Error::NoSpace { held, used, limit } => Self::NoSpace { held: *held, used: *used, limit: *limit },
            Error::Poisoned(sentence) => Self::Other(sentence.clone()),
            other => Self::Other(other.to_string()),
        }
    }

    fn error(&self) -> Error {
        match self {
            Self::NoSpace { held, used, limit } => Error::NoSpace { held: *held, used: *used, limit: *limit },
            Self::Other(sentence) => Error::Poisoned(sentence.clone()),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    synced: u64,
    running: bool,
    failure: Option<Failure>,
}

/// A target and who syncs it.
#[derive(Debug)]
pub(crate) struct GroupSync<T> {
    target: T,
    state: Mutex<State>,
    changed: Notify,
    ended: Condvar,
}

impl<T: Target> GroupSync<T> {
    /// Durable up to `synced` so far.
    pub(crate) fn new(target: T, synced: u64) -> Self {
        let state = Mutex::new(State { synced, ..State::default() });
        Self { target, state, changed: Notify::new(), ended: Condvar::new() }
    }

    /// What is synced.
    pub(crate) fn target(&self) -> &T {
        &self.target
    }

    /// Up to where it is durable.
    pub(crate) fn synced(&self) -> u64 {
        self.state().synced
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once it is durable up to `end`.
    pub(crate) async fn wait(self: &Arc<Self>, end: u64) -> Result<()> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state();
                if state.synced >= end {
                    return Ok(());
                }
                if let Some(failure) = &state.failure {
                    return Err(failure.error());
                }
            }
            self.start();
            changed.await;
        }
    }

    /// Begins a sync on the blocking pool, unless one is running. It runs to its end whoever goes away meanwhile.
    pub(crate) fn start(self: &Arc<Self>) {
        if let Some(leader) = self.hold() {
            drop(tokio::task::spawn_blocking(move || leader.0.run()));
        }
    }

    /// Syncs on this thread, unless somebody is at it already: then it returns at once.
    pub(crate) fn sync_unless_running(self: &Arc<Self>) -> Result<()> {
        self.hold().map_or(Ok(()), |leader| leader.0.run())
    }

    /// Syncs on this thread, after whoever is at it.
    pub(crate) fn sync_after_running(self: &Arc<Self>) -> Result<()> {
        let mut state = self.state();
        while state.running {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(failure) = &state.failure {
            return Err(failure.error());
        }
        if state.synced == u64::MAX {
            return Ok(());
        }
        state.running = true;
        drop(state);
        Leader(self.clone()).0.run()
    }

    /// Keeps others from syncing until the hold is dropped. `None` if somebody is at it, if it has failed, or if all of it is
    /// durable for good.
    pub(crate) fn hold(self: &Arc<Self>) -> Option<Leader<T>> {
        let mut state = self.state();
        let due = state.failure.is_none() && state.synced < u64::MAX;
        let free = due && !std::mem::replace(&mut state.running, true);
        drop(state);
        free.then(|| Leader(self.clone()))
    }

    fn run(&self) -> Result<()> {
        let result = self.target.sync();
        let mut state = self.state();
        match &result {
            Ok(end) => state.synced = state.synced.max(*end),
            Err(error) => state.failure = Some(Failure::of(error)),
        }
        drop(state);
        result.map(|_| ())
    }
}

/// Whoever has this is the one that may sync; dropped, it wakes those who wait. A panic is a
/// failure of the target.
#[derive(Debug)]
pub(crate) struct Leader<T>(Arc<GroupSync<T>>);

impl<T> Drop for Leader<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running = false;
        if std::thread::panicking() && state.failure.is_none() {
            // Those who wait would begin it again, for ever.
            state.failure =
                Some(Failure::Other("a sync was broken off by a fault of this program".to_owned()));
        }
        drop(state);
        self.0.changed.notify_waiters();
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Appends are a counter; each sync waits to be let through, and covers what was appended before it began.
    struct Counted {
        appended: AtomicU64,
        syncs: AtomicU64,
        began: Mutex<mpsc::Sender<u64>>,
        go: Mutex<mpsc::Receiver<Result<()>>>,
    }

    impl Target for Counted {
        fn sync(&self) -> Result<u64> {
            let end = self.appended.load(Ordering::SeqCst);
            self.syncs.fetch_add(1, Ordering::SeqCst);
            self.began.lock().unwrap().send(end).unwrap();
            self.go.lock().unwrap().recv().unwrap().map(|()| end)
        }
    }

    type Setup = (Arc<GroupSync<Counted>>, mpsc::Receiver<u64>, mpsc::Sender<Result<()>>);

    fn setup() -> Setup {
        let (began, began_receiver) = mpsc::channel();
        let (go_sender, go) = mpsc::channel();
        let target = Counted {
            appended: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            began: Mutex::new(began),
            go: Mutex::new(go),
        };
        (Arc::new(GroupSync::new(target, 0)), began_receiver, go_sender)
    }

    async fn began(receiver: mpsc::Receiver<u64>) -> (mpsc::Receiver<u64>, u64) {
        tokio::task::spawn_blocking(move || {
            let end = receiver.recv().unwrap();
            (receiver, end)
        })
        .await
        .unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_waits_for_more_than_two_syncs() {
        let (group, receiver, go) = setup();
        group.target.appended.store(1, Ordering::SeqCst);
        let first = tokio::spawn({
            let group = group.clone();
            async move { group.wait(1).await }
        });
        let (receiver, end) = began(receiver).await;
        assert_eq!(end, 1);
        // These come while the first sync runs, which does not cover them.
        group.target.appended.store(100, Ordering::SeqCst);
        let late: Vec<_> = (2..=100)
            .map(|end| {
                let group = group.clone();
                tokio::spawn(async move { group.wait(end).await })
            })
            .collect();
        go.send(Ok(())).unwrap();
        first.await.unwrap().unwrap();
        let (_receiver, end) = began(receiver).await;
        assert_eq!(end, 100);
        go.send(Ok(())).unwrap();
        for late in late {
            late.await.unwrap().unwrap();
        }
        assert_eq!(group.target.syncs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn failed_sync_fails_all_who_wait_and_is_not_repeated() {
        let (group, receiver, go) = setup();
        group.target.appended.store(8, Ordering::SeqCst);
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let group = group.clone();
                tokio::spawn(async move { group.wait(8).await })
            })
            .collect();
        began(receiver).await;
        go.send(Err(Error::NoSpace { held: Held::Limit, used: 1, limit: 2 })).unwrap();
        for waiting in waiting {
            assert!(matches!(waiting.await.unwrap(), Err(Error::NoSpace { used: 1, limit: 2, .. })));
        }
        assert!(matches!(group.wait(8).await, Err(Error::NoSpace { .. })));
        assert!(group.wait(0).await.is_ok(), "what was durable before stays so");
        assert_eq!(group.target.syncs.load(Ordering::SeqCst), 1);
    }

    /// Panics at each sync.
    struct Panicking(AtomicU64);

    impl Target for Panicking {
        fn sync(&self) -> Result<u64> {
            self.0.fetch_add(1, Ordering::SeqCst);
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sync_that_panics_fails_all_who_wait_and_is_not_repeated() {
        let group = Arc::new(GroupSync::new(Panicking(AtomicU64::new(0)), 0));
        for _ in 0..2 {
            assert!(matches!(group.wait(8).await, Err(Error::Poisoned(_))));
            assert!(matches!(group.sync_after_running(), Err(Error::Poisoned(_))));
        }
        assert_eq!(group.target.0.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_durable_for_good_is_not_synced_again() {
        let (group, receiver, go) = setup();
        group.target.appended.store(u64::MAX, Ordering::SeqCst);
        go.send(Ok(())).unwrap();
        group.sync_after_running().unwrap();
        group.sync_after_running().unwrap();
        group.sync_unless_running().unwrap();
        group.wait(u64::MAX).await.unwrap();
        assert_eq!(group.target.syncs.load(Ordering::SeqCst), 1);
        drop(receiver);
    }

    #[test]
    fn points_keep_the_furthest_byte_of_each_pack() {
        let mut points = SyncPoints::default();
        assert!(points.is_empty());
        points.add(PackId::new(3), 100);
        points.add(PackId::new(3), 50);
        let mut other = SyncPoints::default();
        other.add(PackId::new(3), 200);
        other.add(PackId::new(4), 1);
        points.merge(&other);
        assert_eq!(points.iter().collect::<Vec<_>>(), [(PackId::new(3), 200), (PackId::new(4), 1)]);
        assert_eq!(points.len(), 2);
    }
}
