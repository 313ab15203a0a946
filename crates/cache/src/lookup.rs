//! Look-up: answers only what is whole, and what is answered stays for the lease.
//!
//! The closure is raised before the answer, never behind it, unless it was raised within the last eighth of the
//! lease. Whatever a rebuild can cure is a miss, never an error: in a pull, anything but NOT_FOUND stops the user's
//! build.

use std::sync::Arc;

use millpond_store::catalog::{Name, NameKind, State, Target, Value};
use millpond_store::{Clock, Digest, Level, now_and_then};

use crate::access::Allowed;
use crate::by_project::LookUp;
use crate::cache::Inner;
use crate::closure::{References, Subject};
use crate::name::UriForm;
use crate::publish::promotion;
use crate::{AssetKind, Error, InstanceKind, Limit, Published, Result};

/// What to do when too many wait for a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Wait as well: the answer must be true.
    Waits,
    /// Say no: a look-up that is a miss is none the worse.
    Sheds,
}

/// What raising a value came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Raised {
    /// It is whole, and stays.
    Whole,
    /// It was let go.
    LetGo,
    /// Too many wait for a walk.
    Shed,
    /// It lacks so many blobs at least.
    Lacks {
        /// How many are known to be missing.
        count: u64,
        /// One of them.
        first: Option<Digest>,
    },
}

impl Inner {
    /// The value of a name, whole and raised for the lease, or a miss.
    pub(crate) async fn look_up(self: &Arc<Self>, name: &Allowed) -> Result<Arc<Value>> {
        let mut looking = self.by_project.look_up(name);
        let found = match self.fresh(name) {
            Some(value) => Ok(Ok(value)),
            None => self.look_up_slowly(name).await,
        };
        let found = found.unwrap_or_else(|error| {
            self.counters.lookup_faults.add(1);
            now_and_then!(error, name = &*name.text, %error, "a look-up failed, and is a miss");
            Err(LookUp::Failed)
        });
        let in_time = |value: &Value| value.expires.is_none_or(|expires| expires > Clock::unix_seconds());
        let missed = match found {
            Ok(value) if in_time(&value) => {
                looking.came_to = LookUp::Hit;
                return Ok(value);
            }
            Ok(_) => LookUp::Expired,
            Err(missed) => missed,
        };
        looking.came_to = missed;
        Err(Error::NotFound(name.text.chars().take(300).collect()))
    }

    /// A value that can be answered as it stands: raised lately, above the waterline, no damage found since.
    fn fresh(&self, name: &Name) -> Option<Arc<Value>> {
        let value = self.catalog.cached(name)??;
        let raised = value.raised_to();
        let fresh = raised >= self.gate.fresh_from()
            && raised >= self.blobs.waterline()
            && value.epoch() == self.blobs.epoch();
        (fresh && !self.catalog.has_pending(name)).then_some(value)
    }

    /// The value, or why it is a miss.
    async fn look_up_slowly(
        self: &Arc<Self>,
        name: &Name,
    ) -> Result<std::result::Result<Arc<Value>, LookUp>> {
        self.promote(name).await?;
        let Some(value) = self.catalog.look_up(name).await? else {
            if self.catalog.has_pending(name) {
                self.counters.pending_lookups.add(1);
                return Ok(Err(LookUp::Pending));
            }
            let was_let_go = self.let_go_names.count_miss(name);
            return Ok(Err(if was_let_go { LookUp::LetGo } else { LookUp::Unknown }));
        };
        Ok(match self.whole_for_the_lease(&value, Patience::Sheds).await? {
            LookUp::Hit => Ok(value),
            missed => Err(missed),
        })
    }

    /// Whether a value is whole, which is a hit; then it stays for the lease. Counts why it is not.
    pub(crate) async fn whole_for_the_lease(
        self: &Arc<Self>,
        value: &Value,
        patience: Patience,
    ) -> Result<LookUp> {
        let name = &*value.name.text;
        match self.raise_whole(value, Level::ZERO, patience).await? {
            Raised::Whole => {
                self.lacking.lacks(&value.name, 0);
                Ok(LookUp::Hit)
            }
            Raised::LetGo => {
                self.let_go_names.count_let_go();
                Ok(LookUp::LetGo)
            }
            Raised::Shed => {
                self.counters.lookups_shed.add(1);
                Limit::LookUpsWaiting.met();
                now_and_then!(warn, name, "too many look-ups wait, and one is a miss");
                Ok(LookUp::Shed)
            }
            Raised::Lacks { count, first } => {
                self.counters.incomplete_lookups.add(1);
                self.lacking.lacks(&value.name, count);
                let first = first.map(|first| first.to_string());
                now_and_then!(warn, name, missing = count, first, "a name is not whole, and is a miss");
                Ok(LookUp::Incomplete)
            }
        }
    }

