//! The settings of issuers whose tokens are taken.

use super::{KEY, Key, Section};

pub(super) const ISSUER: Section = Section {
    name: "issuer",
    many: true,
    at_start: true,
    text: "Issuers of JSON web tokens (OpenID Connect) that are taken as credentials, such as those of jobs at GitLab or \
           GitHub: one [[issuer]] each, with its grants below.",
    another: &[],
    keys: &[
        Key {
            name: "name",
            value: "\"gitlab\"",
            default: Some("no issuer"),
            text: "What the names of its holders begin with, in the log and in what is kept: gitlab:SUBJECT. Small \
                   letters, digits and -.",
            required: true,
            ..KEY
        },
        Key {
            name: "url",
            value: "\"https://gitlab.com\"",
            default: Some("none"),
            text: "The issuer, to the letter as its tokens name it (iss). Its keys are found by \
                   URL/.well-known/openid-configuration. GitHub's is https://token.actions.githubusercontent.com.",
            required: true,
            ..KEY
        },
        Key {
            name: "audience",
            value: "[\"https://cache.example.org\"]",
            default: Some("none"),
            text: "A token must be for one of these (aud), which the job requests it for: a URL of this cache, so that \
                   tokens made for other services do not count here.",
            required: true,
            ..KEY
        },
        Key {
            name: "jwks_url",
            value: "\"https://gitlab.com/oauth/discovery/keys\"",
            default: Some("asked for at the issuer"),
            text: "The issuer's keys are fetched from here. This and url begin with https://, or http:// and an address of \
                   this machine.",
            ..KEY
        },
        Key {
            name: "algorithms",
            value: "[\"RS256\", \"ES256\"]",
            text: "How its tokens may be signed: some of RS256, RS384, RS512, PS256, PS384, PS512, ES256 and ES384.",
            ..KEY
        },
        Key {
            name: "grace",
            value: "\"1h\"",
            text: "A token that held when it was first shown goes on to hold for this time after its expiry, so that no \
                   build dies of being long. A restart forgets which were shown.",
            ..KEY
        },
        Key {
            name: "ca",
            value: "\"/etc/millpond/gitlab-ca.crt\"",
            default: Some("those that the system trusts"),
            text: "Certificates in PEM of those who vouch for the issuer's own.",
            ..KEY
        },
    ],
};

pub(super) const GRANT: Section = Section {
    name: "issuer.grant",
    many: true,
    at_start: true,
    text: "What holders of tokens of the [[issuer]] above may do. All grants that match a token count together; one that \
           none matches may do what everybody may.",
    another: &["claims = { project_path = \"team/*\" }", "allow = \"pull\""],
    keys: &[
        Key {
            name: "claims",
            value: "{ project_path = \"team/app\", ref_protected = true }",
            default: Some("none"),
            text: "What a token must claim, all of it. Values are compared as text, * standing for anything, also for / and \
                   for nothing; of several in [ ] one must match.",
            required: true,
            ..KEY
        },
        Key {
            name: "allow",
            value: "\"push\"",
            default: Some("none"),
            text: "What its holder may do: \"pull\", \"push\" or \"admin\", each with those before it.",
            required: true,
            ..KEY
        },
        Key {
            name: "projects",
            value: "[\"website\"]",
            default: Some("all names"),
            text: "Only to artifacts of these projects; PROJECT/ELEMENT/* and PROJECT* narrow or widen it.",
            ..KEY
        },
        Key {
            name: "names",
            value: "[\"source:*\"]",
            default: Some("all names"),
            text: "Only to names like these, * standing for anything; with projects, to both.",
            ..KEY
        },
        Key {
            name: "instances",
            value: "[\"main\"]",
            default: Some("all instances"),
            text: "Only in instances like these, * standing for anything.",
            ..KEY
        },
    ],
};
