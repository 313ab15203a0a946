//! Names, listed and shown.

use std::sync::Arc;

use futures_util::stream;
use millpond_cache::{
    Admin, Cache, Error, NameDetails, NameEntry, NamesOrder, NamesWanted, Pattern, Permit, Pin, Result, Sort,
};
use millpond_proto::admin as wire;
use tonic::Status;

use super::Pages;
use crate::caller::RequestId;
use crate::status;

/// In an order, where the question does not say how many.
const SORTED: usize = 100;

/// Answers ListNames.
pub(super) async fn list(
    cache: &Arc<Cache>,
    permit: &Permit<Admin>,
    request: RequestId,
    asked: wire::ListNamesRequest,
) -> Result<Pages<wire::NamesPage>> {
    let limit = usize::try_from(asked.limit).ok().filter(|limit| *limit > 0);
    let order = match asked.order() {
        wire::list_names_request::Order::Catalog => None,
        wire::list_names_request::Order::Size => Some(NamesOrder::Size),
        wire::list_names_request::Order::Used => Some(NamesOrder::Used),
        wire::list_names_request::Order::Pushed => Some(NamesOrder::Pushed),
    };
    let wanted = wanted(asked.wanted.unwrap_or_default())?;
    let page = |names: Vec<NameEntry>| wire::NamesPage { names: names.into_iter().map(entry).collect() };
    if let Some(order) = order {
        let names = cache.sorted_names(permit, wanted, order, limit.unwrap_or(SORTED)).await?;
        let pages: Vec<_> = names.chunks(SORTED).map(|names| Ok(page(names.to_vec()))).collect();
        return Ok(Box::pin(stream::iter(pages)));
    }
    let walk = cache.names(permit, wanted, limit.unwrap_or(usize::MAX));
    Ok(Box::pin(stream::try_unfold(walk, move |mut walk| async move {
        let names = walk.next_page().await.map_err(|error| status::failed(error, request))?;
        Ok::<_, Status>(names.map(|names| (page(names), walk)))
    })))
}

/// Answers ShowNames.
pub(super) fn show(
    cache: &Arc<Cache>,
    permit: &Permit<Admin>,
    request: RequestId,
    asked: wire::ShowNamesRequest,
) -> Result<Pages<wire::NameDetailsPage>> {
    let wanted = wanted(asked.wanted.unwrap_or_default())?;
    let limit = usize::try_from(asked.limit).ok().filter(|limit| *limit > 0);
    let walk = cache.names(permit, wanted, limit.unwrap_or(usize::MAX));
    Ok(Box::pin(stream::try_unfold(walk, move |mut walk| async move {
        let names = walk.next_details().await.map_err(|error| status::failed(error, request))?;
        let page = |names: Vec<NameDetails>| wire::NameDetailsPage {
            names: names.into_iter().map(details).collect(),
        };
        Ok::<_, Status>(names.map(|names| (page(names), walk)))
    })))
}

/// Which names a question means.
pub(super) fn wanted(wanted: wire::NamesWanted) -> Result<NamesWanted> {
    let sort = match wanted.sort.is_some().then(|| wanted.sort()) {
        None => None,
        Some(wire::names_wanted::Sort::Artifact) => Some(Sort::Artifact),
        Some(wire::names_wanted::Sort::Source) => Some(Sort::Source),
        Some(wire::names_wanted::Sort::Asset) => Some(Sort::Asset),
        Some(wire::names_wanted::Sort::ActionResult) => Some(Sort::ActionResult),
        Some(wire::names_wanted::Sort::Unknown) => {
            return Err(Error::Invalid("names of a sort that this server does not know".into()));
        }
    };
    Ok(NamesWanted {
        pattern: wanted.pattern.map(Pattern::new).transpose()?,
        instance: wanted.instance,
        sort,
        project: wanted.project,
        pushed_by: wanted.pushed_by.map(Pattern::new).transpose()?,
        since: wanted.pushed_since,
        until: wanted.pushed_before,
        removed: wanted.removed,
    })
}

/// What a name is of, on the wire.
pub(super) fn sort(sort: Sort) -> wire::names_wanted::Sort {
    match sort {
        Sort::Artifact => wire::names_wanted::Sort::Artifact,
        Sort::Source => wire::names_wanted::Sort::Source,
        Sort::Asset => wire::names_wanted::Sort::Asset,
        Sort::ActionResult => wire::names_wanted::Sort::ActionResult,
    }
}

/// A name on the wire.
pub(super) fn entry(entry: NameEntry) -> wire::Name {
    wire::Name {
        instance: entry.instance,
        name: entry.name,
        uri: entry.uri,
        qualifiers: entry.qualifiers,
        sort: sort(entry.sort).into(),
        digest: entry.digest.to_string(),
        pushed: entry.pushed,
        pusher: entry.pusher,
        address: entry.address,
        used: entry.used,
        expires: entry.expires,
        whole: entry.whole,
        bytes: entry.bytes,
        removed_until: entry.removed_until,
        pinned: entry.pinned,
    }
}

fn details(details: NameDetails) -> wire::NameDetails {
    wire::NameDetails {
        name: Some(entry(details.entry)),
        let_go: details.let_go,
        stays_until: details.stays_until,
        rule: details.rule,
        blobs: details.blobs,
        bytes: details.bytes,
        missing: details.missing.iter().map(ToString::to_string).collect(),
        missing_count: details.missing_count,
        pins: details.pins.into_iter().map(pin).collect(),
    }
}

/// A pin on the wire.
pub(super) fn pin(pin: Pin) -> wire::Pin {
    let terms = pin.terms;
    wire::Pin {
        id: pin.id,
        pattern: terms.pattern.into(),
        instance: terms.instance.map(Into::into),
        reason: terms.reason.into(),
        owner: terms.owner.into(),
        made: terms.made,
        until: terms.until,
        revisions: terms.revisions,
    }
}
