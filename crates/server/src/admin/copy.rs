//! Taking over names of another server that runs, and comparing names with it, told of as it goes.
//!
//! What the other server is known by and shown comes with the question, and is read by whoever asks: files of this machine would
//! be read with the rights of this server, and one of them could be sent anywhere as a token.

use std::sync::Arc;

use millpond_cache::{
    Admin, Cache, CompareStep, CompareWanted, Compared, CopyWanted, Difference, Error, Permit, Result,
};
use millpond_proto::admin as wire;
use millpond_proto::admin::compare_answer::Answer;
use millpond_proto::admin::difference::Kind;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{import, steps};
use crate::caller::RequestId;
use crate::upstream::{Remote, Wanted};

/// Takes over.
pub(super) fn copy(
    cache: Arc<Cache>,
    permit: Permit<Admin>,
    request: RequestId,
    asked: wire::CopyRequest,
) -> Result<ReceiverStream<std::result::Result<wire::ImportAnswer, Status>>> {
    let instance = cache.instance(&asked.instance)?;
    let from = other(asked.from)?;
    let wire::CopyRequest { names, with_dependencies: dependencies, replace, dry_run, .. } = asked;
    let wanted = CopyWanted { names, dependencies, replace, dry_run };
    Ok(steps::told(request, import::answer, import::last, move |steps| async move {
        let upstream = Arc::new(Remote::connect(&from).await?);
        cache.copy(&permit, &instance, wanted, upstream, steps).await
    }))
}

/// Compares.
pub(super) fn compare(
    cache: Arc<Cache>,
    permit: Permit<Admin>,
    request: RequestId,
    asked: wire::CompareRequest,
) -> Result<ReceiverStream<std::result::Result<wire::CompareAnswer, Status>>> {
    let instance = cache.instance(&asked.instance)?;
    let with = other(asked.with)?;
    let wanted = CompareWanted { names: asked.names, dependencies: asked.with_dependencies };
    Ok(steps::told(request, answer, last, move |steps| async move {
        let upstream = Arc::new(Remote::connect(&with).await?);
        cache.compare(&permit, &instance, wanted, upstream, steps).await
    }))
}

fn other(asked: Option<wire::OtherServer>) -> Result<Wanted> {
    let asked = asked.ok_or_else(|| Error::Invalid("the other server is missing: give its URL".into()))?;
    Ok(Wanted {
        url: asked.url,
        instance: asked.instance,
        ca_pem: asked.ca_pem,
        client_pem: (asked.certificate_pem, asked.key_pem),
        token: asked.token,
        bytes_a_second: asked.bytes_a_second,
    })
}

fn answer(step: CompareStep) -> wire::CompareAnswer {
    of(match step {
        CompareStep::Progress(done) => Answer::Progress(totals(&done)),
        CompareStep::Differs(name, difference) => {
            let (kind, what) = match difference {
                Difference::OnlyHere => (Kind::OnlyHere, String::new()),
                Difference::OnlyThere => (Kind::OnlyThere, String::new()),
                Difference::Nowhere => (Kind::Nowhere, String::new()),
                Difference::OtherValue => (Kind::OtherValue, String::new()),
                Difference::LacksHere(which) => (Kind::LacksHere, which),
                Difference::LacksThere(which) => (Kind::LacksThere, which),
                Difference::Unknown(why) => (Kind::Unknown, why),
            };
            Answer::Difference(wire::Difference { name, kind: kind.into(), what })
        }
    })
}

fn last(done: Compared) -> wire::CompareAnswer {
    of(Answer::Totals(totals(&done)))
}

fn of(answer: Answer) -> wire::CompareAnswer {
    wire::CompareAnswer { answer: Some(answer) }
}

fn totals(done: &Compared) -> wire::CompareTotals {
    let Compared { same, only_here, only_there, nowhere, other_value, lacks_here, lacks_there, unknown } =
        *done;
    wire::CompareTotals {
        same,
        only_here,
        only_there,
        nowhere,
        other_value,
        lacks_here,
        lacks_there,
        unknown,
    }
}
