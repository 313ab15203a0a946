//! What must be true, whatever was done in whichever order. Looking disturbs nothing: it raises no blob and uses no name.

use std::collections::{BTreeMap, HashMap};

use millpond_store::Level;
use millpond_store::catalog::Value;

use super::super::*;
use super::world::World;
use crate::cache::Inner;
use crate::name::short;

/// What is known of names and blobs.
#[derive(Default)]
pub(super) struct Truth {
    names: BTreeMap<usize, Known>,
    /// By name, the value that was said to be pinned.
    pinned: BTreeMap<usize, u64>,
    /// Blobs that somebody was told were there, and the level that they have at least.
    promised: HashMap<Digest, Level>,
    /// The time of a start after an unclean stop, until a lease has passed.
    held_since: Option<Level>,
}

/// The value in force of a name when it was last looked at.
struct Known {
    seq: u64,
    level: Level,
    /// Without uses that are not committed.
    committed: Level,
}

/// How a cache came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In order.
    Clean,
    /// All that was written is there.
    Killed,
    /// What was not synced may be gone.
    PowerCut,
}

/// A blob that a value needs, and that is not there.
pub(super) fn lacks(inner: &Inner, world: &World, value: &Value) -> Option<Digest> {
    world.of(value).closure.iter().find(|digest| !inner.blobs.contains(digest)).copied()
}

impl Truth {
    /// These blobs were said to be there, and have this level at least.
    pub(super) fn promise(&mut self, digests: &[Digest], level: Level) {
        for digest in digests {
            let known = self.promised.entry(*digest).or_default();
            *known = level.max(*known);
        }
    }

    /// A served value is whole; a name does not go, nor its level fall, while it is not below the committed waterline; and
    /// what was said to be there is.
    pub(super) async fn check(&mut self, inner: &Inner, world: &World) -> Result<(), String> {
        let waterline = inner.blobs.waterline();
        let committed = inner.letting_go.committed();
        if committed > waterline {
            return Err(format!("committed waterline {committed} above the one in force, {waterline}"));
        }
        for number in 0..world.names.len() {
            let name = world.name(number);
            let text = &name.text;
            let before = self.names.remove(&number);
            let found = inner.catalog.look_up(&name).await.map_err(|error| format!("{text}: {error}"))?;
            let Some(value) = found else {
                match before {
                    Some(Known { seq, level, .. }) if level >= committed => {
                        return Err(format!(
                            "{text}, value {seq} of level {level}, is gone, and not below {committed}"
                        ));
                    }
                    _ => continue,
                }
            };
            let level = inner.gate.level_of(&value);
            if let Some(before) = before.filter(|before| before.seq == value.seq && level < before.level) {
                return Err(format!("{text}: level {level}, and had {} before", before.level));
            }
            let until = inner.pins.now().keep_until(&name, inner.clock.wall());
            if until == Level::ZERO {
                self.pinned.remove(&number);
            } else if self.pinned.get(&number) == Some(&value.seq) && level < until {
                return Err(format!("{text} is pinned until {until}, and has level {level}"));
            }
            self.names.insert(number, Known { seq: value.seq, level, committed: value.level() });
            if level >= waterline
                && let Some(missing) = lacks(inner, world, &value)
            {
                return Err(format!(
                    "{text}, value {} of level {level}, lacks {missing}: {waterline}",
                    value.seq
                ));
            }
        }
        self.promised.retain(|_, level| *level >= waterline);
        match self.promised.iter().find(|(digest, _)| !inner.blobs.contains(digest)) {
            Some((digest, level)) => Err(format!("{digest} was promised up to {level}, and is missing")),
            None => Ok(()),
        }
    }

    /// The waterline is raised by nobody beyond what leases allow, and not at all for a lease after an unclean stop.
    pub(super) fn check_raised(
        &mut self,
        now: Level,
        lease: u32,
        before: Level,
        after: Level,
    ) -> Result<(), String> {
        self.held_since = self.held_since.filter(|since| now.minus(lease) < *since);
        let most = if self.held_since.is_some() { before } else { now.minus(lease + lease / 8).max(before) };
        if after > most || after < before {
            return Err(format!("waterline raised from {before} to {after} at {now}, lease {lease}"));
        }
        Ok(())
    }

    /// `number` was just acknowledged or found, and nobody has let go since.
    pub(super) async fn check_in_force(inner: &Inner, world: &World, number: usize) -> Result<(), String> {
        let name = world.name(number);
        let waterline = inner.blobs.waterline();
        let value = inner.catalog.look_up(&name).await.map_err(|error| error.to_string())?;
        match value.map(|value| inner.gate.level_of(&value)) {
            Some(level) if level >= waterline => Ok(()),
            level => Err(format!("{} was answered, and has level {level:?}, below {waterline}", name.text)),
        }
    }

    /// The cache came to its end and was opened again.
    pub(super) fn opened_again(&mut self, inner: &Inner, end: End, was_clean: bool) {
        if end != End::Clean {
            // Uses and levels lay in memory.
            self.names.values_mut().for_each(|known| known.level = known.committed);
        }
        match end {
            End::PowerCut => self.promised.clear(),
            End::Killed | End::Clean if !was_clean => {
                let waterline = inner.blobs.waterline();
                self.promised.values_mut().for_each(|level| *level = waterline);
            }
            End::Killed | End::Clean => {}
        }
        self.held_since = (!was_clean).then(|| inner.clock.now());
    }

    /// Values may have got lower levels, since less keeps them; none below its last use.
    pub(super) async fn lowered(&mut self, inner: &Inner, world: &World) -> Result<(), String> {
        for (number, known) in &mut self.names {
            let found = inner.catalog.look_up(&world.name(*number)).await;
            let Some(value) =
                found.map_err(|error| error.to_string())?.filter(|value| value.seq == known.seq)
            else {
                continue;
            };
            if value.level() < known.level && value.level() < value.touched() {
                return Err(format!("{} fell from {} to {}", value.name.text, known.level, value.level()));
            }
            (known.level, known.committed) = (inner.gate.level_of(&value), value.level());
        }
        Ok(())
    }

    /// These names were said to be pinned.
    pub(super) async fn pinned(
        &mut self,
        inner: &Inner,
        world: &World,
        names: &[String],
    ) -> Result<(), String> {
        let all: Vec<_> = (0..world.names.len()).map(|number| world.name(number)).collect();
        for (number, name) in all.iter().enumerate() {
            if !names.iter().any(|pinned| *pinned == short(name)) {
                continue;
            }
            let Some(value) = inner.catalog.look_up(name).await.map_err(|error| error.to_string())? else {
                continue;
            };
            // Artifacts of both BuildStreams may be called the same, and only one of them be meant.
            let is_meant = all.iter().filter(|other| short(other) == short(name)).count() == 1
                || inner.gate.level_of(&value) > inner.clock.now();
            if is_meant {
                self.pinned.insert(number, value.seq);
            }
        }
        Ok(())
    }

    /// What nobody was promised at this time or later may have gone.
    pub(super) fn swept(&mut self, leased_from: Level) {
        self.promised.retain(|_, level| *level >= leased_from);
    }

    /// Uses are lost that the catalog did not take in.
    pub(super) fn forget_uses(&mut self) {
        self.names.values_mut().for_each(|known| known.level = known.committed);
    }
}
