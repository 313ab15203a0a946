//! A certification authority of somebody else's, whose word on who its clients are counts: that of a company.
//!
//! **Invariant:** what is asked of it is the whole chain up to its own certificates, with the dates, the purpose and the lists of
//! revoked ones, each time: nothing is remembered of a certificate that it vouches for. Its own are taken as they are.

use std::sync::Arc;
use std::time::Duration;

use millpond_cache::{Grant, Identity, Pattern};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use webpki::{
    CertRevocationList, EndEntityCert, Error as Unproven, ExpirationPolicy, KeyUsage,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};

use crate::certificate::{self, Certificate};
use crate::{Error, Refused};

/// Those of the one cryptographic library that all of Millpond uses.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = webpki::ALL_VERIFICATION_ALGS;

/// What every list in DER begins with, and no text.
const DER_SEQUENCE: u8 = 0x30;

/// What an operator says of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityTerms {
    /// Its clients are known as this, a colon and the name in their certificate.
    pub name: String,
    /// Whose certificates count, by the name in them; all if there is none.
    pub subjects: Vec<Pattern>,
    /// What they may do.
    pub grant: Grant,
}

/// An authority that vouches for clients.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    terms: Arc<AuthorityTerms>,
    anchors: Arc<[TrustAnchor<'static>]>,
    revoked: Arc<[CertRevocationList<'static>]>,
    /// The last seconds of its certificates, in Unix seconds.
    ends: Arc<[u64]>,
}

impl Authority {
    /// Reads its certificates in PEM, and the lists of those that it has revoked: in PEM, one after the other, or one in DER.
    pub(crate) fn read(
        certificates_pem: &[u8],
        revoked: Option<&[u8]>,
        terms: AuthorityTerms,
    ) -> Result<Self, Error> {
        let (mut anchors, mut ends) = (Vec::new(), Vec::new());
        for (found, number) in CertificateDer::pem_slice_iter(certificates_pem).zip(1..) {
            let unreadable = |reason: String| Error::Certificates(format!("certificate {number}: {reason}"));
            let der = found.map_err(|error| unreadable(error.to_string()))?;
            let anchor = webpki::anchor_from_trusted_cert(&der);
            anchors.push(anchor.map_err(|error| unreadable(error.to_string()))?.to_owned());
            ends.push(certificate::read(&der).map_err(unreadable)?.not_after);
        }
        if anchors.is_empty() {
            return Err(Error::Certificates("there is no certificate in it".into()));
        }
        let revoked = revoked.map(lists).transpose()?.unwrap_or_default();
        let (anchors, revoked, ends) = (anchors.into(), revoked.into(), ends.into());
        Ok(Self { terms: Arc::new(terms), anchors, revoked, ends })
    }

    /// Its name, with the last second of each of its certificates in Unix seconds.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (&str, u64)> {
        self.ends.iter().map(|end| (self.terms.name.as_str(), *end))
    }

    /// Whose the certificate is if this authority vouches for it, with the certificates between them, at this time in
    /// Unix seconds; and the first second in which it is valid.
    pub(crate) fn identity(
        &self,
        der: &[u8],
        between: &[CertificateDer<'_>],
        now: u64,
    ) -> Result<(Arc<Identity>, u64), Refused> {
        if self.revoked.is_empty() {
            self.verify(der, between, now, None)?;
        }
        // One at a time: of several of one issuer's, only the first would be asked.
        for list in &*self.revoked {
            self.verify(der, between, now, Some(list))?;
        }
        let Certificate { sha256, hosts, not_before, .. } =
            certificate::read(der).map_err(|_| Refused::Unknown)?;
        let common_name = certificate::common_name_as_it_is(der).map_err(|_| Refused::Unknown)?;
        let AuthorityTerms { name: authority, subjects, grant } = &*self.terms;
        // Where there are host names, an authority that may issue some alone is held to these, and not to the common name.
        let meant = |subject: &Pattern| match &common_name {
            Some(name) if hosts.is_empty() => subject.matches(name),
            _ => hosts.iter().any(|host| subject.matches_host(host)),
        };
        if !subjects.is_empty() && !subjects.iter().any(meant) {
            return Err(Refused::Unknown);
        }
        let name = common_name.or_else(|| hosts.first().cloned()).unwrap_or_else(|| sha256.to_string());
        let name = format!("{authority}:{name}");
        Ok((Arc::new(Identity { name, grants: vec![grant.clone()], lacks: None }), not_before))
    }

    fn verify(
        &self,
        der: &[u8],
        between: &[CertificateDer<'_>],
        now: u64,
        list: Option<&CertRevocationList<'_>>,
    ) -> Result<(), Refused> {
        let der = CertificateDer::from(der);
        let certificate = EndEntityCert::try_from(&der).map_err(|_| Refused::Unknown)?;
        let lists: Vec<_> = list.into_iter().collect();
        // An authority that gives a list for one of its CAs need not give one for all; a list that is out of date still
        // says who was revoked, and letting it shut everybody out would be an outage of the operator's own making.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Ignore)
                .build()
        });
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let usage = KeyUsage::client_auth();
        let verified =
            certificate.verify_for_usage(ALGORITHMS, &self.anchors, between, time, usage, revocation, None);
        match verified {
            Ok(_) => Ok(()),
            Err(Unproven::CertExpired { not_after, .. }) => {
                Err(Refused::Expired { since: not_after.as_secs() })
            }
            Err(Unproven::CertNotValidYet { .. }) => Err(Refused::NotYetValid),
            Err(Unproven::CertRevoked) => Err(Refused::Revoked),
            Err(_) => Err(Refused::Unknown),
        }
    }
}

/// Lists of revoked certificates: at least one, since a file that was cut off must not let everybody back in.
fn lists(content: &[u8]) -> Result<Vec<CertRevocationList<'static>>, Error> {
    let read = |der: &[u8], number: usize| {
        let list = OwnedCertRevocationList::from_der(der);
        list.map(CertRevocationList::from).map_err(|error| Error::Lists(format!("list {number}: {error}")))
    };
    if content.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![read(content, 1)?]);
    }
    let mut found = Vec::new();
    for (der, number) in CertificateRevocationListDer::pem_slice_iter(content).zip(1..) {
        let der = der.map_err(|error| Error::Lists(format!("list {number}: {error}")))?;
        found.push(read(&der, number)?);
    }
    if found.is_empty() {
        return Err(Error::Lists("there is no list of revoked certificates in it".into()));
    }
    Ok(found)
}
