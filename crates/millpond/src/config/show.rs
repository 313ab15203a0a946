//! What `config show` prints: every setting as a file would have it, and behind each the layer that gave it.

use std::fmt::{self, Display, Write};
use std::path::PathBuf;

use millpond_cache::Bounds;

use super::{Given, Issuer, Listener, Metrics, Patterns, Place, Settings};
use crate::size::Size;

/// Where the layers stand, in characters from the left.
const COLUMN: usize = 40;

impl Display for Settings {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("[store]\n")?;
        line(to, "data", &quoted(self.data.value.display()), &self.data.place)?;
        match &self.max_size {
            Some(limit) => number(to, "max_size", limit)?,
            None => unsaid(to, "max_size")?,
        }
        size(to, "keep_free", self.keep_free.as_ref())?;
        size(to, "max_cas_blob_size", self.max_cas_blob_size.as_ref())?;
        given(to, "lease", &self.lease)?;
        number(to, "read_only", &self.read_only)?;
        given(to, "compression", &self.compression)?;
        given(to, "compress_after", &self.compress_after)?;
        number(to, "upgrade", &self.upgrade)?;
        given(to, "scrub", &self.scrub)?;
        to.write_str("\n[identity]\n")?;
        line(to, "keys", &quoted(self.keys.value.display()), &self.keys.place)?;
        path(to, "certificate", self.certificate.as_ref())?;
        path(to, "key", self.key.as_ref())?;
        path(to, "authorized", self.authorized.as_ref())?;
        given(to, "authorized_allow", &self.authorized_allow)?;
        super::acme::show(to, self.acme.as_ref())?;
        for issuer in &self.issuers {
            write_issuer(to, issuer)?;
        }
        for authority in &self.authorities {
            to.write_str("\n[[authority]]\n")?;
            given(to, "name", &authority.name)?;
            path(to, "certificates", Some(&authority.certificates))?;
            path(to, "revoked", authority.revoked.as_ref())?;
            patterns(to, "subjects", authority.subjects.as_ref())?;
            given(to, "allow", &authority.allow)?;
            patterns(to, "names", authority.names.as_ref())?;
            patterns(to, "instances", authority.instances.as_ref())?;
        }
        for listener in &self.listeners {
            to.write_str("\n[[listener]]\n")?;
            address(to, listener)?;
            said(to, "fd_name", listener.fd_name.as_ref())?;
            number(to, "tls", &listener.tls)?;
            given(to, "allow", &listener.allow)?;
            let Bounds { anonymous, .. } = listener.bounds();
            let place =
                listener.anonymous.as_ref().map_or(&Place::Default("anonymous"), |given| &given.place);
            line(to, "anonymous", &quoted(anonymous), place)?;
            given(to, "denied_writes", &listener.denied_writes)?;
            listener.proxies.as_ref().map_or(Ok(()), |proxies| number(to, "proxies", proxies))?;
            number(to, "proxy_protocol", &listener.proxy_protocol)?;
            match &listener.certificate_header {
                Some(header) => given(to, "certificate_header", header)?,
                None => unsaid(to, "certificate_header")?,
            }
            match &listener.address_header {
                Some(header) => given(to, "address_header", header)?,
                None => unsaid(to, "address_header")?,
            }
        }
        for instance in &self.instances {
            to.write_str("\n[[instance]]\n")?;
            given(to, "name", &instance.name)?;
            given(to, "keeps", &instance.keeps)?;
        }
        for rule in &self.replacement {
            to.write_str("\n[[replacement]]\n")?;
            given(to, "names", &rule.names)?;
            given(to, "by", &rule.by)?;
            given(to, "otherwise", &rule.otherwise)?;
        }
        for rule in &self.retention {
            to.write_str("\n[[retention]]\n")?;
            said(to, "instance", rule.instance.as_ref())?;
            said(to, "kind", rule.kind.as_ref())?;
            said(to, "project", rule.project.as_ref())?;
            said(to, "element", rule.element.as_ref())?;
            said(to, "names", rule.names.as_ref())?;
            said(to, "outcome", rule.outcome.as_ref())?;
            said(to, "keep", rule.keep.as_ref())?;
            rule.keep_newest.as_ref().map_or(Ok(()), |count| number(to, "keep_newest", count))?;
            said(to, "let_go_after", rule.let_go_after.as_ref())?;
            rule.at_most.as_ref().map_or(Ok(()), |bytes| size(to, "at_most", Some(bytes)))?;
        }
        to.write_str("\n[metrics]\n")?;
        match &self.metrics {
            Metrics::Off(place) => line(to, "address", "\"off\"", place)?,
            Metrics::On(listener) => address(to, listener)?,
        }
        to.write_str("\n[admin]\n")?;
        match &self.admin_socket {
            Some(socket) => given(to, "socket", socket)?,
            None => unsaid(to, "socket")?,
        }
        number(to, "watch", &self.watch)?;
        to.write_str("\n[log]\n")?;
        match &self.log_filter {
            Some(filter) => given(to, "filter", filter)?,
            None => unsaid(to, "filter")?,
        }
        self.otlp.show(to)?;
        to.write_str("\n[audit]\n")?;
        match &self.audit {
            Some(keep) => number(to, "keep", keep)?,
            None => unsaid(to, "keep")?,
        }
        to.write_str("\n[limits]\n")?;
        number(to, "connections", &self.connections)?;
        match &self.connections_per_address {
            Some(count) => number(to, "connections_per_address", count)?,
            None => unsaid(to, "connections_per_address")?,
        }
        number(to, "streams", &self.streams)?;
        size(to, "request_memory", self.request_memory.as_ref())?;
        given(to, "look_up_time", &self.look_up_time)?;
        number(to, "look_ups_waiting", &self.look_ups_waiting)?;
        self.requests.show(to)?;
        given(to, "unread", &self.unread)?;
        given(to, "idle", &self.idle)?;
        given(to, "drain", &self.drain)?;
        for quota in &self.quotas {
            to.write_str("\n[[quota]]\n")?;
            given(to, "identities", &quota.identities)?;
            match &quota.requests_per_minute {
                Some(count) => number(to, "requests_per_minute", count)?,
                None => unsaid(to, "requests_per_minute")?,
            }
            size(to, "upload_per_day", quota.upload_per_day.as_ref())?;
        }
        Ok(())
    }
}

