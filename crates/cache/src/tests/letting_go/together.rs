//! Clients, letting go and the clock beside each other on several threads, with a slow disk: only what no order can excuse is
//! held against anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millpond_store::Level;
use millpond_store::disk::MemoryDisk;
use tokio::sync::RwLock;

use super::operations::{Client, Outcome, Wish};
use super::run::{Random, client, open};
use super::truth::{End, Truth, lacks};
use super::world::World;
use crate::cache::Inner;
use crate::letting_go::Progress;

/// Clients, and what each wants of a cache.
const CLIENTS: u64 = 4;
const WISHES: usize = 25;

/// One that publishes a name keeps from it those who look it up and count on finding it again.
type Names = Arc<Vec<RwLock<()>>>;

async fn be_client(client: Client, names: Names, mut random: Random, number: u64) -> Result<(), String> {
    for _ in 0..WISHES {
        let wish = random.wish(&client.world);
        let (name, alone) = match wish {
            Wish::Publish { name, .. } => (name, true),
            Wish::LookUp { name, .. } => (name, false),
            Wish::Ask { .. } | Wish::Upload { .. } => (0, false),
        };
        if alone && name as u64 % CLIENTS != number {
            continue;
        }
        let outcome = if alone {
            let _alone = names[name].write().await;
            get(&client, wish).await?
        } else if random.one_in(2) {
            let _others_do_not_publish = names[name].read().await;
            get(&client, wish).await?
        } else {
            client.clone().get(wish).await
        };
        outcome.wrong.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// What nobody publishes meanwhile is there for a lease once it was acknowledged or found.
async fn get(client: &Client, wish: Wish) -> Result<Outcome, String> {
    let outcome = client.clone().get(wish).await;
    if let Some(name) = outcome.acknowledged.or(outcome.found) {
        let inner = &client.fixture.cache.inner;
        let name = client.world.name(name);
        let value = inner.catalog.look_up(&name).await.map_err(|error| error.to_string())?;
        let level = value.map(|value| inner.gate.level_of(&value));
        let waterline = inner.blobs.waterline();
        if level.is_none_or(|level| level < waterline) && waterline <= outcome.level {
            return Err(format!("{} of level {level:?} is gone: {waterline}, {outcome:?}", name.text));
        }
    }
    Ok(outcome)
}

/// Whatever is served is whole, at any moment.
async fn look_on(inner: Arc<Inner>, world: Arc<World>, ended: Arc<AtomicBool>) -> Result<(), String> {
    while !ended.load(Ordering::Acquire) {
        for number in 0..world.names.len() {
            let found = inner.catalog.look_up(&world.name(number)).await;
            let Some(value) = found.map_err(|error| error.to_string())? else { continue };
            let level = inner.gate.level_of(&value);
            let lacks = lacks(&inner, &world, &value);
            if let Some(blob) = lacks.filter(|_| inner.blobs.waterline() <= level) {
                return Err(format!("{} of level {level} lacks {blob}", value.name.text));
            }
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    Ok(())
}

async fn let_go(inner: Arc<Inner>, mut random: Random, ended: Arc<AtomicBool>) -> Result<(), String> {
    let mut progress = Progress::at_start();
    while !ended.load(Ordering::Acquire) {
        inner.clock.advance(u32::try_from(random.below(40)).unwrap());
        inner.raise_waterline(Level::PINNED);
        if random.one_in(2) {
            inner.commit_and_drop(&mut progress).await;
        }
        if random.one_in(3) {
            progress.snapshot_after = tokio::time::Instant::now();
        }
        if random.one_in(2) {
            inner.tidy_up(&mut progress, true).await;
        }
        if random.one_in(4) {
            inner.flush_uses().await;
        }
        tokio::time::sleep(Duration::from_micros(random.below(1500))).await;
    }
    Ok(())
}

/// One cache after another on one volume, each ended by a crash.
pub(super) async fn run(seed: u64) {
    let (data, world) = (tempfile::tempdir().unwrap(), Arc::new(World::new()));
    let names: Names = Arc::new((0..world.names.len()).map(|_| RwLock::default()).collect());
    let mut memory = Arc::new(MemoryDisk::default());
    let (mut truth, mut now) = (Truth::default(), Level::from_seconds(100_000));
    for round in 0..3_u64 {
        let (begun, pauses) = open(data.path(), &memory, now, 0).await;
        let inner = &begun.inner;
        if round > 0 {
            truth.opened_again(inner, End::PowerCut, begun.opened.clean);
        }
        tokio::task::block_in_place(|| begun.restore());
        pauses.slow_down(seed);
        let client = client(&begun, &world);
        let ended = Arc::<AtomicBool>::default();
        let random = |of: u64| Random((seed << 16) + (round << 8) + of);
        let beside = [
            tokio::spawn(let_go(Arc::clone(inner), random(100), Arc::clone(&ended))),
            tokio::spawn(look_on(Arc::clone(inner), Arc::clone(&world), Arc::clone(&ended))),
        ];
        let clients = (0..CLIENTS)
            .map(|of| be_client(client.clone(), Arc::clone(&names), random(of), of))
            .map(tokio::spawn);
        let mut outcomes = Vec::new();
        for task in clients.collect::<Vec<_>>() {
            outcomes.push(task.await.unwrap());
        }
        ended.store(true, Ordering::Release);
        for task in beside {
            outcomes.push(task.await.unwrap());
        }
        outcomes.push(truth.check(inner, &world).await);
        for outcome in outcomes {
            outcome.unwrap_or_else(|wrong| panic!("seed {seed}, round {round}: {wrong}"));
        }
        pauses.kill();
        memory = Arc::new(memory.crash(seed + round));
        now = inner.clock.now();
        client.fixture.cache.close().await;
    }
}
