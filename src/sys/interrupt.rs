//! Holds back the signals that ask this process to end, while it does something that would have to be undone.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Result;
use super::signal::is_ignored;

const ASK_TO_END: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// Blocks these signals as long as it lives; its descriptor is readable when one is pending.
#[derive(Debug)]
pub struct Interrupts {
    fd: SignalFd,
    /// The signal mask before; `None` if the signals were already blocked.
    before: Option<SigSet>,
}

impl Interrupts {
    /// Blocks the signals. Ignored ones stay ignored, because the caller wants that.
    pub fn block() -> Result<Self> {
        let mut set = SigSet::empty();
        ASK_TO_END
            .into_iter()
            .filter(|signal| !is_ignored(*signal as i32))
            .for_each(|signal| set.add(signal));
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before))?;
        Ok(Self { fd, before: Some(before) })
    }

    /// Reads the signals if the caller has blocked them already, and leaves them blocked.
    pub fn already_blocked() -> Result<Self> {
        let mut set = SigSet::empty();
        ASK_TO_END.into_iter().for_each(|signal| set.add(signal));
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd, before: None })
    }

    /// Takes the pending signal, so that it does not end us later. Returns its number.
    pub fn take(&self) -> Result<Option<i32>> {
        Ok(self.fd.read_signal()?.map(|signal| signal.ssi_signo as i32))
    }
}

impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(before), None);
        }
    }
}