fn write_issuer(to: &mut fmt::Formatter<'_>, issuer: &Issuer) -> fmt::Result {
    to.write_str("\n[[issuer]]\n")?;
    given(to, "name", &issuer.name)?;
    given(to, "url", &issuer.url)?;
    number(to, "audience", &issuer.audience)?;
    match &issuer.jwks_url {
        Some(url) => given(to, "jwks_url", url)?,
        None => unsaid(to, "jwks_url")?,
    }
    number(to, "algorithms", &issuer.algorithms)?;
    given(to, "grace", &issuer.grace)?;
    path(to, "ca", issuer.ca.as_ref())?;
    for grant in &issuer.grants {
        to.write_str("\n[[issuer.grant]]\n")?;
        number(to, "claims", &grant.claims)?;
        given(to, "allow", &grant.allow)?;
        grant.projects.as_ref().map_or(Ok(()), |projects| number(to, "projects", projects))?;
        patterns(to, "names", grant.names.as_ref())?;
        patterns(to, "instances", grant.instances.as_ref())?;
    }
    Ok(())
}

fn patterns(to: &mut fmt::Formatter<'_>, key: &str, patterns: Option<&Given<Patterns>>) -> fmt::Result {
    patterns.map_or(Ok(()), |patterns| number(to, key, patterns))
}

fn address(to: &mut fmt::Formatter<'_>, listener: &Listener) -> fmt::Result {
    line(to, "address", &quoted(listener.address), &listener.place)?;
    number(to, "insecure", &listener.insecure)
}

pub(super) fn path(to: &mut fmt::Formatter<'_>, key: &str, path: Option<&Given<PathBuf>>) -> fmt::Result {
    match path {
        Some(path) => line(to, key, &quoted(path.value.display()), &path.place),
        None => unsaid(to, key),
    }
}

pub(super) fn unsaid(to: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    writeln!(to, "# {key}: {}  # default", super::reference::default_of(key))
}

pub(super) fn given(to: &mut fmt::Formatter<'_>, key: &str, given: &Given<impl Display>) -> fmt::Result {
    line(to, key, &quoted(&given.value), &given.place)
}

/// The same, where there is one to show.
fn said(to: &mut fmt::Formatter<'_>, key: &str, given: Option<&Given<impl Display>>) -> fmt::Result {
    given.map_or(Ok(()), |given| self::given(to, key, given))
}

/// What a file has without quotes.
pub(super) fn number(to: &mut fmt::Formatter<'_>, key: &str, given: &Given<impl Display>) -> fmt::Result {
    line(to, key, &given.value.to_string(), &given.place)
}

/// In bytes, since a unit would round. One that is not given depends on the machine.
pub(super) fn size(to: &mut fmt::Formatter<'_>, key: &str, size: Option<&Given<Size>>) -> fmt::Result {
    match size {
        Some(size) => line(to, key, &size.value.0.to_string(), &size.place),
        None => unsaid(to, key),
    }
}

fn line(to: &mut fmt::Formatter<'_>, key: &str, value: &str, place: &Place) -> fmt::Result {
    let setting = format!("{key} = {value}");
    writeln!(to, "{setting:COLUMN$}  # {}", place.layer())
}

fn quoted(value: impl Display) -> String {
    let mut text = String::new();
    // A String takes everything.
    let _ = write!(text, "{value}");
    super::environment::quoted(&text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::file;
    use crate::config::merge::merge;

    #[test]
    fn shown_settings_name_their_layer_and_are_a_file_that_says_the_same() {
        let read = file::parse(Path::new("pond.toml"), "[store]\nmax_size = \"1GB\"").unwrap();
        let flags = crate::config::Flags { data: Some("/srv/\"pond\"".into()), ..Default::default() };
        let settings = merge(flags, &file::Read::default(), &read);
        let text = settings.to_string();
        for (_, key) in crate::config::reference::all().filter(|(section, _)| !section.many) {
            let shown = ["", "# "].map(|mark| format!("\n{mark}{}", key.name));
            assert!(shown.iter().any(|start| text.contains(start)), "{} is not shown", key.name);
        }
        let layer = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.rsplit_once("# ").unwrap().1
        };
        assert_eq!(layer("data = "), "flag --data");
        assert_eq!(layer("max_size = 1000000000"), "pond.toml:2");
        assert_eq!(layer("lease = \"3h\""), "default");
        assert_eq!(layer("# request_memory: an eighth"), "default");
        let again = file::parse(Path::new("shown.toml"), text.as_str()).unwrap();
        let again = merge(Default::default(), &file::Read::default(), &again);
        assert_eq!(again.data.value, settings.data.value);
        assert_eq!(again.listeners.len(), 2);
    }
}
