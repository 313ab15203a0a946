//! `[limits]`

use super::{KEY, Key, Section};

pub(super) const LIMITS: Section = Section {
    name: "limits",
    many: false,
    at_start: false,
    text: "What clients may take up.",
    another: &[],
    keys: &[
        Key {
            name: "connections",
            value: "10000",
            text: "How many connections are served at the same time, by all listeners together. The next ones wait. \
                   Fewer if the limit on open files does not allow so many.",
            variable: "MILLPOND__LIMITS__CONNECTIONS",
            ..KEY
        },
        Key {
            name: "connections_per_address",
            value: "1000",
            default: Some("as many as there are"),
            text: "How many of them one address may have. What it opens beyond that is closed at once. Clients behind one \
                   address share it.",
            variable: "MILLPOND__LIMITS__CONNECTIONS_PER_ADDRESS",
            ..KEY
        },
        Key {
            name: "streams",
            value: "1000",
            text: "How many calls one connection may have under way at the same time.",
            variable: "MILLPOND__LIMITS__STREAMS",
            ..KEY
        },
        Key {
            name: "request_memory",
            value: "\"1GiB\"",
            default: Some("an eighth of the memory that this process may have"),
            text: "About how much of requests is held in memory, by all of them together. What unfinished uploads \
                   have gathered counts; up to 200 kB for each connection come on top. At least 96MiB. More of them \
                   wait, and beyond that are refused.",
            flag: Some("--request-memory SIZE"),
            variable: "MILLPOND__LIMITS__REQUEST_MEMORY",
            at_start: true,
            ..KEY
        },
        Key {
            name: "look_up_time",
            value: "\"30s\"",
            text: "How long a look-up or a read may take until it is answered as a miss. Clients build what is missed.",
            variable: "MILLPOND__LIMITS__LOOK_UP_TIME",
            ..KEY
        },
        Key {
            name: "look_ups_waiting",
            value: "1000",
            text: "How many walks over what names reach may wait for their turn. A look-up that would wait behind more \
                   is answered as a miss at once; one that needs no walk never waits.",
            variable: "MILLPOND__LIMITS__LOOK_UPS_WAITING",
            ..KEY
        },
        Key {
            name: "message_size",
            value: "\"16MiB\"",
            text: "The largest message of a request, from 5MiB to 16MiB: a batch of uploads, or a list of digests. Those of a \
                   stream have 5 MiB at most in any case.",
            variable: "MILLPOND__LIMITS__MESSAGE_SIZE",
            ..KEY
        },
        Key {
            name: "header_size",
            value: "\"32KiB\"",
            text: "The largest headers of a request, from 16KiB to 1MiB, tokens included.",
            variable: "MILLPOND__LIMITS__HEADER_SIZE",
            ..KEY
        },
        Key {
            name: "handshake",
            value: "\"10s\"",
            text: "How long a TLS handshake may take, and a proxy for its header; up to 5m.",
            variable: "MILLPOND__LIMITS__HANDSHAKE",
            ..KEY
        },
        Key {
            name: "upload_quiet",
            value: "\"5m\"",
            text: "For how long a request that is under way may bring nothing until it is ended; up to 1d.",
            variable: "MILLPOND__LIMITS__UPLOAD_QUIET",
            ..KEY
        },
        Key {
            name: "upload_rate",
            value: "\"16KiB\"",
            text: "What a request has to bring in a second while it holds memory, at most 1MiB. One that brings less for a minute is ended, and \
                   sooner if others wait for the memory.",
            variable: "MILLPOND__LIMITS__UPLOAD_RATE",
            ..KEY
        },
        Key {
            name: "names_per_push",
            value: "128",
            text: "How many names one push or look-up may have, at least 8.",
            variable: "MILLPOND__LIMITS__NAMES_PER_PUSH",
            ..KEY
        },
        Key {
            name: "batch_blobs",
            value: "200000",
            text: "How many blobs one batch may have that is read or uploaded, at least 10000.",
            variable: "MILLPOND__LIMITS__BATCH_BLOBS",
            ..KEY
        },
        Key {
            name: "tree_depth",
            value: "1000",
            text: "How deep directories may be nested, from 100 to 10000. A name that reaches deeper is refused, and is a miss \
                   if it was pushed before.",
            variable: "MILLPOND__LIMITS__TREE_DEPTH",
            ..KEY
        },
        Key {
            name: "closure_blobs",
            value: "8000000",
            text: "How many blobs a name may reach, at least 1000. Looking at that many takes seconds, and 100 bytes of memory for \
                   each.",
            variable: "MILLPOND__LIMITS__CLOSURE_BLOBS",
            ..KEY
        },
        Key {
            name: "unread",
            value: "\"5m\"",
            text: "For how long a client may take nothing of an answer until its call is ended.",
            variable: "MILLPOND__LIMITS__UNREAD",
            ..KEY
        },
        Key {
            name: "idle",
            value: "\"30m\"",
            text: "For how long a connection may ask nothing until it is ended; a minute at most if it never asked anything.",
            variable: "MILLPOND__LIMITS__IDLE",
            ..KEY
        },
        Key {
            name: "drain",
            value: "\"10s\"",
            text: "How long calls under way may go on after SIGTERM. The service manager must wait longer than this \
                   and 8 s.",
            variable: "MILLPOND__LIMITS__DRAIN",
            ..KEY
        },
    ],
};
