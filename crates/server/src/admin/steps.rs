//! Answers of what takes long: how far it is, as it goes, and at last what it came to.

use millpond_cache::Result;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::caller::RequestId;
use crate::status;

/// Answers that wait for their reader at most; what they tell of waits then, too.
const WAITING_MAX: usize = 64;

/// Runs it, and answers with each of its steps. It ends when nobody listens any more.
pub(super) fn told<Step, Done, Answer, Run>(
    request: RequestId,
    step: fn(Step) -> Answer,
    last: fn(Done) -> Answer,
    run: impl FnOnce(mpsc::Sender<Step>) -> Run,
) -> ReceiverStream<std::result::Result<Answer, Status>>
where
    Step: Send + 'static,
    Done: Send + 'static,
    Answer: Send + 'static,
    Run: Future<Output = Result<Done>> + Send + 'static,
{
    let (sender, answers) = mpsc::channel(WAITING_MAX);
    let (steps, mut told) = mpsc::channel(WAITING_MAX);
    let run = run(steps);
    tokio::spawn(async move {
        let to_client = sender.clone();
        let forward = async move {
            while let Some(taken) = told.recv().await {
                if to_client.send(Ok(step(taken))).await.is_err() {
                    return;
                }
            }
        };
        let (done, ()) = tokio::join!(run, forward);
        let done = done.map(last).map_err(|error| status::failed(error, request));
        // Nobody may be there to hear it.
        let _ = sender.send(done).await;
    });
    ReceiverStream::new(answers)
}
