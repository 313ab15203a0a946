//! A backup, and names brought back from one, told of as that goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream;
use millpond_cache::{
    Admin, BackedUp, BackupStep, BackupWanted, Brought, Cache, FromBackup, NameEntry, Permit, Result,
};
use millpond_proto::admin as wire;
use millpond_proto::admin::back_up_answer::Answer;
use millpond_proto::admin::brought::Outcome;
use millpond_proto::admin::{BackUpAnswer, BackUpProgress, BackUpRequest, BackUpTotals};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Pages, check, names};
use crate::caller::RequestId;
use crate::status;

/// How often it says how far it is.
const PROGRESS: Duration = Duration::from_millis(250);
/// Answers that wait for their reader at most; the backup waits then, too.
const WAITING_MAX: usize = 64;

/// Runs it. It ends when nobody listens any more.
pub(super) fn run(
    cache: Arc<Cache>,
    permit: Permit<Admin>,
    request: RequestId,
    asked: BackUpRequest,
) -> ReceiverStream<Result<BackUpAnswer, Status>> {
    let (sender, answers) = mpsc::channel(WAITING_MAX);
    let wanted = BackupWanted { directory: asked.directory.into(), dry_run: asked.dry_run };
    tokio::task::spawn_blocking(move || {
        let send = |answer| sender.blocking_send(Ok(BackUpAnswer { answer: Some(answer) })).is_ok();
        // Nobody may be there to hear it.
        let _ = match cache.back_up(&permit, &wanted, &mut told(send)) {
            Ok(done) => send(Answer::Totals(totals(&done))),
            Err(error) => sender.blocking_send(Err(status::failed(error, request))).is_ok(),
        };
    });
    ReceiverStream::new(answers)
}

/// Tells of steps as they come, and now and then of how far the backup is; false once `send` says that nobody listens.
pub fn told(mut send: impl FnMut(Answer) -> bool + Send) -> impl FnMut(BackupStep) -> bool + Send {
    let (mut progress, mut said) = (BackUpProgress::default(), Instant::now());
    move |step| match step {
        BackupStep::Bad(record) => send(Answer::Bad(check::bad(record))),
        BackupStep::Damaged(sentence) => send(Answer::Damaged(sentence)),
        BackupStep::Again => {
            progress.broken_off += 1;
            send(Answer::Progress(progress))
        }
        BackupStep::Progress { packs, of_packs, bytes, of_bytes } => {
            progress = BackUpProgress { packs, of_packs, bytes, of_bytes, ..progress };
            if said.elapsed() < PROGRESS {
                return true;
            }
            said = Instant::now();
            send(Answer::Progress(progress))
        }
    }
}

/// As it is answered.
pub fn totals(done: &BackedUp) -> BackUpTotals {
    let done = done.clone();
    BackUpTotals {
        volume: done.volume,
        taken: done.taken,
        earlier: done.earlier,
        names: done.names,
        packs: done.packs,
        bytes: done.bytes,
        copied_packs: done.copied_packs,
        copied_bytes: done.copied_bytes,
        removed_packs: done.removed_packs,
        broken_off: done.broken_off,
        bad: done.bad,
        damaged: done.damaged,
    }
}

/// Answers BringFromBackup. What is back is, also if nobody hears it.
pub(super) async fn bring(
    cache: &Cache,
    permit: &Permit<Admin>,
    request: RequestId,
    asked: wire::BringFromBackupRequest,
) -> Result<Pages<wire::BroughtPage>> {
    let wire::BringFromBackupRequest { directory, wanted, replace, dry_run } = asked;
    let names = names::wanted(wanted.unwrap_or_default())?;
    let from = FromBackup { directory: directory.into(), names, replace, dry_run };
    let bringing = cache.bring_from_backup(permit, from).await?;
    Ok(Box::pin(stream::try_unfold(bringing, move |mut bringing| async move {
        let page = bringing.next_page().await.map_err(|error| status::failed(error, request))?;
        let one = |(entry, brought): (NameEntry, Brought)| {
            let named = wire::Brought { name: Some(names::entry(entry)), ..wire::Brought::default() };
            match brought {
                Brought::Back { blobs, bytes } => {
                    wire::Brought { outcome: Outcome::Back.into(), blobs, bytes, ..named }
                }
                Brought::Same => wire::Brought { outcome: Outcome::Same.into(), ..named },
                Brought::Other => wire::Brought { outcome: Outcome::Other.into(), ..named },
                Brought::Refused(error) => {
                    let refused = status::failed(error, request).message().to_owned();
                    wire::Brought { outcome: Outcome::Refused.into(), refused, ..named }
                }
            }
        };
        let page = page.map(|page| wire::BroughtPage { names: page.into_iter().map(one).collect() });
        Ok::<_, Status>(page.map(|page| (page, bringing)))
    })))
}
