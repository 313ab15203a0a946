//! Issuers whose tokens are taken, as a file writes them and as the server has them.

use std::fmt;
use std::path::PathBuf;

use millpond_cache::{Grant, Pattern, Rights};
use millpond_identity::jwt::{self, Algorithm, ClaimGrant};
use millpond_server::Location;
use serde::Deserialize;
use toml::Spanned;

use super::claims::Claims;
use super::file::Read;
use super::lists::{OneOrMore, Patterns, Texts, written};
use super::{Allowed, Given};
use crate::names;
use crate::span::Span;

/// `[[issuer]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// What the names of its holders begin with.
    name: Spanned<Name>,
    /// As its tokens name it.
    url: Spanned<Url>,
    /// Of these a token must be for one.
    audience: Spanned<Texts>,
    /// Where its keys are, without asking it.
    jwks_url: Option<Spanned<Url>>,
    /// How its tokens may be signed.
    algorithms: Option<Spanned<Algorithms>>,
    /// How long they hold after their expiry: `"1h"`.
    grace: Option<Spanned<Span>>,
    /// Who vouches for it.
    ca: Option<Spanned<PathBuf>>,
    /// What its holders may do, one table for each grant.
    #[serde(default)]
    grant: Vec<GrantTable>,
}

/// `[[issuer.grant]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantTable {
    /// What a token must claim.
    claims: Spanned<Claims>,
    /// What its holder may do: `"push"`.
    allow: Spanned<Allowed>,
    /// To the artifacts of these projects.
    projects: Option<Spanned<Texts>>,
    /// To names like these.
    names: Option<Spanned<Patterns>>,
    /// In instances like these.
    instances: Option<Spanned<Patterns>>,
}

/// An issuer whose tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issuer {
    pub(crate) name: Given<Name>,
    pub(crate) url: Given<Url>,
    pub(crate) audience: Given<Texts>,
    pub(crate) jwks_url: Option<Given<Url>>,
    pub(crate) algorithms: Given<Algorithms>,
    pub(crate) grace: Given<Span>,
    pub(crate) ca: Option<Given<PathBuf>>,
    pub(crate) grants: Vec<TokenGrant>,
}

/// What holders of its tokens may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenGrant {
    pub(crate) claims: Given<Claims>,
    pub(crate) allow: Given<Allowed>,
    pub(crate) projects: Option<Given<Texts>>,
    pub(crate) names: Option<Given<Patterns>>,
    pub(crate) instances: Option<Given<Patterns>>,
}

/// The short name of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Name(pub(crate) String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if jwt::Issuer::is_name(&text) {
            return Ok(Self(text));
        }
        Err(format!(
            "\"{text}\" is no name for an issuer: write small letters, digits and -, at most 32, and not local"
        ))
    }
}

/// A URL, to the letter: as it is written tokens are compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Url {
    pub(crate) text: String,
    pub(crate) location: Location,
}

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Ok(Self { location: text.parse()?, text })
    }
}

/// How tokens may be signed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneOrMore<String>")]
pub(crate) struct Algorithms(pub(crate) Vec<Algorithm>);

impl TryFrom<OneOrMore<String>> for Algorithms {
    type Error = String;

    fn try_from(given: OneOrMore<String>) -> Result<Self, String> {
        let known = given.into_vec().iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?;
        if known.is_empty() {
            Err("without any no token could hold: write one or more".into())
        } else {
            Ok(Self(known))
        }
    }
}

impl Issuer {
    /// What a file says.
    pub(super) fn of((read, table): (&Read, &Table)) -> Self {
        let algorithms = || Algorithms(vec![Algorithm::RS256, Algorithm::ES256]);
        let algorithms = table.algorithms.as_ref().map_or_else(
            || Given::default("algorithms", algorithms()),
            |given| read.given(given, "algorithms"),
        );
        let grace = Span { seconds: 3600 };
        Self {
            name: read.given(&table.name, "name"),
            url: read.given(&table.url, "url"),
            audience: read.given(&table.audience, "audience"),
            jwks_url: table.jwks_url.as_ref().map(|given| read.given(given, "jwks_url")),
            algorithms,
            grace: (table.grace.as_ref())
                .map_or_else(|| Given::default("grace", grace), |given| read.given(given, "grace")),
            ca: table.ca.as_ref().map(|given| read.given_path(given, "ca")),
            grants: table.grant.iter().map(|grant| TokenGrant::of(read, grant)).collect(),
        }
    }

    /// What its tokens have to be, and what they allow.
    pub(crate) fn trusted(&self) -> jwt::Issuer {
        jwt::Issuer {
            name: self.name.value.0.clone(),
            url: self.url.value.text.clone(),
            audiences: self.audience.value.0.clone(),
            algorithms: self.algorithms.value.0.clone(),
            grace: self.grace.value.seconds.into(),
            grants: self.grants.iter().map(TokenGrant::of_claims).collect(),
        }
    }

    /// The most that one of its tokens may do somewhere.
    pub(crate) fn most(&self) -> Rights {
        self.grants.iter().map(|grant| grant.allow.value.0).max().unwrap_or_default()
    }
}

