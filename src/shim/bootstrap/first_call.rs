//! The time between `start` and containerd's first call.
//!
//! A shim that is killed leaves its socket. containerd has it removed, by `delete`, once it is connected; before that it
//! has only an error, and gives up. So until the first call a process is there that removes the socket: the rest of `start`,
//! in the memory that is there already.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use super::address;
use crate::sys::socket::connect_now;
use crate::sys::spawn::leave_behind;

/// How long a shim that is going may still seem to listen.
const GOING: Duration = Duration::from_secs(1);

/// A shim that nobody has called.
pub(crate) struct Uncalled {
    /// The shim writes when it is called. Its end without that is the end of the pipe.
    pub(super) called: File,
    pub(super) socket: PathBuf,
}

impl Uncalled {
    /// Ends this process, after all that it had to say, and stays behind it until the shim is called or gone.
    pub(crate) fn watch(mut self) -> ! {
        leave_behind(move || {
            // The bundle is not ours to hold.
            let _ = std::env::set_current_dir("/");
            if matches!(self.called.read(&mut [0]), Ok(0)) {
                remove_when_gone(&self.socket);
            }
        })
    }
}

/// The pipe may end a moment before the socket does.
fn remove_when_gone(socket: &Path) {
    for _ in 0..5 {
        match address::remove_if_dead(socket) {
            Ok(false) if is_going(socket) => {}
            _ => return,
        }
    }
}

/// Whether who listens hangs up: otherwise it is another shim, which has the name now.
fn is_going(socket: &Path) -> bool {
    let mut shim = match connect_now(socket) {
        Ok(shim) => shim,
        Err(errno) => {
            // Without room for us, it is not known yet.
            if errno == Errno::EAGAIN {
                std::thread::sleep(GOING);
            }
            return true;
        }
    };
    let _ = shim.set_read_timeout(Some(GOING));
    !matches!(shim.read(&mut [0]), Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}
