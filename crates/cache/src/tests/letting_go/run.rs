//! The scheduler: one seed, one order. It begins what clients do, stops some of it in the middle, does steps of letting go
//! meanwhile, and ends the cache in every way.

mod pinning;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millpond_store::disk::{Disk, MemoryDisk};
use millpond_store::{Clock, Level};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::*;
use super::operations::{Client, Outcome, Wish};
use super::pausing::{Pauses, PausingDisk};
use super::truth::{End, Truth};
use super::world::World;
use crate::cache::Inner;
use crate::letting_go::Progress;
use crate::relevel::Relevel;
use crate::start::Begun;
use crate::{Keep, Pattern, RetentionRule};

/// In seconds; may be halved once.
pub(super) const LEASE: u32 = 160;
/// What goes on for so long without stopping waits for something that has stopped.
const SETTLED: Duration = Duration::from_millis(30);

/// Numbers that follow from a seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(crate) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    pub(crate) fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }

    fn publish(&mut self, world: &World, name: usize) -> Wish {
        let fits = |thing: &usize| world.things[*thing].kind == world.names[name].0;
        let fits: Vec<usize> = (0..world.things.len()).filter(fits).collect();
        Wish::Publish { name, thing: fits[self.index(fits.len())], asks: !self.one_in(3) }
    }

    pub(super) fn wish(&mut self, world: &World) -> Wish {
        let name = self.index(world.names.len());
        let thing = self.index(world.things.len());
        match self.below(9) {
            0..4 => self.publish(world, name),
            4..7 => Wish::LookUp { name, reads: self.one_in(3) },
            7 => Wish::Ask { thing },
            _ => Wish::Upload { thing, every: 1 + self.index(3) },
        }
    }
}

/// Rules that keep some of the names for a while, or for ever; there are so many sets of them.
const RULES: u64 = 4;

fn rules(number: u64) -> Vec<RetentionRule> {
    let rule = |names: &str, keep| RetentionRule {
        names: Some(Pattern::new(names).unwrap()),
        keep: Some(keep),
        ..RetentionRule::default()
    };
    match number {
        0 => Vec::new(),
        1 => vec![rule("artifact:*1", Keep::Seconds(500)), rule("*2", Keep::Forever)],
        2 => vec![rule("*1", Keep::Forever), rule("action:*", Keep::Seconds(1000))],
        _ => vec![rule("*", Keep::Seconds(300))],
    }
}

pub(super) fn cache_options(data: &Path, number: u64) -> CacheOptions {
    CacheOptions {
        retention: rules(number),
        data: data.to_owned(),
        max_size: Some(MaxSize::Bytes(16 << 20)),
        lease: Duration::from_secs(LEASE.into()),
        room_wait: Duration::ZERO,
        ..CacheOptions::default()
    }
}

/// Something begun and not known to have ended.
struct Begin {
    number: u32,
    task: JoinHandle<Outcome>,
    /// Nobody has let go while it went on without stopping.
    sound: bool,
    wish: Wish,
    /// The name that it looks up was published meanwhile.
    overwritten: bool,
}

pub(super) struct Run {
    seed: u64,
    random: Random,
    world: Arc<World>,
    data: tempfile::TempDir,
    memory: Arc<MemoryDisk>,
    pauses: Arc<Pauses>,
    begun: Begun,
    client: Client,
    progress: Progress,
    truth: Truth,
    /// A pass in which levels fall is under way.
    relevel: Option<Relevel>,
    going_on: Vec<Begin>,
    numbers: u32,
    log: Vec<String>,
}

pub(super) async fn open(
    data: &Path,
    memory: &Arc<MemoryDisk>,
    now: Level,
    rules: u64,
) -> (Begun, Arc<Pauses>) {
    let pauses = Arc::<Pauses>::default();
    let disk = PausingDisk { memory: Arc::clone(memory), pauses: Arc::clone(&pauses) };
    let clock = move |last: Level| Clock::manual(last.max(now));
    let opened =
        Begun::open(cache_options(data, rules), |_| Ok(Arc::new(disk) as Arc<dyn Disk>), clock).await;
    (opened.unwrap(), pauses)
}

