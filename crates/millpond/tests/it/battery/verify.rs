//! Holds a server to the ledger: looks every name up, walks it, reads and hashes every blob that hangs on it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use millpond_proto::reapi::Digest;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::client::Client;
use super::content::digest_of;
use super::ledger::{Ledger, Moment, Name, Value};

/// Connections that read at once.
const READERS: usize = 4;
/// Bytes asked for in one batch.
const BATCH: i64 = 3 << 20;
/// BuildStream 1's names, which two calls answer.
const REFERENCES: &str = "urn:fdc:buildstream.build:2020:v1:";

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub names: u64,
    pub trees: u64,
    pub blobs: u64,
    pub bytes: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.names += other.names;
        self.trees += other.trees;
        self.blobs += other.blobs;
        self.bytes += other.bytes;
    }
}

/// Checks all that was acknowledged up to `cut`, and settles what was in doubt. What is wrong goes into the ledger.
pub(crate) async fn verify(url: &str, ledger: &Ledger, cut: Moment) -> Totals {
    match Reader::connect(url, ledger).await {
        Ok(reader) => reader.verify(cut).await.unwrap_or_else(|status| {
            ledger.complain(format!("reading got {:?}: {}", status.code(), status.message()));
            Totals::default()
        }),
        Err(status) => {
            ledger.complain(format!("no connection: {status}"));
            Totals::default()
        }
    }
}

#[derive(Clone)]
struct Reader {
    clients: Vec<Client>,
    ledger: Ledger,
}

impl Reader {
    async fn connect(url: &str, ledger: &Ledger) -> Result<Self, Status> {
        let mut clients = Vec::new();
        for _ in 0..READERS {
            clients.push(Client::connect(url).await?);
        }
        Ok(Self { clients, ledger: ledger.clone() })
    }

    async fn verify(self, cut: Moment) -> Result<Totals, Status> {
        let values = self.look_up_all(cut).await?;
        let mut blobs: HashMap<Digest, Name> = HashMap::new();
        let mut trees: HashMap<Digest, (Vec<Digest>, Name)> = HashMap::new();
        for (name, value) in &values {
            blobs.extend(value.closure.iter().map(|digest| (digest.clone(), name.clone())));
            let roots = value.trees.iter();
            trees.extend(roots.map(|(root, below)| (root.clone(), (below.clone(), name.clone()))));
        }
        let mut totals = Totals {
            names: values.len() as u64,
            trees: trees.len() as u64,
            blobs: blobs.len() as u64,
            bytes: blobs.keys().map(|digest| digest.size_bytes as u64).sum(),
        };
        self.find_all(blobs.keys().cloned().collect()).await?;
        self.read_all(blobs).await?;
        self.walk_all(trees).await?;
        totals.names = values.len() as u64;
        Ok(totals)
    }

    /// Runs a check of each share of `items` on a connection of its own.
    async fn share<T: Send + 'static, R: Send + 'static, F>(
        &self,
        items: impl IntoIterator<Item = T>,
        check: impl Fn(Client, Ledger, Vec<T>) -> F,
    ) -> Result<Vec<R>, Status>
    where
        F: Future<Output = Result<R, Status>> + Send + 'static,
    {
        let mut shares: Vec<Vec<T>> = self.clients.iter().map(|_| Vec::new()).collect();
        for (number, item) in items.into_iter().enumerate() {
            shares[number % READERS].push(item);
        }
        let mut tasks = JoinSet::new();
        for (client, share) in self.clients.iter().zip(shares) {
            tasks.spawn(check(client.clone(), self.ledger.clone(), share));
        }
        tasks.join_all().await.into_iter().collect()
    }

    async fn look_up_all(&self, cut: Moment) -> Result<Vec<(Name, Arc<Value>)>, Status> {
        let check = |mut client: Client, ledger: Ledger, names: Vec<Name>| async move {
            let mut values = Vec::new();
            for name in names {
                let value = look_up(&mut client, &ledger, &name, cut).await?;
                ledger.settle(&name, value.clone());
                values.extend(value.map(|value| (name, value)));
            }
            Ok(values)
        };
        Ok(self.share(self.ledger.names(), check).await?.into_iter().flatten().collect())
    }