    /// Whether a value was let go, though its row may still be there.
    pub(crate) fn is_let_go(&self, value: &Value) -> bool {
        let matters = match value.state {
            State::Pending(_) => value.touched(),
            State::Whole | State::Removed { .. } => self.gate.level_of(value),
        };
        matters < self.blobs.waterline()
    }

    /// Raises a value's closure: if it is whole, it stays until then, for the lease, and as long as it is pinned.
    pub(crate) async fn raise_whole(
        self: &Arc<Self>,
        value: &Value,
        until: Level,
        patience: Patience,
    ) -> Result<Raised> {
        let waterline = self.blobs.waterline();
        let ticket = self.gate.ticket()?;
        let level = self.gate.level_of(value);
        if level < waterline {
            return Ok(Raised::LetGo);
        }
        // It may have lacked something when it was pinned.
        let until = until.max(self.pins.now().keep_until(&value.name, self.time_of_pins()));
        let turn = match patience {
            Patience::Waits => Some(self.walks.turn().await?),
            Patience::Sheds => self.walks.turn_unless_full().await?,
        };
        let Some(turn) = turn else { return Ok(Raised::Shed) };
        // What is kept is raised to its own level, which what came anew of it does not have.
        let to = level.max(ticket.time()).max(until);
        let walked = self.walk_all(turn, vec![self.subject(value)?], to).await?;
        if !walked.is_whole() {
            // The waterline may have passed it during the walk, and then nothing is wrong.
            if level < self.blobs.waterline() {
                return Ok(Raised::LetGo);
            }
            return Ok(Raised::Lacks { count: walked.missing_count, first: walked.missing.first().copied() });
        }
        let used = walked.raised_to.min(ticket.time());
        if !self.gate.record_use(value, walked.raised_to, used, || self.blobs.waterline()) {
            return Ok(Raised::LetGo);
        }
        value.set_raised(used, walked.epoch);
        drop(ticket);
        self.verifier.verify_later(walked.unchecked);
        Ok(Raised::Whole)
    }

    /// Publishes a value that waits for its blobs, if the first one that it lacked is there by now.
    async fn promote(self: &Arc<Self>, name: &Name) -> Result<()> {
        let Some(value) = self.catalog.pending(name).await? else { return Ok(()) };
        let State::Pending(first) = value.state else { return Ok(()) };
        // The publish would wait its turn, and the look-up with it.
        if !self.blobs.contains(&first) || self.walks.is_full() {
            return Ok(());
        }
        let promoted = match self.subject(&value) {
            Ok(subject) => self.publish(promotion(&value, subject)).await,
            Err(error) => Err(error),
        };
        let failed = match promoted {
            Ok(Published::Whole) => {
                tracing::info!(name = &*name.text, "the blobs of a name arrived, it is whole");
                return Ok(());
            }
            Ok(Published::Pending | Published::Kept) => return Ok(()),
            // It will never be whole: its blobs are there, and are not what they should be.
            Err(error @ Error::Invalid(_)) => match self.catalog.remove(name, value.seq).await {
                Ok(removed) => {
                    if removed {
                        tracing::warn!(name = &*name.text, %error, "a name that waited for its blobs is given up");
                    }
                    return Ok(());
                }
                Err(error) => error.into(),
            },
            Err(error) => error,
        };
        now_and_then!(warn, name = &*name.text, error = %failed, "a name that waits for its blobs stays so");
        Ok(())
    }
}

impl Inner {
    /// What the closure of a stored value is.
    pub(crate) fn subject(&self, value: &Value) -> Result<Subject> {
        if self.instances.now().kind(&value.name.instance) == InstanceKind::IndexOnly {
            let blob = match (value.name.kind, &value.target) {
                (NameKind::ActionResult, Target::Blob(digest)) => Some(*digest),
                _ => None,
            };
            return Ok(Subject::Elsewhere { blob });
        }
        subject(value)
    }
}

fn subject(value: &Value) -> Result<Subject> {
    let kind = match value.name.kind {
        NameKind::AssetBlob => AssetKind::Blob,
        NameKind::AssetDirectory => AssetKind::Directory,
        NameKind::ActionResult => {
            return match &value.target {
                Target::Inline(content) => {
                    Ok(Subject::ActionResult { blob: None, content: Some(content.clone()) })
                }
                Target::Blob(digest) => Ok(Subject::ActionResult { blob: Some(*digest), content: None }),
                Target::Directory(_) => Err(Error::internal("an action result that is a directory")),
            };
        }
    };
    let (Target::Blob(digest) | Target::Directory(digest)) = &value.target else {
        return Err(Error::internal("an asset without a digest"));
    };
    let references = Arc::new(References::decode(&value.references)?);
    Ok(Subject::Asset { form: UriForm::of(kind, &value.name.text), kind, digest: *digest, references })
}
