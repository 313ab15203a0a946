//! Taking over another server's directory, told of as it goes.

use std::sync::Arc;

use millpond_cache::{Admin, Cache, Error, ImportKind, ImportStep, ImportWanted, Imported, Permit, Result};
use millpond_proto::admin::import_answer::Answer;
use millpond_proto::admin::import_request::Kind;
use millpond_proto::admin::{BrokenName, ImportAnswer, ImportRequest, ImportTotals};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::steps;
use crate::caller::RequestId;

/// Runs it. It ends when nobody listens any more.
pub(super) fn run(
    cache: Arc<Cache>,
    permit: Permit<Admin>,
    request: RequestId,
    asked: ImportRequest,
) -> Result<ReceiverStream<Result<ImportAnswer, Status>>> {
    let kind = match asked.kind() {
        Kind::Bst1 => ImportKind::Bst1,
        Kind::Casd => ImportKind::Casd,
        Kind::Unspecified => return Err(Error::Invalid("whose directory it is: bst1 or casd".into())),
    };
    let instance = cache.instance(&asked.instance)?;
    let wanted = ImportWanted { kind, directory: asked.directory.into(), dry_run: asked.dry_run };
    Ok(steps::told(request, answer, last, move |steps| async move {
        cache.import(&permit, &instance, wanted, steps).await
    }))
}

fn of(answer: Answer) -> ImportAnswer {
    ImportAnswer { answer: Some(answer) }
}

/// What it came to.
pub(super) fn last(done: Imported) -> ImportAnswer {
    of(Answer::Totals(totals(&done)))
}

/// How far it is.
pub(super) fn answer(step: ImportStep) -> ImportAnswer {
    of(match step {
        ImportStep::Broken { name, why } => Answer::Broken(BrokenName { name, why }),
        ImportStep::Progress(done) => Answer::Progress(totals(&done)),
    })
}

fn totals(done: &Imported) -> ImportTotals {
    let Imported { of_names, names, present, kept, broken, blobs, bytes } = *done;
    ImportTotals { of_names, names, present, kept, broken, blobs, bytes }
}
