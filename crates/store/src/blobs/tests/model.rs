//! Any order of operations, crashes and flipped bits, against a map: what is served is right, what was made durable
//! and not damaged since is there, and what was damaged stays missing until it is uploaded again.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::compressed::{compress_all, compressible, compressing};
use super::giving_back::drop_below;
use super::restart::packs;
use super::*;

#[derive(Clone, Debug)]
enum Operation {
    /// Puts some of the blobs by one call.
    Put(Vec<u8>),
    Upload(u8),
    /// Begins an upload and drops it.
    Abandon(u8),
    /// Makes durable what is there of these.
    Sync(Vec<u8>),
    Read(u8),
    Upkeep,
    Snapshot,
    /// Closes, and opens again.
    Restart,
    /// Cuts the power, and opens what is left.
    Crash(u64),
    /// Flips a bit of a blob's content on the disk.
    Damage(u8),
    /// Uses a blob a minute later.
    Use(u8),
    /// Lets go of what was not used in the last so many minutes.
    LetGo(u8),
    /// Takes what was let go out of the index, copies all mixed packs into one, and unlinks what holds nothing.
    GiveBack,
    /// Compresses all that is sealed.
    Compress,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let some = || prop::collection::vec(0u8..BLOBS, 1..6);
    let one = || 0u8..BLOBS;
    let operation = prop_oneof![
        4 => some().prop_map(Operation::Put),
        2 => one().prop_map(Operation::Upload),
        1 => one().prop_map(Operation::Abandon),
        4 => some().prop_map(Operation::Sync),
        2 => one().prop_map(Operation::Read),
        1 => Just(Operation::Upkeep),
        1 => Just(Operation::Snapshot),
        1 => Just(Operation::Restart),
        2 => any::<u64>().prop_map(Operation::Crash),
        1 => one().prop_map(Operation::Damage),
        2 => one().prop_map(Operation::Use),
        1 => (1u8..5).prop_map(Operation::LetGo),
        2 => Just(Operation::GiveBack),
        2 => Just(Operation::Compress),
    ];
    prop::collection::vec(operation, 1..40)
}

const BLOBS: u8 = 12;

fn numbered(number: u8) -> (Digest, Bytes) {
    let size = [50, 3000, 60_000, 140_000, 1_100_000, 9][usize::from(number) % 6] + usize::from(number);
    // One of each size gets smaller, and one does not.
    if number < 6 { compressible(number.into(), size) } else { blob(number.into(), size) }
}

/// A store and what must be true of it.
struct Model {
    memory: Arc<MemoryDisk>,
    store: Store,
    /// Must be there, whatever happens but letting go.
    durable: BTreeSet<u8>,
    /// Were flipped while they had a record; may be missing, and must not be served wrong.
    damaged: BTreeSet<u8>,
    /// Came in afresh beside a record that was flipped, which lies there still and counts again if the new one is lost.
    beside_damaged: BTreeSet<u8>,
    /// The last use, in model time.
    levels: BTreeMap<u8, Level>,
    /// What the catalog would remember.
    waterline: Level,
    rows: Vec<Damage>,
    now: Level,
    compresses: bool,
}

impl Model {
    fn reopen(&mut self, memory: Arc<MemoryDisk>) {
        self.rows.extend(self.store.damage());
        let disk: Arc<dyn Disk> = memory.clone();
        // At once, and not, in turn.
        self.compresses = !self.compresses;
        let options = if self.compresses { compressing() } else { options() };
        self.store = try_open(&disk, &options, self.waterline, &self.rows).unwrap();
        self.store.clock.advance(self.now.seconds() - NOW.seconds());
        self.memory = memory;
    }

    fn used(&mut self, number: u8) {
        let level = self.levels.entry(number).or_insert(self.now);
        *level = self.now.max(*level);
    }

    /// What came in afresh is good again, and no more durable than any other upload: it may have been let go before.
    fn took_in(&mut self, number: u8, was_missing: bool) {
        if was_missing {
            if self.damaged.remove(&number) {
                self.beside_damaged.insert(number);
            }
            self.durable.remove(&number);
        }
        self.used(number);
    }

    fn is_missing(&self, number: u8) -> bool {
        !self.store.blobs.contains(&numbered(number).0)
    }

    fn damage(&mut self, number: u8) {
        let content = numbered(number).1;
        for name in packs(&*self.memory) {
            let file = self.memory.open(name.as_ref()).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            for at in (0..bytes.len())
                .step_by(8)
                .filter(|at| bytes[*at..].starts_with(&content[..content.len().min(64)]))
            {
                file.write_at(&[bytes[at] ^ 1], at as u64).unwrap();
                file.sync().unwrap();
                self.damaged.insert(number);
            }
        }
        if self.damaged.contains(&number) {
            self.durable.remove(&number);
        }
    }

