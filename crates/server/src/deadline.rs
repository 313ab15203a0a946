//! Deadlines of our own: most clients set none, and would wait for ever.
//!
//! **A look-up or read that takes too long is a miss.** UNAVAILABLE would make buildbox-casd try five times and then fail
//! the element, any other code fails it at once; after NOT_FOUND the user builds, as without a cache.

use std::future::Future;

use millpond_cache::{Cache, Error, Result, now_and_then};
use tokio::time::timeout;

/// `asked` within the time of a look-up.
pub(crate) async fn look_up<T>(cache: &Cache, asked: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(cache.look_up_time(), asked).await.unwrap_or_else(|_| {
        note_late(cache);
        Err(miss(cache))
    })
}

fn note_late(cache: &Cache) {
    cache.count_late_look_up();
    let seconds = cache.look_up_time().as_secs();
    now_and_then!(warn, seconds, "a look-up took too long and was answered as a miss");
}

fn miss(cache: &Cache) -> Error {
    Error::NotFound(format!("what could not be looked up within {} seconds", cache.look_up_time().as_secs()))
}

/// As [`look_up`], for several things with an outcome each.
pub(crate) async fn look_up_many<T>(
    cache: &Cache,
    count: usize,
    asked: impl Future<Output = Vec<Result<T>>>,
) -> Vec<Result<T>> {
    match timeout(cache.look_up_time(), asked).await {
        Ok(outcomes) => outcomes,
        Err(_) => {
            note_late(cache);
            (0..count).map(|_| Err(miss(cache))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_cache::{CacheOptions, MaxSize};
    use std::future::pending;
    use std::time::Duration;

    #[tokio::test]
    async fn late_look_ups_are_misses_and_counted_once_a_call() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let look_up_time = Duration::from_secs(7);
        let options = CacheOptions {
            data,
            max_size: Some(MaxSize::Bytes(1 << 30)),
            look_up_time,
            ..CacheOptions::default()
        };
        let (cache, _) = Cache::open(options).await.unwrap();
        tokio::time::pause();
        let before = tokio::time::Instant::now();
        let one = look_up(&cache, pending::<Result<()>>()).await;
        assert!(matches!(one, Err(Error::NotFound(_))), "{one:?}");
        assert_eq!(before.elapsed().as_secs(), look_up_time.as_secs());
        let two = look_up_many(&cache, 2, pending::<Vec<Result<()>>>()).await;
        assert!(matches!(two[..], [Err(Error::NotFound(_)), Err(Error::NotFound(_))]), "{two:?}");
        assert_eq!(cache.figures().lookups_timed_out, 2);
        tokio::time::resume();
        cache.close().await;
    }
}