    async fn find_all(&self, digests: Vec<Digest>) -> Result<(), Status> {
        for missing in self.clients[0].clone().missing(digests).await? {
            self.ledger.complain(format!("{missing:?} of a whole name is reported missing"));
        }
        Ok(())
    }

    async fn read_all(&self, blobs: HashMap<Digest, Name>) -> Result<(), Status> {
        let check = |mut client: Client, ledger: Ledger, batch: Vec<Vec<(Digest, Name)>>| async move {
            for batch in batch {
                read(&mut client, &ledger, batch).await?;
            }
            Ok(())
        };
        self.share(batches(blobs), check).await.map(drop)
    }

    async fn walk_all(&self, trees: HashMap<Digest, (Vec<Digest>, Name)>) -> Result<(), Status> {
        let check = |mut client: Client, ledger: Ledger, trees: Vec<(Digest, (Vec<Digest>, Name))>| async move {
            for (root, (expected, name)) in trees {
                let found = client.tree(&root).await?;
                let found: HashSet<_> = found.iter().map(|directory| digest_of(directory)).collect();
                if found != expected.into_iter().collect() {
                    ledger.complain(format!("GetTree of {root:?} of {name:?} lacks directories"));
                }
            }
            Ok(())
        };
        self.share(trees, check).await.map(drop)
    }
}

/// What a name answers, if that is something that it may answer.
async fn look_up(
    client: &mut Client,
    ledger: &Ledger,
    name: &Name,
    cut: Moment,
) -> Result<Option<Arc<Value>>, Status> {
    let expected = ledger.expected(name, cut);
    let found = client.look_up(name).await?;
    if let Name::Directory(uri) = name
        && let Some(key) = uri.strip_prefix(REFERENCES)
        && client.reference(key).await? != found
    {
        ledger.complain(format!("{name:?} answers otherwise as a reference"));
    }
    let Some(target) = found else {
        if expected.must {
            ledger.complain(format!("{name:?} was acknowledged and is not there"));
        }
        return Ok(None);
    };
    let value = expected.any_of.into_iter().find(|value| value.target == target);
    if value.is_none() {
        ledger.complain(format!("{name:?} answers {target:?}, which is out of date or was never pushed"));
    }
    Ok(value)
}

/// Blobs in batches that one message holds, large ones alone.
fn batches(blobs: HashMap<Digest, Name>) -> Vec<Vec<(Digest, Name)>> {
    let (mut batches, mut bytes) = (vec![Vec::new()], 0);
    for (digest, name) in blobs {
        if digest.size_bytes > 1 << 19 {
            batches.insert(0, vec![(digest, name)]);
            continue;
        }
        bytes += digest.size_bytes + 200;
        if bytes > BATCH {
            bytes = digest.size_bytes;
            batches.push(Vec::new());
        }
        batches.last_mut().expect("one at least").push((digest, name));
    }
    batches
}

async fn read(client: &mut Client, ledger: &Ledger, batch: Vec<(Digest, Name)>) -> Result<(), Status> {
    let name = |digest: &Digest| batch.iter().find(|(known, _)| known == digest).map(|(_, name)| name);
    if let [(digest, _)] = &batch[..] {
        match client.read(digest).await {
            Ok(content) if digest_of(&content) == *digest => {}
            Ok(_) => ledger.complain(format!("{digest:?} of {:?} has other bytes", name(digest))),
            Err(status) if status.code() == Code::NotFound => {
                ledger.complain(format!("{digest:?} of {:?} is not there", name(digest)));
            }
            Err(status) => return Err(status),
        }
        return Ok(());
    }
    let answers = client.read_batch(batch.iter().map(|(digest, _)| digest.clone()).collect()).await?;
    if answers.len() != batch.len() {
        ledger.complain(format!("{} answers to a batch of {}", answers.len(), batch.len()));
    }
    for (digest, content, code) in answers {
        if code != 0 {
            ledger.complain(format!("{digest:?} of {:?} is refused with code {code}", name(&digest)));
        } else if digest_of(&content) != digest {
            ledger.complain(format!("{digest:?} of {:?} has other bytes", name(&digest)));
        }
    }
    Ok(())
}
