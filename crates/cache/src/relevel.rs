//! The pass in which levels fall: what was kept and is not any more gives its space back, and no other name pays for it.
//!
//! Levels only rise otherwise, and the waterline drops what lies lowest; so blobs of a name that was removed, replaced or
//! fell out of a rule would be the last to go. The steps, and their order, which is the promise:
//!
//! 0. Values get the levels that they should have, as far as those are lower: their last use, or what keeps them.
//! 1. The gate says what time it is; until the end of 4 the waterline stays at or below that.
//! 2. Every blob's level above that time falls to it, and then all that was remembered of walks is void.
//! 3. Every publish and look-up begun before the end of 2 comes to its end: it is in the catalog now, or in nothing.
//! 4. The closure of each served value is raised to that value's level again, and marked.
//! 5. What has no mark, and nobody counts on for the lease, falls to the lowest level, and goes at once.
//!
//! No snapshot of levels is written meanwhile. After a crash levels are those of the last one, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use millpond_store::catalog::{Name, NewLevel, Value};
use millpond_store::{Level, now_and_then};
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior};

use crate::cache::Inner;
use crate::gate::Fall;
use crate::retention::{Fate, GOING_MAX, Plan, clocks_agree, shown};
use crate::{Admin, Cache, Error, Permit, Result};

/// Whether a pass is due is looked at so often.
const PERIOD: Duration = Duration::from_secs(10);
/// While anything is kept, or was let loose, a pass is made so often.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Kept names that were replaced do not wait longer than this for the space of what they pointed to.
const LOOSE: Duration = Duration::from_secs(3600);
/// What is waited for is looked at again after so long.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// What could not be read is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);
/// For so long it may take to look through all levels, in seconds.
pub(crate) const LOOK_SECONDS_MAX: u32 = 60;
/// A waterline that lets go only of what a pass has found that nobody needs.
pub(crate) const SWEPT: Level = Level::from_seconds(1);

/// What passes have come to, and whether one is asked for.
#[derive(Debug, Default)]
pub(crate) struct Relevels {
    passes: AtomicU64,
    asked: AtomicBool,
    wake: Notify,
}

impl Relevels {
    /// Has a pass made soon.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// What a pass came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Releveled {
    /// Names that were served.
    pub names: u64,
    /// Of those, names that are kept beyond their last use.
    pub kept_names: u64,
    /// Names whose level fell, since less keeps them.
    pub lowered_names: u64,
    /// Names that a rule let go.
    pub ended_names: u64,
    /// Which, some of them if they are many.
    pub ended: Vec<String>,
    /// Blobs that no name needed and nobody counted on: they are given back.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of blobs that no name needed, and that stay for a lease.
    pub leased_bytes: u64,
}

/// What was found of a portion of the values.
#[derive(Debug, Default)]
struct TooHigh {
    /// What has a level that nothing gives it.
    levels: Vec<NewLevel>,
    /// What a rule ends.
    ended: Vec<(Name, u64)>,
    /// Where the next portion begins.
    next: Option<u64>,
}

/// A pass between steps 2 and 5. Dropped before its end, levels are not what they should be.
#[derive(Debug)]
pub(crate) struct Relevel {
    inner: Arc<Inner>,
    plan: Arc<Plan>,
    fall: Fall,
    /// Tickets of this generation and those before are waited for.
    generation: u64,
    pass: u64,
    /// Where the next portion of values begins; `None` when all were walked.
    from: Option<u64>,
    so_far: Releveled,
    _no_snapshot: OwnedMutexGuard<()>,
}

