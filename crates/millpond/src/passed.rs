//! Sockets on which a service manager listens already and that it passes to this process, as systemd does for socket units.
//! They stay open while the server is started again, so that nobody's connection is refused meanwhile.
//!
//! A socket belongs to the listener whose `fd_name` is its name, else to the one with its address. **Invariant:** none is
//! left over: one that nobody serves would keep clients waiting for ever.
//!
//! The protocol is that of `sd_listen_fds(3)`: `LISTEN_FDS` of them from the file descriptor 3 on, if `LISTEN_PID` is this
//! process, with names in `LISTEN_FDNAMES`.

use std::env;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use crate::config::{FdName, Settings};
use crate::exit::{Code, Failure};

/// The first file descriptor that is passed.
const FIRST: usize = 3;
/// No server of ours has as many listeners.
const COUNT_MAX: usize = 64;
/// What a socket is called of which nobody gave the name, as libsystemd has it.
const UNKNOWN: &str = "unknown";

/// Sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    sockets: Vec<Socket>,
    /// Names that are somebody's, whatever the address.
    names: Vec<String>,
    /// Addresses that are somebody's.
    addresses: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Socket {
    number: usize,
    name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener),
}

impl Passed {
    /// What was passed to this process. To be called once, before there are other threads, since it takes it out of the
    /// environment, and before files are opened whose numbers could be meant.
    pub(crate) fn take(settings: &Settings) -> Result<Self, Failure> {
        let Some(names) = announced(|name| env::var(name).ok())? else { return Ok(Self::default()) };
        let mut found = ListenFd::from_env();
        let sockets = (names.into_iter().enumerate())
            .map(|(index, name)| Socket::take(&mut found, index, name))
            .collect::<Result<_, _>>()?;
        Ok(Self { sockets, ..Self::default() }.for_those_of(settings))
    }

    fn for_those_of(self, settings: &Settings) -> Self {
        let names = settings.listeners.iter().filter_map(|listener| listener.fd_name.as_ref());
        let names = names
            .map(|name| name.value.as_str())
            .chain([FdName::METRICS, FdName::ADMIN])
            .map(str::to_owned)
            .collect();
        let addresses = settings.listeners.iter().chain(settings.metrics.listener());
        let addresses = addresses.map(|listener| listener.address).collect();
        Self { names, addresses, ..self }
    }

    /// All that belong to a listener with this name or address, with the addresses that they have.
    pub(crate) fn tcp(&mut self, name: Option<&str>, address: SocketAddr) -> Vec<(TcpListener, SocketAddr)> {
        let Self { sockets, names, addresses } = self;
        let mut taken = Vec::new();
        for socket in std::mem::take(sockets) {
            let is_somebodys = names.contains(&socket.name);
            match socket.kind {
                Kind::Tcp(listener, own)
                    if name == Some(&socket.name)
                        || !is_somebodys && (own == address || stands_for(address, own, addresses)) =>
                {
                    taken.push((listener, own));
                }
                _ => sockets.push(socket),
            }
        }
        taken
    }

    /// The one that the server is administered through, by its name or path.
    pub(crate) fn admin(&mut self, path: &Path) -> Option<UnixListener> {
        let is_it = |socket: &Socket| match &socket.kind {
            Kind::Unix(listener) => {
                let own = listener.local_addr().ok();
                socket.name == FdName::ADMIN || own.is_some_and(|own| own.as_pathname() == Some(path))
            }
            Kind::Tcp(..) => false,
        };
        let index = self.sockets.iter().position(is_it)?;
        match self.sockets.remove(index).kind {
            Kind::Unix(listener) => Some(listener),
            Kind::Tcp(..) => None,
        }
    }

    /// Refuses what belongs to nobody.
    pub(crate) fn nothing_is_left(&self) -> Result<(), Failure> {
        let Some(socket) = self.sockets.first() else { return Ok(()) };
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let names: Vec<_> = self.names.iter().map(|name| format!("\"{name}\"")).collect();
        Err(Failure::new(
            Code::Usage,
            format!("{}: it is no listener's, by name or by address", socket.described()),
            format!(
                "let the socket unit listen where the configuration has a listener ({}), or take the address there that the \
                 socket unit has; names are {}",
                addresses.join(", "),
                names.join(", ")
            ),
        ))
    }
}

