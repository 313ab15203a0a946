//! Pins: made, so that they hold from the answer on, and taken out.
//!
//! The order is the promise. The pin is committed and in force; whoever publishes with a ticket from before comes to its end; then
//! the closure of every value that is like it is raised. So what came before is raised here, and what comes later by its own push.
//! Levels do not fall meanwhile. What is not whole is told, and not kept by this: its next push is.

mod needs;
mod wanted;

use std::collections::BTreeSet;
use std::sync::Arc;

use millpond_store::catalog::{By, Pages, Pin, PinTerms, Value};
use millpond_store::{Level, now_and_then};

pub use wanted::{PinWanted, PinsWanted};

use super::remove::by;
use crate::cache::Inner;
use crate::lookup::{Patience, Raised};
use crate::name::short;
use crate::pins::Pins;
use crate::relevel::{LOOK_SECONDS_MAX, POLL};
use crate::retention::{Met, Tally};
use crate::{Admin, Cache, Error, Permit, Result};

/// What is kept may take so much of the room for blobs when something is pinned, in percent. Letting go begins at 87; what is
/// left between is for all that comes and goes.
const KEPT_PERCENT_MAX: u64 = 75;
/// Names that are told of each kind.
const TOLD_MAX: usize = 1000;

/// A name that cannot be kept, since it or something of it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotThere {
    /// The name.
    pub name: String,
    /// What is not there.
    pub why: String,
}

/// What making a pin came to.
#[derive(Clone, Debug, Default)]
pub struct Pinned {
    /// The pins that were made; without numbers, those that would be.
    pub pins: Vec<Pin>,
    /// What they keep, or would.
    pub kept: Tally,
    /// Some of those names, if they are many.
    pub names: Vec<String>,
    /// Bytes on the volume that nothing kept before.
    pub more_bytes: u64,
    /// What is not there, some of it if it is much.
    pub missing: Vec<NotThere>,
    /// How much is not there.
    pub missing_count: u64,
    /// Of that, names without a value, as opposed to such as are not whole.
    gone_count: u64,
}

/// What is found before anything is done.
#[derive(Debug)]
struct Found {
    told: Pinned,
    /// Names beside the pattern that are to be pinned, each with its instance.
    needs: BTreeSet<(String, Arc<str>)>,
    needs_bytes: usize,
    met: Met,
    now: Level,
}

impl Pinned {
    fn is_not_there(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.missing_count += 1;
        if self.missing.len() < TOLD_MAX {
            let name: String = name.into();
            self.missing.push(NotThere { name: name.chars().take(300).collect(), why: why.into() });
        }
    }

    /// The same of what has no value, and what is wrong with that.
    fn is_gone(&mut self, name: impl Into<String>, why: &str) {
        self.gone_count += 1;
        self.is_not_there(name, why);
    }

    fn is_kept(&mut self, name: &str) {
        self.kept.names += 1;
        if self.names.len() < TOLD_MAX {
            self.names.push(name.chars().take(300).collect());
        }
    }
}

impl Inner {
    /// The steps of making a pin.
    pub(crate) async fn pin(self: Arc<Self>, wanted: PinWanted, by: By) -> Result<Pinned> {
        wanted.check(self.time_of_pins())?;
        // Or levels would fall of what was just raised.
        let _levels_stay = if wanted.dry_run { None } else { Some(self.levels_fall.lock().await) };
        let mut found = self.found_to_pin(&wanted).await?;
        let terms = terms(&wanted, &found, &by, self.clock.wall());
        self.check_fits(found.told.more_bytes).await?;
        if wanted.dry_run {
            found.told.pins = terms.into_iter().map(|terms| Pin { id: 0, terms }).collect();
            return Ok(found.told);
        }
        let made = self.catalog.pin(terms, by).await?;
        let mut told = Pinned { pins: made, kept: Tally { names: 0, ..found.told.kept }, ..found.told };
        told.names.clear();
        // What is there and not whole is told by those who raise it.
        let gone = [needs::NOT_THERE, needs::UNKNOWN, needs::NO_NAME];
        told.missing.retain(|missing| gone.contains(&&*missing.why));
        told.missing_count = told.gone_count;
        if let Err(error) = self.hold_pinned(&mut told).await {
            // It is made all the same, and the next pass does what is left.
            self.relevels.ask();
            return Err(error);
        }
        tracing::info!(pins = told.pins.len(), names = told.kept.names, "names were pinned");
        Ok(told)
    }

