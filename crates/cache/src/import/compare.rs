//! Comparing the names here with those of another server that runs: their values, and whether their blobs are all here and there.
//!
//! Looking is no use: what is compared is neither raised nor kept.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use millpond_proto::reapi;
use millpond_store::Digest;
use millpond_store::catalog::{INLINE_MAX, Name, Pages, State, Target, Value};
use prost::Message as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::ahead::{Ahead, Asked, Leads, as_asked, leads};
use super::copy::{PROGRESS, lost};
use super::difference::{CompareStep, CompareWanted, Compared, Difference};
use super::{Found, blocking, heard};
use crate::cache::Inner;
use crate::closure::{AtOne, Contents, Subject};
use crate::name::{self, short};
use crate::upstream::{Trouble, Upstream, UpstreamName, UpstreamValue};
use crate::{Admin, Cache, Clock, Error, InstanceName, Permit, Result};

/// Names that are compared at the same time.
const NAMES_AT_A_TIME: usize = 8;
/// Blobs that each of these closures may have; one with more is looked at by itself.
const SMALL_CLOSURE: usize = 100_000;
/// Blobs that are remembered as being there.
const KNOWN_MAX: usize = 1 << 20;

/// What all names share.
struct Comparing {
    inner: Arc<Inner>,
    instance: InstanceName,
    upstream: Arc<dyn Upstream>,
    /// Names were given, and lead to others: where all are compared, those would be compared again.
    follows: bool,
    dependencies: bool,
    /// Whoever looks at a closure that takes much memory.
    large: Semaphore,
    /// Blobs that are there.
    there: Mutex<HashSet<Digest>>,
}

/// What came of one.
#[derive(Default)]
struct One {
    text: String,
    same: u64,
    differences: Vec<Difference>,
    needs: Vec<String>,
    /// Other names of the artifact that it is of, and its digest.
    other_names: Vec<(String, Digest)>,
}

impl Comparing {
    async fn one(self: Arc<Self>, Asked { text, names, other_name_of }: Asked) -> Result<One> {
        let mut one = One { text, ..One::default() };
        for name in &names {
            let here = self.here(name).await?;
            let there = match self.upstream.value(name).await {
                Ok(there) => there,
                Err(why) => {
                    one.differences.push(Difference::Unknown(why));
                    continue;
                }
            };
            if let Some(artifact) = other_name_of {
                let is_of_it = |value: &UpstreamValue| value.is(&artifact);
                // It has moved on to another artifact, here and there, which nobody asked for.
                if !there.iter().chain(here.as_deref().and_then(as_there).iter()).any(is_of_it) {
                    continue;
                }
            } else if self.follows
                && let Some(value) = there.clone().or_else(|| here.as_deref().and_then(as_there))
            {
                match leads(&self.inner, &*self.upstream, name, &value).await? {
                    Ok(Leads { needs, other_names }) => {
                        one.needs.extend(needs.into_iter().filter(|_| self.dependencies));
                        if let UpstreamValue::Asset { digest, .. } = value {
                            one.other_names.extend(other_names.into_iter().map(|name| (name, digest)));
                        }
                    }
                    Err(why) if self.dependencies => one.differences.push(Difference::Unknown(why)),
                    Err(_) => {}
                }
            }
            match (here, there) {
                (None, None) => {}
                (Some(_), None) => one.differences.push(Difference::OnlyHere),
                (None, Some(_)) => one.differences.push(Difference::OnlyThere),
                (Some(here), Some(there)) if !is_same(&here, &there) => {
                    one.differences.push(Difference::OtherValue);
                }
                (Some(here), Some(_)) => {
                    let lacking = self.lacking(&here).await?;
                    one.same += u64::from(lacking.is_empty());
                    one.differences.extend(lacking);
                }
            }
        }
        if one.same == 0 && one.differences.is_empty() && other_name_of.is_none() {
            one.differences.push(Difference::Nowhere);
        }
        Ok(one)
    }

