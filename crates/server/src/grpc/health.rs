//! Health: whether this server serves. A watch ends once it was told that the server is about to end, so that nobody
//! has to wait for it.

use std::pin::Pin;

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthService, WatchStream};

type Answer = Result<HealthCheckResponse, Status>;

/// The library's service, with watches that end.
pub(super) struct UntilNotServing(pub(super) HealthService);

#[async_trait]
impl Health for UntilNotServing {
    type WatchStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.0.check(request).await
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let answers = self.0.watch(request).await?.into_inner();
        Ok(Response::new(Box::pin(until_not_serving(answers))))
    }
}

fn until_not_serving(answers: WatchStream) -> impl Stream<Item = Answer> {
    stream::unfold(Some(answers), |answers| async move {
        let mut answers = answers?;
        let answer = answers.next().await?;
        let last = matches!(&answer, Ok(answer) if answer.status() == ServingStatus::NotServing);
        Some((answer, (!last).then_some(answers)))
    })
}