impl Inner {
    /// Step 0: values that are kept for longer than they should be get lower levels, and what the rules end goes. Says how
    /// many of each, and which went, some of them if they are many.
    pub(crate) async fn lower_values(self: &Arc<Self>, plan: &Arc<Plan>) -> Result<Releveled> {
        if !clocks_agree(&self.clock) {
            now_and_then!(
                warn,
                "the wall clock is more than a day from where the cache has its time: until it is not, what rules keep \
                 stays as it is, and nothing goes by its age"
            );
            return Ok(Releveled::default());
        }
        self.flush_uses().await;
        let (mut done, mut from) = (Releveled::default(), Some(0));
        while let Some(begin) = from {
            self.go_on()?;
            let (inner, by) = (Arc::clone(self), Arc::clone(plan));
            let look = move || inner.too_high(&by, begin);
            let too_high = spawn_blocking(look).await.map_err(Error::internal)??;
            self.check_rules_stand(plan)?;
            done.lowered_names += too_high.levels.len() as u64;
            if !too_high.levels.is_empty() {
                self.catalog.change_levels(too_high.levels).await?;
            }
            let mut ended: Vec<_> = too_high.ended.iter().map(|(name, _)| shown(name)).collect();
            let gone = self.let_go_early(too_high.ended).await?;
            // One that got another value meanwhile stays.
            if gone == ended.len() as u64 {
                ended.truncate(GOING_MAX.saturating_sub(done.ended.len()));
                done.ended.append(&mut ended);
            }
            done.ended_names += gone;
            from = too_high.next;
        }
        Ok(done)
    }

    /// What rules end that are not in force any more stays.
    fn check_rules_stand(&self, plan: &Plan) -> Result<()> {
        if Arc::ptr_eq(plan.retention(), &self.retention.now()) {
            return Ok(());
        }
        self.relevels.ask();
        Err(Error::Busy("other rules are in force by now: the pass begins anew".into()))
    }

    async fn let_go_early(&self, ended: Vec<(Name, u64)>) -> Result<u64> {
        if ended.is_empty() {
            return Ok(0);
        }
        // More disk would not have kept them: they are not remembered as what space was made of.
        Ok(self.catalog.forget(ended).await?)
    }

    /// Looks at a portion of the values.
    fn too_high(&self, plan: &Plan, from: u64) -> Result<TooHigh> {
        let (values, next) = self.catalog.portion_touched_after(from, Level::ZERO)?;
        let mut found = TooHigh { next, ..TooHigh::default() };
        for value in values {
            let (level, touched) = (value.level(), value.touched());
            // What cannot be read now stays as it is until the next time.
            let Ok(fate) = self.fate(plan, &value) else { continue };
            if plan.may_be_newest(&value) {
                continue;
            }
            let to = touched.max(fate.kept_until());
            if matches!(fate, Fate::Goes(_)) {
                found.ended.push((value.name, value.seq));
            } else if level > to {
                // What is kept by nothing has the level of its last use, or a little less.
                found.levels.push(NewLevel { name: value.name, seq: value.seq, from: level, to });
            }
        }
        Ok(found)
    }

    /// What rules and pins make of a value now.
    pub(crate) fn fate(&self, plan: &Plan, value: &Value) -> Result<Fate> {
        let (outcome, used) = (self.outcome_of_value(plan.retention(), value)?, self.last_use(value));
        Ok(plan.fate(value, outcome, used, self.clock.wall()))
    }

