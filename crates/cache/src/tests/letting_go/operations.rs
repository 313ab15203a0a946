//! What clients do, each with what must be so whatever else is done meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use millpond_store::Level;

use super::super::*;
use super::world::World;

/// Who does it, with what.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) fixture: Arc<Fixture>,
    pub(super) world: Arc<World>,
    /// An eighth of the lease as it was set, in seconds.
    pub(super) fresh_seconds: u32,
    /// What was promised before this time, in seconds, may have fallen to the lowest level.
    pub(super) fallen: Arc<AtomicU32>,
}

/// What a client wants.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// Publishes a thing under a name; asks before what is missing, and uploads that.
    Publish { name: usize, thing: usize, asks: bool },
    /// Looks up a name, and perhaps reads all.
    LookUp { name: usize, reads: bool },
    /// Asks which blobs of a thing are missing.
    Ask { thing: usize },
    /// Uploads some blobs of a thing.
    Upload { thing: usize, every: usize },
}

impl Wish {
    /// It looks a name up that the other publishes.
    pub(super) fn is_overwritten_by(&self, other: &Self) -> bool {
        matches!((self, other), (Self::LookUp { name, .. }, Self::Publish { name: published, .. }) if name == published)
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The name was acknowledged as whole.
    pub(super) acknowledged: Option<usize>,
    /// The name was looked up and found.
    pub(super) found: Option<usize>,
    /// These blobs are there, and have this level at least.
    pub(super) promised: Vec<Digest>,
    pub(super) level: Level,
    /// What should not have been.
    pub(super) wrong: Option<String>,
}

impl Client {
    pub(super) async fn get(self, wish: Wish) -> Outcome {
        // Nothing that is raised, or found fresh, from now on lies lower.
        let level = self.fixture.cache.inner.clock.now().minus(self.fresh_seconds);
        let outcome = match wish {
            Wish::Publish { name, thing, asks } => self.publish(name, thing, asks, level).await,
            Wish::LookUp { name, reads } => self.look_up(name, reads, level).await,
            Wish::Ask { thing } => self.ask(thing),
            Wish::Upload { thing, every } => self.upload(thing, every).await,
        };
        Outcome { level, ..outcome }
    }

    fn is_in_force(&self, level: Level) -> bool {
        let fallen = Level::from_seconds(self.fallen.load(Ordering::SeqCst));
        level >= self.fixture.cache.inner.blobs.waterline().max(fallen)
    }

    async fn publish(&self, name: usize, thing: usize, asks: bool, level: Level) -> Outcome {
        let thing = &self.world.things[thing];
        if asks {
            let cache = &self.fixture.cache;
            let missing = cache.missing_blobs(&self.fixture.pull, &thing.closure).unwrap();
            let put = cache.put_blobs(&self.fixture.push, self.world.blobs(&missing)).await;
            if put.iter().any(Result::is_err) {
                return Outcome::default();
            }
        }
        let published = self.world.publish(&self.fixture, name, thing).await;
        let refused = matches!(published, Ok(Published::Pending) | Err(Error::Incomplete { .. }));
        let wrong = (asks && refused && self.is_in_force(level))
            .then(|| format!("publish refused in spite of promised blobs: {published:?}"));
        let acknowledged = matches!(published, Ok(Published::Whole)).then_some(name);
        let promised = if asks { thing.closure.clone() } else { Vec::new() };
        Outcome { acknowledged, promised, wrong, ..Outcome::default() }
    }

    async fn look_up(&self, name: usize, reads: bool, level: Level) -> Outcome {
        let Some(thing) = self.world.look_up(&self.fixture, name).await else { return Outcome::default() };
        let wrong = if reads { self.read_wrong(&thing.closure, level).await } else { None };
        Outcome { found: Some(name), promised: thing.closure.clone(), wrong, ..Outcome::default() }
    }

    async fn read_wrong(&self, digests: &[Digest], level: Level) -> Option<String> {
        let read = self.fixture.cache.read_blobs(&self.fixture.pull, digests).await;
        digests.iter().zip(read).find_map(|(digest, read)| match read {
            Ok(content) if content == self.world.contents[digest] => None,
            Ok(_) => Some(format!("{digest} has other bytes")),
            Err(error) => self.is_in_force(level).then(|| format!("{digest} of a served name: {error}")),
        })
    }

    fn ask(&self, thing: usize) -> Outcome {
        let closure = &self.world.things[thing].closure;
        let missing = self.fixture.cache.missing_blobs(&self.fixture.pull, closure).unwrap();
        let promised = closure.iter().filter(|digest| !missing.contains(digest)).copied().collect();
        Outcome { promised, ..Outcome::default() }
    }

    async fn upload(&self, thing: usize, every: usize) -> Outcome {
        let some: Vec<Digest> = self.world.things[thing].closure.iter().step_by(every).copied().collect();
        let put = self.fixture.cache.put_blobs(&self.fixture.push, self.world.blobs(&some)).await;
        let promised = some.into_iter().zip(put).filter_map(|(digest, put)| put.is_ok().then_some(digest));
        Outcome { promised: promised.collect(), ..Outcome::default() }
    }
}
