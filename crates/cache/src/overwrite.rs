//! Who may give a name another value: strong keys, and what rules protect, cannot be hijacked, and no honest builder fails.
//!
//! Two builders that build the same element push the same name, often with different bytes. Whichever comes second is no
//! error of theirs, so a replacement that is not allowed is answered OK, and the first whole value stays; unless a rule
//! wants it refused.
//!
//! **Invariant:** whether a place may be taken is looked at in the transaction that takes it
//! ([`Replaces`]). What takes longer to find out is found out about the value with one number, and counts for that
//! value alone.

use std::sync::Arc;

use bytes::Bytes;
use millpond_proto::{buildstream, reapi};
use millpond_store::audit::Deed;
use millpond_store::catalog::{NameKind, NewValue, Promoted, Replaces, State, Target, Value};
use millpond_store::{Clock, Digest, now_and_then};
use prost::Message;

use crate::by_project::LookUp;
use crate::cache::Inner;
use crate::closure::pieces;
use crate::lookup::Patience;
use crate::name::{UriForm, short};
use crate::{AssetKind, Error, Pattern, Result};

/// How often a place is looked at that others take meanwhile.
const ATTEMPTS: u32 = 8;
/// A message or file that says what an artifact is is never larger than this.
const DESCRIPTION_BYTES_MAX: u64 = 1024 * 1024;

/// Whose value a push may replace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replacement {
    /// Anybody's.
    Anyone,
    /// The same identity's; and what was pushed by an unknown client.
    #[default]
    SameIdentity,
    /// Nobody's.
    Nobody,
}

/// What becomes of a push that may not replace a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// It is answered OK, and the value in force stays.
    #[default]
    KeepQuietly,
    /// It is refused.
    Refuse,
}

/// A rule for the names that match. A name whose value is a failed build may be replaced by a success whatever the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacementRule {
    /// Matched as the names of a [`Grant`](crate::Grant).
    pub names: Pattern,
    /// Whose value may be replaced.
    pub replacement: Replacement,
    /// And what becomes of a push that may not.
    pub otherwise: Otherwise,
}

/// The rules, the first that matches counts. Where none does: strong keys by the same identity, all else by anyone.
#[derive(Debug, Default)]
pub(crate) struct ReplacementRules(pub(crate) Vec<ReplacementRule>);

/// What a value says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Description {
    /// Its name is the strong key of an artifact: the same inputs, down to the last dependency.
    strong: bool,
    /// It is the outcome of a build that failed.
    failed: bool,
}

/// Nothing that protects it.
const UNKNOWN: Description = Description { strong: false, failed: false };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Replace,
    Keep,
    Refuse,
}

/// What became of values that were to be put in force.
#[derive(Debug)]
pub(crate) struct Decided {
    /// Those that are.
    pub(crate) published: Vec<Arc<Value>>,
    /// How many are not, because another value stays.
    pub(crate) kept: usize,
}

impl ReplacementRules {
    fn of(&self, short_name: &str) -> Option<&ReplacementRule> {
        self.0.iter().find(|rule| rule.names.matches(short_name))
    }

    /// What may be tried without looking at the value that is there.
    fn at_first(&self, values: &[NewValue]) -> Replaces {
        let mut strictest = Replaces::NothingOfOthers;
        let mut anything = true;
        for value in values {
            match self.of(&short(&value.name)).map(|rule| rule.replacement) {
                Some(Replacement::Nobody) => strictest = Replaces::Exactly(vec![None; values.len()]),
                Some(Replacement::Anyone) => continue,
                Some(Replacement::SameIdentity) | None => {}
            }
            anything = false;
        }
        if anything { Replaces::Anything } else { strictest }
    }
}

impl Inner {
    /// Puts values in force as far as the rules allow, and `in_place_of` (see [`Publication`](crate::publish::Publication)).
    pub(crate) async fn put_in_force(
        self: &Arc<Self>,
        mut values: Vec<NewValue>,
        in_place_of: Option<Option<u64>>,
    ) -> Result<Decided> {
        let mut replaces = match in_place_of {
            Some(_) => Replaces::Exactly(vec![None; values.len()]),
            None => self.replacement.now().at_first(&values),
        };
        let may_be_taken =
            |place: &Option<u64>| place.is_none() || in_place_of.is_none_or(|expected| *place == expected);
        let mut kept = 0;
        for _ in 0..ATTEMPTS {
            if let Some(published) = self.catalog.publish_over(values.clone(), replaces).await? {
                return Ok(Decided { published, kept });
            }
            let mut taken = Vec::with_capacity(values.len());
            let mut places = Vec::with_capacity(values.len());
            for value in values {
                let place = match self.place_for(&value).await? {
                    // It was pushed since that was looked at.
                    Some(place) if !may_be_taken(&place) => {
                        self.counters.names_kept.add(1);
                        self.note_push(Deed::Kept, &value).await?;
                        None
                    }
                    place => place,
                };
                match place {
                    Some(place) => {
                        taken.push(value);
                        places.push(place);
                    }
                    None => kept += 1,
                }
            }
            if taken.is_empty() {
                return Ok(Decided { published: Vec::new(), kept });
            }
            (values, replaces) = (taken, Replaces::Exactly(places));
        }
        Err(Error::Busy("others push the same name all the time: push it again".into()))
    }