/// Whether a listener at `asked` means the socket at `own` as well: both are all addresses of this machine, and no other
/// listener is at `own` itself. Where there is no IPv6, or it is kept apart, systemd makes a socket of IPv4.
fn stands_for(asked: SocketAddr, own: SocketAddr, all: &[SocketAddr]) -> bool {
    let everywhere = asked.ip().is_unspecified() && own.ip().is_unspecified();
    everywhere && asked.port() == own.port() && !all.contains(&own)
}

impl Socket {
    fn take(found: &mut ListenFd, index: usize, name: String) -> Result<Self, Failure> {
        let number = FIRST + index;
        let refused = |what: &str, hint: &str| {
            Failure::new(
                Code::Usage,
                format!("the service manager passed \"{name}\" as file descriptor {number}: {what}"),
                hint,
            )
        };
        let no_socket = |error| {
            refused(
                &format!("it is no socket that connections are accepted from ({error})"),
                "let the socket unit say ListenStream=, with a port, an address and a port, or a path",
            )
        };
        let kind = match found.take_tcp_listener(index) {
            Ok(Some(listener)) => {
                let address = listener.local_addr().map_err(no_socket)?;
                Kind::Tcp(listener, address)
            }
            _ => match found.take_unix_listener(index) {
                Ok(Some(listener)) => Kind::Unix(listener),
                Ok(None) => return Err(no_socket(std::io::ErrorKind::NotFound.into())),
                Err(error) => return Err(no_socket(error)),
            },
        };
        let fd = match &kind {
            Kind::Tcp(listener, _) => listener.as_fd(),
            Kind::Unix(listener) => listener.as_fd(),
        };
        if !socket_acceptconn(fd).is_ok_and(|listens| listens) {
            return Err(refused(
                "nobody listens on it",
                "let the socket unit say Accept=no, which is its default",
            ));
        }
        Ok(Self { number, name, kind })
    }

    /// As a part of a sentence.
    fn described(&self) -> String {
        let address = match &self.kind {
            Kind::Tcp(_, address) => address.to_string(),
            Kind::Unix(listener) => {
                let own = listener.local_addr().ok();
                let path = own.as_ref().and_then(|own| own.as_pathname());
                path.map_or_else(|| "a socket without a path".to_owned(), |path| path.display().to_string())
            }
        };
        format!("the service manager passed {address} (\"{}\", file descriptor {})", self.name, self.number)
    }
}

