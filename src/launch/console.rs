//! Opens the connection for the master of a container's terminal: to the engine's console socket, or to
//! ourselves.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::terminal;
use crate::error::matched::{SOCKET_NEEDS_TTY, TTY_NEEDS_SOCKET};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::sys::socket::receive_fd;
use crate::sys::tty;

/// The connection that the child's terminal goes over. All its descriptors are close-on-exec.
#[derive(Debug)]
pub struct Console {
    child: OwnedFd,
    own: Option<OwnedFd>,
}

impl Console {
    /// Connects to the engine's socket, a stream. Without one, makes a socket pair of our own. Must be called
    /// before the clone.
    ///
    /// Returns `None` if the process has no terminal.
    ///
    /// # Errors
    /// Fails as [`check`] does, and when nobody listens at the socket.
    pub fn open(terminal: bool, detach: bool, socket: Option<&Path>) -> Result<Option<Self>> {
        check(terminal, detach, socket)?;
        match socket {
            Some(path) => Self::connect(path).map(Some),
            None if terminal => Self::pair().map(Some),
            None => Ok(None),
        }
    }

    fn connect(path: &Path) -> Result<Self> {
        let stream = crate::sys::socket::connect(path.as_os_str());
        let stream = stream.with_context(|| format!("connect to console socket {}", path.display()))?;
        Ok(Self { child: stream.into(), own: None })
    }

    fn pair() -> Result<Self> {
        let (own, child) = UnixStream::pair().context("make socket pair for console")?;
        Ok(Self { child: child.into(), own: Some(own.into()) })
    }

    /// Returns the child's end, which must be closed here after the clone, and the end at which the terminal
    /// arrives, unless the engine gets it.
    pub fn split(self) -> (OwnedFd, Option<Incoming>) {
        (self.child, self.own.map(Incoming))
    }
}

/// Checks that the flags fit: a detached process with a terminal needs a socket; any other process must have
/// none.
///
/// # Errors
/// `Kind::Usage`, in runc's words.
pub(crate) fn check(terminal: bool, detach: bool, socket: Option<&Path>) -> Result<()> {
    match (terminal, detach, socket) {
        (true, true, None) => {
            let error =
                fail!(Kind::Usage, "{TTY_NEEDS_SOCKET}: /process/terminal needs --console-socket PATH");
            Err(error
                .with_hint("who listens on that socket gets the terminal; or set /process/terminal to false"))
        }
        (true, false, Some(_)) => {
            Err(fail!(Kind::Usage, "{SOCKET_NEEDS_TTY}: --console-socket needs --detach"))
        }
        (false, _, Some(_)) => {
            Err(fail!(Kind::Usage, "{SOCKET_NEEDS_TTY}: --console-socket needs /process/terminal"))
        }
        _ => Ok(()),
    }
}

/// A terminal that the child will send.
#[derive(Debug)]
pub struct Incoming(OwnedFd);

impl Incoming {
    /// Receives the master and adopts it. It waits until the child has sent it, which it has when it says
    /// that it is ready. Must be called before the child is told to execute. It fails if the child ends
    /// without sending it, provided that the child's end is closed here.
    pub fn receive(self) -> Result<OwnedFd> {
        let master = receive(self.0.as_fd())?;
        adopt(master.as_fd())?;
        Ok(master)
    }
}

/// Gives a container's terminal the size of the caller's, and line ends that suit where its output goes.
///
/// Must be called before a program runs on it: a program reads the size when it starts, and may change the
/// mode at once.
pub fn adopt(master: BorrowedFd<'_>) -> Result<()> {
    if let Some(size) = terminal::size() {
        tty::set_size(master, size).context("set size of terminal of container")?;
    }
    // If the caller's terminal becomes raw, the terminal inside must turn line feeds into CR LF. Otherwise
    // lines end as they were written.
    if !terminal::is_interactive() {
        tty::keep_line_feeds(master).context("set mode of terminal of container")?;
    }
    Ok(())
}

fn receive(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut name = [0; 4096];
    match receive_fd(socket, &mut name).context("receive terminal of container")? {
        (_, Some(master)) => Ok(master),
        (_, None) => Err(fail!(Kind::Child, "process ended before it sent its terminal")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_goes_to_a_socket_exactly_when_the_process_is_detached() {
        let socket = Some(Path::new("/nonexistent/socket"));
        let cases = [
            (false, false, None, Ok(false)),
            (false, true, None, Ok(false)),
            (true, false, None, Ok(true)),
            (true, true, None, Err(TTY_NEEDS_SOCKET)),
            (false, false, socket, Err(SOCKET_NEEDS_TTY)),
            (false, true, socket, Err(SOCKET_NEEDS_TTY)),
            (true, false, socket, Err(SOCKET_NEEDS_TTY)),
        ];
        for (terminal, detach, socket, expected) in cases {
            let opened = Console::open(terminal, detach, socket);
            let opened = opened.map(|console| console.is_some()).map_err(|error| error.to_string());
            let is_as_expected = match (&opened, expected) {
                (Ok(opened), Ok(expected)) => *opened == expected,
                // The missing flag is named after the words that engines match.
                (Err(told), Err(matched)) => {
                    told.starts_with(matched) && told.contains("--console-socket needs")
                        || told.starts_with(matched) && told.contains("needs --console-socket")
                }
                _ => false,
            };
            assert!(is_as_expected, "terminal {terminal} detach {detach}: {opened:?}");
        }
    }

    #[test]
    fn a_socket_that_cannot_be_connected_is_told_by_its_path() {
        let error = Console::open(true, true, Some(Path::new("/nonexistent/socket"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "connect to console socket /nonexistent/socket: no such file or directory"
        );
    }

    #[test]
    fn a_child_that_ends_without_a_terminal_is_an_error_and_no_hang() {
        let console = Console::open(true, false, None).unwrap().unwrap();
        let (child, incoming) = console.split();
        drop(child);
        let error = incoming.unwrap().receive().unwrap_err();
        assert_eq!(error.to_string(), "process ended before it sent its terminal");
    }
}
