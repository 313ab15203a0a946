//! On which terms a call gets memory: for what, how long it may wait, and what it is told if there is none.

use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use millpond_cache::{Limit, now_and_then};
use tonic::Status;

use super::hold::Hold;
use super::method::{Method, Nature};
use crate::memory::{Purpose, Room, Share};
use crate::quirks::Generation;
use crate::status;

/// How long a call may wait for memory that is no look-up and no read.
const PATIENCE: Duration = Duration::from_secs(30);

/// The terms of one call.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(super) share: Arc<Share>,
    pub(super) hold: Arc<Hold>,
    pub(super) method: Method,
    pub(super) generation: Generation,
    /// Somewhere.
    pub(super) may_push: bool,
}

impl Terms {
    /// Those that `layers` put beside a request.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().cloned()
    }

    /// What its next message is, the first or a later one.
    pub(super) fn purpose(&self, first: bool) -> Purpose {
        match self.method.nature() {
            Nature::Pull | Nature::Probe => Purpose::Asking,
            // It will be refused once it is read, and must not take what those need who may.
            Nature::Upload | Nature::Name if !self.may_push => Purpose::Asking,
            Nature::Upload | Nature::Name if first => Purpose::First,
            Nature::Upload | Nature::Name => Purpose::Continuing,
        }
    }

    /// For how long it may wait.
    pub(super) fn patience(&self) -> Duration {
        if self.method.nature() == Nature::Pull { self.share.limits().look_up_time } else { PATIENCE }
    }

    /// What it is told if there is no memory.
    pub(super) fn overloaded(&self) -> Status {
        Limit::RequestMemory.met();
        let (service, method) = (self.method.service, self.method.name);
        now_and_then!(
            warn,
            service,
            method,
            "a request found no memory: raise request_memory if that goes on"
        );
        status::overloaded(self.method.nature(), self.generation)
    }

    /// Takes room for what an upload will gather, until the call ends. The message in hand is kept meanwhile.
    pub(crate) async fn gather(&self, bytes: u64) -> Result<(), Status> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Some(room) = self.share.room(Purpose::Gathered, bytes) {
            self.hold.gather(room);
            return Ok(());
        }
        // A stream that waits must not keep a window from those it waits for.
        self.hold.read_by(None);
        let share = Arc::clone(&self.share);
        let granted = share.wait(Purpose::Gathered, Some(bytes), true, self.patience()).await;
        let (room, window) = granted.map_err(|_| self.overloaded())?;
        room.into_iter().for_each(|room: Room| self.hold.gather(room));
        self.hold.read_by(window);
        Ok(())
    }
}
