//! How many files and connections the process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What the store may have open: its packs, and some more for catalog and journal, listeners and what is written.
const STORE: u64 = 1024 + 256;

/// Raises the soft limit to the hard one. Shells give 1024 for the sake of programs that use `select`; a connection
/// and a pack take one each.
pub(crate) fn allow_all_that_may_be_had() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
}

/// How many connections leave the store what it needs, if not more than `wanted` are.
pub(crate) fn connections_max(wanted: usize) -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return wanted };
    let connections = beside_the_store(limit);
    if connections < wanted {
        tracing::info!(
            "{connections} connections at a time: {limit} files may be open, raise that limit for more (`ulimit -Hn`)"
        );
    }
    connections.min(wanted)
}

/// How many connections so many files allow. Where the limit is very low, a quarter of it.
pub(crate) fn beside_the_store(limit: u64) -> usize {
    usize::try_from(limit.saturating_sub(STORE).max(limit / 4)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_store_its_files() {
        assert_eq!(beside_the_store(400), 100);
        assert_eq!(beside_the_store(4096), 4096 - 1280);
        assert_eq!(connections_max(1), 1);
    }
}
