//! `[[authority]]`

use super::{KEY, Key, Section};

pub(super) const AUTHORITY: Section = Section {
    name: "authority",
    many: true,
    at_start: false,
    text: "Who else vouches for clients: one [[authority]] for each certification authority whose client certificates \
           count, a company's say. Where several vouch for one client, the first counts; a certificate that is in the keys or \
           in authorized is asked of none.",
    another: &["name = \"partner\"", "certificates = \"/etc/millpond/partner.crt\""],
    keys: &[
        Key {
            name: "name",
            value: "\"corp\"",
            default: Some("the directory of keys and authorized alone"),
            text: "Its clients are known as this, a colon, and the common name in their certificate.",
            required: true,
            ..KEY
        },
        Key {
            name: "certificates",
            value: "\"/etc/millpond/corp.crt\"",
            text: "Its certificates in PEM. Those between them and a client's may be sent by the client.",
            required: true,
            ..KEY
        },
        Key {
            name: "revoked",
            value: "\"/etc/millpond/corp.crl\"",
            default: Some("nothing is revoked but by expiring"),
            text: "Its lists of revoked certificates (CRLs), in PEM or one in DER. One that is out of date still counts.",
            ..KEY
        },
        Key {
            name: "subjects",
            value: "[\"*.build.example.org\"]",
            default: Some("all of them"),
            text: "Whose certificates count, by the common name or a host name in them, with * for what may be anything.",
            ..KEY
        },
        Key {
            name: "allow",
            value: "\"pull\"",
            text: "What they may do: \"pull\", \"push\" or \"admin\".",
            ..KEY
        },
        Key {
            name: "names",
            value: "[\"artifact:sdk/*\", \"source:*\"]",
            default: Some("all names"),
            text: "To which names, as [[replacement]] writes them.",
            ..KEY
        },
        Key {
            name: "instances",
            value: "[\"main\"]",
            default: Some("all instances"),
            text: "In which instances, with * for what may be anything.",
            ..KEY
        },
    ],
};
