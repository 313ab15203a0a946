//! Taking over names of another server that runs, by its public protocol.
//!
//! When such a name was written is not known, so it counts as pushed now, and takes the place of no other that is whole, unless
//! that is wanted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::ahead::{Ahead, Asked, Leads, leads};
use super::bring::Bringing;
use super::source::Source;
use super::take_over::{Foreign, Over, Took};
use super::{Found, ImportStep, Imported, heard};
use crate::cache::Inner;
use crate::name;
use crate::upstream::{Upstream, UpstreamName, UpstreamValue};
use crate::{Admin, Cache, Client, Digest, Error, InstanceName, Permit, Result};

/// Names that are under way at the same time: most of the time of a small one is spent waiting for answers.
const NAMES_AT_A_TIME: usize = 4;
/// How far it is, is told so often.
pub(super) const PROGRESS: Duration = Duration::from_millis(250);

/// What is to be copied.
#[derive(Clone, Debug, Default)]
pub struct CopyWanted {
    /// Names as people write them.
    pub names: Vec<String>,
    /// And what artifacts among them were built with.
    pub dependencies: bool,
    /// Names that have another value here get the one that they have there.
    pub replace: bool,
    /// Nothing is taken in: only told what would be.
    pub dry_run: bool,
}

/// What all names of a copy share.
struct Copying {
    inner: Arc<Inner>,
    instance: InstanceName,
    client: Client,
    upstream: Arc<dyn Upstream>,
    bringing: Bringing,
    dependencies: bool,
    over: Over,
}

/// What became of a name, as each of what it may be called that was there, and which names it leads to.
struct Copied {
    text: String,
    outcomes: Vec<Found<Took>>,
    needs: Vec<String>,
    /// Other names of what was found, and its digest.
    other_names: Vec<(String, Digest)>,
}

impl Copying {
    async fn one(self: Arc<Self>, Asked { text, names, other_name_of }: Asked) -> Result<Copied> {
        let (mut outcomes, mut needed, mut other_names) = (Vec::new(), Vec::new(), Vec::new());
        for name in &names {
            let outcome = match self.upstream.value(name).await {
                Ok(None) => continue,
                // It has moved on to another artifact, which nobody asked for.
                Ok(Some(value)) if other_name_of.is_some_and(|digest| !value.is(&digest)) => continue,
                Ok(Some(value)) => {
                    let outcome = match self.foreign(name, value.clone()) {
                        Ok(foreign) => {
                            self.inner.take_over(foreign, self.over, &self.client, &self.bringing).await?
                        }
                        Err(why) => Err(why),
                    };
                    if other_name_of.is_none() {
                        match leads(&self.inner, &*self.upstream, name, &value).await? {
                            Ok(Leads { needs, other_names: others }) => {
                                needed.extend(needs.into_iter().filter(|_| self.dependencies));
                                if let UpstreamValue::Asset { digest, .. } = value {
                                    other_names.extend(others.into_iter().map(|name| (name, digest)));
                                }
                            }
                            // What is wrong with its message is told already, where it is left out for that.
                            Err(why) if self.dependencies && outcome.is_ok() => outcomes.push(Err(why)),
                            Err(_) => {}
                        }
                    }
                    outcome
                }
                Err(why) => Err(why),
            };
            outcomes.push(outcome);
        }
        if outcomes.is_empty() && other_name_of.is_none() {
            outcomes.push(Err("it is not there".into()));
        }
        Ok(Copied { text, outcomes, needs: needed, other_names })
    }

    fn foreign(&self, name: &UpstreamName, value: UpstreamValue) -> Found<Foreign> {
        match (name, value) {
            (UpstreamName::Asset { kind, uri, qualifiers }, UpstreamValue::Asset { digest, expires }) => {
                let qualifiers = name::canonical_qualifiers(qualifiers).map_err(|error| error.to_string())?;
                Ok(Foreign::asset(&self.instance, (*kind, uri, &qualifiers), digest, expires))
            }
            (UpstreamName::ActionResult(action), UpstreamValue::ActionResult(content)) => {
                Foreign::action(&self.instance, action, content)
            }
            _ => Err("it has a value of another kind there".into()),
        }
    }
}