    /// Has pins that the catalog has hold from now on.
    async fn hold_pinned(self: &Arc<Self>, told: &mut Pinned) -> Result<()> {
        self.reload_pins().await?;
        let generation = self.gate.end_generation();
        while !self.gate.is_through(generation) {
            self.go_on()?;
            tokio::time::sleep(POLL).await;
        }
        self.raise_pinned(&Pins::new(told.pins.clone()), told).await?;
        if told.missing_count > told.gone_count {
            // Perhaps it can be read then, or is whole.
            self.relevels.ask();
        }
        if !self.flush_uses().await {
            tracing::warn!("what was pinned is kept, and the catalog does not know it yet");
        }
        Ok(())
    }

    /// Looks at everything that would be pinned.
    async fn found_to_pin(self: &Arc<Self>, wanted: &PinWanted) -> Result<Found> {
        let mut found = Found {
            told: Pinned::default(),
            needs: BTreeSet::new(),
            needs_bytes: 0,
            met: Met::new(self.blobs.figures().blobs),
            now: self.clock.now(),
        };
        let (mut artifacts, mut after) = (Vec::new(), 0);
        while let Some(page) = self.catalog.page_after(after, Pages::Names).await? {
            self.go_on()?;
            after = page.next;
            for value in page.values.into_iter().filter(|value| wanted.is_for(value)) {
                found = self.look_at(found, &value).await?;
                artifacts
                    .extend(needs::Artifact::of(&value).filter(|_| wanted.dependencies || wanted.sources));
            }
        }
        if found.told.kept.names + found.told.missing_count == 0 {
            found.told.is_gone(wanted.pattern.to_string(), needs::NOT_THERE);
        }
        if wanted.dependencies || wanted.sources {
            found = self.find_needs(found, artifacts, wanted).await?;
        }
        Ok(found)
    }

    /// Takes in what a value that is to be pinned holds.
    async fn look_at(self: &Arc<Self>, mut found: Found, value: &Value) -> Result<Found> {
        let name = short(&value.name).into_owned();
        let is_gone = self.is_let_go(value);
        let subject = self.subject(value).ok().filter(|_| value.is_whole() && !is_gone);
        let Some(subject) = subject else {
            if is_gone {
                found.told.is_gone(name, needs::NOT_THERE);
            } else {
                found.told.is_not_there(name, "it waits for its blobs");
            }
            return Ok(found);
        };
        let inner = Arc::clone(self);
        let look = move || {
            let Found { told, met, now, .. } = &mut found;
            let mut count = |digests: &[millpond_store::Digest]| {
                for digest in digests.iter().filter(|digest| inner.blobs.contains(digest)) {
                    if met.first(0, digest) {
                        told.kept.bytes += digest.size();
                        told.more_bytes += inner.blobs.bytes_not_above(digest, *now);
                    }
                }
            };
            let missing = match inner.walker.show(&subject, &mut count) {
                Ok(walked) if walked.is_whole() => None,
                Ok(walked) => Some(walked.missing_count),
                Err(Error::Invalid(_)) => Some(1),
                Err(error) => return Err(error),
            };
            match missing {
                None => told.is_kept(&name),
                Some(count) => told.is_not_there(name, lacks(count)),
            }
            Ok(found)
        };
        tokio::task::spawn_blocking(look).await.map_err(Error::internal)?
    }

    /// Whether so many bytes more may be kept.
    async fn check_fits(self: &Arc<Self>, more: u64) -> Result<()> {
        let inner = Arc::clone(self);
        let kept = move || inner.blobs.bytes_above(inner.clock.now().plus(LOOK_SECONDS_MAX));
        let kept = tokio::task::spawn_blocking(kept).await.map_err(Error::internal)?;
        let room = self.blobs.figures().packs_max;
        let most = room / 100 * KEPT_PERCENT_MAX;
        if more > 0 && kept.saturating_add(more) > most {
            return Err(Error::TooMuchToKeep { more, kept, most, room });
        }
        Ok(())
    }

    async fn reload_pins(self: &Arc<Self>) -> Result<()> {
        let inner = Arc::clone(self);
        let reload = move || inner.pins.reload(&inner.catalog);
        tokio::task::spawn_blocking(reload).await.map_err(Error::internal)?
    }

