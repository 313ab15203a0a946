//! Health: whether this server serves: not when it is about to end, nor while its disk does not answer. A watch ends once
//! it was told so, so that nobody has to wait for it; and after the time for which a connection may ask nothing, so that none is kept by having asked once.
//! Clients that go on to look ask again.

use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthService, WatchStream};

type Answer = Result<HealthCheckResponse, Status>;

/// The library's service, with watches that end.
pub(super) struct UntilNotServing {
    pub(super) health: HealthService,
    /// The longest watch.
    pub(super) longest: Duration,
}

#[async_trait]
impl Health for UntilNotServing {
    type WatchStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.health.check(request).await
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let answers = self.health.watch(request).await?.into_inner();
        let end = Instant::now() + self.longest;
        Ok(Response::new(Box::pin(until_not_serving(answers, end))))
    }
}

fn until_not_serving(answers: WatchStream, end: Instant) -> impl Stream<Item = Answer> {
    stream::unfold(Some(answers), move |answers| async move {
        let mut answers = answers?;
        let answer = timeout_at(end, answers.next()).await.ok()??;
        let last = matches!(&answer, Ok(answer) if answer.status() == ServingStatus::NotServing);
        Some((answer, (!last).then_some(answers)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_health::server::HealthReporter;

    #[tokio::test(start_paused = true)]
    async fn watch_ends_after_its_time_and_whoever_asks_again_is_told() {
        let longest = Duration::from_secs(1800);
        let health = HealthService::from_health_reporter(HealthReporter::new());
        let service = UntilNotServing { health, longest };
        for _ in 0..2 {
            let start = Instant::now();
            let request = Request::new(HealthCheckRequest::default());
            let answers = service.watch(request).await.unwrap().into_inner();
            let answers: Vec<_> = answers.map(|answer| answer.unwrap().status()).collect().await;
            assert_eq!((answers, start.elapsed()), (vec![ServingStatus::Serving], longest));
        }
    }
}
