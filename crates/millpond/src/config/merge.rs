//! Lays the layers over each other.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use millpond_cache::Rights;
use toml::Spanned;

use super::file::{self, File, Limits, Read};
use super::lists::Patterns;
use super::otlp::Otlp;
use super::replacement::Names;
use super::requests::Requests;
use super::{
    Acme, Allowed, Authority, By, Compression, Else, Flags, Given, Instance, Issuer, Keeps, Listener,
    Metrics, Place, Quota, Retention, Rule, Scrub, Settings, Socket, flags, instance,
};
use crate::span::Span;

/// In how much time everything is read again.
const SCRUB: Span = Span { seconds: 14 * 24 * 3600 };
/// The port that BuildStream caches are found on.
pub(crate) const PORT: u16 = 11001;
/// The one that is for pushing, where there are two.
pub(crate) const PUSH_PORT: u16 = 11002;
/// The port that Prometheus exporters of instrumented programs are given.
const METRICS_PORT: u16 = 9464;

/// What may give a setting beside flags, the stronger one first.
#[derive(Clone, Copy)]
pub(super) struct Layers<'l>([&'l Read; 2]);

impl<'l> Layers<'l> {
    /// Whether any of them says something.
    pub(super) fn any(self, says: impl Fn(&'l File) -> bool) -> bool {
        self.0.into_iter().any(|read| says(&read.file))
    }

    /// A setting from the first layer that has it.
    pub(super) fn find<T: Clone + 'l>(
        self,
        key: &'static str,
        of: impl Fn(&'l File) -> Option<&'l Spanned<T>>,
    ) -> Option<Given<T>> {
        self.0.into_iter().find_map(|read| Some(read.given(of(&read.file)?, key)))
    }

    /// A limit, which has a default and no flag.
    pub(super) fn limit<T: Clone + 'l>(
        self,
        key: &'static str,
        default: T,
        of: impl Fn(&'l Limits) -> Option<&'l Spanned<T>>,
    ) -> Given<T> {
        self.find(key, |file| of(&file.limits)).unwrap_or_else(|| Given::default(key, default))
    }

    /// The tables of the first layer that has any.
    fn tables<T: 'l>(self, of: impl Fn(&'l File) -> &'l [T]) -> impl Iterator<Item = (&'l Read, &'l T)> {
        let read = self.0.into_iter().find(|read| !of(&read.file).is_empty());
        read.into_iter().flat_map(move |read| of(&read.file).iter().map(move |table| (read, table)))
    }

    /// A path from the first layer that has it.
    pub(super) fn path(
        self,
        key: &'static str,
        of: impl Fn(&'l File) -> Option<&'l Spanned<PathBuf>>,
    ) -> Option<Given<PathBuf>> {
        self.0.into_iter().find_map(|read| Some(read.given_path(of(&read.file)?, key)))
    }

    /// As [`Layers::path`].
    fn admin_socket(self) -> Option<Given<Socket>> {
        self.0.into_iter().find_map(|read| {
            let Given { value, place } = read.given(read.file.admin.socket.as_ref()?, "socket");
            let below = read.folder().map(|folder| value.clone().below(folder));
            Some(Given { value: below.unwrap_or(value), place })
        })
    }

    /// Of one address: what is for all of them, or else its own.
    fn tls(self, flags: &Flags, own: Option<Given<bool>>) -> Given<bool> {
        let all = || self.find("tls", |file| file.tls.as_ref());
        let by_flag = flags.tls.then(|| Given::by_flag("--tls", true));
        by_flag.or_else(all).or(own).unwrap_or_else(|| Given::default("--tls", false))
    }

    /// Of one address: what is for all of them, or else its own.
    fn insecure(self, flags: &Flags, own: Option<Given<bool>>) -> Given<bool> {
        let all = || self.find("insecure", |file| file.insecure.as_ref());
        let by_flag = flags.insecure.then(|| Given::by_flag("--insecure", true));
        by_flag.or_else(all).or(own).unwrap_or_else(|| Given::default("--insecure", false))
    }
}