    /// Raises what is there of all that these pins keep.
    async fn raise_pinned(self: &Arc<Self>, pins: &Pins, told: &mut Pinned) -> Result<()> {
        let (mut after, now) = (0, self.time_of_pins());
        while let Some(page) = self.catalog.page_after(after, Pages::Names).await? {
            after = page.next;
            for value in page.values {
                let until = pins.keep_until(&value.name, now);
                if until == Level::ZERO {
                    continue;
                }
                self.go_on()?;
                let name = short(&value.name);
                if self.is_let_go(&value) {
                    let is_told = |missing: &NotThere| *missing.name == *name;
                    if told.missing.len() < TOLD_MAX && !told.missing.iter().any(is_told) {
                        told.is_gone(name, needs::NOT_THERE);
                    }
                    continue;
                }
                if !value.is_whole() {
                    told.is_not_there(name, "it waits for its blobs");
                    continue;
                }
                match self.raise_whole(&value, until, Patience::Waits).await {
                    Ok(Raised::Whole) => told.is_kept(&name),
                    Ok(Raised::Lacks { count, .. }) => told.is_not_there(name, lacks(count)),
                    Ok(Raised::LetGo | Raised::Shed) => told.is_not_there(name, lacks(1)),
                    Err(error @ Error::Busy(_)) => return Err(error),
                    Err(error) => {
                        now_and_then!(warn, name = &*name, %error, "a pinned name cannot be walked now");
                        told.is_not_there(name, "it cannot be read now");
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes pins out, and says which.
    pub(crate) async fn unpin(self: Arc<Self>, wanted: PinsWanted, by: By) -> Result<Vec<Pin>> {
        let pins = self.pins.now();
        let ids = pins.all().iter().filter(|pin| wanted.matches(pin)).map(|pin| pin.id).collect();
        let gone = self.catalog.unpin(ids, by).await?;
        self.reload_pins().await?;
        Ok(gone)
    }
}

/// What is said of a value that is not whole.
fn lacks(count: u64) -> String {
    if count == 1 { "it lacks at least one blob".into() } else { format!("it lacks {count} blobs") }
}

/// A pin for the pattern, and one for each name that it needs.
fn terms(wanted: &PinWanted, found: &Found, by: &By, made: u64) -> Vec<PinTerms> {
    let terms = |pattern: String, instance: Option<&str>| PinTerms {
        pattern: pattern.into(),
        instance: instance.map(Into::into),
        reason: wanted.reason.as_str().into(),
        owner: wanted.owner.as_deref().unwrap_or(&by.who).into(),
        made,
        until: wanted.until,
        revisions: 1,
    };
    let of_pattern = terms(wanted.pattern.to_string(), wanted.instance.as_deref());
    let mut all = vec![PinTerms { revisions: wanted.revisions, ..of_pattern }];
    all.extend(found.needs.iter().map(|(name, instance)| terms(name.clone(), Some(instance))));
    all
}

impl Cache {
    /// Pins names: from the answer on they stay, with all that they reach, until the pin is over or taken out.
    ///
    /// # Errors
    /// [`Error::TooMuchToKeep`] if they would leave too little to all others, and nothing has changed then; `Busy` while the cache
    /// is being closed.
    pub async fn pin_names(&self, permit: &Permit<Admin>, wanted: PinWanted) -> Result<Pinned> {
        let pin = Arc::clone(&self.inner).pin(wanted, by(permit));
        // In a task of its own: whoever goes away must not leave it half done.
        tokio::spawn(pin).await.map_err(Error::internal)?
    }

    /// Takes pins out, and says which. The space of what nothing else keeps comes back by [`Cache::relevel`], which is asked for.
    ///
    /// # Errors
    /// As a push.
    pub async fn unpin_names(&self, permit: &Permit<Admin>, wanted: PinsWanted) -> Result<Vec<Pin>> {
        let unpin = Arc::clone(&self.inner).unpin(wanted, by(permit));
        let gone = tokio::spawn(unpin).await.map_err(Error::internal)??;
        if !gone.is_empty() {
            self.ask_for_relevel(permit);
        }
        Ok(gone)
    }

    /// All pins, in the order in which they were made; those that are over among them.
    pub fn pins(&self, _permit: &Permit<Admin>) -> Vec<Pin> {
        self.inner.pins.now().all().to_vec()
    }
}