    async fn here(&self, name: &UpstreamName) -> Result<Option<Arc<Value>>> {
        let name: Name = match name {
            UpstreamName::Asset { kind, uri, qualifiers } => {
                name::asset(&self.instance, *kind, uri, &name::canonical_qualifiers(qualifiers)?)
            }
            UpstreamName::ActionResult(action) => name::action_result(&self.instance, action),
        };
        let value = self.inner.catalog.look_up(&name).await?;
        let in_time = |value: &Value| value.expires.is_none_or(|expires| expires > Clock::unix_seconds());
        Ok(value.filter(|value| !self.inner.is_let_go(value) && in_time(value)))
    }

    /// Which blobs of a value are lacking, on either side.
    async fn lacking(&self, value: &Value) -> Result<Vec<Difference>> {
        let subject = self.inner.subject(value)?;
        let (found, _one_at_a_time) = match self.look(&subject, SMALL_CLOSURE).await? {
            Some(found) => (found, None),
            None => {
                let turn = self.large.acquire().await.map_err(Error::internal)?;
                let found = self.look(&subject, usize::MAX).await?;
                (found.ok_or_else(|| Error::internal("a closure without an end"))?, Some(turn))
            }
        };
        let (contents, mut blobs) = match found {
            Ok(found) => found,
            Err(why) => return Ok(vec![Difference::Unknown(why)]),
        };
        let mut lacking = Vec::new();
        if let Some(first) = contents.missing.first() {
            lacking.push(Difference::LacksHere(some(contents.missing_count, first)));
        }
        {
            let known = self.there.lock().unwrap_or_else(PoisonError::into_inner);
            blobs.retain(|digest| !known.contains(digest));
        }
        match self.upstream.missing(blobs.clone()).await {
            Ok(missing) => match missing.first() {
                Some(first) => lacking.push(Difference::LacksThere(some(missing.len() as u64, first))),
                None => {
                    let mut known = self.there.lock().unwrap_or_else(PoisonError::into_inner);
                    if known.len() + blobs.len() <= KNOWN_MAX {
                        known.extend(blobs);
                    }
                }
            },
            Err(why) => lacking.push(Difference::Unknown(why)),
        }
        Ok(lacking)
    }
}

impl Comparing {
    /// What a closure holds, and which of its blobs are here; `None` if they are more than that. What is wrong with it, if so.
    async fn look(&self, subject: &Subject, most: usize) -> Result<Option<Found<(Contents, Vec<Digest>)>>> {
        let (inner, subject) = (Arc::clone(&self.inner), subject.clone());
        let look = move || {
            let mut look = AtOne::up_to(most, &inner.blobs);
            let looked = inner.walker.inspect_by(&subject, &mut look);
            if look.is_full() {
                return Ok(None);
            }
            let is_here = |digest: &Digest| *digest != Digest::EMPTY && inner.blobs.contains(digest);
            match looked {
                Ok(contents) => Ok(Some(Ok((contents, look.met.into_iter().filter(is_here).collect())))),
                Err(Error::Invalid(why)) => Ok(Some(Err(why))),
                Err(error) => Err(error),
            }
        };
        blocking(look).await?
    }
}

fn some(count: u64, first: &Digest) -> Trouble {
    if count == 1 { first.to_string() } else { format!("{count} blobs, among them {first}") }
}

/// A value as the other server would tell it, if it were there.
fn as_there(value: &Value) -> Option<UpstreamValue> {
    match &value.target {
        Target::Blob(digest) | Target::Directory(digest) => {
            Some(UpstreamValue::Asset { digest: *digest, expires: None })
        }
        Target::Inline(_) => None,
    }
}

fn is_same(here: &Value, there: &UpstreamValue) -> bool {
    match (&here.target, there) {
        (Target::Blob(here) | Target::Directory(here), UpstreamValue::Asset { digest, .. }) => here == digest,
        (Target::Inline(here), UpstreamValue::ActionResult(there)) => {
            // Most servers encode it again.
            let decoded = |content| reapi::ActionResult::decode(content).ok();
            // Nothing larger was taken in here.
            here == there
                || there.len() <= INLINE_MAX
                    && decoded(here.clone()).is_some_and(|here| decoded(there.clone()) == Some(here))
        }
        // One that is too large for a row.
        (Target::Blob(here), UpstreamValue::ActionResult(there)) => Digest::of(there) == *here,
        _ => false,
    }
}