    async fn run(&mut self, operation: Operation) {
        self.now = self.now.plus(60);
        self.store.clock.advance(60);
        let blobs = self.store.blobs.clone();
        match operation {
            Operation::Put(numbers) => {
                let missing: Vec<bool> = numbers.iter().map(|number| self.is_missing(*number)).collect();
                let results = blobs.put_many(numbers.iter().map(|number| numbered(*number)).collect()).await;
                assert!(results.iter().all(Result::is_ok), "{results:?}");
                for (number, missing) in numbers.into_iter().zip(missing) {
                    self.took_in(number, missing);
                }
            }
            Operation::Upload(number) => {
                let missing = self.is_missing(number);
                upload(&blobs, &numbered(number)).await.unwrap();
                self.took_in(number, missing);
            }
            Operation::Abandon(number) => {
                let (digest, content) = numbered(number);
                let mut upload = blobs.create(digest).await.unwrap();
                upload.write(content.slice(..content.len() / 2)).await.unwrap();
            }
            Operation::Sync(numbers) => {
                let digests: Vec<Digest> = numbers.iter().map(|number| numbered(*number).0).collect();
                let raised = blobs.raise(&digests, self.now);
                blobs.sync(&raised.unsynced).await.unwrap();
                let there =
                    numbers.into_iter().filter(|number| !raised.missing.contains(&numbered(*number).0));
                for number in there.collect::<Vec<_>>() {
                    self.used(number);
                    if !self.damaged.contains(&number) {
                        self.durable.insert(number);
                    }
                }
            }
            Operation::Read(number) | Operation::Use(number) => self.read(number).await,
            Operation::Upkeep => blobs.background_sync(),
            Operation::Snapshot => blobs.snapshot(self.now).unwrap(),
            Operation::Restart => {
                blobs.close(self.now).unwrap();
                self.reopen(self.memory.clone());
                assert!(self.store.started.clean);
            }
            Operation::Crash(seed) => {
                self.reopen(Arc::new(self.memory.crash(seed)));
                self.damaged.extend(self.beside_damaged.difference(&self.durable));
                // Uses that no snapshot had are forgotten; what was there is at the waterline at least.
                let waterline = self.waterline;
                self.levels.values_mut().for_each(|level| *level = waterline.min(*level));
            }
            Operation::Damage(number) => self.damage(number),
            Operation::LetGo(minutes) => {
                self.waterline = self.waterline.max(self.now.minus(u32::from(minutes) * 60));
                blobs.set_waterline(self.waterline);
            }
            Operation::GiveBack => {
                let shared = blobs.shared();
                drop_below(shared);
                shared.switch(shared.copy_all(), &mut GivenBack::default()).unwrap();
                blobs.give_back(true).unwrap();
            }
            Operation::Compress => {
                blobs.background_sync();
                compress_all(&mut Compressing::resume(blobs.clone()), 0).unwrap();
            }
        }
    }

    async fn read(&mut self, number: u8) {
        let (digest, content) = numbered(number);
        match read(&self.store.blobs, &digest).await {
            Ok(read) => {
                assert!(read == content, "blob {number} is served wrong");
                self.used(number);
            }
            Err(Error::Missing) => {
                assert!(!self.must_be_there(number), "blob {number} is lost");
                assert!(self.is_missing(number), "what cannot be read is asked for");
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn must_be_there(&self, number: u8) -> bool {
        let kept = self.levels.get(&number).is_some_and(|level| *level >= self.waterline);
        self.durable.contains(&number) && kept
    }
}

async fn check(operations: Vec<Operation>) {
    let (memory, disk) = memory();
    let store = open(&disk);
    let mut model = Model {
        memory,
        store,
        durable: BTreeSet::new(),
        damaged: BTreeSet::new(),
        beside_damaged: BTreeSet::new(),
        levels: BTreeMap::new(),
        waterline: Level::ZERO,
        rows: Vec::new(),
        now: NOW,
        compresses: false,
    };
    for operation in operations {
        model.run(operation).await;
        for number in 0..BLOBS {
            assert!(!model.must_be_there(number) || !model.is_missing(number), "blob {number} is lost");
        }
    }
    for number in 0..BLOBS {
        model.read(number).await;
    }
}

/// Let go, uploaded again, and gone with the power before anybody synced it.
#[tokio::test]
async fn what_was_let_go_is_durable_only_when_it_is_synced_again() {
    use Operation::{Crash, LetGo, Put, Restart, Snapshot, Sync, Upkeep};
    let again = || vec![Put(vec![5]), Sync(vec![5]), Upkeep, Crash(0), LetGo(1), Put(vec![9, 3, 5])];
    let lost = || vec![Snapshot, Crash(10_425_088_379_255_311_985)];
    check([vec![Upkeep, Restart, Put(vec![3])], again(), lost()].concat()).await;
    check([again(), vec![Sync(vec![5])], lost()].concat()).await;
}

/// The bad record that was let go is there again after the power cut, and nobody has read it since.
#[tokio::test]
async fn what_was_flipped_and_let_go_is_no_better_when_it_comes_back() {
    use Operation::{Crash, Damage, LetGo, Put, Sync, Upload};
    let flipped = vec![Upload(4), Sync(vec![4]), Damage(4), LetGo(1), Put(vec![4])];
    check([flipped, vec![Crash(49_968_189_525_590), Sync(vec![4])]].concat()).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_operations_serves_what_is_right_and_keeps_what_is_durable(operations in operations()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(check(operations));
    }
}
