//! `[log]`

use super::{KEY, Key, Section};

pub(super) const LOG: Section = Section {
    name: "log",
    many: false,
    at_start: false,
    text: "What is logged.",
    another: &[],
    keys: &[Key {
        name: "filter",
        value: "\"info\"",
        text: "A level (error, warn, info, debug, trace, off), or a list such as info,millpond_store=debug. The variable MILLPOND_LOG \
               wins over it, and `millpond log-level` changes it until the next start, or until this is changed.",
        ..KEY
    }],
};