    /// Reads what has to be known of all values before the fate of one is, but for [shares](Self::plan_with_shares). Blocks.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let retention = self.retention.now();
        let counts_any = retention.counts_any();
        let mut plan = Plan::begin(retention, self.pins.now(), self.gate.snapshot_time());
        let mut from = Some(0).filter(|_| counts_any);
        while let Some(begin) = from {
            self.go_on()?;
            let (values, next) = self.catalog.portion_touched_after(begin, Level::ZERO)?;
            for value in values.into_iter().filter(Value::is_whole) {
                let outcome = self.outcome_of_value(plan.retention(), &value)?;
                plan.note(&value, outcome);
            }
            from = next;
        }
        Ok(plan)
    }

    /// Step 0 alone, without shares.
    async fn end_what_is_over(self: &Arc<Self>) -> Result<Releveled> {
        // A pin that is made meanwhile would not be in the plan.
        let _no_pins = self.levels_fall.lock().await;
        let inner = Arc::clone(self);
        let plan = Arc::new(spawn_blocking(move || inner.plan()).await.map_err(Error::internal)??);
        self.lower_values(&plan).await
    }

    /// Whether blobs' levels may fall now.
    fn check_levels_may_fall(&self) -> Result<()> {
        let in_order = self.levels_are_true.load(Ordering::Acquire) && self.catalog.is_in_order();
        if in_order && self.gate.leased_from() > Level::ZERO {
            return Ok(());
        }
        Err(Error::Busy(
            "after a stop out of order nothing goes for a lease, nor while the catalog is damaged: try again then".into(),
        ))
    }

    /// Steps 1 and 2; an error while levels may not fall. Blocks.
    pub(crate) fn begin_relevel(
        self: &Arc<Self>,
        plan: Arc<Plan>,
        no_snapshot: OwnedMutexGuard<()>,
    ) -> Result<Relevel> {
        self.check_levels_may_fall()?;
        let fall = self.gate.begin_fall()?;
        self.blobs.cap_levels(fall.time());
        let generation = self.gate.end_generation();
        let pass = self.relevels.passes.fetch_add(1, Ordering::Relaxed) + 1;
        let so_far = Releveled::default();
        let inner = Arc::clone(self);
        Ok(Relevel { inner, plan, fall, generation, pass, from: Some(0), so_far, _no_snapshot: no_snapshot })
    }

    /// The whole pass. Waits for one that is under way.
    ///
    /// # Errors
    /// [`Error::Busy`] while levels may not fall, or because the cache is being closed.
    pub(crate) async fn relevel(self: &Arc<Self>) -> Result<Releveled> {
        self.check_levels_may_fall()?;
        let no_snapshot = Arc::clone(&self.levels_fall).lock_owned().await;
        // What no pin keeps any more of earlier values is to give its space back.
        self.forget_removed().await?;
        // Shares go by uses, the last ones included.
        self.flush_uses().await;
        let inner = Arc::clone(self);
        let plan =
            Arc::new(spawn_blocking(move || inner.plan_with_shares()).await.map_err(Error::internal)??);
        let lowered = self.lower_values(&plan).await?;
        let inner = Arc::clone(self);
        let begin = move || inner.begin_relevel(plan, no_snapshot);
        let mut relevel = spawn_blocking(begin).await.map_err(Error::internal)??;
        relevel.so_far = lowered;
        while !relevel.others_are_through() {
            self.go_on()?;
            tokio::time::sleep(POLL).await;
        }
        while !self.flush_uses().await && !self.catalog.figures().poisoned {
            self.go_on()?;
            tokio::time::sleep(RETRY).await;
        }
        while relevel.from.is_some() {
            self.go_on()?;
            let walk = move || {
                let walked = relevel.walk_portion();
                (relevel, walked)
            };
            let walked;
            (relevel, walked) = spawn_blocking(walk).await.map_err(Error::internal)?;
            if let Err(error) = walked {
                // Until it can be walked nothing that was used lately is let go.
                now_and_then!(warn, %error, "a name cannot be walked now, and levels wait for it");
                tokio::time::sleep(RETRY).await;
            }
        }
        let inner = Arc::clone(self);
        let all = spawn_blocking(move || inner.catalog.has_all_rows()).await.map_err(Error::internal)??;
        if !all || !self.catalog.is_in_order() {
            // Rows may be hidden: what they need has no marks, and levels that are too low.
            self.relevels.ask();
            return Err(Error::Busy("the catalog is damaged: nothing goes until it is mended".into()));
        }
        let done = spawn_blocking(move || relevel.end()).await.map_err(Error::internal)?;
        let Releveled { names, kept_names, lowered_names, blobs, bytes, .. } = &done;
        tracing::info!(names, kept_names, lowered_names, blobs, bytes, "levels are what keeps things");
        Ok(done)
    }

    /// [`Error::Busy`] once the cache is being closed: asked again and again by what takes long.
    pub(crate) fn go_on(&self) -> Result<()> {
        if self.letting_go.stopping.load(Ordering::Relaxed) || self.gate.is_closed() {
            return Err(Error::Busy("the cache is being closed".into()));
        }
        Ok(())
    }
}

