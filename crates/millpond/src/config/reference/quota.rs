//! `[[quota]]`

use super::{KEY, Key, Section};

pub(super) const QUOTA: Section = Section {
    name: "quota",
    many: true,
    at_start: false,
    text: "What single identities may take up: one [[quota]] for each rule, of which the first that matches counts. Each \
           identity has all of it for itself. Who is over it is told: look-ups are misses, uploads are refused, and \
           builds go on, but for those of BuildStream 2 that push sources. Anonymous clients have none; their connections are bounded by address.",
    another: &["identities = \"*\"", "upload_per_day = \"500GB\""],
    keys: &[
        Key {
            name: "identities",
            value: "\"ci-*\"",
            default: Some("nobody has a quota"),
            text: "The identities that it is for, with * for what may be anything.",
            required: true,
            ..KEY
        },
        Key {
            name: "requests_per_minute",
            value: "60000",
            default: Some("as many as they like"),
            text: "Requests in a minute. So many may come at once.",
            ..KEY
        },
        Key {
            name: "upload_per_day",
            value: "\"200GB\"",
            default: Some("as much as they like"),
            text: "How much may be uploaded in a day. So much may come at once, and what has begun is taken to its end.",
            ..KEY
        },
    ],
};
