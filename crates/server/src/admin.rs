//! Administration: what the operator asks of a server that runs, and the commands of `millpond` with him.
//!
//! **Invariant:** no method answers without a [`Permit`] to administer. The service is on the
//! administration socket and on listeners that allow administration, and nowhere else.

mod about;
pub(crate) mod backup;
pub(crate) mod check;
mod copy;
mod import;
pub(crate) mod log;
mod look;
mod names;
mod pins;
pub(crate) mod reload;
mod remove;
mod retention;
mod steps;
mod usage;
mod waterline;

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use millpond_cache::{Cache, Deed, Error, Permit};
use millpond_proto::admin::admin_server;
use millpond_proto::admin::{
    BackUpAnswer, BackUpRequest, BlobPart, BringFromBackupRequest, BroughtPage, CheckAnswer, CheckRequest,
    CompareAnswer, CompareRequest, CopyRequest, DirectoryPage, GetStatusRequest, GetUsageRequest,
    GetWaterlineRequest, ImportAnswer, ImportRequest, ListDirectoryRequest, ListNamesRequest,
    ListPinsRequest, LogFilter, NameDetailsPage, NamesPage, PinNamesAnswer, PinNamesRequest, Pins,
    PlanRetentionRequest, ReadBlobRequest, RelevelRequest, Releveled, ReloadConfigurationRequest,
    ReloadedConfiguration, RemoveNamesRequest, RestoreNamesRequest, RestoredPage, RetentionPlan,
    ServerStatus, SetLogFilterRequest, ShowNamesRequest, UnpinNamesRequest, UsageAnswer, Waterline,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

pub(crate) use self::about::{About, Listening};
use crate::caller::Caller;
use crate::status;

/// An answer in parts.
type Pages<Page> = Pin<Box<dyn Stream<Item = Result<Page, Status>> + Send>>;

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

    /// Who asks, and that they may.
    fn permit<T>(&self, request: &Request<T>) -> Result<(Permit<millpond_cache::Admin>, Caller), Status> {
        let caller = Caller::of(request.extensions());
        let permit = caller.admin(&self.cache, "").map_err(|error| status::failed(error, caller.request))?;
        Ok((permit, caller))
    }
}

#[async_trait]
impl admin_server::Admin for Admin {
    type ListNamesStream = Pages<NamesPage>;
    type ShowNamesStream = Pages<NameDetailsPage>;
    type GetUsageStream = Pages<UsageAnswer>;
    type ReadBlobStream = Pages<BlobPart>;
    type ListDirectoryStream = Pages<DirectoryPage>;
    type RemoveNamesStream = Pages<NamesPage>;
    type RestoreNamesStream = Pages<RestoredPage>;
    type BringFromBackupStream = Pages<BroughtPage>;

    async fn get_status(&self, request: Request<GetStatusRequest>) -> Result<Response<ServerStatus>, Status> {
        let (permit, caller) = self.permit(&request)?;
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
        let (permit, caller) = self.permit(&request)?;
        let failed = |error| status::failed(error, caller.request);
        let report = self.cache.retention_plan(&permit).await.map_err(failed)?;
        Ok(Response::new(retention::plan(report)))
    }

