//! `[acme]`: a certificate of an ACME authority, which counts as soon as anything of it is given.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use millpond_server::ChallengeKind;
use serde::Deserialize;
use toml::Spanned;

use super::issuer::Url;
use super::lists::{OneOrMore, written};
use super::merge::Layers;
use super::show::{given, number, path, unsaid};
use super::{Given, Place, Settings, usage};
use crate::exit::Failure;
use crate::span::Span;

/// The authority that most public names have theirs of.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The section of a file.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Table {
    domains: Option<Spanned<Domains>>,
    terms_agreed: Option<Spanned<bool>>,
    contact: Option<Spanned<String>>,
    directory: Option<Spanned<Url>>,
    ca: Option<Spanned<PathBuf>>,
    challenge: Option<Spanned<Challenge>>,
    http_address: Option<Spanned<SocketAddr>>,
    renew_before: Option<Spanned<Span>>,
    account_id: Option<Spanned<String>>,
    account_key_file: Option<Spanned<PathBuf>>,
}

/// What is asked of which authority.
#[derive(Clone, Debug)]
pub(crate) struct Acme {
    /// The names that it is to be for.
    pub(crate) domains: Option<Given<Domains>>,
    /// Whoever runs the server has agreed to the authority's terms.
    pub(crate) terms_agreed: Given<bool>,
    /// Whom the authority may write to.
    pub(crate) contact: Option<Given<String>>,
    /// Where the authority is asked.
    pub(crate) directory: Given<Url>,
    /// Who vouches for the authority, if not those whom the system trusts.
    pub(crate) ca: Option<Given<PathBuf>>,
    /// How names are shown to lead here.
    pub(crate) challenge: Given<Challenge>,
    /// Where the authority finds documents.
    pub(crate) http_address: Option<Given<SocketAddr>>,
    /// How long before its end it is renewed.
    pub(crate) renew_before: Option<Given<Span>>,
    /// An account that the authority knows already: its name, ...
    pub(crate) account_id: Option<Given<String>>,
    /// ... and the file with its key.
    pub(crate) account_key_file: Option<Given<PathBuf>>,
}

/// Host names and addresses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneOrMore<String>")]
pub(crate) struct Domains(pub(crate) Vec<String>);

impl TryFrom<OneOrMore<String>> for Domains {
    type Error = String;

    fn try_from(given: OneOrMore<String>) -> Result<Self, String> {
        let given = given.into_vec();
        let names = given.iter().flat_map(|text| text.split(',')).map(str::trim);
        // An address as certificates have it.
        let plain = |name: &str| match name.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => name.to_ascii_lowercase(),
        };
        let names: Vec<String> = names.map(plain).collect();
        if names.is_empty() {
            return Err("it is empty: write the names that clients connect to".into());
        }
        match names.iter().find(|name| !is_name(name)) {
            Some(name) => Err(format!(
                "\"{}\" is no host name: write it as in cache.example.org, without * and without a port",
                name.escape_debug()
            )),
            None => Ok(Self(names)),
        }
    }
}

fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(plain) && !label.starts_with('-')
    };
    text.parse::<IpAddr>().is_ok() || text.len() <= 253 && text.split('.').all(label)
}

impl fmt::Display for Domains {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&written(&self.0))
    }
}

/// `challenge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Challenge(pub(crate) ChallengeKind);

impl TryFrom<String> for Challenge {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "tls-alpn-01" => Ok(Self(ChallengeKind::TlsAlpn01)),
            "http-01" => Ok(Self(ChallengeKind::Http01)),
            _ => Err(format!(
                "\"{}\" is no challenge that is met here: write \"tls-alpn-01\" or \"http-01\"",
                text.escape_debug()
            )),
        }
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self.0 {
            ChallengeKind::TlsAlpn01 => "tls-alpn-01",
            ChallengeKind::Http01 => "http-01",
        })
    }
}

impl Acme {
    /// What the layers say; `None` if they say nothing.
    pub(super) fn merge(layers: Layers<'_>) -> Option<Self> {
        if !layers.any(|file| file.acme != Table::default()) {
            return None;
        }
        let directory = || Url::try_from(DIRECTORY.to_owned()).ok();
        let directory = (layers.find("directory", |file| file.acme.directory.as_ref()))
            .or_else(|| Some(Given::default("directory", directory()?)))?;
        Some(Self {
            domains: layers.find("domains", |file| file.acme.domains.as_ref()),
            terms_agreed: (layers.find("terms_agreed", |file| file.acme.terms_agreed.as_ref()))
                .unwrap_or_else(|| Given::default("terms_agreed", false)),
            contact: layers.find("contact", |file| file.acme.contact.as_ref()),
            directory,
            ca: layers.path("ca", |file| file.acme.ca.as_ref()),
            challenge: (layers.find("challenge", |file| file.acme.challenge.as_ref()))
                .unwrap_or_else(|| Given::default("challenge", Challenge(ChallengeKind::TlsAlpn01))),
            http_address: layers.find("http_address", |file| file.acme.http_address.as_ref()),
            renew_before: layers.find("renew_before", |file| file.acme.renew_before.as_ref()),
            account_id: layers.find("account_id", |file| file.acme.account_id.as_ref()),
            account_key_file: layers.path("account_key_file", |file| file.acme.account_key_file.as_ref()),
        })
    }

