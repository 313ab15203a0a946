//! Taking over another server's directory, told of as it goes.

use std::sync::Arc;

use millpond_cache::{Admin, Cache, Error, ImportKind, ImportStep, ImportWanted, Imported, Permit, Result};
use millpond_proto::admin::import_answer::Answer;
use millpond_proto::admin::import_request::Kind;
use millpond_proto::admin::{BrokenName, ImportAnswer, ImportRequest, ImportTotals};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::caller::RequestId;
use crate::status;

/// Answers that wait for their reader at most; the import waits then, too.
const WAITING_MAX: usize = 64;

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
    let (sender, answers) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let (steps, told) = mpsc::channel(WAITING_MAX);
        let to_client = sender.clone();
        let forward = async move {
            let mut told = told;
            while let Some(step) = told.recv().await {
                if to_client.send(Ok(answer(step))).await.is_err() {
                    return;
                }
            }
        };
        let (done, ()) = tokio::join!(cache.import(&permit, &instance, wanted, steps), forward);
        let last = done.map_err(|error| status::failed(error, request));
        // Nobody may be there to hear it.
        let _ = sender.send(last.map(|done| of(Answer::Totals(totals(&done))))).await;
    });
    Ok(ReceiverStream::new(answers))
}

fn of(answer: Answer) -> ImportAnswer {
    ImportAnswer { answer: Some(answer) }
}

fn answer(step: ImportStep) -> ImportAnswer {
    of(match step {
        ImportStep::Broken { name, why } => Answer::Broken(BrokenName { name, why }),
        ImportStep::Progress(done) => Answer::Progress(totals(&done)),
    })
}

fn totals(done: &Imported) -> ImportTotals {
    let Imported { of_names, names, present, kept, broken, blobs, bytes } = *done;
    ImportTotals { of_names, names, present, kept, broken, blobs, bytes }
}
