//! What takes the room, told of as it is counted.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use millpond_cache::{
    Admin, Cache, Group, GroupBy, HeldByNames, InUse, Permit, Result, Usage, UsageStep, UsageWalk,
};
use millpond_proto::admin as wire;
use millpond_proto::admin::get_usage_request::By;
use millpond_proto::admin::usage_answer::Answer;
use tonic::Status;

use super::{Pages, names};
use crate::caller::RequestId;
use crate::status;

/// Groups of one message.
const GROUPS: usize = 500;

/// Answers GetUsage. The walk ends with whoever listens.
pub(super) async fn usage(
    cache: &Arc<Cache>,
    permit: &Permit<Admin>,
    request: RequestId,
    asked: wire::GetUsageRequest,
) -> Result<Pages<wire::UsageAnswer>> {
    let by = match asked.by() {
        By::Project => GroupBy::Project,
        By::Element => GroupBy::Element,
        By::Sort => GroupBy::Sort,
        By::Instance => GroupBy::Instance,
        By::Pushed => GroupBy::Pushed,
        By::Used => GroupBy::Used,
    };
    let limit = usize::try_from(asked.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let walk = cache.usage(permit, names::wanted(asked.wanted.unwrap_or_default())?, by).await?;
    let steps = stream::try_unfold(walk, move |mut walk: UsageWalk| async move {
        let step = walk.next().await.map_err(|error| status::failed(error, request))?;
        Ok::<_, Status>(step.map(|step| (answers(step, limit), walk)))
    });
    let answers = steps.flat_map(|answers| {
        let (some, failed) = match answers {
            Ok(answers) => (answers, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        let some = some.into_iter().map(|answer| Ok(wire::UsageAnswer { answer: Some(answer) }));
        stream::iter(some.chain(failed).collect::<Vec<_>>())
    });
    Ok(Box::pin(answers))
}

fn answers(step: UsageStep, limit: usize) -> Vec<Answer> {
    let progress = |names, of_names| vec![Answer::Progress(wire::UsageProgress { names, of_names })];
    match step {
        UsageStep::Names(names) => progress(names, 0),
        UsageStep::Walked { names, of } => progress(names, of),
        UsageStep::Done(usage) => {
            let told = usage.groups.get(..limit).unwrap_or(&usage.groups);
            let some = |groups: &[(Group, HeldByNames)]| {
                Answer::Groups(wire::UsageGroups { groups: groups.iter().map(group).collect() })
            };
            let mut answers: Vec<_> = told.chunks(GROUPS).map(some).collect();
            answers.push(Answer::Totals(totals(&usage, told.len())));
            answers
        }
    }
}

fn group((group, of): &(Group, HeldByNames)) -> wire::UsageGroup {
    let group = match group {
        Group::Called(called) => wire::usage_group::Group::Called(called.to_string()),
        Group::Sort(sort) => wire::usage_group::Group::Sort(names::sort(*sort).into()),
        Group::Within(seconds) => wire::usage_group::Group::WithinSeconds(seconds.unwrap_or(0)),
    };
    wire::UsageGroup { group: Some(group), held: Some(held(*of)) }
}

fn held(held: HeldByNames) -> wire::HeldByNames {
    let HeldByNames { names, kept_names, bytes, unique } = held;
    wire::HeldByNames { names, kept_names, bytes, unique_bytes: unique }
}

fn totals(usage: &Usage, told: usize) -> wire::UsageTotals {
    let untold = usage.groups.get(told..).unwrap_or_default();
    let more = untold.iter().fold(HeldByNames::default(), |sum, (_, held)| HeldByNames {
        names: sum.names + held.names,
        kept_names: sum.kept_names + held.kept_names,
        unique: sum.unique + held.unique,
        // What they share would count several times.
        bytes: 0,
    });
    wire::UsageTotals {
        more: Some(held(more)),
        more_groups: untold.len() as u64,
        rest: Some(held(usage.rest)),
        pending: Some(held(usage.pending)),
        removed: Some(held(usage.removed)),
        shared_bytes: usage.shared,
        unreached_blobs: usage.unreached_blobs,
        unreached_bytes: usage.unreached,
        unread_names: usage.unread_names,
        in_use: Some(in_use(&usage.in_use)),
    }
}

fn in_use(in_use: &InUse) -> wire::InUse {
    let InUse { blobs, garbage, parts, catalog, audit } = *in_use;
    wire::InUse {
        blobs,
        garbage,
        uploads: parts.uploads,
        compacting: parts.compacting,
        snapshots: parts.snapshots,
        ballast: parts.ballast,
        folders: parts.folders,
        catalog,
        audit,
    }
}
