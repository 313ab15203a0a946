//! What a certificate says: its dates, and whose it is.

use x509_parser::parse_x509_certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::{GeneralName, ParsedExtension, X509Certificate};

use crate::{Error, Fingerprint};

/// Characters of a subject's name that are kept.
const NAME_LENGTH_MAX: usize = 64;

/// What is read of a certificate.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) sha256: Fingerprint,
    /// The subject's common name, or that it is one.
    pub(crate) name: String,
    /// The first second in which it is valid, in Unix seconds.
    pub(crate) not_before: u64,
    /// The last one.
    pub(crate) not_after: u64,
    /// The host names and addresses that it is for, as they are written.
    pub(crate) hosts: Vec<String>,
}

/// Every certificate of a text in PEM, in which nothing else may be.
pub(crate) fn read_all(pem: &[u8]) -> Result<Vec<Certificate>, Error> {
    read_those(pem, |_| true)
}

/// The same of what a server presents, whose key may be in the same file.
pub(crate) fn read_chain(pem: &[u8]) -> Result<Vec<Certificate>, Error> {
    read_those(pem, |label| !label.ends_with("PRIVATE KEY"))
}

fn read_those(pem: &[u8], counts: impl Fn(&str) -> bool) -> Result<Vec<Certificate>, Error> {
    let mut found = Vec::new();
    for (block, number) in Pem::iter_from_buffer(pem).zip(1..) {
        let unreadable = |reason: String| Error::Certificates(format!("certificate {number}: {reason}"));
        let block = block.map_err(|error| unreadable(error.to_string()))?;
        if !counts(&block.label) {
            continue;
        }
        if block.label != "CERTIFICATE" {
            return Err(unreadable(format!("this is a {}, and no certificate", block.label)));
        }
        found.push(read(&block.contents).map_err(unreadable)?);
    }
    if found.is_empty() && !pem.trim_ascii().is_empty() {
        return Err(Error::Certificates("there is no certificate in it".into()));
    }
    Ok(found)
}

/// What this certificate says.
pub(crate) fn read(der: &[u8]) -> Result<Certificate, String> {
    let (behind, certificate) = parse_x509_certificate(der).map_err(|error| error.to_string())?;
    if !behind.is_empty() {
        return Err(format!("{} bytes stand behind it", behind.len()));
    }
    let sha256 = Fingerprint::of(der);
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    let validity = certificate.validity();
    Ok(Certificate {
        sha256,
        name: common_name(&certificate).unwrap_or_else(|| "certificate".to_owned()),
        not_before: seconds(validity.not_before.timestamp()),
        not_after: seconds(validity.not_after.timestamp()),
        hosts: hosts(&certificate),
    })
}

/// The subject's common name to the letter; `None` if it has none.
///
/// # Errors
/// One that could be taken for another: with control characters, empty, or longer than X.520 allows.
pub(crate) fn common_name_as_it_is(der: &[u8]) -> Result<Option<String>, String> {
    let (_, certificate) = parse_x509_certificate(der).map_err(|error| error.to_string())?;
    let Some(name) = certificate.subject().iter_common_name().next() else { return Ok(None) };
    let name = name.as_str().map_err(|error| error.to_string())?;
    if name.trim().is_empty() || name.chars().any(char::is_control) || name.chars().count() > NAME_LENGTH_MAX
    {
        return Err("the common name is none that an identity could be called by".into());
    }
    Ok(Some(name.to_owned()))
}

/// What others wrote goes into logs: no control characters, and not without end.
fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    let name: String =
        name.chars().filter(|character| !character.is_control()).take(NAME_LENGTH_MAX).collect();
    (!name.trim().is_empty()).then_some(name)
}

fn hosts(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extensions =
        certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
    let hosts = extensions.flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    });
    hosts.collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    use std::net::IpAddr;
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address.ok().map(|address| address.to_string())
}
