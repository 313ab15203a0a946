//! Names removed and brought back.

use std::sync::Arc;

use futures_util::stream;
use millpond_cache::{Admin, Cache, Error, NameEntry, Permit, RemovalKind, Restored, Result};
use millpond_proto::admin as wire;
use millpond_proto::admin::remove_names_request::Removal;
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
    let Some(wanted) = asked.wanted else {
        return Err(Error::Invalid("`wanted` is missing: it says which names are to be removed".into()));
    };
    let wanted = names::wanted(wanted)?;
    let kind = match asked.removal {
        Some(Removal::DryRun(true)) => RemovalKind::DryRun,
        Some(Removal::SetAsideSeconds(seconds)) => RemovalKind::SetAside(seconds),
        Some(Removal::ForGood(true)) => RemovalKind::ForGood,
        _ => {
            let sentence = "`dry_run`, `set_aside_seconds` or `for_good` is missing: one of them is required";
            return Err(Error::Invalid(sentence.into()));
        }
    };
    let removal = cache.remove_names(permit, &wanted, kind);
    let (cache, permit, is_for_good) = (Arc::clone(cache), permit.clone(), kind == RemovalKind::ForGood);
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