    async fn relevel(&self, request: Request<RelevelRequest>) -> Result<Response<Releveled>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let failed = |error| status::failed(error, caller.request);
        let releveled = self.cache.relevel(&permit).await.map_err(failed)?;
        Ok(Response::new(retention::releveled(releveled)))
    }

    type CheckStream = ReceiverStream<Result<CheckAnswer, Status>>;

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<Self::CheckStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        Ok(Response::new(check::run(Arc::clone(&self.cache), permit, caller.request)))
    }

    type ImportStream = ReceiverStream<Result<ImportAnswer, Status>>;

    async fn import(&self, request: Request<ImportRequest>) -> Result<Response<Self::ImportStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = import::run(Arc::clone(&self.cache), permit, caller.request, request.into_inner());
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    type CopyStream = ReceiverStream<Result<ImportAnswer, Status>>;

    async fn copy(&self, request: Request<CopyRequest>) -> Result<Response<Self::CopyStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = copy::copy(Arc::clone(&self.cache), permit, caller.request, request.into_inner());
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    type CompareStream = ReceiverStream<Result<CompareAnswer, Status>>;

    async fn compare(
        &self,
        request: Request<CompareRequest>,
    ) -> Result<Response<Self::CompareStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = copy::compare(Arc::clone(&self.cache), permit, caller.request, request.into_inner());
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    type BackUpStream = ReceiverStream<Result<BackUpAnswer, Status>>;

    async fn back_up(&self, request: Request<BackUpRequest>) -> Result<Response<Self::BackUpStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let cache = Arc::clone(&self.cache);
        Ok(Response::new(backup::run(cache, permit, caller.request, request.into_inner())))
    }

    async fn get_waterline(
        &self,
        request: Request<GetWaterlineRequest>,
    ) -> Result<Response<Waterline>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let cache = Arc::clone(&self.cache);
        let horizon = tokio::task::spawn_blocking(move || cache.horizon(&permit)).await;
        let horizon = horizon.map_err(Error::internal).and_then(|horizon| horizon);
        let horizon = horizon.map_err(|error| status::failed(error, caller.request))?;
        Ok(Response::new(waterline::waterline(&horizon)))
    }

    async fn get_usage(
        &self,
        request: Request<GetUsageRequest>,
    ) -> Result<Response<Self::GetUsageStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = usage::usage(&self.cache, &permit, caller.request, request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    async fn read_blob(
        &self,
        request: Request<ReadBlobRequest>,
    ) -> Result<Response<Self::ReadBlobStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = look::read(&self.cache, &permit, caller.request, request.get_ref()).await;
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    async fn list_directory(
        &self,
        request: Request<ListDirectoryRequest>,
    ) -> Result<Response<Self::ListDirectoryStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = look::list(&self.cache, &permit, caller.request, request.get_ref()).await;
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    async fn list_names(
        &self,
        request: Request<ListNamesRequest>,
    ) -> Result<Response<Self::ListNamesStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = names::list(&self.cache, &permit, caller.request, request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    async fn remove_names(
        &self,
        request: Request<RemoveNamesRequest>,
    ) -> Result<Response<Self::RemoveNamesStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = remove::remove(&self.cache, &permit, caller.request, request.into_inner());
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    async fn restore_names(
        &self,
        request: Request<RestoreNamesRequest>,
    ) -> Result<Response<Self::RestoreNamesStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = remove::restore(&self.cache, &permit, caller.request, request.into_inner());
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    async fn bring_from_backup(
        &self,
        request: Request<BringFromBackupRequest>,
    ) -> Result<Response<Self::BringFromBackupStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = backup::bring(&self.cache, &permit, caller.request, request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    async fn pin_names(&self, request: Request<PinNamesRequest>) -> Result<Response<PinNamesAnswer>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let failed = |error| status::failed(error, caller.request);
        let wanted = pins::wanted(request.into_inner()).map_err(failed)?;
        let pinned = self.cache.pin_names(&permit, wanted).await.map_err(failed)?;
        Ok(Response::new(pins::pinned(pinned)))
    }

    async fn unpin_names(&self, request: Request<UnpinNamesRequest>) -> Result<Response<Pins>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let failed = |error| status::failed(error, caller.request);
        let wanted = pins::wanted_out(request.into_inner()).map_err(failed)?;
        let gone = self.cache.unpin_names(&permit, wanted).await.map_err(failed)?;
        Ok(Response::new(pins::pins(gone)))
    }

    async fn list_pins(&self, request: Request<ListPinsRequest>) -> Result<Response<Pins>, Status> {
        let (permit, _) = self.permit(&request)?;
        Ok(Response::new(pins::pins(self.cache.pins(&permit))))
    }

    async fn set_log_filter(
        &self,
        request: Request<SetLogFilterRequest>,
    ) -> Result<Response<LogFilter>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let failed = |error| status::failed(error, caller.request);
        let set = self.about.log.set(&caller, request.get_ref()).map_err(failed)?;
        if !request.get_ref().filter.is_empty() {
            let text = format!("{}, before: {}", set.filter, set.before);
            let noted = self.cache.note_setting(Deed::LogChanged, Some(permit.client()), text).await;
            noted.map_err(failed)?;
        }
        Ok(Response::new(set))
    }

    async fn reload_configuration(
        &self,
        request: Request<ReloadConfigurationRequest>,
    ) -> Result<Response<ReloadedConfiguration>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = self.about.reload.ask(permit.client(), request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }

    async fn show_names(
        &self,
        request: Request<ShowNamesRequest>,
    ) -> Result<Response<Self::ShowNamesStream>, Status> {
        let (permit, caller) = self.permit(&request)?;
        let answer = names::show(&self.cache, &permit, caller.request, request.into_inner());
        answer.map(Response::new).map_err(|error| status::failed(error, caller.request))
    }
}