/// The names of the sockets that the environment announces to this process.
fn announced(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Vec<String>>, Failure> {
    let own = std::process::id().to_string();
    // Those of a parent that has not taken them out are none of ours.
    if variable("LISTEN_PID").as_deref() != Some(own.as_str()) {
        return Ok(None);
    }
    let Some(count) = variable("LISTEN_FDS") else { return Ok(None) };
    let hint = "start the server by the service manager, or unset LISTEN_PID";
    let Some(count) = count.parse().ok().filter(|count| *count <= COUNT_MAX) else {
        let sentence = format!("LISTEN_FDS=\"{count}\" is no number of sockets up to {COUNT_MAX}");
        return Err(Failure::new(Code::Usage, sentence, hint));
    };
    let Some(names) = variable("LISTEN_FDNAMES") else { return Ok(Some(vec![UNKNOWN.to_owned(); count])) };
    let names: Vec<_> = names.split(':').filter(|_| count > 0).map(str::to_owned).collect();
    if names.len() != count {
        let sentence = format!("LISTEN_FDNAMES has {} names, and LISTEN_FDS={count} sockets", names.len());
        return Err(Failure::new(Code::Usage, sentence, hint));
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Given, Listener};

    fn announce(pid: &str, fds: &str, names: Option<&str>) -> Result<Option<Vec<String>>, Failure> {
        announced(|name| match name {
            "LISTEN_PID" => Some(pid.to_owned()),
            "LISTEN_FDS" => Some(fds.to_owned()),
            _ => names.map(str::to_owned),
        })
    }

    fn passed(sockets: &[(&str, &str)], listeners: Vec<Listener>) -> Passed {
        let socket = |(index, (name, address)): (usize, &(&str, &str))| {
            let listener = TcpListener::bind(address).unwrap();
            let own = listener.local_addr().unwrap();
            Socket { number: FIRST + index, name: (*name).to_owned(), kind: Kind::Tcp(listener, own) }
        };
        let sockets = sockets.iter().enumerate().map(socket).collect();
        let settings = Settings { listeners, ..Settings::default() };
        Passed { sockets, ..Passed::default() }.for_those_of(&settings)
    }

    fn listener(address: SocketAddr, name: Option<&str>) -> Listener {
        let fd_name = name.map(|name| Given::by_flag("fd_name", FdName::try_from(name.to_owned()).unwrap()));
        Listener { address, fd_name, ..Listener::open("127.0.0.1:0", true) }
    }

    #[test]
    fn announced_are_those_of_this_process_alone_and_each_has_a_name() {
        let own = std::process::id().to_string();
        assert_eq!(announced(|_| None).unwrap(), None);
        assert_eq!(announce("1", "1", None).unwrap(), None);
        assert_eq!(announce(&own, "0", Some("")).unwrap(), Some(vec![]));
        assert_eq!(announce(&own, "2", None).unwrap(), Some(vec!["unknown".into(), "unknown".into()]));
        assert_eq!(announce(&own, "2", Some("a:b")).unwrap(), Some(vec!["a".into(), "b".into()]));
        for (fds, names) in
            [("two", None), ("-1", None), ("4294967295", None), ("2", Some("a")), ("1", Some("a:b"))]
        {
            announce(&own, fds, names).unwrap_err();
        }
    }

    #[test]
    fn sockets_go_to_their_name_and_else_to_their_address() {
        let elsewhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut all = passed(&[("pull", "127.0.0.1:0"), ("millpond.socket", "127.0.0.1:0")], vec![]);
        let [pull, push] = [0, 1].map(|index| match &all.sockets[index].kind {
            Kind::Tcp(_, own) => *own,
            Kind::Unix(_) => unreachable!(),
        });
        // The second has the address of what is another's by name.
        let listeners = vec![listener(elsewhere, Some("pull")), listener(pull, None), listener(push, None)];
        all = all.for_those_of(&Settings { listeners, ..Settings::default() });
        assert!(all.nothing_is_left().is_err());
        assert!(all.tcp(None, pull).is_empty());
        assert_eq!(all.tcp(Some("pull"), elsewhere)[0].1, pull);
        assert_eq!(all.tcp(None, push)[0].1, push);
        all.nothing_is_left().unwrap();
    }

    #[test]
    fn all_addresses_are_one_whatever_the_family() {
        let all = passed(&[("millpond.socket", "0.0.0.0:0")], vec![]);
        let Kind::Tcp(_, own) = all.sockets[0].kind else { unreachable!() };
        let ipv6 = SocketAddr::from(([0; 8], own.port()));
        let with = |addresses: &[SocketAddr]| {
            let mut all = passed(&[], addresses.iter().map(|address| listener(*address, None)).collect());
            let socket = TcpListener::bind("0.0.0.0:0").unwrap();
            all.sockets.push(Socket { number: FIRST, name: "unknown".into(), kind: Kind::Tcp(socket, own) });
            all.tcp(None, ipv6).len()
        };
        assert_eq!(with(&[ipv6]), 1);
        assert_eq!(with(&[ipv6, own]), 0);
    }

    #[test]
    fn what_is_left_is_told_with_where_it_could_belong() {
        let all = passed(&[("web", "127.0.0.1:0")], vec![listener(([127, 0, 0, 1], 9).into(), Some("pull"))]);
        let said = all.nothing_is_left().unwrap_err().to_string();
        for part in
            ["(\"web\", file descriptor 3)", "127.0.0.1:9", "\"pull\", \"metrics\", \"admin\"", "hint: "]
        {
            assert!(said.contains(part), "{said}");
        }
    }
}