    /// Where something of it was given.
    fn place(&self) -> &Place {
        let optional = [
            self.domains.as_ref().map(|given| &given.place),
            self.contact.as_ref().map(|given| &given.place),
            self.ca.as_ref().map(|given| &given.place),
            self.http_address.as_ref().map(|given| &given.place),
            self.renew_before.as_ref().map(|given| &given.place),
            self.account_id.as_ref().map(|given| &given.place),
            self.account_key_file.as_ref().map(|given| &given.place),
        ];
        let always = [&self.terms_agreed.place, &self.challenge.place];
        let mut places = optional.into_iter().flatten().chain(always);
        let given = places.find(|place| !matches!(place, Place::Default(_)));
        given.unwrap_or(&self.directory.place)
    }
}

/// What goes together.
pub(super) fn check(settings: &Settings) -> Result<(), Failure> {
    let Some(acme) = &settings.acme else { return Ok(()) };
    let place = acme.place();
    if acme.domains.is_none() {
        let sentence = format!("{place}: [acme] does not say for which names a certificate is wanted");
        return Err(usage(
            sentence,
            "write domains = [\"cache.example.org\"]: the names that clients connect to",
        ));
    }
    if !acme.terms_agreed.value {
        let sentence =
            format!("{place}: no authority issues a certificate to who does not agree to its terms");
        return Err(usage(sentence, "read them, and write terms_agreed = true in [acme]"));
    }
    if let Some(given) = settings.certificate.as_ref().or(settings.key.as_ref()) {
        let sentence = format!("{}: [acme] has a certificate issued, so there can be no other", given.place);
        return Err(usage(sentence, "give certificate and key in [identity], or [acme]"));
    }
    match (acme.challenge.value.0, &acme.http_address) {
        (ChallengeKind::Http01, None) => {
            let sentence =
                format!("{}: the authority looks at port 80, where nothing answers", acme.challenge.place);
            return Err(usage(sentence, "write http_address = \"[::]:80\" in [acme]"));
        }
        (ChallengeKind::TlsAlpn01, Some(given)) => {
            let sentence = format!("{}: tls-alpn-01 needs no address for documents", given.place);
            return Err(usage(sentence, "write challenge = \"http-01\" in [acme], or take it out"));
        }
        _ => {}
    }
    let (sole, missing) = match (&acme.account_id, &acme.account_key_file) {
        (Some(id), None) => (&id.place, "account_key_file"),
        (None, Some(file)) => (&file.place, "account_id"),
        _ => return Ok(()),
    };
    let sentence = format!("{sole}: of account_id and account_key_file, one alone is of no use");
    Err(usage(sentence, format!("give {missing} in [acme] as well, or neither")))
}

/// What is hardly meant: a certificate that nobody is shown.
pub(super) fn doubt(settings: &Settings) -> Option<String> {
    let acme = settings.acme.as_ref()?;
    let is_shown = settings.listeners.iter().any(|listener| listener.tls.value);
    let place = acme.place();
    (!is_shown).then(|| {
        format!("{place}: no listener speaks TLS, so no certificate is asked for: write tls = true in a [[listener]]")
    })
}

/// As a file has it; as comments alone where nothing of it is given, since it counts as soon as anything is.
pub(super) fn show(to: &mut fmt::Formatter<'_>, acme: Option<&Acme>) -> fmt::Result {
    to.write_str("\n[acme]\n")?;
    let Some(acme) = acme else {
        return ["domains", "terms_agreed", "contact", "directory", "ca", "challenge", "http_address"]
            .into_iter()
            .chain(["renew_before", "account_id", "account_key_file"])
            .try_for_each(|key| unsaid(to, key));
    };
    match &acme.domains {
        Some(domains) => number(to, "domains", domains)?,
        None => unsaid(to, "domains")?,
    }
    number(to, "terms_agreed", &acme.terms_agreed)?;
    match &acme.contact {
        Some(contact) => given(to, "contact", contact)?,
        None => unsaid(to, "contact")?,
    }
    given(to, "directory", &acme.directory)?;
    path(to, "ca", acme.ca.as_ref())?;
    given(to, "challenge", &acme.challenge)?;
    match &acme.http_address {
        Some(address) => given(to, "http_address", address)?,
        None => unsaid(to, "http_address")?,
    }
    match &acme.renew_before {
        Some(before) => given(to, "renew_before", before)?,
        None => unsaid(to, "renew_before")?,
    }
    match &acme.account_id {
        Some(id) => given(to, "account_id", id)?,
        None => unsaid(to, "account_id")?,
    }
    path(to, "account_key_file", acme.account_key_file.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_host_names_one_or_more() {
        let domains = |text: &str| Domains::try_from(OneOrMore::One(text.to_owned()));
        assert_eq!(domains("Cache.example.org, b").unwrap().0, ["cache.example.org", "b"]);
        assert_eq!(domains("192.0.2.7").unwrap().to_string(), "[\"192.0.2.7\"]");
        assert_eq!(domains("2001:DB8:0:0::1").unwrap().0, ["2001:db8::1"]);
        for text in ["", "*.example.org", "a..b", "a b", "cache.example.org:443", "-a", "a,", "ü.org"] {
            assert!(domains(text).is_err(), "{text}");
        }
        assert!(Domains::try_from(OneOrMore::More(Vec::new())).is_err());
    }
}
