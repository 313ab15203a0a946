//! Names pinned, and pins taken out.

use millpond_cache::{Error, NotThere, Pattern, PinWanted, Pinned, PinsWanted, Result};
use millpond_proto::admin as wire;

use super::{names, retention};

/// What is to be pinned.
pub(super) fn wanted(asked: wire::PinNamesRequest) -> Result<PinWanted> {
    Ok(PinWanted {
        pattern: Pattern::new(asked.pattern)?,
        instance: asked.instance,
        reason: asked.reason,
        owner: asked.owner,
        until: asked.until,
        revisions: asked.revisions.unwrap_or(1),
        dependencies: asked.with_dependencies,
        sources: asked.with_sources,
        dry_run: asked.dry_run,
    })
}

/// Which pins are to be taken out.
pub(super) fn wanted_out(asked: wire::UnpinNamesRequest) -> Result<PinsWanted> {
    if asked.id.is_none() && asked.pattern.is_none() && asked.reason.is_none() {
        // Of whoever asks by something that is not known here, nothing would be left that holds back.
        return Err(Error::Invalid("which pins: give a number, a pattern or a reason".into()));
    }
    Ok(PinsWanted {
        id: asked.id,
        pattern: asked.pattern.map(Pattern::new).transpose()?,
        instance: asked.instance,
        reason: asked.reason,
    })
}

/// What was pinned, on the wire.
pub(super) fn pinned(pinned: Pinned) -> wire::PinNamesAnswer {
    let not_there = |NotThere { name, why }: NotThere| wire::NotThere { name, why };
    wire::PinNamesAnswer {
        pins: pinned.pins.into_iter().map(names::pin).collect(),
        kept: Some(retention::tally(pinned.kept)),
        names: pinned.names,
        more_bytes: pinned.more_bytes,
        missing: pinned.missing.into_iter().map(not_there).collect(),
        missing_count: pinned.missing_count,
    }
}

/// Pins on the wire.
pub(super) fn pins(pins: Vec<millpond_cache::Pin>) -> wire::Pins {
    wire::Pins { pins: pins.into_iter().map(names::pin).collect() }
}