/// Flags over the environment over the file over defaults.
pub(super) fn merge(flags: Flags, environment: &Read, read: &Read) -> Settings {
    let layers = Layers([environment, read]);
    let listeners = listeners(&flags, layers);
    let warnings = put_aside(&flags, layers);
    let metrics = metrics(&flags, layers);
    let given = |flag, value| Given::by_flag(flag, value);
    Settings {
        listeners,
        metrics,
        data: (flags.data.map(|data| Given::by_flag("--data", data)))
            .or_else(|| layers.path("data", |file| file.store.data.as_ref()))
            .unwrap_or_else(|| Given::default("--data", PathBuf::from("millpond-data"))),
        admin_socket: (flags.admin_socket.map(|socket| Given::by_flag("--admin-socket", socket)))
            .or_else(|| layers.admin_socket()),
        watch: (layers.find("watch", |file| file.admin.watch.as_ref()))
            .unwrap_or_else(|| Given::default("watch", false)),
        log_filter: layers.find("filter", |file| file.log.filter.as_ref()),
        otlp: Otlp::merge(layers),
        audit: layers.find("keep", |file| file.audit.keep.as_ref()),
        keys: (flags.keys.map(|keys| Given::by_flag("--keys", keys)))
            .or_else(|| layers.path("keys", |file| file.identity.keys.as_ref()))
            .unwrap_or_else(|| Given::default("--keys", PathBuf::from("millpond-keys"))),
        certificate: layers.path("certificate", |file| file.identity.certificate.as_ref()),
        key: layers.path("key", |file| file.identity.key.as_ref()),
        acme: Acme::merge(layers),
        authorized: layers.path("authorized", |file| file.identity.authorized.as_ref()),
        authorized_allow: layers
            .find("authorized_allow", |file| file.identity.authorized_allow.as_ref())
            .unwrap_or_else(|| Given::default("authorized_allow", Allowed(Rights::Push))),
        issuers: layers.tables(|file| &file.issuer).map(Issuer::of).collect(),
        authorities: layers.tables(|file| &file.authority).map(authority).collect(),
        max_size: (flags.max_size.map(|limit| Given::by_flag("--max-size", limit)))
            .or_else(|| layers.find("max_size", |file| file.store.max_size.as_ref())),
        keep_free: layers.find("keep_free", |file| file.store.keep_free.as_ref()),
        max_cas_blob_size: layers.find("max_cas_blob_size", |file| file.store.max_cas_blob_size.as_ref()),
        lease: (flags.lease.map(|lease| Given::by_flag("--lease", lease)))
            .or_else(|| layers.find("lease", |file| file.store.lease.as_ref()))
            .unwrap_or_else(|| Given::default("--lease", Span { seconds: 3 * 3600 })),
        read_only: (flags.read_only.then(|| Given::by_flag("--read-only", true)))
            .or_else(|| layers.find("read_only", |file| file.store.read_only.as_ref()))
            .unwrap_or_else(|| Given::default("--read-only", false)),
        compression: (flags.compression.map(|compression| Given::by_flag("--compression", compression)))
            .or_else(|| layers.find("compression", |file| file.store.compression.as_ref()))
            .unwrap_or_else(|| Given::default("--compression", Compression::Off)),
        compress_after: (flags.compress_after.map(|after| Given::by_flag("--compress-after", after)))
            .or_else(|| layers.find("compress_after", |file| file.store.compress_after.as_ref()))
            .unwrap_or_else(|| Given::default("--compress-after", Span { seconds: 24 * 3600 })),
        upgrade: (flags.no_upgrade.then(|| Given::by_flag("--no-upgrade", false)))
            .or_else(|| layers.find("upgrade", |file| file.store.upgrade.as_ref()))
            .unwrap_or_else(|| Given::default("upgrade", true)),
        scrub: (layers.find("scrub", |file| file.store.scrub.as_ref()))
            .unwrap_or_else(|| Given::default("scrub", Scrub::Each(SCRUB))),
        instances: instances(flags.instance, layers),
        replacement: layers.tables(|file| &file.replacement).map(rule).collect(),
        retention: layers.tables(|file| &file.retention).map(retention).collect(),
        quotas: layers.tables(|file| &file.quota).map(quota).collect(),
        request_memory: (flags.request_memory.map(|size| given("--request-memory", size)))
            .or_else(|| layers.find("request_memory", |file| file.limits.request_memory.as_ref())),
        connections: layers.limit("connections", 10_000, |limits| limits.connections.as_ref()),
        streams: layers.limit("streams", 1000, |limits| limits.streams.as_ref()),
        look_up_time: layers
            .limit("look_up_time", Span { seconds: 30 }, |limits| limits.look_up_time.as_ref()),
        look_ups_waiting: layers.limit("look_ups_waiting", 1000, |limits| limits.look_ups_waiting.as_ref()),
        requests: Requests::merge(layers),
        unread: layers.limit("unread", Span { seconds: 300 }, |limits| limits.unread.as_ref()),
        idle: layers.limit("idle", Span { seconds: 1800 }, |limits| limits.idle.as_ref()),
        connections_per_address: layers
            .find("connections_per_address", |file| file.limits.connections_per_address.as_ref()),
        drain: layers.limit("drain", Span { seconds: 10 }, |limits| limits.drain.as_ref()),
        warnings,
    }
}