impl TokenGrant {
    fn of(read: &Read, table: &GrantTable) -> Self {
        Self {
            claims: read.given(&table.claims, "claims"),
            allow: read.given(&table.allow, "allow"),
            projects: table.projects.as_ref().map(|given| read.given(given, "projects")),
            names: table.names.as_ref().map(|given| read.given(given, "names")),
            instances: table.instances.as_ref().map(|given| read.given(given, "instances")),
        }
    }

    /// The patterns of its projects.
    ///
    /// # Errors
    /// One that is none.
    pub(super) fn of_projects(&self) -> Result<Vec<Pattern>, String> {
        let projects = self.projects.iter().flat_map(|projects| &projects.value.0);
        let patterns = projects.map(|project| Pattern::new(names::of_project(project)));
        patterns.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn of_claims(&self) -> ClaimGrant {
        let patterns = |given: &Option<Given<Patterns>>| {
            given.as_ref().map_or_else(Vec::new, |given| given.value.0.clone())
        };
        let names = [self.of_projects().unwrap_or_default(), patterns(&self.names)].concat();
        let grant = Grant { rights: self.allow.value.0, instances: patterns(&self.instances), names };
        ClaimGrant { claims: self.claims.value.0.clone(), grant }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.text)
    }
}

impl fmt::Display for Algorithms {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&written(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Settings, check, file, merge};

    const ISSUER: &str = "[[issuer]]\nname = \"gitlab\"\nurl = \"https://gitlab.com\"\naudience = [\"a\", \"b\"]\nca = \"ca.crt\"\n";
    const GRANT: &str = "[[issuer.grant]]\nclaims = { ref_protected = true, id = [7, \"8*\"] }\nallow = \"push\"\n\
                         projects = \"app\"\nnames = [\"source:*\"]\n";

    fn settings(text: &str) -> Result<Settings, String> {
        let read = file::parse(Path::new("/etc/pond.toml"), text).map_err(|failure| failure.to_string())?;
        let settings = merge::merge(Default::default(), &file::Read::default(), &read);
        check::check(&settings).map_err(|failure| failure.to_string())?;
        Ok(settings)
    }

    #[test]
    fn issuers_have_their_grants_and_are_shown_as_a_file_has_them() {
        let shown = settings(&format!("{ISSUER}{GRANT}{GRANT}")).unwrap();
        let again = settings(&shown.to_string()).unwrap();
        for settings in [&shown, &again] {
            let [issuer] = &settings.issuers[..] else { panic!("{:?}", settings.issuers) };
            assert_eq!(issuer.ca.as_ref().unwrap().value, Path::new("/etc/ca.crt"));
            let trusted = issuer.trusted();
            assert_eq!((trusted.audiences.len(), trusted.algorithms.len(), trusted.grace), (2, 2, 3600));
            let [grant, _] = &trusted.grants[..] else { panic!("{:?}", trusted.grants) };
            let names: Vec<_> = grant.grant.names.iter().map(ToString::to_string).collect();
            assert_eq!(names, ["artifact:app/*", "source:*"]);
            let [(id, patterns), (protected, _)] = &grant.claims[..] else { panic!("{:?}", grant.claims) };
            assert_eq!((id.as_str(), protected.as_str()), ("id", "ref_protected"));
            assert!(patterns[0].matches("7") && patterns[1].matches("81"));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line() {
        let with = |from: &str, to: &str| format!("{ISSUER}{GRANT}").replace(from, to);
        for (text, line, words) in [
            (with("\"gitlab\"", "\"Git:lab\""), "2, name", "small letters"),
            (with("https://", "http://"), "3, url", "on another machine"),
            (with("[\"a\", \"b\"]", "[]"), "4, audience", "it is empty"),
            (with("audience", "audiense"), "4", "did you mean \"audience\""),
            (with("audience = [\"a\", \"b\"]\n", ""), "1", "lacks its audience"),
            (with("ca = ", "algorithms = [\"HS256\"]\nca = "), "5, algorithms", "RS256, RS384"),
            (with("ca = ", "algorithms = \"none\"\nca = "), "5, algorithms", "RS256, RS384"),
            (
                with("{ ref_protected = true, id = [7, \"8*\"] }", "{}"),
                "7, claims",
                "every token of the issuer",
            ),
            (with("true", "[]"), "7, claims", "ref_protected has no value"),
            (with("true", "{ a = 1 }"), "7, claims", "a string"),
            (with("\"push\"", "\"none\""), "8, allow", "takes nothing"),
            (with("allow", "allowed"), "8", "did you mean \"allow\""),
            (with("allow = \"push\"\n", ""), "6", "[[issuer.grant]] lacks its allow"),
            (with("[[issuer.grant]]", "[issuer.grant]"), "6", "write [[issuer.grant]]"),
            (ISSUER.into(), "2, name", "write [[issuer.grant]] below it"),
            (format!("{ISSUER}{GRANT}{ISSUER}{GRANT}"), "12, name", "given twice"),
            (
                format!("{ISSUER}{GRANT}{}", with("gitlab\"", "other\"")),
                "13, url",
                "https://gitlab.com is given twice",
            ),
        ] {
            let said = settings(&text).unwrap_err();
            assert!(said.contains(&format!("line {line}: ")) && said.contains(words), "{text}\n{said}");
        }
    }
}