impl Relevel {
    /// Step 3: whether all tickets from before the end of step 2 are back.
    pub(crate) fn others_are_through(&self) -> bool {
        self.inner.gate.is_through(self.generation)
    }

    /// Of step 4: walks the next values. What cannot be read for now is an error, and the same portion comes again. Blocks.
    pub(crate) fn walk_portion(&mut self) -> Result<()> {
        let Some(from) = self.from else { return Ok(()) };
        let (values, next) = match self.inner.catalog.portion_touched_after(from, Level::ZERO) {
            Ok(portion) => portion,
            Err(error) => {
                // It may be another database by now, with other rows.
                self.from = Some(0);
                (self.so_far.names, self.so_far.kept_names) = (0, 0);
                return Err(error.into());
            }
        };
        let (mut names, mut kept) = (0, 0);
        for value in values {
            self.inner.go_on()?;
            let level = self.inner.gate.level_of(&value);
            if level < self.inner.blobs.waterline() {
                continue;
            }
            self.walk(&value, level)?;
            if value.is_whole() {
                names += 1;
                kept += u64::from(self.inner.gate.level_of(&value) > value.touched());
            }
        }
        self.so_far.names += names;
        self.so_far.kept_names += kept;
        self.from = next;
        Ok(())
    }

    fn walk(&self, value: &Value, level: Level) -> Result<()> {
        let subject = match self.inner.subject(value) {
            Ok(subject) => subject,
            // It is no closure, and never served.
            Err(error) => {
                now_and_then!(warn, name = &*value.name.text, %error, "a name cannot be walked");
                return Ok(());
            }
        };
        // A rule may be new.
        let kept_until = self.inner.fate(&self.plan, value).map_or(Level::ZERO, Fate::kept_until);
        let to = kept_until.max(level);
        match self.inner.walker.raise_and_mark(&subject, to, self.pass) {
            Ok(walked) => {
                if walked.is_whole() && walked.raised_to > level {
                    let (Inner { gate, blobs, .. }, now) = (&*self.inner, self.fall.time());
                    // Touched now: after a crash it is to be walked again.
                    gate.record_use(value, walked.raised_to, now, || blobs.waterline());
                }
                Ok(())
            }
            Err(Error::Invalid(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether all values were walked.
    #[cfg(test)]
    pub(crate) fn is_walked(&self) -> bool {
        self.from.is_none()
    }

    /// What was promised to nobody at this time or later falls.
    #[cfg(test)]
    pub(crate) fn leased_from(&self) -> Level {
        self.fall.leased_from
    }

    /// Step 5, after all values were walked. Blocks.
    pub(crate) fn end(self) -> Releveled {
        let inner = &self.inner;
        // Blobs that are named on another server have no names here.
        let only_looks = inner.instances.now().keep_unnamed();
        let swept = inner.blobs.sweep(self.fall.leased_from, only_looks);
        if swept.blobs > 0 {
            inner.raise_waterline(SWEPT);
            inner.letting_go.swept.store(true, Ordering::Release);
        }
        inner.letting_go.snapshot_due.store(true, Ordering::Release);
        let leased_bytes = if only_looks { 0 } else { swept.leased };
        Releveled { blobs: swept.blobs, bytes: swept.bytes, leased_bytes, ..self.so_far.clone() }
    }
}

impl Drop for Relevel {
    fn drop(&mut self) {
        if self.from.is_some() {
            self.inner.levels_are_true.store(false, Ordering::Release);
        }
    }
}

/// Makes passes when they are due.
pub(crate) async fn run(inner: Arc<Inner>, mut stopped: watch::Receiver<bool>) {
    let ticks_for = |looks_each: Option<Duration>| {
        let mut ticks = tokio::time::interval(looks_each.map_or(PERIOD, |each| each.min(PERIOD)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let mut looks_each = inner.retention.now().looks_each();
    let mut ticks = ticks_for(looks_each);
    let mut looked: Option<Instant> = None;
    // At the start rules may be others than before it.
    let mut last = None;
    let mut kept_gone = inner.catalog.kept_gone();
    let mut again: Option<Instant> = None;
    let mut ended = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = inner.relevels.wake.notified() => {}
            _ = stopped.changed() => return,
        }
        let by_rules = inner.retention.now().looks_each();
        if by_rules != looks_each {
            (looks_each, ticks) = (by_rules, ticks_for(by_rules));
        }
        let now = Instant::now();
        if looks_each.is_some_and(|each| looked.is_none_or(|looked| looked + each <= now)) {
            looked = Some(now);
            match inner.end_what_is_over().await {
                Ok(Releveled { lowered_names: 0, ended_names: 0, .. }) => {}
                Ok(Releveled { lowered_names: lowered, ended_names: names, .. }) => {
                    ended = true;
                    tracing::info!(lowered, names, "let go of names that a rule of [[retention]] ends");
                }
                Err(error) => now_and_then!(warn, %error, "what rules end stays for now"),
            }
        }
        let asked = inner.relevels.asked.swap(false, Ordering::AcqRel);
        let loose = ended || inner.catalog.kept_gone() != kept_gone;
        let follows_up = again.is_some_and(|again| again <= now);
        let passed = |time| last.is_none_or(|last| last + time <= now);
        let due = asked || follows_up || loose && passed(LOOSE) || passed(DAY);
        if !due {
            continue;
        }
        if !(asked || follows_up || loose || inner.keeps_anything().await) {
            // Levels are times of last uses: a pass would only take from those whose blobs no name has.
            last = Some(now);
            continue;
        }
        let gone = inner.catalog.kept_gone();
        match inner.relevel().await {
            Ok(releveled) => {
                ended = false;
                let now = Instant::now();
                (last, kept_gone) = (Some(now), gone);
                // What was promised lately could not go yet: once more after a lease, and then not again for that.
                let lease = inner.gate.lease().0;
                let leased = releveled.leased_bytes > 0 && !follows_up;
                again = leased.then(|| now + lease + lease / 4 + Duration::from_secs(2));
            }
            Err(error) => {
                // Whoever asks meanwhile is heard as well.
                inner.relevels.asked.fetch_or(asked, Ordering::AcqRel);
                tracing::debug!(%error, "no pass over levels for now");
            }
        }
    }
}

impl Inner {
    /// Whether anything is kept beyond its last use, or may be.
    async fn keeps_anything(self: &Arc<Self>) -> bool {
        let inner = Arc::clone(self);
        // What is raised while it is looked is no later than that.
        let any = move || inner.blobs.bytes_above(inner.clock.now().plus(LOOK_SECONDS_MAX)) > 0;
        let by_name = !self.retention.now().is_empty() || self.pins.now().count_at(self.time_of_pins()) > 0;
        by_name || spawn_blocking(any).await.unwrap_or(true)
    }
}

impl Cache {
    /// As [`Cache::relevel`], soon, and without waiting for it: for whoever removed something.
    pub fn ask_for_relevel(&self, _permit: &Permit<Admin>) {
        self.inner.relevels.ask();
    }

    /// Lets levels fall of what nothing keeps any more, and waits until it is done: what was removed, or is not kept any
    /// more, gives its space back as far as nobody was told within the lease that it is there.
    ///
    /// # Errors
    /// `Busy` for a lease after an unclean stop, and while the cache is being closed.
    pub async fn relevel(&self, _permit: &Permit<Admin>) -> Result<Releveled> {
        let inner = Arc::clone(&self.inner);
        // In a task of its own: whoever goes away must not leave it half done.
        tokio::spawn(async move { inner.relevel().await }).await.map_err(Error::internal)?
    }
}