pub(super) fn client(begun: &Begun, world: &Arc<World>) -> Client {
    let fixture = Arc::new(Fixture::of(Cache { inner: Arc::clone(&begun.inner) }));
    Client { fixture, world: Arc::clone(world), fresh_seconds: LEASE / 8, fallen: Arc::default() }
}

impl Run {
    pub(super) async fn begin(seed: u64) -> Self {
        let data = tempfile::tempdir().unwrap();
        let memory = Arc::new(MemoryDisk::default());
        let world = Arc::new(World::new());
        let mut random = Random(seed);
        let rules = random.below(RULES);
        let (begun, pauses) = open(data.path(), &memory, Level::from_seconds(100_000), rules).await;
        let client = client(&begun, &world);
        Self {
            seed,
            random,
            world,
            data,
            memory,
            pauses,
            begun,
            client,
            progress: Progress::at_start(),
            truth: Truth::default(),
            relevel: None,
            going_on: Vec::new(),
            numbers: 0,
            log: Vec::new(),
        }
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.begun.inner
    }

    fn note(&mut self, what: impl std::fmt::Debug) {
        let (now, waterline) = (self.inner().clock.now(), self.inner().blobs.waterline());
        self.log.push(format!("{now} {waterline} {what:?}"));
    }

    fn require(&self, result: Result<(), String>) {
        if let Err(wrong) = result {
            panic!("seed {}: {wrong}\n{}", self.seed, self.log.join("\n"));
        }
    }

    /// One step, and what must be true after it.
    pub(super) async fn step(&mut self) {
        match self.random.below(121) {
            100..108 => self.relevel().await,
            108..115 => self.relevel_in_the_middle().await,
            115..119 => self.pin().await,
            119.. => self.unpin().await,
            0..27 => {
                let wish = self.random.wish(&self.world);
                self.start(wish).await;
            }
            27..43 => self.let_go_in_the_middle().await,
            43..47 => self.overwrite_in_the_middle().await,
            47..55 => self.resume().await,
            55..68 => {
                let seconds = [1, 2, 10, 30, 90, 200][self.random.index(6)];
                self.advance(seconds);
            }
            68..70 => self.flush_uses().await,
            70..78 => self.raise_waterline().await,
            78..83 => self.commit_waterline().await,
            83..88 => self.tidy_up().await,
            88..90 => self.sync_in_background().await,
            90 => {
                let lease = self.inner().gate.adjust_lease(true, true);
                self.note(("lease", lease));
            }
            91..94 => self.restore().await,
            94..97 => self.crash().await,
            97 => self.close_in_order().await,
            98 => self.close_with_a_catalog_that_refuses().await,
            _ => {
                self.raise_waterline().await;
                self.commit_waterline().await;
                self.tidy_up().await;
            }
        }
        self.reap().await;
        let inner = Arc::clone(self.inner());
        let checked = self.truth.check(&inner, &self.world).await;
        self.require(checked);
    }

    /// Everything once more, in order.
    pub(super) async fn end(mut self) {
        self.close_in_order().await;
        for name in 0..self.world.names.len() {
            self.start(Wish::LookUp { name, reads: true }).await;
        }
        self.finish_all().await;
        self.client.fixture.cache.close().await;
    }

    fn advance(&mut self, seconds: u32) {
        self.inner().clock.advance(seconds);
        self.note(("advance", seconds));
    }

    /// Clients that are slow, or do not ask first, while much is let go.
    async fn let_go_in_the_middle(&mut self) {
        let wish = match self.random.wish(&self.world) {
            Wish::Publish { name, thing, .. } => Wish::Publish { name, thing, asks: self.random.one_in(3) },
            wish => wish,
        };
        let name = match wish {
            Wish::LookUp { name, .. } if self.random.one_in(2) => Some(name),
            _ => None,
        };
        if self.random.one_in(2) {
            self.inner().walker.forget_all();
            self.note("forget memos");
        }
        self.start(wish).await;
        let target = [self.inner().clock.now(), Level::PINNED][self.random.index(2)];
        let seconds = [40, 200, 400][self.random.index(3)];
        self.advance(seconds);
        if let Some(thing) = self.thing_of(name).await {
            // Its blobs stay then, whatever becomes of the name.
            self.start(Wish::Ask { thing }).await;
        }
        self.raise_waterline_to(target).await;
        if self.random.one_in(2) {
            self.commit_waterline().await;
        }
        if self.random.one_in(2) {
            self.tidy_up().await;
        }
        self.resume().await;
    }

