//! What reads a configuration, for the target in `fuzz/` and the tests: compiled for them alone.

use crate::config;

/// A configuration file: it is taken, or refused with the line and a remedy; what is shown of one that is taken can be taken.
pub fn configuration(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        config::take(text);
    }
}

#[cfg(test)]
#[path = "../../../fuzz/inputs.rs"]
mod inputs;

#[cfg(test)]
mod tests {
    use super::inputs::try_many;
    use super::*;

    #[test]
    fn any_configuration_is_taken_or_refused() {
        try_many(
            &[
                b"[store]\nmax_size = '90%'\nlease = '3h'\n[[instance]]\nname = 'a'\nkeeps = 'index'\n",
                b"[[listener]]\naddress = '[::]:11001'\ntls = true\nallow = 'pull'\nproxies = ['10.0.0.0/8']\n",
                b"[[issuer]]\nname = 'g'\nurl = 'https://g.example'\naudience = 'x'\n[[issuer.grant]]\nclaims = { a = 'b*' }\nallow = 'push'\n",
                b"[[retention]]\nnames = ['artifact:p/*']\nkeep = '2y'\n[[quota]]\nidentities = 'ci-*'\nupload_per_day = '2GB'\n",
                b"[[authority]]\nname = 'corp'\ncertificates = '/x'\n[[replacement]]\nnames = 'source:*'\nby = 'nobody'\n",
            ],
            configuration,
        );
    }
}