    /// The same for one that has waited for its blobs under this number. Where another value stays, it has waited in vain.
    pub(crate) async fn promote_in_force(self: &Arc<Self>, pending: u64, value: NewValue) -> Result<Decided> {
        let mut replaces = self.replacement.now().at_first(std::slice::from_ref(&value));
        for _ in 0..ATTEMPTS {
            match self.catalog.promote(pending, value.clone(), replaces).await? {
                Promoted::Whole(value) => return Ok(Decided { published: vec![value], kept: 0 }),
                Promoted::Gone => return Ok(Decided { published: Vec::new(), kept: 0 }),
                Promoted::Occupied => {}
            }
            let Some(place) = self.place_for(&value).await? else {
                self.catalog.remove(&value.name, pending).await?;
                return Ok(Decided { published: Vec::new(), kept: 1 });
            };
            replaces = Replaces::Exactly(vec![place]);
        }
        Err(Error::Busy("others push the same name all the time: push it again".into()))
    }

    /// The number of the value whose place this one may take, `Some(None)` where there is none; `None` if the one that
    /// is there stays.
    pub(crate) async fn place_for(self: &Arc<Self>, new: &NewValue) -> Result<Option<Option<u64>>> {
        let Some(old) = self.catalog.look_up(&new.name).await? else { return Ok(Some(None)) };
        match self.verdict(&old, new).await? {
            Verdict::Replace => Ok(Some(Some(old.seq))),
            Verdict::Keep => {
                self.counters.names_kept.add(1);
                now_and_then!(
                    info,
                    name = &*new.name.text,
                    by = &*old.pusher,
                    not_by = &*new.pusher,
                    address = &*new.address,
                    "a name keeps the value that it has"
                );
                self.note_push(Deed::Kept, new).await?;
                Ok(None)
            }
            Verdict::Refuse => {
                self.counters.names_refused.add(1);
                self.note_push(Deed::Refused, new).await?;
                let name: String = short(&new.name).chars().take(300).collect();
                Err(Error::Denied(format!(
                    "{name} was pushed by {} and may not be replaced: its first value stays",
                    if old.pusher.is_empty() { "an unknown client" } else { &*old.pusher }
                )))
            }
        }
    }

    async fn verdict(self: &Arc<Self>, old: &Arc<Value>, new: &NewValue) -> Result<Verdict> {
        let name = short(&new.name);
        let rules = self.replacement.now();
        let rule = rules.of(&name);
        let replacement = rule.map_or(Replacement::SameIdentity, |rule| rule.replacement);
        let own = old.pusher.is_empty() || *old.pusher == *new.pusher;
        if replacement == Replacement::Anyone || replacement == Replacement::SameIdentity && own {
            return Ok(Verdict::Replace);
        }
        if old.expires.is_some_and(|expires| expires <= Clock::unix_seconds()) {
            return Ok(Verdict::Replace);
        }
        let described = self.describe(&old.name.text, old.name.kind, &old.target).await?;
        if rule.is_none() && !described.strong {
            return Ok(Verdict::Replace);
        }
        if described.failed && !self.describe(&new.name.text, new.name.kind, &new.target).await?.failed {
            return Ok(Verdict::Replace);
        }
        // One that is not whole protects nothing. One that is stays for the lease, as if it had been looked up.
        let whole =
            new.state == State::Whole && self.whole_for_the_lease(old, Patience::Waits).await? == LookUp::Hit;
        let same = old.target == new.target && old.references == new.references;
        Ok(match rule.map_or(Otherwise::KeepQuietly, |rule| rule.otherwise) {
            _ if !whole => Verdict::Replace,
            Otherwise::Refuse if !same => Verdict::Refuse,
            Otherwise::Refuse | Otherwise::KeepQuietly => Verdict::Keep,
        })
    }