    async fn thing_of(&self, name: Option<usize>) -> Option<usize> {
        let value = self.inner().catalog.look_up(&self.world.name(name?)).await.unwrap()?;
        let digest = self.world.of(&value).digest;
        self.world.things.iter().position(|thing| thing.digest == digest)
    }

    /// A name gets another value while the one that it has is being used.
    async fn overwrite_in_the_middle(&mut self) {
        let name = self.random.index(self.world.names.len());
        let mut wishes = vec![self.random.publish(&self.world, name), Wish::LookUp { name, reads: false }];
        if self.random.one_in(2) {
            wishes.reverse();
        }
        for wish in wishes {
            self.start(wish).await;
            let seconds = u32::try_from(self.random.below(60)).unwrap();
            self.advance(seconds);
        }
        self.resume().await;
        self.resume().await;
        self.raise_waterline_to(self.inner().clock.now()).await;
    }

    async fn start(&mut self, wish: Wish) {
        self.numbers += 1;
        let number = self.numbers;
        self.note((number, &wish));
        let quiet = self.going_on.iter().all(|begin| self.pauses.is_paused(begin.number));
        if quiet && !self.random.one_in(4) {
            self.pauses.arm(number, [0, 0, 1, 2, 2, 3, 4, 5][self.random.index(8)]);
        }
        let overwritten = self.going_on.iter().any(|begin| wish.is_overwritten_by(&begin.wish));
        for begin in &mut self.going_on {
            begin.overwritten |= begin.wish.is_overwritten_by(&wish);
        }
        let task = tokio::spawn(self.client.clone().get(wish.clone()));
        self.going_on.push(Begin { number, task, sound: true, wish, overwritten });
        self.settle(number).await;
    }

    async fn resume(&mut self) {
        let paused: Vec<u32> = self.going_on.iter().map(|begin| begin.number).collect();
        let paused: Vec<u32> = paused.into_iter().filter(|number| self.pauses.is_paused(*number)).collect();
        if paused.is_empty() {
            return;
        }
        let number = paused[self.random.index(paused.len())];
        self.note(("resume", number));
        if paused.len() == self.going_on.len() && self.random.one_in(2) {
            self.pauses.arm(number, u32::try_from(self.random.below(3)).unwrap());
        }
        self.pauses.release(number);
        self.settle(number).await;
    }

    /// Until it has ended or stopped, or waits for another that has.
    async fn settle(&mut self, number: u32) {
        let until = Instant::now() + SETTLED;
        while Instant::now() < until {
            let ended = self.going_on.iter().any(|begin| begin.number == number && begin.task.is_finished());
            if ended || self.pauses.is_paused(number) {
                break;
            }
            let soon = Duration::from_micros(200);
            let _ = tokio::time::timeout(soon, self.pauses.arrived()).await;
        }
        self.pauses.disarm();
    }

    /// Takes in what has ended.
    async fn reap(&mut self) {
        let (ended, going_on) =
            std::mem::take(&mut self.going_on).into_iter().partition(|begin| begin.task.is_finished());
        self.going_on = going_on;
        for Begin { number, task, sound, wish, overwritten } in ended {
            let outcome = task.await.unwrap();
            self.note((number, "ended", outcome.acknowledged, outcome.found));
            self.require(outcome.wrong.map_or(Ok(()), Err));
            self.truth.promise(&outcome.promised, outcome.level);
            // Whoever reads on may do so for longer than the lease.
            let only_looks_up = matches!(wish, Wish::LookUp { reads: false, .. });
            let found = outcome.found.filter(|_| only_looks_up && !overwritten);
            if let Some(name) = outcome.acknowledged.or(found).filter(|_| sound) {
                let checked = Truth::check_in_force(self.inner(), &self.world, name).await;
                self.require(checked);
            }
        }
    }

