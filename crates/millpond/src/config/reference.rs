//! Every setting, once: what it means, its default, and where it is given. From here come the keys that a file may have,
//! the help of flags, the variables that are looked for, the file of `config init` and the block in
//! `docs/configuration.md`.

mod acme;
mod authority;
mod issuer;
mod limits;
mod listener;
mod log;
mod otlp;
mod quota;
mod retention;

/// A section of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// As in `[store]`; one within another has the name of that before it, and a point.
    pub(super) name: &'static str,
    /// There may be several: `[[listener]]`.
    pub(super) many: bool,
    /// What stands above it.
    pub(super) text: &'static str,
    /// Its settings, in the order in which they are explained.
    pub(super) keys: &'static [Key],
    /// All of it counts from a start on, and not when the configuration is read anew.
    pub(super) at_start: bool,
    /// Of several: another one, to show how.
    pub(super) another: &'static [&'static str],
}

/// A setting.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name in the file.
    pub(super) name: &'static str,
    /// A value as the file has it: the default, where that can be written down.
    pub(super) value: &'static str,
    /// The default in words, where the value is an example.
    pub(super) default: Option<&'static str>,
    /// What it means. The first sentence is the help of its flag too.
    pub(super) text: &'static str,
    /// The flag with its value.
    pub(super) flag: Option<&'static str>,
    /// The environment variable, if it has one of its own.
    pub(super) variable: &'static str,
    /// What the variable says, where it is not one value.
    pub(super) listed: bool,
    /// Its section means nothing without it.
    pub(super) required: bool,
    /// It counts from a start on, and not when the configuration is read anew.
    pub(super) at_start: bool,
}

/// What most keys have.
const KEY: Key = Key {
    name: "",
    value: "",
    default: None,
    text: "",
    flag: None,
    variable: "",
    listed: false,
    required: false,
    at_start: false,
};

/// All of them.
pub(super) const SECTIONS: &[Section] = &[
    STORE,
    IDENTITY,
    acme::ACME,
    issuer::ISSUER,
    issuer::GRANT,
    authority::AUTHORITY,
    listener::LISTENER,
    INSTANCE,
    REPLACEMENT,
    retention::RETENTION,
    METRICS,
    ADMIN,
    log::LOG,
    otlp::OTLP,
    AUDIT,
    limits::LIMITS,
    quota::QUOTA,
];

const STORE: Section = Section {
    name: "store",
    many: false,
    at_start: false,
    text: "What is kept, and where.",
    another: &[],
    keys: &[
        Key {
            name: "data",
            value: "\"millpond-data\"",
            default: Some("millpond-data in the current directory"),
            text: "Everything is kept in this directory, which is made if it is not there. A relative one in a file \
                   lies beside that file.",
            flag: Some("--data DIR"),
            variable: "MILLPOND__STORE__DATA",
            at_start: true,
            ..KEY
        },
        Key {
            name: "max_size",
            value: "\"500GB\"",
            default: Some("90 % of the file system, whatever else lies on it"),
            text: "The most that the directory may take, everything counted, as in 500GB or 64MiB, or a share of its \
                   file system, as in 80%. At least 8 MB. When it is nearly full, what was used least recently is let \
                   go. The start warns of a limit that other files leave no room for.",
            flag: Some("--max-size SIZE"),
            variable: "MILLPOND__STORE__MAX_SIZE",
            ..KEY
        },
        Key {
            name: "keep_free",
            value: "\"2GB\"",
            default: Some("the smaller of 2 GB and 5 % of the file system"),
            text: "What is left free on the file system, whatever max_size says.",
            variable: "MILLPOND__STORE__KEEP_FREE",
            ..KEY
        },
        Key {
            name: "max_cas_blob_size",
            value: "\"10GB\"",
            default: Some("whatever there is room for"),
            text: "The largest blob that is taken, as clients are told. At least 1 MB; never more than half of what \
                   there is room for.",
            variable: "MILLPOND__STORE__MAX_CAS_BLOB_SIZE",
            ..KEY
        },
        Key {
            name: "lease",
            value: "\"3h\"",
            text: "For how long a client can count on what it was told is there, as in 3h or 90m, up to 7d; with 0s \
                   it may be gone when the client pushes the name or asks for the blob. If what is in use leaves no \
                   room for what is pushed, the time is shortened by halves, down to one minute at least, and a \
                   warning says so.",
            flag: Some("--lease TIME"),
            variable: "MILLPOND__STORE__LEASE",
            ..KEY
        },
        Key {
            name: "read_only",
            value: "false",
            text: "Pulls are served, and every push is refused.",
            flag: Some("--read-only"),
            variable: "MILLPOND__STORE__READ_ONLY",
            at_start: true,
            ..KEY
        },
        Key {
            name: "compression",
            value: "\"off\"",
            text: "When blobs are compressed (zstd), where that saves an eighth or more by their first MiB: \"off\", \"at-once\" before \
                   they are written, or \"cold\" some time later, beside serving, with what was there before; a blob of more than \
                   a few hundred MiB stays as it is then. It saves disk and costs CPU; sizes and limits count what lies on the disk. \
                   What is compressed stays so.",
            flag: Some("--compression WHEN"),
            variable: "MILLPOND__STORE__COMPRESSION",
            ..KEY
        },
        Key {
            name: "compress_after",
            value: "\"1d\"",
            text: "With compression = \"cold\": how long ago it was written what is compressed. With 0s it is as soon as its pack is full.",
            flag: Some("--compress-after TIME"),
            variable: "MILLPOND__STORE__COMPRESS_AFTER",
            ..KEY
        },
        Key {
            name: "upgrade",
            value: "true",
            text: "A volume of an older format is raised to the newest when it is opened, and from then on earlier versions of millpond \
                   cannot open it. With false, or by the flag, such a volume is refused as it is.",
            flag: Some("--no-upgrade"),
            variable: "MILLPOND__STORE__UPGRADE",
            at_start: true,
            ..KEY
        },
        Key {
            name: "scrub",
            value: "\"14d\"",
            text: "In how much time all blobs are read again and compared with their hashes, over and over, the newest first \
                   after a start; never with \"off\". What is bad is missing from then on, and the next push heals it. At \
                   least a minute; it reads 256 KiB/s at least.",
            variable: "MILLPOND__STORE__SCRUB",
            at_start: true,
            ..KEY
        },
    ],
};