/// Rights that a file gives to its listeners, where these give way to flags or variables.
fn put_aside(flags: &Flags, layers: Layers<'_>) -> Vec<String> {
    let Layers([environment, read]) = layers;
    let by = match (flags.listen.is_empty(), environment.file.listener.is_empty()) {
        (false, _) => "--listen",
        (true, false) => "MILLPOND__LISTEN",
        (true, true) => return Vec::new(),
    };
    let said = |listener: &&file::Listener| {
        let file::Listener { allow, anonymous, tls, proxies, .. } = listener;
        allow.is_some() || anonymous.is_some() || tls.is_some() || proxies.is_some()
    };
    let place = |listener: &file::Listener| read.given(&listener.address, "address").place;
    read.file
        .listener
        .iter()
        .filter(said)
        .map(|listener| {
            format!(
                "{by} puts a listener aside, and what was said of who may do what there: {}",
                place(listener)
            )
        })
        .collect()
}

fn listeners(flags: &Flags, layers: Layers<'_>) -> Vec<Listener> {
    if !flags.listen.is_empty() {
        let place = Place::Flag("--listen");
        let listener = |address| Listener {
            tls: layers.tls(flags, None),
            ..Listener::unsaid(address, layers.insecure(flags, None), place.clone())
        };
        return flags.listen.iter().copied().map(listener).collect();
    }
    let listener = |(read, listener): (&Read, &file::Listener)| {
        let Given { value, place } = read.given(&listener.address, "address");
        let own = listener.insecure.as_ref().map(|own| read.given(own, "insecure"));
        let tls = listener.tls.as_ref().map(|own| read.given(own, "tls"));
        let unsaid = Listener::unsaid(value.0, layers.insecure(flags, own), place);
        Listener {
            fd_name: listener.fd_name.as_ref().map(|name| read.given(name, "fd_name")),
            tls: layers.tls(flags, tls),
            allow: listener.allow.as_ref().map_or(unsaid.allow.clone(), |allow| read.given(allow, "allow")),
            anonymous: listener.anonymous.as_ref().map(|anonymous| read.given(anonymous, "anonymous")),
            denied_writes: (listener.denied_writes.as_ref())
                .map_or(unsaid.denied_writes.clone(), |denied| read.given(denied, "denied_writes")),
            proxies: listener.proxies.as_ref().map(|proxies| read.given(proxies, "proxies")),
            proxy_protocol: (listener.proxy_protocol.as_ref())
                .map_or(unsaid.proxy_protocol.clone(), |speak| read.given(speak, "proxy_protocol")),
            certificate_header: (listener.certificate_header.as_ref())
                .map(|header| read.given(header, "certificate_header")),
            address_header: (listener.address_header.as_ref())
                .map(|header| read.given(header, "address_header")),
            ..unsaid
        }
    };
    let listeners: Vec<_> = layers.tables(|file| &file.listener).map(listener).collect();
    if !listeners.is_empty() {
        return listeners;
    }
    let tls = layers.tls(flags, None);
    if tls.value {
        return by_convention(&tls, &layers.insecure(flags, None));
    }
    let default =
        |address| Listener::unsaid(address, layers.insecure(flags, None), Place::Default("--listen"));
    let ipv4 = default(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    let ipv6 = default(SocketAddr::from((Ipv6Addr::LOCALHOST, PORT)));
    vec![ipv4, Listener { optional: true, ..ipv6 }]
}

/// What BuildStream's own servers have: one port where everybody pulls, and one where holders of keys push.
fn by_convention(tls: &Given<bool>, insecure: &Given<bool>) -> Vec<Listener> {
    let listener = |port, allow, anonymous| Listener {
        tls: tls.clone(),
        allow: Given::default("allow", Allowed(allow)),
        anonymous: Some(Given::default("anonymous", Allowed(anonymous))),
        ..Listener::unsaid(
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            insecure.clone(),
            Place::Default("--listen"),
        )
    };
    vec![listener(PORT, Rights::Pull, Rights::Pull), listener(PUSH_PORT, Rights::Push, Rights::Nothing)]
}

fn authority((read, authority): (&Read, &file::Authority)) -> Authority {
    let patterns = |of: &Option<Spanned<Patterns>>, key| of.as_ref().map(|given| read.given(given, key));
    Authority {
        name: read.given(&authority.name, "name"),
        certificates: read.given_path(&authority.certificates, "certificates"),
        revoked: authority.revoked.as_ref().map(|path| read.given_path(path, "revoked")),
        subjects: patterns(&authority.subjects, "subjects"),
        allow: (authority.allow.as_ref()).map_or_else(
            || Given::default("allow", Allowed(Rights::Pull)),
            |allow| read.given(allow, "allow"),
        ),
        names: patterns(&authority.names, "names"),
        instances: patterns(&authority.instances, "instances"),
    }
}

fn quota((read, quota): (&Read, &file::Quota)) -> Quota {
    Quota {
        identities: read.given(&quota.identities, "identities"),
        requests_per_minute: (quota.requests_per_minute.as_ref())
            .map(|count| read.given(count, "requests_per_minute")),
        upload_per_day: quota.upload_per_day.as_ref().map(|size| read.given(size, "upload_per_day")),
    }
}

fn rule((read, rule): (&Read, &file::Replacement)) -> Rule {
    let (by, otherwise) = (By(Default::default()), Else(Default::default()));
    Rule {
        names: read.given(&rule.names, "names"),
        by: rule.by.as_ref().map_or_else(|| Given::default("by", by), |by| read.given(by, "by")),
        otherwise: (rule.otherwise.as_ref())
            .map_or_else(|| Given::default("otherwise", otherwise), |given| read.given(given, "otherwise")),
    }
}

fn retention((read, rule): (&Read, &file::Retention)) -> Retention {
    let names = |of: &Option<Spanned<Names>>, key| of.as_ref().map(|given| read.given(given, key));
    Retention {
        instance: names(&rule.instance, "instance"),
        kind: rule.kind.as_ref().map(|kind| read.given(kind, "kind")),
        project: names(&rule.project, "project"),
        element: names(&rule.element, "element"),
        names: names(&rule.names, "names"),
        outcome: rule.outcome.as_ref().map(|outcome| read.given(outcome, "outcome")),
        keep: rule.keep.as_ref().map(|keep| read.given(keep, "keep")),
        keep_newest: rule.keep_newest.as_ref().map(|count| read.given(count, "keep_newest")),
        let_go_after: rule.let_go_after.as_ref().map(|after| read.given(after, "let_go_after")),
        at_most: rule.at_most.as_ref().map(|size| read.given(size, "at_most")),
    }
}

fn instances(flags: Vec<instance::Flag>, layers: Layers<'_>) -> Vec<Instance> {
    let keeps =
        |keeps: Option<Given<Keeps>>| keeps.unwrap_or_else(|| Given::default("keeps", Keeps::default()));
    if flags.is_empty() {
        let of_table = |(read, instance): (&Read, &file::Instance)| Instance {
            name: read.given(&instance.name, "name"),
            keeps: keeps(instance.keeps.as_ref().map(|kind| read.given(kind, "keeps"))),
        };
        return layers.tables(|file| &file.instance).map(of_table).collect();
    }
    let of_flag = |flag: instance::Flag| Instance {
        name: Given::by_flag("--instance", flag.name),
        keeps: keeps(flag.keeps.map(|kind| Given::by_flag("--instance", kind))),
    };
    flags.into_iter().map(of_flag).collect()
}

fn metrics(flags: &Flags, layers: Layers<'_>) -> Metrics {
    let own = layers.find("insecure", |file| file.metrics.insecure.as_ref());
    let insecure = layers.insecure(flags, own);
    let asked = (flags.metrics.map(|metrics| Given::by_flag("--metrics", metrics)))
        .or_else(|| layers.find("address", |file| file.metrics.address.as_ref()));
    match asked {
        Some(Given { value: flags::Metrics::Off, place }) => Metrics::Off(place),
        Some(Given { value: flags::Metrics::At(address), place }) => {
            Metrics::On(Box::new(Listener::unsaid(address, insecure, place)))
        }
        None => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS_PORT));
            let listener = Listener::unsaid(address, insecure, Place::Default("--metrics"));
            Metrics::On(Box::new(Listener { optional: true, ..listener }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Limit;
    use crate::config::{check, environment};
    use crate::size::Size;

    fn flags(arguments: &[&str]) -> Flags {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            flags: Flags,
        }
        Line::try_parse_from([&["millpond"], arguments].concat()).unwrap().flags
    }

    fn file(text: &str) -> Read {
        file::parse(Path::new("millpond.toml"), text).unwrap()
    }

    fn variables(pairs: &[(&str, &str)]) -> Read {
        environment::read(pairs.iter().map(|(name, value)| (name.into(), value.into()))).unwrap().read
    }

    const FILE: &str = "[store]\ndata = \"a\"\nmax_size = \"1GB\"\nlease = \"1h\"\n[[listener]]\naddress = \"127.0.0.1:1\"\n[[instance]]\nname = \"x\"\n[metrics]\naddress = \"off\"";

    #[test]
    fn defaults_are_loopback_and_a_folder_beside() {
        let settings = Settings::default();
        check::check(&settings).unwrap();
        assert_eq!(settings.data.value, Path::new("millpond-data"));
        assert_eq!(settings.lease.value.seconds, 10_800);
        let addresses: Vec<_> =
            settings.listeners.iter().map(|l| (l.address.to_string(), l.optional)).collect();
        assert_eq!(addresses, [("127.0.0.1:11001".into(), false), ("[::1]:11001".into(), true)]);
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let environment = variables(&[
            ("MILLPOND__STORE__DATA", "c"),
            ("MILLPOND__STORE__MAX_SIZE", "3GB"),
            ("MILLPOND__LISTEN", "127.0.0.1:3,127.0.0.1:4"),
            ("MILLPOND__INSTANCE", "z"),
        ]);
        let file = file(FILE);
        let settings = merge(flags(&[]), &environment, &file);
        assert_eq!(settings.data.value, Path::new("c"));
        assert_eq!(settings.data.place, Place::Variable("MILLPOND__STORE__DATA"));
        assert_eq!(settings.max_size.unwrap().value, Limit::Bytes(Size(3_000_000_000)));
        assert_eq!(settings.lease.place.layer(), "millpond.toml:4");
        assert_eq!(settings.listeners.len(), 2);
        assert_eq!(settings.instances[0].name.value, "z");
        assert_eq!(settings.metrics.listener(), None);
        let arguments =
            ["--data=b", "--max-size=2GB", "--listen=127.0.0.1:2", "--instance=y", "--metrics=127.0.0.1:5"];
        let settings = merge(flags(&arguments), &environment, &file);
        assert_eq!(settings.data, Given::by_flag("--data", "b".into()));
        assert_eq!(settings.max_size, Some(Given::by_flag("--max-size", Limit::Bytes(Size(2_000_000_000)))));
        assert_eq!(settings.lease.value.seconds, 3600);
        assert_eq!(settings.listeners[0].address.port(), 2);
        assert_eq!(settings.instances[0].name, Given::by_flag("--instance", "y".to_owned()));
        assert_eq!(settings.metrics.listener().unwrap().address.port(), 5);
    }

    #[test]
    fn listeners_are_insecure_by_their_own_key_and_by_what_is_for_all() {
        let file = file(
            "[[listener]]\naddress = \"[::]:1\"\ninsecure = true\n[[listener]]\naddress = \"127.0.0.1:2\"",
        );
        let insecure = |arguments: &[&str], pairs: &[(&str, &str)]| -> Vec<bool> {
            let settings = merge(flags(arguments), &variables(pairs), &file);
            settings.listeners.iter().map(|listener| listener.insecure.value).collect()
        };
        assert_eq!(insecure(&[], &[]), [true, false]);
        assert_eq!(insecure(&["--insecure"], &[]), [true, true]);
        assert_eq!(insecure(&[], &[("MILLPOND__INSECURE", "true")]), [true, true]);
        assert_eq!(insecure(&[], &[("MILLPOND__INSECURE", "false")]), [false, false]);
    }

    #[test]
    fn rights_that_a_flag_puts_aside_are_told() {
        let file = file("[[listener]]\naddress = \"127.0.0.1:1\"\nanonymous = \"none\"");
        assert!(merge(flags(&[]), &variables(&[]), &file).warnings.is_empty());
        for (arguments, pairs) in
            [(&["--listen=127.0.0.1:2"][..], &[][..]), (&[], &[("MILLPOND__LISTEN", "127.0.0.1:2")])]
        {
            let warnings = merge(flags(arguments), &variables(pairs), &file).warnings;
            assert!(warnings.len() == 1 && warnings[0].contains("line 2"), "{warnings:?}");
        }
    }

    #[test]
    fn relative_data_in_a_file_lies_beside_the_file() {
        let file = file::parse(Path::new("/etc/millpond/millpond.toml"), "[store]\ndata = \"pond\"").unwrap();
        let settings = merge(Flags::default(), &Read::default(), &file);
        assert_eq!(settings.data.value, Path::new("/etc/millpond/pond"));
    }
}