impl Inner {
    async fn compare(
        self: &Arc<Self>,
        instance: &InstanceName,
        wanted: CompareWanted,
        upstream: Arc<dyn Upstream>,
        steps: mpsc::Sender<CompareStep>,
    ) -> Result<Compared> {
        instance.takes_names()?;
        instance.takes_blobs()?;
        let comparing = Arc::new(Comparing {
            inner: Arc::clone(self),
            instance: instance.clone(),
            upstream: Arc::clone(&upstream),
            follows: !wanted.names.is_empty(),
            dependencies: wanted.dependencies,
            large: Semaphore::new(1),
            there: Mutex::default(),
        });
        let (mut ahead, mut done) = (Ahead::default(), Compared::default());
        // All names come page by page.
        let mut after = wanted.names.is_empty().then_some(0);
        let mut page = Vec::new();
        for text in wanted.names {
            add(&mut ahead, &mut done, text, &steps).await?;
        }
        let mut running = JoinSet::new();
        let mut progress = interval(PROGRESS);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.go_on()?;
            while page.is_empty()
                && let Some(from) = after
            {
                (page, after) = self.names_after(from, instance).await?;
            }
            while running.len() < NAMES_AT_A_TIME
                && let Some(asked) = page.pop().or_else(|| ahead.next())
            {
                running.spawn(Arc::clone(&comparing).one(asked));
            }
            let ended = tokio::select! {
                ended = running.join_next() => ended,
                _ = progress.tick() => {
                    heard(steps.send(CompareStep::Progress(done)).await)?;
                    continue;
                }
                () = steps.closed() => return heard(Err(())).map(|()| done),
            };
            let Some(ended) = ended else { return Ok(done) };
            let One { text, same, mut differences, needs, other_names } =
                ended.map_err(Error::internal)??;
            differences.extend(ahead.add_needed(needs).map(Difference::Unknown));
            for (name, value) in other_names {
                ahead.add_other_name(&name, value);
            }
            done.same += same;
            for difference in differences {
                done.count(&difference);
                heard(steps.send(CompareStep::Differs(text.clone(), difference)).await)?;
            }
            let left = running.len() + ahead.len() + page.len();
            if left > 0
                && let Some(why) = upstream.lost()
            {
                return Err(lost(&why, done.looked_at(), left));
            }
        }
    }

    /// The names of an instance that are served, a page of them, and where the next begins.
    async fn names_after(&self, after: u64, instance: &InstanceName) -> Result<(Vec<Asked>, Option<u64>)> {
        let Some(page) = self.catalog.page_after(after, Pages::Names).await? else {
            return Ok((Vec::new(), None));
        };
        let served = |value: &Value| {
            value.state == State::Whole
                && *value.name.instance == *instance.as_str()
                && !self.is_let_go(value)
        };
        let asked = |value: Value| {
            let names = vec![as_asked(&value.name)?];
            Some(Asked { text: short(&value.name).into_owned(), names, other_name_of: None })
        };
        let mut names: Vec<_> = page.values.into_iter().filter(served).filter_map(asked).collect();
        // The last one is taken first.
        names.reverse();
        Ok((names, Some(page.next)))
    }
}

async fn add(
    ahead: &mut Ahead,
    done: &mut Compared,
    text: String,
    steps: &mpsc::Sender<CompareStep>,
) -> Result<()> {
    if let Err(why) = ahead.add(&text) {
        let difference = Difference::Unknown(why);
        done.count(&difference);
        heard(steps.send(CompareStep::Differs(text, difference)).await)?;
    }
    Ok(())
}

impl Cache {
    /// Compares names of this instance with those of another server.
    ///
    /// # Errors
    /// [`Error::Elsewhere`] once that server answers no more; `Busy` while the cache is being closed, or once nobody hears
    /// `steps`; a fault of the disk.
    pub async fn compare(
        &self,
        _: &Permit<Admin>,
        instance: &InstanceName,
        wanted: CompareWanted,
        upstream: Arc<dyn Upstream>,
        steps: mpsc::Sender<CompareStep>,
    ) -> Result<Compared> {
        self.inner.compare(instance, wanted, upstream, steps).await
    }
}
