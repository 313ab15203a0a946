//! A check of everything, told of as it goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_cache::{Admin, BadRecord, Cache, Checked, Digest, Finding, Permit};
use millpond_proto::admin::check_answer::Answer;
use millpond_proto::admin::{AffectedName, BadRecord as Bad, CheckAnswer, CheckProgress, CheckTotals};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::caller::RequestId;
use crate::status;

/// How often it says how far it is.
const PROGRESS: Duration = Duration::from_millis(250);
/// Answers that wait for their reader at most; the check waits then, too.
const WAITING_MAX: usize = 64;

/// Runs it. It ends when nobody listens any more.
pub(super) fn run(
    cache: Arc<Cache>,
    permit: Permit<Admin>,
    request: RequestId,
) -> ReceiverStream<Result<CheckAnswer, Status>> {
    let (sender, answers) = mpsc::channel(WAITING_MAX);
    tokio::task::spawn_blocking(move || {
        let send = |answer| sender.blocking_send(Ok(CheckAnswer { answer: Some(answer) })).is_ok();
        // Nobody may be there to hear it.
        let _ = match cache.check(&permit, &mut told(send)) {
            Ok(checked) => send(Answer::Totals(totals(&checked))),
            Err(error) => sender.blocking_send(Err(status::failed(error, request))).is_ok(),
        };
    });
    ReceiverStream::new(answers)
}

/// Tells of findings as they come, and now and then of how far the check is; false once `send` says that nobody listens.
pub fn told(mut send: impl FnMut(Answer) -> bool + Send) -> impl FnMut(Finding) -> bool + Send {
    let (mut progress, mut said) = (CheckProgress::default(), Instant::now());
    move |finding| match to_wire(finding, &mut progress) {
        Some(answer) => send(answer),
        None if said.elapsed() < PROGRESS => true,
        None => {
            said = Instant::now();
            send(Answer::Progress(progress))
        }
    }
}

/// What is told at once; `None` if it only says how far the check is.
fn to_wire(finding: Finding, progress: &mut CheckProgress) -> Option<Answer> {
    match finding {
        Finding::Read { bytes, of } => {
            (progress.bytes, progress.of_bytes) = (bytes, of);
            None
        }
        Finding::Names(names) => {
            progress.names = names;
            None
        }
        Finding::Damaged(sentence) => Some(Answer::Damaged(sentence)),
        Finding::Bad(record) => Some(Answer::Bad(bad(record))),
        Finding::Affected { instance, name, missing } => {
            Some(Answer::Affected(AffectedName { instance, name, missing: written(missing.as_ref()) }))
        }
    }
}

/// A bad record.
pub(super) fn bad(BadRecord { digest, place, what }: BadRecord) -> Bad {
    let offset = u64::from(place.offset) * 8;
    Bad { digest: written(digest.as_ref()), pack: place.pack, offset, what }
}

fn written(digest: Option<&Digest>) -> String {
    digest.map(Digest::to_string).unwrap_or_default()
}

/// As it is answered.
pub fn totals(checked: &Checked) -> CheckTotals {
    let Checked { blobs, bytes, names, bad, affected, damaged } = *checked;
    CheckTotals { blobs, bytes, names, bad, affected, damaged }
}
