//! `[acme]`

use super::{KEY, Key, Section};

pub(super) const ACME: Section = Section {
    name: "acme",
    many: false,
    at_start: true,
    text: "A certificate of an ACME authority, such as Let's Encrypt, for the name that clients connect to: had and renewed while \
           the server runs. It is kept below acme in the directory of keys. Nothing is asked for unless domains is given.",
    another: &[],
    keys: &[
        Key {
            name: "domains",
            value: "\"cache.example.org\"",
            default: Some("none, and no authority is asked"),
            text: "The name that it is to be for, which must lead here, or a list of several.",
            variable: "MILLPOND__ACME__DOMAINS",
            ..KEY
        },
        Key {
            name: "terms_agreed",
            value: "false",
            text: "You have read the authority's terms of service, and agree.",
            variable: "MILLPOND__ACME__TERMS_AGREED",
            ..KEY
        },
        Key {
            name: "contact",
            value: "\"cache@example.org\"",
            default: Some("nobody"),
            text: "Whom the authority may write to.",
            variable: "MILLPOND__ACME__CONTACT",
            ..KEY
        },
        Key {
            name: "directory",
            value: "\"https://acme-v02.api.letsencrypt.org/directory\"",
            text: "The authority's directory. To try things out, Let's Encrypt has \
                   https://acme-staging-v02.api.letsencrypt.org/directory, whose certificates no client trusts.",
            variable: "MILLPOND__ACME__DIRECTORY",
            ..KEY
        },
        Key {
            name: "ca",
            value: "\"/etc/millpond/corp.crt\"",
            default: Some("whom the system trusts"),
            text: "Who vouches for the authority itself, in PEM.",
            variable: "MILLPOND__ACME__CA",
            ..KEY
        },
        Key {
            name: "challenge",
            value: "\"tls-alpn-01\"",
            text: "How it is shown that a name leads here: \"tls-alpn-01\" by a handshake, for which port 443 must lead to a \
                   listener with TLS; \"http-01\" by a document, for which port 80 must lead to http_address.",
            variable: "MILLPOND__ACME__CHALLENGE",
            ..KEY
        },
        Key {
            name: "http_address",
            value: "\"[::]:80\"",
            default: Some("none"),
            text: "Where the documents of http-01 are found, and nothing else.",
            variable: "MILLPOND__ACME__HTTP_ADDRESS",
            ..KEY
        },
        Key {
            name: "renew_before",
            value: "\"30d\"",
            default: Some("a third of the time for which it is valid"),
            text: "How long before its end it is renewed; never before it has served half of its time.",
            variable: "MILLPOND__ACME__RENEW_BEFORE",
            ..KEY
        },
        Key {
            name: "account_id",
            value: "\"kid-1\"",
            default: Some("none"),
            text: "An account that the authority knows already, for one that asks for that (external account binding).",
            variable: "MILLPOND__ACME__ACCOUNT_ID",
            ..KEY
        },
        Key {
            name: "account_key_file",
            value: "\"/run/secrets/acme-key\"",
            default: Some("none"),
            text: "The file with its key, in Base64.",
            variable: "MILLPOND__ACME__ACCOUNT_KEY_FILE",
            ..KEY
        },
    ],
};