const IDENTITY: Section = Section {
    name: "identity",
    many: false,
    at_start: false,
    text: "What this server shows, and whom it knows.",
    another: &[],
    keys: &[
        Key {
            name: "keys",
            value: "\"millpond-keys\"",
            default: Some("millpond-keys in the current directory"),
            text: "Keys, identities and tokens lie in this directory, which `millpond keys init` makes. What changes in it \
                   counts at once.",
            flag: Some("--keys DIR"),
            variable: "MILLPOND__IDENTITY__KEYS",
            ..KEY
        },
        Key {
            name: "certificate",
            value: "\"/etc/millpond/fullchain.pem\"",
            default: Some("server.crt in the directory of keys"),
            text: "The server's certificate in PEM, with those that vouch for it behind it. A renewed one is taken up \
                   without a restart.",
            variable: "MILLPOND__IDENTITY__CERTIFICATE",
            ..KEY
        },
        Key {
            name: "key",
            value: "\"/etc/millpond/privkey.pem\"",
            default: Some("server.key in the directory of keys"),
            text: "Its private key in PEM, without a passphrase.",
            variable: "MILLPOND__IDENTITY__KEY",
            ..KEY
        },
        Key {
            name: "authorized",
            value: "\"/etc/millpond/authorized.crt\"",
            default: Some("nobody"),
            text: "Clients that hold the key of a certificate in this file are known as well: the file that BuildStream \
                   1's server has as --client-certs, as it is.",
            variable: "MILLPOND__IDENTITY__AUTHORIZED",
            ..KEY
        },
        Key {
            name: "authorized_allow",
            value: "\"push\"",
            text: "What these may do: \"pull\", \"push\" or \"admin\".",
            variable: "MILLPOND__IDENTITY__AUTHORIZED_ALLOW",
            ..KEY
        },
    ],
};

const INSTANCE: Section = Section {
    name: "instance",
    many: true,
    at_start: false,
    text: "Instance names that clients may send beside the empty one, which always exists: one [[instance]] each. Names \
           of one instance are not seen in another; blobs are stored once. Flags replace variables, and these the file.",
    another: &["name = \"team/a\""],
    keys: &[
        Key {
            name: "name",
            value: "\"main\"",
            default: Some("the empty instance alone"),
            text: "This instance name is served beside the empty one. ASCII letters and digits and any of - _ . / make \
                   a name, up to 200 of them. The empty name may be given too, to say what that instance keeps.",
            flag: Some("--instance NAME"),
            variable: "MILLPOND__INSTANCE",
            listed: true,
            required: true,
            ..KEY
        },
        Key {
            name: "keeps",
            value: "\"all\"",
            text: "What it keeps: \"all\", names and blobs; \"index-only\", names whose blobs are on another server; or \
                   \"storage-only\", blobs that are named on another server. Only \"all\" promises that a name is whole. \
                   Flag and variable have it behind the name, as in main:index-only.",
            ..KEY
        },
    ],
};

