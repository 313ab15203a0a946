//! A company with a certification authority of its own, as companies make them: by openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority, whose files lie in a folder of the test's own: `NAME.crt`, `NAME.key`, `NAME.crl`, and the same of whoever it
/// issued a certificate to.
pub(crate) struct Company {
    folder: PathBuf,
    name: &'static str,
}

/// A new key, and a request or a certificate for it.
const NEW: &str = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

impl Company {
    /// One of this name, with an empty list of revoked certificates.
    pub(crate) fn new(folder: &Path, name: &'static str) -> Self {
        let company = Self { folder: folder.to_owned(), name };
        let settings = format!(
            "[ca]\ndefault_ca = own\n[own]\ndatabase = {name}.index\nserial = {name}.serial\n\
             crlnumber = {name}.number\ncrl_extensions = list\nnew_certs_dir = .\n\
             certificate = {name}.crt\nprivate_key = {name}.key\ndefault_md = sha256\n\
             default_crl_days = 30\npolicy = any\nunique_subject = no\n\
             [any]\ncommonName = supplied\n[list]\nauthorityKeyIdentifier = keyid\n"
        );
        fs::write(folder.join(format!("{name}.cnf")), settings).unwrap();
        for (file, content) in [("index", ""), ("serial", "01\n"), ("number", "01\n")] {
            fs::write(folder.join(format!("{name}.{file}")), content).unwrap();
        }
        company.run(&format!("{NEW} -x509 -days 30 -subj /CN={name} -keyout {name}.key -out {name}.crt"));
        company.list();
        company
    }

    /// Runs a line of shell where its files lie.
    pub(crate) fn run(&self, line: &str) {
        let made = Command::new("sh").args(["-euc", line]).current_dir(&self.folder).output().unwrap();
        assert!(made.status.success(), "{line}: {}", String::from_utf8_lossy(&made.stderr));
    }

    /// Issues a certificate to `who`, with this common name, for 30 days.
    pub(crate) fn issue(&self, who: &str, common_name: &str) {
        self.issue_with(who, common_name, "", "-days 30");
    }

    /// The same with other dates, as arguments of openssl, and perhaps more extensions.
    pub(crate) fn issue_with(&self, who: &str, common_name: &str, extensions: &str, dates: &str) {
        let settings = format!("[client]\nextendedKeyUsage = clientAuth\n{extensions}\n");
        fs::write(self.folder.join(format!("{who}.ext")), settings).unwrap();
        let ca = self.ca();
        self.run(&format!(
            "{NEW} -subj '/CN={common_name}' -keyout {who}.key -out {who}.csr\n\
             {ca} -batch -notext -extfile {who}.ext -extensions client {dates} -in {who}.csr -out {who}.crt"
        ));
    }

    /// Somebody who signs for itself, with this common name.
    pub(crate) fn stranger(&self, who: &str, common_name: &str) {
        self.run(&format!("{NEW} -x509 -days 30 -subj '/CN={common_name}' -keyout {who}.key -out {who}.crt"));
    }

    /// Revokes the certificate of `who`, and publishes the list.
    pub(crate) fn revoke(&self, who: &str) {
        self.run(&format!("{} -revoke {who}.crt", self.ca()));
        self.list();
    }

    fn list(&self) {
        let name = self.name;
        self.run(&format!("{} -gencrl -out {name}.new && mv {name}.new {name}.crl", self.ca()));
    }

    fn ca(&self) -> String {
        format!("openssl ca -config {}.cnf", self.name)
    }
}