impl Inner {
    async fn copy(
        self: &Arc<Self>,
        instance: &InstanceName,
        client: &Client,
        wanted: CopyWanted,
        upstream: Arc<dyn Upstream>,
        steps: mpsc::Sender<ImportStep>,
    ) -> Result<Imported> {
        instance.takes_names()?;
        instance.takes_blobs()?;
        let CopyWanted { names, dependencies, replace, dry_run } = wanted;
        let bringing = Bringing::new(Arc::clone(self), Source::Server(Arc::clone(&upstream)), dry_run);
        let copying = Arc::new(Copying {
            inner: Arc::clone(self),
            instance: instance.clone(),
            client: client.clone(),
            upstream: Arc::clone(&upstream),
            bringing,
            dependencies,
            over: if replace { Over::Any } else { Over::Broken },
        });
        let (mut ahead, mut done) = (Ahead::default(), Imported::default());
        for text in names {
            add(&mut ahead, &mut done, text, &steps).await?;
        }
        let mut running = JoinSet::new();
        let mut progress = interval(PROGRESS);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.go_on()?;
            while running.len() < NAMES_AT_A_TIME
                && let Some(asked) = ahead.next()
            {
                running.spawn(Arc::clone(&copying).one(asked));
            }
            done.of_names = done.looked_at() + (running.len() + ahead.len()) as u64;
            (done.blobs, done.bytes) = copying.bringing.brought();
            let ended = tokio::select! {
                ended = running.join_next() => ended,
                _ = progress.tick() => {
                    heard(steps.send(ImportStep::Progress(done)).await)?;
                    continue;
                }
                () = steps.closed() => return heard(Err(())).map(|()| done),
            };
            let Some(ended) = ended else { return Ok(done) };
            let Copied { text, mut outcomes, needs, other_names } = ended.map_err(Error::internal)??;
            outcomes.extend(ahead.add_needed(needs).map(Err));
            for outcome in outcomes {
                if let Err(why) = done.count(outcome) {
                    heard(steps.send(ImportStep::Broken { name: text.clone(), why }).await)?;
                }
            }
            for (name, value) in other_names {
                ahead.add_other_name(&name, value);
            }
            let left = running.len() + ahead.len();
            if left > 0
                && let Some(why) = upstream.lost()
            {
                return Err(lost(&why, done.looked_at(), left));
            }
        }
    }
}

/// That a server answers no more, with what is left.
pub(super) fn lost(why: &str, looked_at: u64, left: usize) -> Error {
    Error::Elsewhere(format!(
        "the other server answers no more: {why}; {looked_at} names were looked at, {left} were not: begin again once it answers, and it goes on where it was"
    ))
}

async fn add(
    ahead: &mut Ahead,
    done: &mut Imported,
    text: String,
    steps: &mpsc::Sender<ImportStep>,
) -> Result<()> {
    if let Err(why) = ahead.add(&text) {
        done.broken += 1;
        heard(steps.send(ImportStep::Broken { name: text, why }).await)?;
    }
    Ok(())
}

impl Cache {
    /// Takes over names of another server, with the blobs that they need, into this instance.
    ///
    /// # Errors
    /// [`Error::Elsewhere`] once that server answers no more; what an upload or a push is refused with; `Busy` while the cache is
    /// being closed, or once nobody hears `steps`. All that came before is here then.
    pub async fn copy(
        &self,
        permit: &Permit<Admin>,
        instance: &InstanceName,
        wanted: CopyWanted,
        upstream: Arc<dyn Upstream>,
        steps: mpsc::Sender<ImportStep>,
    ) -> Result<Imported> {
        self.inner.copy(instance, permit.client(), wanted, upstream, steps).await
    }
}
