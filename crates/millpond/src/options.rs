//! What the settings mean to the cache and to the server: at the start, and when the configuration is read anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millpond_cache::{AuditKeep, CacheOptions, ReplacementRule};
use millpond_server::{Options, Quota};

use crate::config::{self, Compression, Given, Instance, Keep, Retention, Scrub, Settings};
use crate::memory;
use crate::open_files;
use crate::span::Span;

/// What the cache is told.
pub(crate) fn of_cache(settings: &Settings) -> CacheOptions {
    CacheOptions {
        data: settings.data.value.clone(),
        max_size: settings.max_size.as_ref().map(|limit| limit.value.max_size()),
        keep_free: settings.keep_free.as_ref().map(|size| size.value.0),
        max_blob_size: settings.max_cas_blob_size.as_ref().map(|size| size.value.0),
        lease: seconds(settings.lease.value),
        look_up_time: seconds(settings.look_up_time.value),
        look_ups_waiting: usize::try_from(settings.look_ups_waiting.value).unwrap_or(usize::MAX),
        limits: settings.requests.limits(),
        upgrade: settings.upgrade.value,
        compression: match settings.compression.value {
            Compression::Off => millpond_cache::Compression::Off,
            Compression::AtOnce => millpond_cache::Compression::AtOnce,
            Compression::Cold => millpond_cache::Compression::Cold(seconds(settings.compress_after.value)),
        },
        audit: match &settings.audit {
            None => AuditKeep::Share,
            Some(Given { value: Keep::Off, .. }) => AuditKeep::Off,
            Some(Given { value: Keep::Size(size), .. }) => AuditKeep::Bytes(size.0),
        },
        replacement: (settings.replacement.iter())
            .map(|rule| ReplacementRule {
                names: rule.names.value.0.clone(),
                replacement: rule.by.value.0,
                otherwise: rule.otherwise.value.0,
            })
            .collect(),
        retention: settings.retention.iter().map(Retention::rule).collect(),
        instances: settings.instances.iter().map(Instance::options).collect(),
        scrub: match settings.scrub.value {
            Scrub::Off => None,
            Scrub::Each(span) => Some(seconds(span)),
        },
        ..CacheOptions::default()
    }
}

/// What the server is told, but for who is asked to change things while it runs.
pub(crate) fn of_server(settings: &Settings) -> Options {
    let request_memory =
        settings.request_memory.as_ref().map_or_else(memory::for_requests, |size| size.value.0);
    let wanted = usize::try_from(settings.connections.value).unwrap_or(usize::MAX);
    let per_address = settings.connections_per_address.as_ref();
    Options {
        connections_max: open_files::connections_max(wanted),
        connections_per_address: per_address
            .map_or(usize::MAX, |count| usize::try_from(count.value).unwrap_or(usize::MAX)),
        streams_max: settings.streams.value,
        unread: seconds(settings.unread.value),
        idle: seconds(settings.idle.value),
        drain: drain(settings),
        request_memory,
        data: absolute(&settings.data.value).display().to_string(),
        read_only: settings.read_only.value,
        quotas: settings.quotas.iter().map(quota).collect(),
        ..settings.requests.options()
    }
}

/// For how long calls under way may go on when the server is to end.
pub(crate) fn drain(settings: &Settings) -> Duration {
    seconds(settings.drain.value)
}

fn seconds(span: Span) -> Duration {
    Duration::from_secs(span.seconds.into())
}

fn quota(quota: &config::Quota) -> Quota {
    Quota {
        identities: quota.identities.value.0.clone(),
        requests: quota.requests_per_minute.as_ref().map(|count| count.value),
        upload_bytes: quota.upload_per_day.as_ref().map(|size| size.value.0),
    }
}

/// The data directory wherever this was started.
pub(crate) fn absolute(data: &Path) -> PathBuf {
    data.canonicalize().unwrap_or_else(|_| data.to_owned())
}
