//! How far back the cache reaches.

use millpond_cache::{CameIn, Horizon};
use millpond_proto::admin as wire;

use super::about;

/// The horizon on the wire.
pub(super) fn waterline(horizon: &Horizon) -> wire::Waterline {
    let came_in = |came_in: CameIn| wire::CameIn { seconds: came_in.seconds, bytes: came_in.bytes };
    wire::Waterline {
        volume: Some(about::volume(&horizon.figures)),
        now: horizon.now,
        room_bytes: horizon.room_bytes,
        kept_bytes: horizon.kept_bytes,
        kept_names: horizon.kept_names,
        hour: Some(came_in(horizon.hour)),
        day: Some(came_in(horizon.day)),
        full_in: horizon.full_in(),
        reach: horizon.reach(),
    }
}
