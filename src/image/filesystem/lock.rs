//! `Lock`: a file or directory that is locked with flock(2) until it is dropped.

use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::fcntl::FlockArg;

/// Unlocked when it is dropped, whatever other descriptors of the file there are. A filesystem that fails to
/// unlock (one of a network) is no reason to end: the lock goes with the process. (nix's own type panics.)
#[derive(Debug)]
pub(crate) struct Lock<T: AsFd>(T);

impl<T: AsFd> Lock<T> {
    /// Waits until no other process has the lock.
    pub(crate) fn wait(file: T) -> nix::Result<Self> {
        set(&file, FlockArg::LockExclusive).map(|()| Self(file))
    }

    /// Finds out whether another process has the lock (EWOULDBLOCK). Those who only ask do not see each other.
    pub(crate) fn try_now_shared(file: T) -> nix::Result<()> {
        set(&file, FlockArg::LockSharedNonblock).map(|()| drop(Self(file)))
    }

    /// Locks the file at once.
    ///
    /// # Errors
    ///
    /// EWOULDBLOCK if another process has the lock.
    pub(crate) fn try_now(file: T) -> nix::Result<Self> {
        set(&file, FlockArg::LockExclusiveNonblock).map(|()| Self(file))
    }
}

// nix's `Flock` would unlock with a panic.
#[allow(deprecated)]
fn set(file: &impl AsFd, wanted: FlockArg) -> nix::Result<()> {
    loop {
        match nix::fcntl::flock(file.as_fd().as_raw_fd(), wanted) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

impl<T: AsFd> Drop for Lock<T> {
    fn drop(&mut self) {
        let _ = set(&self.0, FlockArg::Unlock);
    }
}

impl<T: AsFd> Deref for Lock<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: AsFd> DerefMut for Lock<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
