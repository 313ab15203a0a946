//! What takes the room: bytes of blobs by project, element, kind, instance or age of the names that reach them, and what
//! lies on the volume beside them.
//!
//! Looking is no use: nothing is raised, nothing is locked for longer than one shard of the index or one page of the catalog
//! takes, and the walk goes on in short portions that take their turns with all others. Memory is bounded by what there is
//! when it begins: 16 bytes a blob, 16 bytes a name, and what the groups are called.
//!
//! **Invariant:** names are walked group by group, so that the last group that reached a blob, and whether there was another
//! before, is all that has to be known of it: each blob counts once in every group that reaches it.

mod group;
mod marks;

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_store::blobs::{Inventory, SpaceParts};
use millpond_store::catalog::{Pages, Value};
use millpond_store::now_and_then;
use tokio::sync::OwnedMutexGuard;
use tokio::task::spawn_blocking;

pub use group::{Group, GroupBy};

use self::group::{Groups, PENDING, REMOVED, REST};
use self::marks::{Marks, Reached};
use crate::cache::Inner;
use crate::{Admin, Cache, Error, NamesWanted, Permit, Result};

/// Names that are read from the catalog at a time.
const NAMES_AT_ONCE: usize = 64;
/// A turn ends after the name at which this time is over.
const TURN: Duration = Duration::from_millis(100);

/// What a group of names holds. Bytes are those on the volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its names.
    pub names: u64,
    /// Those of them that a rule or a pin keeps.
    pub kept_names: u64,
    /// All that it reaches.
    pub bytes: u64,
    /// What no name of another group reaches.
    pub unique: u64,
}

/// What everything that is in use is used for, in bytes, as of the moment when the walk began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Blobs.
    pub blobs: u64,
    /// What packs hold beside blobs: what was let go and waits for compaction, heads, footers and the ends of blocks.
    pub garbage: u64,
    /// Packs, uploads, copies, snapshots, ballast and folders.
    pub parts: SpaceParts,
    /// The catalog and its journal, and what was set aside of them.
    pub catalog: u64,
    /// The audit log.
    pub audit: u64,
}

impl InUse {
    /// All of it.
    pub fn total(&self) -> u64 {
        let SpaceParts { packs: _, uploads, compacting, snapshots, ballast, folders } = self.parts;
        [self.blobs, self.garbage, uploads, compacting, snapshots, ballast, folders, self.catalog, self.audit]
            .iter()
            .sum()
    }
}

/// What takes the room.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// The groups that were asked for, those with the most bytes of their own first.
    pub groups: Vec<(Group, Held)>,
    /// Names that were not asked for, and of groups beyond those that are told apart.
    pub rest: Held,
    /// Names that wait for their blobs.
    pub pending: Held,
    /// Names that were removed and may come back.
    pub removed: Held,
    /// Bytes that several groups reach, once each.
    pub shared: u64,
    /// Blobs that no name reaches, and their bytes.
    pub unreached_blobs: u64,
    /// See `unreached_blobs`.
    pub unreached: u64,
    /// Names that could not be walked to their end.
    pub unread_names: u64,
    /// Everything that is in use.
    pub in_use: InUse,
}

/// How far a walk is, or what it came to.
#[derive(Debug)]
pub enum UsageStep {
    /// So many names were looked out.
    Names(u64),
    /// So many names were walked of all.
    Walked {
        /// By now.
        names: u64,
        /// In all.
        of: u64,
    },
    /// All were.
    Done(Box<Usage>),
}

/// A walk through all names. Dropped, it ends after the portion at hand.
#[derive(Debug)]
pub struct UsageWalk {
    inner: Arc<Inner>,
    /// `None` at the end, and after an error.
    state: Option<State>,
}

#[derive(Debug)]
struct State {
    wanted: NamesWanted,
    groups: Groups,
    /// Group and number of each name.
    names: Vec<(u32, u64)>,
    stage: Stage,
    inventory: Inventory,
    unread: u64,
    in_use: InUse,
    /// Goes with the last portion, whoever waits for that.
    _one: OwnedMutexGuard<()>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Names behind this number are to be looked out.
    LookOut(Pages, u64),
    /// So many names were walked.
    Walk(usize),
}

impl UsageWalk {
    /// The next step; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Busy`] while the cache is being closed; whatever keeps the catalog from being read.
    pub async fn next(&mut self) -> Result<Option<UsageStep>> {
        let Some(state) = self.state.take() else { return Ok(None) };
        self.inner.go_on()?;
        let (state, step) = match state.stage {
            Stage::LookOut(of, after) => self.look_out(state, of, after).await?,
            Stage::Walk(at) if at < state.names.len() => self.walk(state, at).await?,
            Stage::Walk(_) => {
                let sum = spawn_blocking(move || state.sum()).await.map_err(Error::internal)?;
                return Ok(Some(UsageStep::Done(Box::new(sum))));
            }
        };
        self.state = Some(state);
        Ok(Some(step))
    }

    async fn look_out(&self, mut state: State, of: Pages, after: u64) -> Result<(State, UsageStep)> {
        match (self.inner.catalog.page_after(after, of).await?, of) {
            (Some(page), _) => {
                state.stage = Stage::LookOut(of, page.next);
                page.values.iter().for_each(|value| state.note(&self.inner, value));
            }
            (None, Pages::Names) => state.stage = Stage::LookOut(Pages::Removed, 0),
            (None, Pages::Removed) => {
                state.stage = Stage::Walk(0);
                let sort = move || {
                    state.names.sort_unstable();
                    state
                };
                state = spawn_blocking(sort).await.map_err(Error::internal)?;
            }
        }
        let names = state.names.len() as u64;
        Ok((state, UsageStep::Names(names)))
    }

