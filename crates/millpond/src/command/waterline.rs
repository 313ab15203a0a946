//! `millpond waterline`: how far back the cache reaches, whether more disk would help, and when it will be full.

use millpond_proto::admin::{CameIn, GetWaterlineRequest, Waterline};
use serde_json::{Value, json};

use super::ask::AskFlags;
use super::{counted, moment, print, print_json};
use crate::exit::Failure;
use crate::greeting::share;
use crate::size::Size;
use crate::span::Span;

/// What is measured for a shorter time says little of days to come.
const MEASURED_LEAST: u64 = 3600;

/// Asks, and prints the answer.
pub(super) fn run(flags: AskFlags) -> Result<(), Failure> {
    let waterline =
        flags.ask(async |mut server| Ok(server.get_waterline(GetWaterlineRequest {}).await?.into_inner()))?;
    if flags.json { print_json(&to_json(&waterline)) } else { print(&text(&waterline)) }
}

/// A time as people say it: no more of it than its two largest units.
fn about(seconds: u64) -> Span {
    let unit = match seconds {
        172_800.. => 3600,
        7200.. => 60,
        _ => 1,
    };
    Span { seconds: u32::try_from(seconds / unit * unit).unwrap_or(u32::MAX) }
}

fn text(waterline: &Waterline) -> String {
    let volume = waterline.volume.unwrap_or_default();
    let (used, limit) = (Size(volume.used_bytes), Size(volume.limit_bytes));
    let mut text = match volume.waterline {
        0 => "reaches back: to its beginning, nothing was let go yet\n".to_owned(),
        since => format!(
            "reaches back: {}, to {}; what was last used before that has been let go\n",
            about(waterline.now.saturating_sub(since)),
            moment::written(since)
        ),
    };
    text += &format!(
        "in use: {used} of {limit} ({}), blobs {} of the {} at which letting go begins; the rest of the limit is for names, \
         logs and rewriting packs\n",
        share(used, limit),
        Size(volume.live_bytes),
        Size(waterline.room_bytes),
    );
    if waterline.kept_bytes > 0 || waterline.kept_names > 0 {
        let kept = Size(waterline.kept_bytes);
        text += &format!(
            "kept by rules and pins: {kept} in {} ({} of those {}), which do not go\n",
            counted(waterline.kept_names, "name"),
            share(kept, Size(waterline.room_bytes)),
            Size(waterline.room_bytes),
        );
    }
    if volume.full {
        // What nothing keeps goes once its lease is over, however much is pushed.
        let lease = about(volume.lease_seconds);
        let kept = if waterline.kept_bytes > 0 { ", nor what rules and pins keep" } else { "" };
        text += &format!(
            "full: uploads were refused within the last minute; what was used in the last {lease}, the lease, does not go{kept}\n"
        );
    }
    for (name, came_in) in [("hour", waterline.hour), ("day", waterline.day)] {
        let CameIn { seconds, bytes } = came_in.unwrap_or_default();
        text += &format!("came in within the last {name}: {}", Size(bytes));
        let whole = if name == "hour" { 3600 } else { 86_400 };
        text += &if seconds + 60 < whole { format!(" ({} measured)\n", about(seconds)) } else { "\n".into() };
    }
    let measured = waterline.day.unwrap_or_default().seconds;
    let short = if measured < MEASURED_LEAST { ", judged by little" } else { "" };
    if let Some(seconds) = waterline.full_in {
        text += &format!("at this rate letting go begins in {}{short}\n", about(seconds));
    }
    if let Some(seconds) = waterline.reach {
        let beside = if waterline.kept_bytes > 0 { " beside what is kept" } else { "" };
        text += &format!(
            "at this rate it will reach back {}{beside}{short}, less by what is used again and again\n",
            about(seconds)
        );
    }
    let missed = volume.let_go_lookups + volume.unknown_lookups + volume.pending_lookups;
    text + &match missed {
        0 => "misses since the start: none\n".to_owned(),
        _ => format!(
            "misses since the start: {} of names that had been let go, which more disk would have spared, {} of names \
             that wait for their blobs, and {} of names that were never there\n",
            volume.let_go_lookups, volume.pending_lookups, volume.unknown_lookups
        ),
    }
}

fn to_json(waterline: &Waterline) -> Value {
    let volume = waterline.volume.unwrap_or_default();
    let came_in = |came_in: Option<CameIn>| {
        let CameIn { seconds, bytes } = came_in.unwrap_or_default();
        json!({ "seconds": seconds, "bytes": bytes })
    };
    json!({
        "now": waterline.now,
        "waterline": volume.waterline,
        "limit_bytes": volume.limit_bytes,
        "used_bytes": volume.used_bytes,
        "live_bytes": volume.live_bytes,
        "room_bytes": waterline.room_bytes,
        "kept_bytes": waterline.kept_bytes,
        "kept_names": waterline.kept_names,
        "came_in_hour": came_in(waterline.hour),
        "came_in_day": came_in(waterline.day),
        "full_in_seconds": waterline.full_in,
        "reach_seconds": waterline.reach,
        "let_go_lookups": volume.let_go_lookups,
        "pending_lookups": volume.pending_lookups,
        "unknown_lookups": volume.unknown_lookups,
    })
}
