//! `millpond status`: what a server that runs is, and how it is.

use std::fmt::Write;

use millpond_proto::admin::{GetStatusRequest, Listener, ServerStatus};
use serde_json::{Value, json};

use super::ask::AskFlags;
use super::moment;
use super::{print, print_json};
use crate::exit::{Code, Failure};
use crate::greeting::share;
use crate::size::Size;
use crate::span::Span;

/// A disk that has not answered for so long is worth a line.
const DISK_SILENT_MS: u64 = 2000;

/// Asks, and prints the answer. A server that takes nothing in is a finding.
pub(super) fn run(flags: AskFlags) -> Result<(), Failure> {
    let status =
        flags.ask(async |mut server| Ok(server.get_status(GetStatusRequest {}).await?.into_inner()))?;
    if flags.json {
        print_json(&to_json(&status))?;
    } else {
        print(&text(&status))?;
    }
    if status.poisoned.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Code::Findings,
        format!("the server takes nothing in since a fault of its disk: {}", status.poisoned),
        "look after the disk, then restart the server; pulls go on meanwhile",
    ))
}

fn text(status: &ServerStatus) -> String {
    let volume = status.volume.unwrap_or_default();
    let uptime = Span { seconds: u32::try_from(status.uptime_seconds).unwrap_or(u32::MAX) };
    let (used, limit, free) = (Size(volume.used_bytes), Size(volume.limit_bytes), Size(volume.free_bytes));
    let mut text = format!(
        "millpond {} in process {}, for {uptime}\n\
         data: {}\n\
         in use: {used} of {limit} ({}); {free} free on its file system\n\
         holds: {} names, and {} blobs of {}\n",
        status.version,
        status.process_id,
        status.data,
        share(used, limit),
        volume.names,
        volume.blobs,
        Size(volume.live_bytes),
    );
    if volume.ballast_bytes > 0 {
        let ballast = Size(volume.ballast_bytes);
        text += &format!("ballast: {ballast} of what is in use, given up when the file system is full\n");
    }
    if volume.pending_names > 0 {
        text += &format!("names that wait for their blobs: {}\n", volume.pending_names);
    }
    if volume.waterline > 0 && volume.bytes_let_go + volume.names_let_go > 0 {
        text += &format!(
            "let go: what was last used before {}; since the start {} names and {} of blobs, {} look-ups came too late\n",
            moment::written(volume.waterline),
            volume.names_let_go,
            Size(volume.bytes_let_go),
            volume.let_go_lookups,
        );
    }
    if volume.lease_seconds < volume.lease_set_seconds {
        text += &format!(
            "the volume is too small for its load: what is looked up stays for {} s, not for {} s\n",
            volume.lease_seconds, volume.lease_set_seconds
        );
    }
    if volume.scrubbed_all > 0 || volume.scrubbed_bytes > 0 {
        let all = match volume.scrubbed_all {
            0 => "not yet all of it since the start".to_owned(),
            all => format!("all that there was then by {}", moment::written(all)),
        };
        let (bytes, bad) = (Size(volume.scrubbed_bytes), volume.scrubbed_bad);
        text += &format!("read again: {bytes}, {all}; bad records: {bad}\n");
    }
    if volume.disk_silent_ms >= DISK_SILENT_MS {
        let seconds = volume.disk_silent_ms / 1000;
        text += &format!("the disk has not answered for {seconds} s: what needs it waits, or is a miss\n");
    }
    if volume.full {
        text += "full: uploads were refused within the last minute for want of room; `millpond waterline` says what does not go\n";
    }
    if status.read_only {
        text += "read-only: every push is refused\n";
    }
    for Listener { address, tls, allow, anonymous } in &status.listeners {
        let tls = if *tls { " (TLS)" } else { "" };
        // A String takes everything.
        let _ =
            writeln!(text, "listening on {address}{tls}: {allow} at most, {anonymous} without a credential");
    }
    if !status.metrics.is_empty() {
        text += &format!("metrics: http://{}/metrics\n", status.metrics);
    }
    text + &format!("connections: {}, with {} calls under way\n", status.connections, status.calls)
}

fn to_json(status: &ServerStatus) -> Value {
    let listener = |listener: &Listener| {
        let Listener { address, tls, allow, anonymous } = listener;
        json!({ "address": address, "tls": tls, "allow": allow, "anonymous": anonymous })
    };
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let volume = status.volume.unwrap_or_default();
    json!({
        "version": status.version,
        "process_id": status.process_id,
        "uptime_seconds": status.uptime_seconds,
        "data": status.data,
        "listeners": status.listeners.iter().map(listener).collect::<Vec<_>>(),
        "metrics": said(&status.metrics),
        "read_only": status.read_only,
        "poisoned": said(&status.poisoned),
        "connections": status.connections,
        "calls": status.calls,
        "limit_bytes": volume.limit_bytes,
        "used_bytes": volume.used_bytes,
        "live_bytes": volume.live_bytes,
        "ballast_bytes": volume.ballast_bytes,
        "free_bytes": volume.free_bytes,
        "blobs": volume.blobs,
        "names": volume.names,
        "pending_names": volume.pending_names,
        "waterline": volume.waterline,
        "lease_seconds": volume.lease_seconds,
        "lease_set_seconds": volume.lease_set_seconds,
        "names_let_go": volume.names_let_go,
        "bytes_let_go": volume.bytes_let_go,
        "let_go_lookups": volume.let_go_lookups,
        "unknown_lookups": volume.unknown_lookups,
        "pending_lookups": volume.pending_lookups,
        "disk_silent_ms": volume.disk_silent_ms,
        "full": volume.full,
        "scrubbed_bytes": volume.scrubbed_bytes,
        "scrubbed_bad_records": volume.scrubbed_bad,
        "scrubbed_all": volume.scrubbed_all,
    })
}