    async fn walk(&self, mut state: State, at: usize) -> Result<(State, UsageStep)> {
        let turn = self.inner.walks.turn().await?;
        let inner = Arc::clone(&self.inner);
        let walk = move || {
            let _turn = turn;
            let walked = state.walk_portion(&inner, at);
            (state, walked)
        };
        let (mut state, walked) = spawn_blocking(walk).await.map_err(Error::internal)?;
        let at = walked?;
        state.stage = Stage::Walk(at);
        let step = UsageStep::Walked { names: at as u64, of: state.names.len() as u64 };
        Ok((state, step))
    }
}

impl State {
    /// Remembers which group a name is of.
    fn note(&mut self, inner: &Inner, value: &Value) {
        if inner.is_let_go(value) {
            return;
        }
        let level = inner.gate.level_of(value);
        let group = if value.is_removed() {
            REMOVED
        } else if !value.is_whole() {
            PENDING
        } else if self.wanted.matches(value) {
            self.groups.of(value, || inner.used(value), inner.clock.wall())
        } else {
            REST
        };
        let kept = level > inner.clock.now() && group != REMOVED;
        self.groups.count(group, kept);
        self.names.push((group, value.seq));
    }

    /// Walks the next names until the turn is over; says how many were walked then. Blocks.
    fn walk_portion(&mut self, inner: &Inner, at: usize) -> Result<usize> {
        let end = Instant::now() + TURN;
        let mut walked = at;
        let names = self.names.get(at..).unwrap_or_default();
        let portion: Vec<_> = names.iter().take(NAMES_AT_ONCE).copied().collect();
        let numbers: Vec<_> = portion.iter().map(|(_, number)| *number).collect();
        let mut values = inner.catalog.with_numbers(&numbers)?.into_iter().peekable();
        for (group, number) in portion {
            walked += 1;
            // One that is not there any more was replaced or has gone meanwhile.
            let Some(value) = values.next_if(|value| value.seq == number) else { continue };
            let mut marks = Marks::new(&mut self.inventory, group);
            let looked =
                inner.subject(&value).and_then(|subject| inner.walker.inspect_by(&subject, &mut marks));
            let reached = marks.bytes();
            self.groups.add(group, reached);
            if let Err(error) = looked {
                self.unread += 1;
                now_and_then!(debug, name = &*value.name.text, %error, "a name could not be walked to its end");
            }
            if Instant::now() > end || inner.gate.is_closed() {
                break;
            }
        }
        Ok(walked)
    }

    /// Blocks.
    fn sum(self) -> Usage {
        let Self { mut groups, inventory, unread, in_use, .. } = self;
        let mut usage = Usage { unread_names: unread, in_use, ..Usage::default() };
        for item in inventory.items() {
            let bytes = inventory.bytes(item);
            match marks::reached(&inventory, item) {
                Reached::Nobody => {
                    usage.unreached_blobs += 1;
                    usage.unreached += bytes;
                }
                Reached::One(group) => groups.add_unique(group, bytes),
                Reached::Several => usage.shared += bytes,
            }
        }
        [usage.rest, usage.pending, usage.removed] = [REST, PENDING, REMOVED].map(|group| groups.held(group));
        usage.groups = groups.into_named();
        usage.groups.sort_by(|(one, held), (other, than)| {
            let by = |held: &Held| Reverse((held.unique, held.bytes, held.names));
            by(held).cmp(&by(than)).then_with(|| one.cmp(other))
        });
        usage
    }
}

impl Inner {
    /// Blocks.
    fn take_inventory(&self) -> (Inventory, InUse) {
        let inventory = self.blobs.inventory();
        let parts = self.blobs.space_parts();
        let blobs = inventory.items().map(|item| inventory.bytes(item)).sum();
        let catalog = self.catalog.figures();
        let in_use = InUse {
            blobs,
            garbage: parts.packs.saturating_sub(blobs),
            parts,
            catalog: catalog.database_bytes + catalog.journal_bytes + catalog.aside_bytes,
            audit: self.auditor.as_ref().map_or(0, |auditor| auditor.log.allocated()),
        };
        (inventory, in_use)
    }
}

impl Cache {
    /// Begins to count what takes the room, by groups of the names that are wanted; one at a time, since it takes memory.
    ///
    /// # Errors
    /// [`Error::Busy`] while another one is under way.
    pub async fn usage(
        &self,
        _permit: &Permit<Admin>,
        wanted: NamesWanted,
        by: GroupBy,
    ) -> Result<UsageWalk> {
        let one = Arc::clone(&self.inner.counting_usage)
            .try_lock_owned()
            .map_err(|_| Error::Busy("usage is being counted already: wait until that ends".into()))?;
        let inner = Arc::clone(&self.inner);
        let (inventory, in_use) =
            spawn_blocking(move || inner.take_inventory()).await.map_err(Error::internal)?;
        let state = State {
            wanted,
            groups: Groups::new(by),
            names: Vec::new(),
            stage: Stage::LookOut(Pages::Names, 0),
            inventory,
            unread: 0,
            in_use,
            _one: one,
        };
        Ok(UsageWalk { inner: Arc::clone(&self.inner), state: Some(state) })
    }
}