    async fn finish_all(&mut self) {
        self.pauses.release_all();
        while !self.going_on.is_empty() {
            tokio::time::sleep(Duration::from_micros(200)).await;
            self.reap().await;
        }
    }

    /// Something that must not wait for what has stopped: should it, that goes on.
    async fn meanwhile<T>(&self, step: impl Future<Output = T>) -> T {
        let mut step = pin!(step);
        loop {
            tokio::select! {
                done = &mut step => return done,
                () = tokio::time::sleep(Duration::from_millis(300)) => self.pauses.release_all(),
            }
        }
    }

    fn letting_go(&mut self) {
        for begin in &mut self.going_on {
            begin.sound &= self.pauses.is_paused(begin.number);
        }
    }

    async fn raise_waterline(&mut self) {
        let target = if self.random.one_in(3) {
            self.inner().clock.now().minus(u32::try_from(self.random.below(400)).unwrap())
        } else {
            Level::PINNED
        };
        self.raise_waterline_to(target).await;
    }

    async fn raise_waterline_to(&mut self, target: Level) {
        self.letting_go();
        let inner = Arc::clone(self.inner());
        let (now, before) = (inner.clock.now(), inner.blobs.waterline());
        let lease = u32::try_from(inner.gate.lease().0.as_secs()).unwrap();
        inner.raise_waterline(target);
        self.note(("raise", target));
        let checked = self.truth.check_raised(now, lease, before, inner.blobs.waterline());
        self.require(checked);
    }

    async fn commit_waterline(&mut self) {
        self.letting_go();
        let inner = Arc::clone(self.inner());
        let mut progress = std::mem::replace(&mut self.progress, Progress::at_start());
        let dropped = self.meanwhile(inner.commit_and_drop(&mut progress)).await;
        self.progress = progress;
        self.note(("commit", dropped));
        self.letting_go();
    }

    async fn tidy_up(&mut self) {
        self.letting_go();
        let inner = Arc::clone(self.inner());
        let mut progress = std::mem::replace(&mut self.progress, Progress::at_start());
        let (urgent, snapshot) = (self.random.one_in(2), self.random.one_in(2));
        if snapshot {
            progress.snapshot_after = Instant::now();
        }
        let freed = self.meanwhile(inner.tidy_up(&mut progress, urgent)).await;
        self.progress = progress;
        self.note(("tidy up", urgent, snapshot, freed));
        self.letting_go();
    }

    /// A pass in which levels fall, while something is stopped in its middle or after it was through; then much is let go,
    /// or the cache comes to an unclean end before.
    async fn relevel_in_the_middle(&mut self) {
        let wish = self.random.wish(&self.world);
        if self.random.one_in(2) {
            self.inner().walker.forget_all();
            self.note("forget memos");
        }
        self.start(wish).await;
        let seconds = [1, 40, 200][self.random.index(3)];
        self.advance(seconds);
        // Begin, walk, end.
        for _ in 0..3 {
            self.relevel().await;
        }
        self.resume().await;
        self.resume().await;
        if self.random.one_in(3) {
            self.flush_uses().await;
            self.crash().await;
            self.restore().await;
        }
        self.advance(400);
        self.raise_waterline_to(Level::PINNED).await;
        self.commit_waterline().await;
    }

