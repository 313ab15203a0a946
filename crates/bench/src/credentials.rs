//! What a server is known by and what it is shown.
//!
//! **Invariant:** nothing of it is in what `Debug` prints.

use std::fmt;

use http::HeaderValue;

/// What a server is known by and what it is shown. All of it is optional.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Certificates in PEM that vouch for the server, instead of those that the system trusts.
    pub ca_pem: Option<Vec<u8>>,
    /// The client's certificate, with those that vouch for it behind it, and its key; both in PEM.
    pub client_pem: Option<(Vec<u8>, Vec<u8>)>,
    /// Shown with each call, as `authorization: Bearer`.
    pub token: Option<String>,
}

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// What is to vouch for the server is not in PEM, or no certificate.
    #[error("there is no CA in the file of --ca-cert: certificates in PEM are wanted")]
    Ca,
    /// The system has none, and none were given.
    #[error("this system trusts no CA")]
    NoRoots,
    /// The client's certificate is not in PEM.
    #[error("there is no certificate in the file of --client-cert: PEM is wanted")]
    ClientCertificate,
    /// The client's key is not in PEM.
    #[error("there is no private key in the file of --client-key: PEM is wanted, without a passphrase")]
    ClientKey,
    /// Certificate and key do not fit each other, or are of a kind that is not known.
    #[error("--client-cert and --client-key cannot be used: {0}")]
    Client(rustls::Error),
    /// The URL has a host that no certificate can name.
    #[error("\"{0}\" is no name that a certificate can have")]
    Name(String),
    /// A token with a character that no header can hold, or none.
    #[error(
        "the file of --token-file holds no token: one line is wanted, as `millpond tokens issue` prints it"
    )]
    Token,
}

impl Credentials {
    /// The header that shows the token.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, CredentialError> {
        let Some(token) = &self.token else { return Ok(None) };
        if token.is_empty() || token.contains(char::is_whitespace) {
            return Err(CredentialError::Token);
        }
        let mut value =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| CredentialError::Token)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(token: &str) -> Result<Option<HeaderValue>, CredentialError> {
        Credentials { token: Some(token.to_owned()), ..Credentials::default() }.authorization()
    }

    #[test]
    fn token_is_one_word_and_is_not_printed() {
        assert_eq!(shown("mp_1_x").unwrap().unwrap(), "Bearer mp_1_x");
        for text in ["", "two words", "two\nlines", "a\u{7f}"] {
            shown(text).unwrap_err();
        }
        let credentials = Credentials { token: Some("mp_1_secret".to_owned()), ..Credentials::default() };
        assert!(!format!("{credentials:?} {:?}", shown("mp_1_secret")).contains("secret"));
    }
}
