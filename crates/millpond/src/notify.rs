//! What the service manager is told of this process, by the protocol of `sd_notify(3)`. Where none asks, nothing happens.
//!
//! That it cannot be told is a warning: it draws its own conclusions.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

/// On top of what an end may take, until the service manager makes one of its own.
const MARGIN: Duration = Duration::from_secs(5);

/// What is done before it can serve.
pub(crate) fn opening(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// It serves.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It ends, which takes no longer than this: whatever `drain` says, and whatever the service manager would allow.
pub(crate) fn stopping(within: Duration, status: &str) {
    let within = format!("EXTEND_TIMEOUT_USEC={}", (within + MARGIN).as_micros());
    tell(&[NotifyState::Stopping, NotifyState::Custom(&within), NotifyState::Status(status)]);
}

/// Why it ends.
pub(crate) fn failed(sentence: &str) {
    tell(&[NotifyState::Status(sentence)]);
}

/// Says that it is alive, for as long as it is polled, if the service manager counts on that. So threads that are stuck are
/// found out. A disk that hangs is not: no new process would help.
pub(crate) async fn alive() {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else { return };
    loop {
        tell(&[NotifyState::Watchdog]);
        sleep(period / 2).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager cannot be told how this server is: {error}");
    }
}