    /// What an artifact says of itself. One whose message is gone or malformed says nothing; one that just cannot be read
    /// now is an error, for nobody can tell what it is.
    async fn describe(&self, text: &str, kind: NameKind, target: &Target) -> Result<Description> {
        let key = text.rsplit('/').next().unwrap_or_default();
        let described = match (kind, target) {
            (NameKind::AssetBlob, Target::Blob(digest))
                if UriForm::of(AssetKind::Blob, text) == UriForm::Artifact =>
            {
                self.describe_artifact(key, digest).await?
            }
            (NameKind::AssetDirectory, Target::Directory(root)) if short_is_artifact(text) => {
                self.describe_tree(key, root).await?
            }
            _ => None,
        };
        Ok(described.unwrap_or(UNKNOWN))
    }

    /// BuildStream 2: the message says it.
    async fn describe_artifact(&self, key: &str, digest: &Digest) -> Result<Option<Description>> {
        let artifact = self.small_blob(Some(*digest)).await?.and_then(without_lists);
        Ok(artifact.map(|artifact| Description {
            strong: artifact.strong_key == key,
            failed: !artifact.build_success,
        }))
    }

    /// BuildStream 1: `meta/keys.yaml` in the artifact's tree says it. It publishes no failed builds.
    async fn describe_tree(&self, key: &str, root: &Digest) -> Result<Option<Description>> {
        let root = self.small_blob(Some(*root)).await?;
        let meta = root.and_then(|root| {
            found_in(root, |piece| {
                let meta = piece.directories.iter().find(|node| node.name == "meta")?;
                parsed(meta.digest.as_ref())
            })
        });
        let meta = self.small_blob(meta).await?;
        let keys = meta.and_then(|meta| {
            found_in(meta, |piece| {
                let keys = piece.files.iter().find(|node| node.name == "keys.yaml")?;
                parsed(keys.digest.as_ref())
            })
        });
        let keys = self.small_blob(keys).await?;
        let strong = keys.as_deref().and_then(|keys| {
            std::str::from_utf8(keys).ok()?.lines().find_map(|line| line.strip_prefix("strong:"))
        });
        Ok(strong.map(|strong| Description {
            strong: strong.trim().trim_matches(['"', '\'']) == key,
            failed: false,
        }))
    }

    /// Whether BuildStream 2's message of an artifact says that its build failed; `None` if it is not there or no message.
    pub(crate) async fn artifact_failed(&self, digest: &Digest) -> Result<Option<bool>> {
        Ok(self.small_blob(Some(*digest)).await?.and_then(failed))
    }

    /// A message that lies in a blob; `None` if it is not there, or none.
    pub(crate) async fn message<M: Message + Default>(&self, digest: Option<Digest>) -> Result<Option<M>> {
        Ok(self.small_blob(digest).await?.and_then(|content| M::decode(content).ok()))
    }

    async fn small_blob(&self, digest: Option<Digest>) -> Result<Option<Bytes>> {
        let Some(digest) = digest.filter(|digest| digest.size() <= DESCRIPTION_BYTES_MAX) else {
            return Ok(None);
        };
        match self.blobs.read_many(&[digest]).await.pop() {
            Some(Ok(content)) => Ok(Some(content)),
            None | Some(Err(millpond_store::Error::Missing)) => Ok(None),
            Some(Err(error)) => Err(error.into()),
        }
    }
}

/// Whether BuildStream 2's message of an artifact says that its build failed; `None` if it is no such message.
pub(crate) fn failed(message: Bytes) -> Option<bool> {
    without_lists(message).map(|artifact| !artifact.build_success)
}

/// BuildStream 2's message of an artifact, without what may be many; `None` if it is no such message.
fn without_lists(message: Bytes) -> Option<buildstream::Artifact> {
    let take = |piece: &mut buildstream::Artifact| {
        (piece.logs, piece.build_deps, piece.buildsandbox) = Default::default();
        Ok(())
    };
    pieces::read(message, take, malformed).ok()
}

/// The first digest that is found in a piece of a `Directory`; `None` also if it is none.
fn found_in(directory: Bytes, find: impl Fn(&reapi::Directory) -> Option<Digest>) -> Option<Digest> {
    let mut found = None;
    let take = |piece: &mut reapi::Directory| {
        found = found.or_else(|| find(piece));
        *piece = reapi::Directory::default();
        Ok(())
    };
    pieces::read(directory, take, malformed).ok()?;
    found
}

fn malformed(why: &dyn std::fmt::Display) -> Error {
    Error::Invalid(why.to_string())
}

fn parsed(digest: Option<&reapi::Digest>) -> Option<Digest> {
    crate::closure::wire_digest(digest).ok()?
}

fn short_is_artifact(text: &str) -> bool {
    text.strip_prefix(crate::name::BUILDSTREAM).is_some_and(|rest| rest.starts_with("v1:"))
}