const REPLACEMENT: Section = Section {
    name: "replacement",
    many: true,
    at_start: false,
    text: "Who may give a name another value: one [[replacement]] for each rule, of which the first that matches counts. \
           Where none does, strong keys of artifacts are replaced by the same identity, and everything else by anyone. A \
           failed build may always be replaced by one that succeeded.",
    another: &["names = \"source:*\"", "by = \"nobody\"", "otherwise = \"refuse\""],
    keys: &[
        Key {
            name: "names",
            value: "\"artifact:sdk/*\"",
            text: "The names that the rule is for, with * for what may be anything: artifact:PROJECT/ELEMENT/KEY of both \
                   BuildStreams, source:KEY, action:HASH/SIZE, and the URI of anything else.",
            required: true,
            ..KEY
        },
        Key {
            name: "by",
            value: "\"same\"",
            text: "Whose value may be replaced: by \"anyone\"; by the \"same\" identity, and by anyone if an unknown \
                   client pushed it; or by \"nobody\".",
            ..KEY
        },
        Key {
            name: "otherwise",
            value: "\"keep\"",
            text: "What becomes of a push that may not: \"keep\" answers it OK, and the first value stays; \"refuse\" \
                   fails it.",
            ..KEY
        },
    ],
};

const METRICS: Section = Section {
    name: "metrics",
    many: false,
    at_start: true,
    text: "For Prometheus.",
    another: &[],
    keys: &[
        Key {
            name: "address",
            value: "\"127.0.0.1:9464\"",
            default: Some("127.0.0.1:9464, if that is free"),
            text: "Prometheus scrapes /metrics here, or nowhere with \"off\". An address that is given must be free.",
            flag: Some("--metrics ADDR:PORT"),
            variable: "MILLPOND__METRICS__ADDRESS",
            ..KEY
        },
        Key {
            name: "insecure",
            value: "false",
            text: "Others may reach that address.",
            variable: "MILLPOND__METRICS__INSECURE",
            ..KEY
        },
    ],
};

const ADMIN: Section = Section {
    name: "admin",
    many: false,
    at_start: false,
    text: "Where `millpond status` and other commands find the server.",
    another: &[],
    keys: &[
        Key {
            name: "socket",
            value: "\"/run/millpond/admin.sock\"",
            default: Some("admin.sock in the data directory"),
            text: "Root and the user that the server runs as administer it through this socket, or nobody with \"off\". A \
                   relative path in a file is meant from where that file lies.",
            flag: Some("--admin-socket PATH"),
            variable: "MILLPOND__ADMIN__SOCKET",
            at_start: true,
            ..KEY
        },
        Key {
            name: "watch",
            value: "false",
            text: "The configuration file is looked at each second, and read anew when it has changed, as by `millpond config \
                   reload`. Without it only that and SIGHUP have it read anew, so that no half of a change counts.",
            variable: "MILLPOND__ADMIN__WATCH",
            ..KEY
        },
    ],
};

const AUDIT: Section = Section {
    name: "audit",
    many: false,
    at_start: false,
    text: "Who did what, for `millpond audit`.",
    another: &[],
    keys: &[Key {
        name: "keep",
        value: "\"1GB\"",
        default: Some("a hundredth of what the data directory may take, at most 1 GB"),
        text: "About how much of the audit log is kept in the data directory, as a part of what that may take: the oldest \
               entries go. At most a tenth of that. Nothing is written down with \"off\".",
        variable: "MILLPOND__AUDIT__KEEP",
        at_start: true,
        ..KEY
    }],
};

impl Section {
    /// `[store]` or `[[listener]]`.
    pub(super) fn header(&self) -> String {
        if self.many { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }

    /// The sections within it.
    pub(super) fn inner(&self) -> impl Iterator<Item = &'static Self> {
        let of =
            |section: &Self| section.name.strip_prefix(self.name).is_some_and(|rest| rest.starts_with('.'));
        SECTIONS.iter().filter(move |section| of(section))
    }

    /// The section of this name within it.
    pub(super) fn within(&self, name: &str) -> Option<&'static Self> {
        self.inner().find(|section| section.name.rsplit('.').next() == Some(name))
    }

    /// Whether it has such a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known.name == key)
    }
}

/// Every key with its section.
pub(super) fn all() -> impl Iterator<Item = (&'static Section, &'static Key)> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)))
}