    /// The next step of a pass in which levels fall, if it can be done now.
    async fn relevel(&mut self) {
        let inner = Arc::clone(self.inner());
        let Some(relevel) = self.relevel.take() else {
            let plan = Arc::new(inner.plan().unwrap());
            if self.meanwhile(inner.lower_values(&plan)).await.is_err() {
                return;
            }
            let lowered = self.truth.lowered(&inner, &self.world).await;
            self.require(lowered);
            let no_snapshot = Arc::clone(&inner.levels_fall).lock_owned().await;
            self.relevel = inner.begin_relevel(plan, no_snapshot).ok();
            self.note(("relevel", self.relevel.is_some()));
            return;
        };
        if !relevel.others_are_through() {
            self.note("others are not through");
            self.relevel = Some(relevel);
        } else if relevel.is_walked() {
            let leased_from = relevel.leased_from();
            self.client.fallen.store(leased_from.seconds(), Ordering::SeqCst);
            self.truth.swept(leased_from);
            let releveled = relevel.end();
            self.note(("levels fell", leased_from, releveled));
        } else if self.meanwhile(inner.flush_uses()).await {
            let mut relevel = relevel;
            let walk = move || {
                let walked = relevel.walk_portion();
                (relevel, walked)
            };
            let (relevel, walked) = self.meanwhile(tokio::task::spawn_blocking(walk)).await.unwrap();
            self.note(("walked", walked));
            self.relevel = Some(relevel);
        } else {
            self.relevel = Some(relevel);
        }
    }

    async fn flush_uses(&mut self) {
        let inner = Arc::clone(self.inner());
        self.meanwhile(inner.flush_uses()).await;
        self.note("flush");
    }

    async fn sync_in_background(&mut self) {
        let inner = Arc::clone(self.inner());
        self.meanwhile(tokio::task::spawn_blocking(move || inner.blobs.background_sync())).await.unwrap();
        self.note("sync");
    }

    /// After an unclean stop.
    async fn restore(&mut self) {
        let inner = Arc::clone(self.inner());
        if inner.levels_are_true.load(std::sync::atomic::Ordering::Acquire) {
            return;
        }
        self.note("restore");
        self.finish_all().await;
        tokio::task::block_in_place(|| self.begun.restore());
    }

    async fn crash(&mut self) {
        let seed = [0, 1, 1, self.random.below(1 << 40)][self.random.index(4)];
        self.note(("crash", seed));
        self.relevel = None;
        self.pauses.kill();
        let memory = Arc::new(self.memory.crash(seed));
        for begin in std::mem::take(&mut self.going_on) {
            begin.task.await.unwrap();
        }
        self.client.fixture.cache.close().await;
        self.memory = memory;
        self.open_again(if seed == 1 { End::Killed } else { End::PowerCut }).await;
    }

    async fn close_in_order(&mut self) {
        self.note("close");
        self.finish_all().await;
        self.relevel = None;
        let levels_are_true = self.inner().levels_are_true.load(std::sync::atomic::Ordering::Acquire);
        // No snapshot is written of a waterline that the catalog does not have.
        let committed = self.inner().blobs.waterline() == self.inner().letting_go.committed();
        // Nor would the next start know any more that there are promises of before a crash.
        let promises = self.inner().gate.keeps_earlier_promises();
        self.client.fixture.cache.close().await;
        self.open_again(End::Clean).await;
        assert_eq!(self.begun.opened.clean, levels_are_true && committed && !promises, "seed {}", self.seed);
    }

    /// As when a full volume takes in no waterline, and then the process is told to end.
    async fn close_with_a_catalog_that_refuses(&mut self) {
        self.finish_all().await;
        self.relevel = None;
        self.raise_waterline().await;
        self.note("the catalog refuses");
        let inner = Arc::clone(self.inner());
        inner.catalog.close().unwrap();
        inner.commit_and_drop(&mut self.progress).await;
        inner.tidy_up(&mut self.progress, true).await;
        self.truth.forget_uses();
        self.client.fixture.cache.close().await;
        self.open_again(End::Clean).await;
    }

    async fn open_again(&mut self, end: End) {
        let (now, committed) = (self.inner().clock.now(), self.inner().letting_go.committed());
        let rules = self.random.below(RULES);
        let (begun, pauses) = open(self.data.path(), &self.memory, now, rules).await;
        self.client = client(&begun, &self.world);
        (self.begun, self.pauses, self.progress) = (begun, pauses, Progress::at_start());
        self.truth.opened_again(&self.begun.inner, end, self.begun.opened.clean);
        let clean = self.begun.opened.clean;
        self.note(("opened", end, clean));
        assert_eq!(self.inner().blobs.waterline(), committed, "seed {}", self.seed);
    }
}
