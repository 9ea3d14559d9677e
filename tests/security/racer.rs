//! Exchanges names while the runtime looks.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Exchanges pairs of names, one pair after the other, as fast as it can.
pub(crate) struct Racer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How often a race is run: TARE_RACE_ROUNDS, or few times.
pub(crate) fn rounds(few: usize) -> usize {
    std::env::var("TARE_RACE_ROUNDS").map_or(few, |text| text.parse().unwrap())
}

impl Racer {
    /// Does something again and again, as fast as it can.
    pub(crate) fn of(act: impl Fn() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                act();
            }
        });
        Self { stop, thread: Some(thread) }
    }

    pub(crate) fn new(pairs: Vec<(PathBuf, PathBuf)>, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                for (one, other) in &pairs {
                    assert!(exchange(one, other), "{}", std::io::Error::last_os_error());
                }
                std::thread::sleep(pause);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

/// RENAME_EXCHANGE of renameat2(2); whether both were there.
#[allow(unsafe_code)]
pub(crate) fn exchange(one: &Path, other: &Path) -> bool {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let (one, other, here) = (name(one), name(other), libc::AT_FDCWD);
    // SAFETY: two NUL-terminated strings that live across the call, and numbers.
    let done = unsafe {
        libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), libc::RENAME_EXCHANGE)
    };
    done == 0
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
