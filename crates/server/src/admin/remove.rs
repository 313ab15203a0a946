//! Names removed and brought back.

use std::sync::Arc;

use futures_util::stream;
use millpond_cache::{Admin, Cache, NameEntry, Permit, RemovalKind, Restored, Result};
use millpond_proto::admin as wire;
use tonic::Status;

use super::{Pages, names};
use crate::caller::RequestId;
use crate::status;

/// Answers RemoveNames. What was removed is, also if nobody hears it.
pub(super) fn remove(
    cache: &Arc<Cache>,
    permit: &Permit<Admin>,
    request: RequestId,
    asked: wire::RemoveNamesRequest,
) -> Result<Pages<wire::NamesPage>> {
    let wanted = names::wanted(asked.wanted.unwrap_or_default())?;
    let kind = match (asked.dry_run, asked.set_aside_seconds) {
        (true, _) => RemovalKind::DryRun,
        (false, Some(seconds)) => RemovalKind::SetAside(seconds),
        (false, None) => RemovalKind::ForGood,
    };
    let removal = cache.remove_names(permit, &wanted, kind);
    let (cache, permit, is_for_good) =
        (Arc::clone(cache), permit.clone(), !asked.dry_run && asked.set_aside_seconds.is_none());
    Ok(Box::pin(stream::try_unfold(
        (removal, cache, permit),
        move |(mut removal, cache, permit)| async move {
            let removed = removal.next_page().await.map_err(|error| status::failed(error, request))?;
            if removed.is_none() && is_for_good {
                // What they alone needed gives its space back.
                cache.ask_for_relevel(&permit);
            }
            let page = |removed: Vec<NameEntry>| wire::NamesPage {
                names: removed.into_iter().map(names::entry).collect(),
            };
            Ok::<_, Status>(removed.map(|removed| (page(removed), (removal, cache, permit))))
        },
    )))
}

/// Answers RestoreNames.
pub(super) fn restore(
    cache: &Arc<Cache>,
    permit: &Permit<Admin>,
    request: RequestId,
    asked: wire::RestoreNamesRequest,
) -> Result<Pages<wire::RestoredPage>> {
    let restoration = cache.restore_names(permit, names::wanted(asked.wanted.unwrap_or_default())?);
    Ok(Box::pin(stream::try_unfold(restoration, move |mut restoration| async move {
        let restored = restoration.next_page().await.map_err(|error| status::failed(error, request))?;
        let one = |(entry, outcome): Restored| wire::Restored {
            name: Some(names::entry(entry)),
            refused: outcome
                .err()
                .map(|error| status::failed(error, request).message().to_owned())
                .unwrap_or_default(),
        };
        let page =
            |restored: Vec<Restored>| wire::RestoredPage { names: restored.into_iter().map(one).collect() };
        Ok::<_, Status>(restored.map(|restored| (page(restored), restoration)))
    })))
}
