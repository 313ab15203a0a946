//! Keys and certificates as they are made: ECDSA on P-256, which every client takes.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use time::OffsetDateTime;

use super::names;
use crate::{Error, Fingerprint, Keys, certificate, day, files};

/// For how many seconds before it was made a certificate is valid, for clients whose clock goes behind.
const BEFORE: u64 = 3600;

/// A certificate with its key, both in PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) sha256: Fingerprint,
}

/// From when to when a certificate is valid, in Unix seconds.
#[derive(Clone, Copy)]
pub(super) struct Term {
    pub(super) now: u64,
    pub(super) not_after: u64,
}

/// The CA of a directory of keys.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    not_after: u64,
}

impl Authority {
    /// Makes one, which can issue certificates of servers and clients, and no further CA.
    pub(super) fn make(name: &str, term: Term) -> Result<(Self, Pair), Error> {
        let mut params = params(&format!("Millpond CA of {name}"), Vec::new(), term)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let made = params.self_signed(&key)?;
        let pair = pair(&made, &key);
        Ok((Self { issuer: Issuer::new(params, key), not_after: term.not_after }, pair))
    }

    /// The one that is there.
    pub(super) fn load(keys: &Keys) -> Result<Self, Error> {
        let (path, key_path) = (keys.ca_certificate(), keys.ca_key());
        if let Some(missing) = [&path, &key_path].into_iter().find(|path| !path.exists()) {
            return Err(Error::unwanted(
                format!("{} is not there, which certificates are issued with", missing.display()),
                format!(
                    "{} makes it, NAME being the host name of this server",
                    keys.command("keys init NAME")
                ),
            ));
        }
        let malformed = |error: String| Error::malformed(&path, error);
        let pem = files::read(&path)?;
        let read = certificate::read_all(&pem).map_err(|error| malformed(error.to_string()))?;
        let not_after = read.first().map_or(0, |certificate| certificate.not_after);
        // The cause might quote the key.
        let key =
            String::from_utf8(files::read(&key_path)?).ok().and_then(|pem| KeyPair::from_pem(&pem).ok());
        let key = key.ok_or_else(|| Error::malformed(&key_path, "there is no private key in it"))?;
        let issuer = Issuer::from_ca_cert_pem(&String::from_utf8_lossy(&pem), key);
        Ok(Self { issuer: issuer.map_err(|error| malformed(error.to_string()))?, not_after })
    }

    /// A server's certificate for these host names and addresses.
    pub(super) fn server(&self, hosts: &[String], term: Term) -> Result<Pair, Error> {
        let names = hosts.iter().map(|name| names::host(name)).collect::<Result<_, _>>()?;
        let common_name = hosts.first().map_or("millpond", String::as_str);
        let mut params = params(common_name, names, term)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, term)
    }

    /// A client's certificate.
    pub(super) fn client(&self, name: &str, term: Term) -> Result<Pair, Error> {
        let uri = Ia5String::try_from(format!("millpond:client:{name}"))?;
        let mut params = params(name, vec![SanType::URI(uri)], term)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, term)
    }

    fn sign(&self, mut params: CertificateParams, term: Term) -> Result<Pair, Error> {
        if term.not_after > self.not_after {
            let left = self.not_after.saturating_sub(term.now) / super::DAY;
            return Err(Error::unwanted(
                format!("the CA is valid until {}, and no certificate longer than it", day(self.not_after)),
                format!("give at most --days {left}, or begin anew in another directory of keys"),
            ));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(pair(&params.signed_by(&key, &self.issuer)?, &key))
    }
}

fn params(common_name: &str, names: Vec<SanType>, term: Term) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // Longer ones are not allowed in X.509; clients go by the other names anyway.
    let common_name: String = common_name.chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = names;
    params.not_before = time(term.now.saturating_sub(BEFORE))?;
    params.not_after = time(term.not_after)?;
    Ok(params)
}

fn time(unix_seconds: u64) -> Result<OffsetDateTime, Error> {
    let time =
        i64::try_from(unix_seconds).ok().and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
    time.ok_or_else(|| Error::Making(format!("{unix_seconds} seconds after 1970 is too late")))
}

fn pair(certificate: &rcgen::Certificate, key: &KeyPair) -> Pair {
    Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        sha256: Fingerprint::of(certificate.der()),
    }
}
