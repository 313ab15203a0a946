//! What is written into the audit log, and for whom it is folded.
//!
//! **Invariant:** a push that is answered has its entry written before, whatever its outcome: published, waiting, kept or
//! refused. Nobody can fill the log with refusals: those of one identity for want of a right have one entry a minute, with the
//! number of the others; those of somebody unknown have none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millpond_store::audit::{Audit, Deed, Entry};
use millpond_store::catalog::{By, Changed, Name, NewValue, Pin, PinTerms, State, Target, Witness};
use millpond_store::{Clock, Digest, now_and_then};

use crate::access::Allowed;
use crate::cache::Inner;
use crate::name::short;
use crate::{Cache, Client, Permit, Push, Result};

/// Refusals of one identity are folded for so long.
const FOLDED: Duration = Duration::from_secs(60);
/// So many identities at the same time.
const IDENTITIES_MAX: usize = 1024;
/// Of what a client sent, in bytes.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// As whom the server does what nobody asked for. What begins like this no key, token, issuer or authority can be called.
const ITSELF: &str = "local:server";

/// How much the audit log may take of the volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditKeep {
    /// There is none.
    #[default]
    Off,
    /// A hundredth of the limit, at most 1 GB.
    Share,
    /// So many bytes, at most a tenth of the limit.
    Bytes(u64),
}

impl AuditKeep {
    /// In bytes, where the volume may take so many.
    pub(crate) fn bytes(self, limit: u64) -> Option<u64> {
        match self {
            Self::Off => None,
            Self::Share => Some((limit / 100).min(1_000_000_000)),
            Self::Bytes(bytes) => Some(bytes.min(limit / 10)),
        }
    }
}

/// The log, as the catalog's witness, and what is folded.
#[derive(Debug)]
pub(crate) struct Auditor {
    pub(crate) log: Audit,
    folded: Mutex<HashMap<String, Folded>>,
}

#[derive(Debug)]
struct Folded {
    until: Instant,
    more: u64,
}

impl Auditor {
    pub(crate) fn new(log: Audit) -> Self {
        Self { log, folded: Mutex::default() }
    }

    /// How many refusals of this identity have had no entry, if this one is to have one.
    fn unfold(&self, identity: &str) -> Option<u64> {
        let now = Instant::now();
        let mut folded = self.folded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = folded.get_mut(identity) {
            if now < known.until {
                known.more += 1;
                return None;
            }
            known.until = now + FOLDED;
            return Some(std::mem::take(&mut known.more));
        }
        if folded.len() >= IDENTITIES_MAX {
            folded.retain(|_, known| now < known.until || known.more > 0);
        }
        if folded.len() >= IDENTITIES_MAX {
            return None;
        }
        folded.insert(identity.to_owned(), Folded { until: now + FOLDED, more: 0 });
        Some(0)
    }
}

impl Witness for Auditor {
    fn ready(&self) -> millpond_store::Result<()> {
        self.log.ready()
    }

    fn changed(&self, changes: &[Changed]) -> millpond_store::Result<()> {
        self.log.append(changes.iter().map(|change| match change {
            Changed::Published { value, replaced } => {
                let what = match (value.is_whole(), replaced) {
                    (false, _) => Deed::Waits,
                    (true, false) => Deed::Published,
                    (true, true) => Deed::Replaced,
                };
                let digest = digest(&value.target);
                Entry {
                    who: value.pusher.to_string(),
                    address: value.address.to_string(),
                    digest,
                    ..of(what, &value.name)
                }
            }
            Changed::Pinned { pin, by } => of_pin(Deed::Pinned, pin, by),
            Changed::Unpinned { pin, by } => of_pin(Deed::Unpinned, pin, by),
            Changed::Removed { name, by, .. } => by_whom(by.as_ref(), of(Deed::Removed, name)),
            Changed::SetAside { name, by, .. } => by_whom(by.as_ref(), of(Deed::SetAside, name)),
            Changed::Restored { value, by } => {
                Entry { digest: digest(&value.target), ..by_whom(Some(by), of(Deed::Restored, &value.name)) }
            }
        }))
    }
}

fn of(what: Deed, name: &Name) -> Entry {
    let mut text = short(name).into_owned();
    if !name.qualifiers.is_empty() {
        text += &format!(" ({})", name.qualifiers);
    }
    Entry { instance: name.instance.to_string(), name: cut(text), ..entry(what) }
}

