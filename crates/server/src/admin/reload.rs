//! Taking up what has changed in the configuration, which whoever started the server does.

use std::fmt;

use millpond_cache::{Client, Error, Result};
use millpond_proto::admin as wire;
use tokio::sync::{mpsc, oneshot};

/// Somebody who asks for it. Gone without an answer, they are told that nobody reads the configuration any more.
#[derive(Debug)]
pub struct ReloadAsked {
    /// Who it is.
    pub by: Client,
    /// Only what would be taken up is to be said.
    pub dry_run: bool,
    /// Where the answer goes; an error is a sentence with its remedy.
    pub answer: oneshot::Sender<std::result::Result<Reloaded, String>>,
}

/// A setting that is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedSetting {
    /// Its section, as in `[store]`.
    pub section: String,
    /// Its key; empty for a section that there may be several of.
    pub key: String,
    /// As a file had it.
    pub before: String,
    /// As a file has it.
    pub after: String,
}

/// `max_size in [store]`, or `[[retention]]`.
impl fmt::Display for ChangedSetting {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { section, key, .. } = self;
        if key.is_empty() { to.write_str(section) } else { write!(to, "{key} in {section}") }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What counts from now on.
    pub taken_up: Vec<ChangedSetting>,
    /// What counts from the next start on.
    pub at_next_start: Vec<ChangedSetting>,
    /// Sentences about what was read.
    pub warnings: Vec<String>,
}

/// Where whoever does it is asked; nobody is, by default.
#[derive(Clone, Debug, Default)]
pub struct ReloadControl(Option<mpsc::Sender<ReloadAsked>>);

impl ReloadControl {
    /// With questions that arrive at the other end, of which so many may wait.
    pub fn new(waiting: usize) -> (Self, mpsc::Receiver<ReloadAsked>) {
        let (ask, asked) = mpsc::channel(waiting);
        (Self(Some(ask)), asked)
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(
        &self,
        by: &Client,
        asked: wire::ReloadConfigurationRequest,
    ) -> Result<wire::ReloadedConfiguration> {
        let none = || Error::Invalid("this server does not read its configuration while it runs".into());
        let (answer, answered) = oneshot::channel();
        let question = ReloadAsked { by: by.clone(), dry_run: asked.dry_run, answer };
        self.0.as_ref().ok_or_else(none)?.send(question).await.map_err(|_| none())?;
        answered.await.map_err(|_| none())?.map(Reloaded::into_wire).map_err(Error::Invalid)
    }
}

impl Reloaded {
    fn into_wire(self) -> wire::ReloadedConfiguration {
        let setting = |setting: ChangedSetting| {
            let ChangedSetting { section, key, before, after } = setting;
            wire::ChangedSetting { section, key, before, after }
        };
        wire::ReloadedConfiguration {
            taken_up: self.taken_up.into_iter().map(setting).collect(),
            at_next_start: self.at_next_start.into_iter().map(setting).collect(),
            warnings: self.warnings,
        }
    }
}