impl Key {
    /// The default in words.
    pub(super) fn default_words(&self) -> &'static str {
        self.default.unwrap_or(self.value.trim_matches('"'))
    }
}

/// Whether what has this key in the section of this header counts from a start on; of a section that there may be several of the
/// key is empty.
pub(super) fn counts_at_start(header: &str, key: &str) -> bool {
    let section = SECTIONS.iter().find(|section| section.header() == header);
    let at_start = |section: &Section| {
        section.at_start || section.keys.iter().any(|known| known.name == key && known.at_start)
    };
    section.is_none_or(at_start)
}

/// The default of a key in words; of the keys of this name that whose section stands once.
pub(super) fn default_of(key: &str) -> &'static str {
    let named = || all().filter(|(_, known)| known.name == key);
    let found = named().find(|(section, _)| !section.many).or_else(|| named().next());
    found.map_or("", |(_, key)| key.default_words())
}

/// What `--help` says of a flag: the first sentence of its key, and the default.
pub(super) fn help(flag: &str) -> String {
    let named = |key: &Key| key.flag.is_some_and(|known| known.split(' ').next() == Some(flag));
    let Some((_, key)) = all().find(|(_, key)| named(key)) else { return String::new() };
    let sentence = key.text.split(". ").next().unwrap_or_default().trim_end_matches('.');
    let several = if key.listed { "; may be given several times" } else { "" };
    if key.value == "false" {
        return sentence.to_owned();
    }
    format!("{sentence}{several} [default: {}]", key.default_words())
}

/// Said of what is not taken up when the configuration is read anew.
const AT_START: &str = " A change counts from the next start on.";

/// No line of the file is wider.
const WIDTH: usize = 110;

const TOP: &str = "\
# Every setting of millpond, commented out. Each value is the default, or an example where the default is in words.
# Take the # away in front of a line and change it; a line in [[double brackets]] needs it too. Then `millpond config
# check FILE` says whether the file is in order, and `millpond serve --config FILE` runs with it.
# Flags win over the environment, and that wins over this file. A server that runs takes up what is changed here by `millpond
# config reload`, but for what is said to count from the next start on.
";

/// The file that `config init` writes: every setting, commented out.
pub(crate) fn file() -> String {
    let mut text = TOP.to_owned();
    for section in SECTIONS {
        text.push('\n');
        let at_start = if section.at_start { AT_START } else { "" };
        prose(&mut text, &format!("{}{at_start}", section.text));
        let mark = if section.many { "#" } else { "" };
        text.push_str(&format!("{mark}{}\n", section.header()));
        for key in section.keys {
            prose(&mut text, &explanation(key));
            text.push_str(&format!("#{} = {}\n", key.name, key.value));
        }
        if !section.another.is_empty() {
            text.push_str(&format!("# And another one:\n#{}\n", section.header()));
            text.extend(section.another.iter().map(|line| format!("#{line}\n")));
        }
    }
    text
}

fn explanation(key: &Key) -> String {
    let default = key.default.map_or(String::new(), |default| format!(" Default: {default}."));
    let times = if key.listed { ", several times" } else { "" };
    let flag = key.flag.map_or(String::new(), |flag| format!(" Flag: {flag}{times}."));
    let list = if key.listed { ", with commas between several" } else { "" };
    let variable = format!(" Variable: {}{list}.", key.variable);
    let variable = if key.variable.is_empty() { "" } else { &variable };
    let at_start = if key.at_start { AT_START } else { "" };
    format!("{}{at_start}{default}{flag}{variable}", key.text)
}

/// Sentences as comment, broken into lines.
fn prose(to: &mut String, text: &str) {
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            to.push_str(&line);
            to.push('\n');
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    to.push_str(&line);
    to.push('\n');
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{env, fs};

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");

    /// `just docs` writes it anew.
    #[test]
    fn page_has_the_file_that_init_writes() {
        let page = fs::read_to_string(PAGE).unwrap();
        let (before, rest) = page.split_once("```toml\n").unwrap();
        let (_, after) = rest.split_once("```\n").unwrap();
        let wanted = format!("{before}```toml\n{}```\n{after}", file());
        if env::var_os("MILLPOND_WRITE_DOCS").is_some() {
            fs::write(Path::new(PAGE), &wanted).unwrap();
        } else {
            assert!(page == wanted, "docs/configuration.md is stale: `just docs` writes its block anew");
        }
    }

    #[test]
    fn help_is_the_first_sentence() {
        assert_eq!(
            help("--request-memory"),
            "About how much of requests is held in memory, by all of them together [default: an eighth of the memory \
             that this process may have]"
        );
    }
}
