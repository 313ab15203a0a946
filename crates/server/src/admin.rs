//! Administration: what the operator asks of a server that runs, and the commands of `millpond` with him.
//!
//! **Invariant:** no method answers without a [`Permit`](millpond_cache::Permit) to administer. The service is on the
//! administration socket and on listeners that allow administration, and nowhere else.

mod about;
pub(crate) mod check;
mod retention;

use std::sync::Arc;

use millpond_cache::{Cache, Error};
use millpond_proto::admin::admin_server;
use millpond_proto::admin::{
    CheckAnswer, CheckRequest, GetStatusRequest, PlanRetentionRequest, RelevelRequest, Releveled,
    RetentionPlan, ServerStatus,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

pub(crate) use self::about::{About, Listening};
use crate::caller::Caller;
use crate::status;

/// What implements the service, one file for each kind of question.
#[derive(Debug)]
pub(crate) struct Admin {
    cache: Arc<Cache>,
    about: About,
}

impl Admin {
    /// Of a server with this cache.
    pub(crate) fn new(cache: Arc<Cache>, about: About) -> Self {
        Self { cache, about }
    }
}

#[async_trait]
impl admin_server::Admin for Admin {
    async fn get_status(&self, request: Request<GetStatusRequest>) -> Result<Response<ServerStatus>, Status> {
        let caller = Caller::of(request.extensions());
        let permit = caller.admin(&self.cache, "").map_err(|error| status::failed(error, caller.request))?;
        let cache = Arc::clone(&self.cache);
        // Figures may ask the disk, which may take its time.
        let figures = tokio::task::spawn_blocking(move || cache.status(&permit)).await;
        let figures = figures.map_err(|error| status::failed(Error::internal(error), caller.request))?;
        Ok(Response::new(self.about.status(figures)))
    }

    async fn plan_retention(
        &self,
        request: Request<PlanRetentionRequest>,
    ) -> Result<Response<RetentionPlan>, Status> {
        let caller = Caller::of(request.extensions());
        let failed = |error| status::failed(error, caller.request);
        let permit = caller.admin(&self.cache, "").map_err(failed)?;
        let report = self.cache.retention_plan(&permit).await.map_err(failed)?;
        Ok(Response::new(retention::plan(report)))
    }

    async fn relevel(&self, request: Request<RelevelRequest>) -> Result<Response<Releveled>, Status> {
        let caller = Caller::of(request.extensions());
        let failed = |error| status::failed(error, caller.request);
        let permit = caller.admin(&self.cache, "").map_err(failed)?;
        let releveled = self.cache.relevel(&permit).await.map_err(failed)?;
        Ok(Response::new(retention::releveled(releveled)))
    }

    type CheckStream = ReceiverStream<Result<CheckAnswer, Status>>;

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<Self::CheckStream>, Status> {
        let caller = Caller::of(request.extensions());
        let permit = caller.admin(&self.cache, "").map_err(|error| status::failed(error, caller.request))?;
        Ok(Response::new(check::run(Arc::clone(&self.cache), permit, caller.request)))
    }
}
