//! Where an issuer's keys are, by its own words (OpenID Connect Discovery 1.0).

use serde::Deserialize;

/// What stands behind an issuer's URL in that of its own words.
pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

/// The URL of the keys, from the document of the issuer with this URL.
///
/// # Errors
/// It is no such document, or somebody else's, with what is wrong.
pub fn keys_location(issuer: &str, document: &[u8]) -> Result<String, String> {
    let document: Document = serde_json::from_slice(document)
        .map_err(|error| format!("this is no OpenID configuration: {error}"))?;
    if document.issuer != issuer {
        let named = super::claims::clean(&document.issuer);
        return Err(format!(
            "this is the OpenID configuration of {named}: give that as issuer, to the letter"
        ));
    }
    Ok(document.jwks_uri)
}
