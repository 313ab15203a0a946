//! The gRPC services: each parses, asks the domain, answers.

mod action_cache;
mod answer;
mod asset_fetch;
mod asset_push;
mod bytestream;
mod bytestream_read;
mod bytestream_write;
mod capabilities;
mod cas;
pub(crate) mod digests;
mod dropped;
mod health;
mod messages;
mod reference_storage;
mod write_request;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use millpond_cache::Cache;
use millpond_proto::admin::admin_server::AdminServer;
use millpond_proto::asset::fetch_server::FetchServer;
use millpond_proto::asset::push_server::PushServer;
use millpond_proto::buildstream::reference_storage_server::ReferenceStorageServer;
use millpond_proto::bytestream::byte_stream_server::ByteStreamServer;
use millpond_proto::reapi::action_cache_server::ActionCacheServer;
use millpond_proto::reapi::capabilities_server::CapabilitiesServer;
use millpond_proto::reapi::content_addressable_storage_server::ContentAddressableStorageServer;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

pub(crate) use self::dropped::router as dropping_router;
use crate::admin::Admin;
use crate::{layers, status};

/// How the disk is is looked at so often.
const DISK_PERIOD: Duration = Duration::from_millis(500);
/// Services whose health can be asked for; the empty one is the whole server.
const HEALTHY: [&str; 8] = [
    "",
    <ActionCacheServer<Service> as NamedService>::NAME,
    <ByteStreamServer<Service> as NamedService>::NAME,
    <CapabilitiesServer<Service> as NamedService>::NAME,
    <ContentAddressableStorageServer<Service> as NamedService>::NAME,
    <FetchServer<Service> as NamedService>::NAME,
    <PushServer<Service> as NamedService>::NAME,
    <ReferenceStorageServer<Service> as NamedService>::NAME,
];

/// What implements all services, one file each.
#[derive(Clone, Debug)]
struct Service {
    cache: Arc<Cache>,
}

/// Every service on one router, and the way to change what the health service says, which is watched for `longest` at the
/// most.
pub(crate) fn router(cache: &Arc<Cache>, longest: Duration) -> (Router, HealthReporter) {
    let service = Arc::new(Service { cache: Arc::clone(cache) });
    /// What comes in is bounded by `layers`, answers where they are made.
    macro_rules! server {
        ($server:ident) => {
            $server::from_arc(Arc::clone(&service))
                .max_decoding_message_size(usize::MAX)
                .max_encoding_message_size(usize::MAX)
        };
    }
    let reporter = HealthReporter::new();
    let health = HealthService::from_health_reporter(reporter.clone());
    let health = health::UntilNotServing { health, longest };
    let mut routes = Routes::builder();
    routes
        .add_service(server!(ActionCacheServer))
        .add_service(server!(CapabilitiesServer))
        .add_service(server!(ContentAddressableStorageServer))
        .add_service(server!(FetchServer))
        .add_service(server!(PushServer))
        .add_service(server!(ReferenceStorageServer))
        .add_service(HealthServer::new(health));
    add_reflection(&mut routes);
    let routes = routes.routes().into_axum_router().merge(bytestream::routes(Arc::clone(cache)));
    (routes.fallback(nothing_here).with_state(()), reporter)
}

/// The service of administration, for where that is allowed.
pub(crate) fn admin_routes(admin: &Arc<Admin>) -> Router {
    let path = format!("/{}/{{*method}}", <AdminServer<Admin> as NamedService>::NAME);
    Router::new().route_service(&path, AdminServer::from_arc(Arc::clone(admin)))
}

/// What the administration socket serves: that, and whether the server is well.
pub(crate) fn admin_router(admin: &Arc<Admin>, health: &HealthReporter, longest: Duration) -> Router {
    let health = HealthService::from_health_reporter(health.clone());
    let health = health::UntilNotServing { health, longest };
    let routes = Routes::new(HealthServer::new(health)).into_axum_router();
    routes.merge(admin_routes(admin)).fallback(nothing_here)
}

/// Both versions of reflection: most tools still ask for the older one.
fn add_reflection(routes: &mut tonic::service::RoutesBuilder) {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(millpond_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            routes.add_service(v1).add_service(v1alpha);
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "no reflection"),
    }
}

/// Says whether every service is being served: not while the disk does not answer. Goes on for ever.
pub(crate) async fn say_how_the_disk_is(health: &HealthReporter, cache: &Cache) {
    let mut hung = true;
    loop {
        let hangs = cache.disk_hangs_for();
        if hangs.is_some() != hung {
            hung = hangs.is_some();
            if let Some(hangs) = hangs {
                tracing::error!("{}", status::disk_hangs(hangs));
                say_not_serving(health).await;
            } else {
                say_serving(health).await;
            }
        }
        tokio::time::sleep(DISK_PERIOD).await;
    }
}

/// Says that every service is being served.
async fn say_serving(health: &HealthReporter) {
    for name in HEALTHY {
        health.set_service_status(name, ServingStatus::Serving).await;
    }
}

/// Says that this server is about to end, or that its disk hangs.
pub(crate) async fn say_not_serving(health: &HealthReporter) {
    for name in HEALTHY {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
}

/// A path that nobody serves: in the form that whoever asks can read.
async fn nothing_here(request: Request) -> Response<Body> {
    if layers::is_grpc(request.headers()) {
        return status::unimplemented("this server does not offer that service").into_http();
    }
    (StatusCode::NOT_FOUND, "This address speaks gRPC to artifact cache clients.\n").into_response()
}