/// As done by somebody, or by the server itself.
fn by_whom(by: Option<&By>, entry: Entry) -> Entry {
    match by {
        Some(By { who, address }) => Entry { who: who.to_string(), address: address.to_string(), ..entry },
        None => Entry { who: ITSELF.to_owned(), ..entry },
    }
}

fn of_pin(what: Deed, pin: &Pin, by: &By) -> Entry {
    let PinTerms { pattern, instance, reason, .. } = &pin.terms;
    Entry {
        who: by.who.to_string(),
        address: by.address.to_string(),
        instance: instance.as_deref().unwrap_or_default().to_owned(),
        name: cut(format!("{pattern} ({reason})")),
        ..entry(what)
    }
}

fn entry(what: Deed) -> Entry {
    let empty = String::new;
    Entry {
        seq: 0,
        time: Clock::unix_seconds(),
        what,
        who: empty(),
        address: empty(),
        instance: empty(),
        name: empty(),
        digest: empty(),
        more: 0,
    }
}

fn cut(mut text: String) -> String {
    let mut end = TEXT_BYTES_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn digest(target: &Target) -> String {
    match target {
        Target::Blob(digest) | Target::Directory(digest) => digest.to_string(),
        Target::Inline(content) => Digest::of(content).to_string(),
    }
}

impl Inner {
    /// Writes down that a push left a name as it was.
    pub(crate) async fn note_push(&self, what: Deed, new: &NewValue) -> Result<()> {
        if new.state != State::Whole {
            return Ok(());
        }
        let entry = Entry {
            who: new.pusher.to_string(),
            address: new.address.to_string(),
            digest: digest(&new.target),
            ..of(what, &new.name)
        };
        self.write_down(entry).await
    }

    pub(crate) async fn write_down(&self, entry: Entry) -> Result<()> {
        let Some(auditor) = self.auditor.clone() else { return Ok(()) };
        let written = tokio::task::spawn_blocking(move || auditor.log.note(entry)).await;
        Ok(written.map_err(crate::Error::internal)??)
    }

    /// Writes down that somebody who is known was refused for want of a right, beside what is going on.
    pub(crate) fn note_denied(&self, client: &Client, instance: &str, name: String) {
        let Some(auditor) = self.auditor.clone().filter(|_| !client.identity.is_empty()) else { return };
        let Some(more) = auditor.unfold(&client.identity) else { return };
        let entry = Entry {
            who: client.identity.clone(),
            address: client.address.map(|address| address.to_string()).unwrap_or_default(),
            instance: instance.to_owned(),
            name: cut(name),
            more,
            ..entry(Deed::Denied)
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = auditor.log.note(entry) {
                now_and_then!(warn, %error, "a refusal is not in the audit log");
            }
        });
    }
}

impl Inner {
    /// The name, if the permit covers it; else it is written down that it does not.
    pub(crate) fn to_publish(&self, permit: &Permit<Push>, name: Name) -> Result<Allowed> {
        permit.publishes(name).map_err(|(name, error)| {
            self.note_denied(permit.client(), permit.instance().as_str(), short(&name).into_owned());
            error
        })
    }
}

impl Cache {
    /// Writes down that somebody changed how the server is set, or the server itself if there is nobody to name.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub async fn note_setting(&self, what: Deed, by: Option<&Client>, text: String) -> Result<()> {
        let by = by.map(|client| By {
            who: client.identity.as_str().into(),
            address: client.address.map(|address| address.to_string()).unwrap_or_default().into(),
        });
        self.inner.write_down(Entry { name: cut(text), ..by_whom(by.as_ref(), entry(what)) }).await
    }

    /// Writes down that somebody who is known was refused `deed` in `instance`, for want of a right. Needs a tokio runtime.
    pub fn note_denied(&self, client: &Client, instance: &str, deed: &str) {
        self.inner.note_denied(client, instance, deed.to_owned());
    }
}

/// Writes down, in the folder of an audit log of its own, what somebody did with the key or token of `name`. For one entry at a
/// time: whoever comes meanwhile waits for a moment.
///
/// # Errors
/// A folder that cannot be made or written.
pub fn write_down_apart(folder: &std::path::Path, what: Deed, who: &str, name: &str) -> Result<()> {
    let disk = Arc::new(millpond_store::disk::RealDisk::open(folder)?);
    let log = Audit::open(disk, APART_BYTES)?;
    log.ready()?;
    log.append([Entry { who: who.to_owned(), name: name.to_owned(), ..entry(what) }])?;
    Ok(log.sync()?)
}

/// What such a log may take.
const APART_BYTES: u64 = 64_000_000;
