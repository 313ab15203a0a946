//! The administration socket: made once the volume is open, gone when the server has ended.
//!
//! **Invariant:** nobody but its owner and root can connect to it, from the moment it is there. One that the service manager
//! passed has the mode that its unit says; who connects to that is judged all the same.
//!
//! What a server left that was killed is replaced; a socket that somebody listens on, or a file of another kind, never.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::{self, Given, Settings};
use crate::exit::{Code, Failure};

/// Its name where no path is given: in the data directory.
const NAME: &str = "admin.sock";
/// Connections that the system holds for us while others are being accepted.
const BACKLOG: i32 = 64;
/// The longest path that the address of a socket can hold, in bytes.
const PATH_MAX: usize = 107;

/// Where the server of these settings is administered; `None` if nowhere.
pub(crate) fn path(settings: &Settings) -> Option<PathBuf> {
    match &settings.admin_socket {
        None => Some(settings.data.value.join(NAME)),
        Some(Given { value: config::Socket::At(path), .. }) => Some(path.clone()),
        Some(Given { value: config::Socket::Off, .. }) => None,
    }
}

/// A socket that is listened on; its file goes with it, unless it was passed.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    path: Option<PathBuf>,
}

impl AdminSocket {
    /// Makes it, unless it was passed. That one which nobody asked for cannot be had is a warning: some file systems have no sockets.
    pub(crate) fn listen(
        settings: &Settings,
        passed: Option<UnixListener>,
    ) -> Result<Option<(Self, UnixListener)>, Failure> {
        let Some(path) = path(settings) else { return Ok(None) };
        if let Some(listener) = passed {
            return Ok(Some((Self { path: None }, listener)));
        }
        match (listen(&path), &settings.admin_socket) {
            (Ok(listener), _) => Ok(Some((Self { path: Some(path) }, listener))),
            (Err(error), Some(given)) => Err(refused(&path, given, &error)),
            (Err(error), None) => {
                tracing::warn!(
                    "this server cannot be administered while it runs, since {} cannot be made: {error}; \
                     --admin-socket PATH names another place",
                    path.display()
                );
                Ok(None)
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // One that stays is replaced by the next start.
        let _ = self.path.as_ref().map(fs::remove_file);
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    make_way(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Of a socket that is not bound yet: its file is made with this mode.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    with_address(path, |address| socket.bind(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connects to the server that listens there.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    with_address(path, |address| socket.connect(address))?;
    Ok(socket.into())
}

fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => match connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) => Err(error),
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        },
    }
}

/// The address of a path however long it is: its folder has a short name as long as it is open.
fn with_address<T>(path: &Path, then: impl FnOnce(&SockAddr) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= PATH_MAX {
        return then(&SockAddr::unix(path)?);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let folder = File::open(folder)?;
    then(&SockAddr::unix(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))?)
}

fn refused(path: &Path, given: &Given<config::Socket>, error: &io::Error) -> Failure {
    let (place, shown) = (&given.place, path.display());
    match error.kind() {
        io::ErrorKind::AddrInUse => Failure::new(
            Code::AddressInUse,
            format!("{place}: another process listens on {shown}"),
            format!("end it, or give another path as {}", place.name()),
        ),
        io::ErrorKind::AlreadyExists => Failure::new(
            Code::Usage,
            format!("{place}: {shown} is there already, and no socket"),
            "give a path where nothing is yet",
        ),
        _ => Failure::new(
            Code::Usage,
            format!("{place}: the socket {shown} cannot be made: {error}"),
            "give a path in a directory that is there and that this user may write",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_left_is_replaced_and_what_is_used_or_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("n".repeat(120));
        fs::create_dir(&long).unwrap();
        for path in [folder.path().join(NAME), long.join(NAME)] {
            drop(listen(&path).unwrap());
            let listener = listen(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            connect(&path).unwrap();
            listener.accept().unwrap();
        }
        let file = folder.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert_eq!(listen(&file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }
}
