//! Deadlines of our own: most clients set none, and would wait for ever.
//!
//! **A look-up or read that takes too long is a miss.** UNAVAILABLE would make buildbox-casd try five times and then fail
//! the element, any other code fails it at once; after NOT_FOUND the user builds, as without a cache.

use std::future::Future;
use std::time::Duration;

use millpond_cache::{Error, Result, now_and_then};
use tokio::time::timeout;

/// A look-up walks a tree in tens of milliseconds; a sick disk may take minutes.
const LOOK_UP: Duration = Duration::from_secs(30);

/// `asked` within the time of a look-up.
pub(crate) async fn look_up<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(LOOK_UP, asked).await.unwrap_or_else(|_| Err(late()))
}

/// What a look-up that took too long is answered with.
pub(crate) fn late() -> Error {
    now_and_then!(warn, seconds = LOOK_UP.as_secs(), "a look-up took too long and was answered as a miss");
    Error::NotFound(format!("what could not be looked up within {} seconds", LOOK_UP.as_secs()))
}

/// As [`look_up`], for several things with an outcome each.
pub(crate) async fn look_up_many<T>(
    count: usize,
    asked: impl Future<Output = Vec<Result<T>>>,
) -> Vec<Result<T>> {
    match timeout(LOOK_UP, asked).await {
        Ok(outcomes) => outcomes,
        Err(_) => (0..count).map(|_| Err(late())).collect(),
    }
}
