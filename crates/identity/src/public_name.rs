//! What a certificate of an ACME authority takes beside the protocol: requests for it, what stands in for it until it is there, and
//! the certificates that answer a challenge.

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair};

use crate::Error;

/// A request for a certificate of these names.
#[derive(Debug)]
pub struct CertificateRequest {
    /// The request, in DER (RFC 2986).
    pub der: Vec<u8>,
    /// The key that it is for, in PEM.
    pub key_pem: String,
}

impl CertificateRequest {
    /// With a key of its own, for host names and addresses.
    ///
    /// # Errors
    /// That one of them can be in no certificate.
    pub fn new(names: &[String]) -> Result<Self, Error> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate()?;
        let request = params.serialize_request(&key)?;
        Ok(Self { der: request.der().to_vec(), key_pem: key.serialize_pem() })
    }
}

/// A certificate that nobody vouches for, and its key, in PEM.
///
/// # Errors
/// That one of the names can be in no certificate.
pub fn stand_in(names: &[String]) -> Result<(String, String), Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Millpond, until its certificate is issued");
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// The certificate that answers the challenge tls-alpn-01 for a name, and its key, in DER (RFC 8737, section 3).
///
/// # Errors
/// That the name can be in no certificate, or the digest of the key authorization is none.
pub fn challenge(name: &str, digest: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let digest: &[u8; 32] =
        digest.try_into().map_err(|_| Error::Making("a digest has 32 bytes".to_owned()))?;
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.der().to_vec(), key.serialize_der()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Presented;

    #[test]
    fn stand_in_and_request_are_for_the_names_and_no_others() {
        let names = ["cache.example.org".to_owned(), "192.0.2.7".to_owned()];
        let (certificate, key) = stand_in(&names).unwrap();
        assert_eq!(Presented::read(certificate.as_bytes()).unwrap().names, names);
        assert!(key.contains("PRIVATE KEY"));
        let request = CertificateRequest::new(&names).unwrap();
        assert!(request.der.windows(17).any(|window| window == b"cache.example.org"));
        assert!(stand_in(&["no name ü".to_owned()]).is_err());
    }

    #[test]
    fn challenge_has_the_digest_and_nothing_else_is_one() {
        let (certificate, _) = challenge("cache.example.org", &[7; 32]).unwrap();
        assert!(certificate.windows(32).any(|window| window == [7; 32]));
        assert!(challenge("cache.example.org", &[7; 31]).is_err());
    }
}
