//! Clients that push until they are stopped or the server is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::artifact::Pushed;
use super::client::Client;
use super::content::Blob;
use super::ledger::Ledger;
use super::random::Random;

/// A writer ends within this once it was stopped or its server killed, or something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a writer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stopped,
    ServerGone,
    /// Uploads are refused for want of space.
    Full,
}

/// Some clients on a connection each.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<End>>,
}

impl Writers {
    /// Starts `count` of them, which push what belongs to `project`, with pauses of up to `pause` between.
    pub(crate) fn start(
        url: &str,
        count: u64,
        random: &mut Random,
        project: u64,
        ledger: &Ledger,
        pause: Duration,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writer = |_| {
            let writer = Writer {
                url: url.to_owned(),
                random: Random::new(random.next()),
                project,
                ledger: ledger.clone(),
                pause,
            };
            tokio::spawn(writer.run(Arc::clone(&stop)))
        };
        let tasks = (0..count).map(writer).collect();
        Self { stop, tasks }
    }

    /// Waits for all of them to finish what they are at; whether the store was full.
    pub(crate) async fn stop(self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.wait().await
    }

    /// Waits until each of them was refused or has lost its server; whether the store was full.
    pub(crate) async fn wait(self) -> bool {
        let mut full = false;
        for task in self.tasks {
            let end = timeout(PATIENCE, task).await.expect("a writer hangs").unwrap();
            full |= end == End::Full;
        }
        full
    }
}

struct Writer {
    url: String,
    random: Random,
    project: u64,
    ledger: Ledger,
    pause: Duration,
}

impl Writer {
    async fn run(mut self, stop: Arc<AtomicBool>) -> End {
        match self.push_until(&stop).await {
            Ok(()) => End::Stopped,
            Err(status) if is_full(&status) => End::Full,
            Err(status) => {
                if !is_server_gone(&status) {
                    self.ledger.complain(format!("a push got {:?}: {}", status.code(), status.message()));
                }
                End::ServerGone
            }
        }
    }

    async fn push_until(&mut self, stop: &AtomicBool) -> Result<(), Status> {
        let mut client = Client::connect(&self.url).await?;
        while !stop.load(Ordering::Relaxed) {
            let pushed = Pushed::any(&mut self.random, self.project);
            let uploaded = self.upload(&mut client, &pushed).await;
            let done = match uploaded {
                Ok(()) => self.publish(&mut client, &pushed).await,
                refused => refused,
            };
            match done {
                // What it had uploaded was let go before it was named, or there was no room just then.
                Err(status) if self.ledger.may_any_go() && is_lack(&status) => {}
                other => other?,
            }
            tokio::time::sleep(self.random.pause(self.pause)).await;
        }
        Ok(())
    }

    /// As clients do: ask what is missing, send that, small ones in batches and large ones by themselves.
    async fn upload(&mut self, client: &mut Client, pushed: &Pushed) -> Result<(), Status> {
        let mut blobs = pushed.blobs.clone();
        if !self.random.one_in(8) {
            let missing = client.missing(blobs.iter().map(|blob| blob.digest.clone()).collect()).await?;
            blobs.retain(|blob| missing.contains(&blob.digest));
        }
        let large = self.random.choose(&[1 << 10, 64 << 10, 1 << 20]);
        let batch = self.random.between(64 << 10, 3 << 20) as usize;
        let (mut gathered, mut bytes) = (Vec::new(), 0);
        for blob in blobs {
            if blob.content.len() > large {
                self.write(client, &blob).await?;
                continue;
            }
            bytes += blob.content.len();
            gathered.push(blob);
            if bytes > batch {
                client.update(&std::mem::take(&mut gathered)).await?;
                bytes = 0;
            }
        }
        if gathered.is_empty() { Ok(()) } else { client.update(&gathered).await }
    }

    async fn write(&mut self, client: &mut Client, blob: &Blob) -> Result<(), Status> {
        let step = self.random.between(4 << 10, 1 << 20) as usize;
        let messages = blob.content.len().div_ceil(step);
        if messages > 1 && self.random.one_in(10) {
            let some = self.random.between(1, messages as u64 - 1) as usize;
            match client.write(blob, step, some).await {
                // There before, so that it was answered early.
                Ok(()) => {}
                Err(status) if status.code() == Code::InvalidArgument => {}
                Err(status) => return Err(status),
            }
        }
        client.write(blob, step, usize::MAX).await
    }

    async fn publish(&mut self, client: &mut Client, pushed: &Pushed) -> Result<(), Status> {
        let names = pushed.names();
        let value = Arc::new(pushed.value());
        let begun = self.ledger.begin(&names, &value);
        client.publish(pushed).await?;
        self.ledger.acknowledge(&names, begun);
        // The first name is one that nobody else overwrites, if the push has two.
        if names.len() > 1 && self.random.one_in(4) {
            let found = client.look_up(&names[0]).await?;
            let let_go = found.is_none() && self.ledger.may_any_go();
            if !let_go && found.as_ref() != Some(&value.target) {
                self.ledger.complain(format!("{:?} answers {found:?} right after its push", names[0]));
            }
        }
        Ok(())
    }
}

/// What a client sees of a server that was killed.
fn is_server_gone(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => true,
        // The HTTP/2 library's own words for a connection that broke; the server's begin otherwise.
        Code::Internal => !status.message().starts_with("internal error"),
        _ => false,
    }
}

fn is_lack(status: &Status) -> bool {
    is_full(status) || status.code() == Code::FailedPrecondition
}

fn is_full(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && status.message().contains("max-size")
}

/// One client that pushes something of each kind and looks it up at once.
pub(crate) async fn bystander(url: &str, random: &mut Random, ledger: &Ledger) -> Result<(), Status> {
    let mut client = Client::connect(url).await?;
    let mut writer = Writer {
        url: url.to_owned(),
        random: Random::new(random.next()),
        project: 1,
        ledger: ledger.clone(),
        pause: Duration::ZERO,
    };
    for _ in 0..3 {
        let pushed = Pushed::any(&mut writer.random, writer.project);
        writer.upload(&mut client, &pushed).await?;
        writer.publish(&mut client, &pushed).await?;
    }
    Ok(())
}
