//! posix_spawn(3): another program in a process of its own, with nothing of ours but what it is given.
//!
//! It is the C library's way to do what fork and exec do, without a copy of our memory and with the errno of either
//! as its answer. `std::process` sorts the environment and leaves other descriptors and ignored signals in place.

use std::ffi::{CStr, CString, c_char, c_int, c_short};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::Result;

/// What to execute, and all that it gets.
pub struct Program<'a> {
    pub path: &'a CStr,
    pub args: &'a [CString],
    pub env: &'a [CString],
    /// Its working directory; else ours.
    pub dir: Option<&'a CStr>,
    /// Its descriptors 0 to 2; none of them may be one of these numbers already.
    pub stdio: [BorrowedFd<'a>; 3],
}

/// Starts the program as the leader of a new process group, with signals as a login would have them: none blocked,
/// none ignored. Descriptors from 3 up are closed in it. Its process id comes back once it has been executed.
///
/// # Errors
/// The errno of what failed in the new process, most often of execve(2); nothing is left of it then.
pub fn spawn(program: &Program<'_>) -> Result<i32> {
    let actions = Actions::new(program.stdio, program.dir)?;
    let attributes = Attributes::new()?;
    let args = pointers(program.args);
    let env = pointers(program.env);
    let mut pid = 0;
    // SAFETY: path, args and env are NUL-terminated strings that live across the call, the two arrays end with a null
    // pointer, both objects are initialised, and execve only reads what it is given.
    answer(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.path.as_ptr(),
            &raw const actions.inner,
            &raw const attributes.0,
            args.as_ptr(),
            env.as_ptr(),
        )
    })?;
    Ok(pid)
}

/// waitpid(2) for a child of ours, until it has ended.
pub fn wait(pid: i32) -> Result<ExitStatus> {
    let mut status = 0;
    loop {
        // SAFETY: status is a live integer.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Err(Errno::EINTR) => {}
            other => return other.map(|_| ExitStatus::from_raw(status)),
        }
    }
}

/// What the C library calls a signal: `Killed`.
pub fn signal_name(signal: i32) -> String {
    // SAFETY: strsignal takes any number and returns a string that is valid until the thread's next call of it.
    let name = unsafe { libc::strsignal(signal) };
    if name.is_null() {
        return format!("signal {signal}");
    }
    // SAFETY: not null, so it is a NUL-terminated string; it is copied at once.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    strings.iter().map(|text| text.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
}

/// This family returns the errno instead of setting it.
fn answer(code: c_int) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(Errno::from_raw(code)) }
}

fn open_directory(path: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty())
}

struct Actions {
    inner: libc::posix_spawn_file_actions_t,
    /// Open until the child has gone there. By descriptor, for the standard library declares the call that takes a path
    /// as weak: optimised across crates and linked statically, ours would be weak with it, and lead nowhere.
    dir: Option<OwnedFd>,
}

impl Actions {
    fn new(stdio: [BorrowedFd<'_>; 3], dir: Option<&CStr>) -> Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: init initialises the object it is given, or fails and it is not used.
        let mut actions = unsafe {
            answer(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Self { inner: actions.assume_init(), dir: dir.map(open_directory).transpose()? }
        };
        for (target, fd) in (0..).zip(stdio) {
            // SAFETY: an initialised object and two numbers.
            answer(unsafe {
                libc::posix_spawn_file_actions_adddup2(&raw mut actions.inner, fd.as_raw_fd(), target)
            })?;
        }
        if let Some(dir) = &actions.dir {
            // SAFETY: an initialised object and a descriptor that is open as long as the object is.
            answer(unsafe {
                libc::posix_spawn_file_actions_addfchdir_np(&raw mut actions.inner, dir.as_raw_fd())
            })?;
        }
        // SAFETY: as above.
        answer(unsafe { libc::posix_spawn_file_actions_addclosefrom_np(&raw mut actions.inner, 3) })?;
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, and never used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.inner) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> Result<Self> {
        let flags = libc::POSIX_SPAWN_SETPGROUP | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let mut attributes = MaybeUninit::uninit();
        let mut signals = MaybeUninit::uninit();
        // SAFETY: init initialises the object, and the set is written whole before it is read; it is an array of bits.
        unsafe {
            answer(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut attributes = Self(attributes.assume_init());
            libc::sigemptyset(signals.as_mut_ptr());
            answer(libc::posix_spawnattr_setsigmask(&raw mut attributes.0, signals.as_ptr()))?;
            // Not sigfillset: it leaves out two signals of the C library's own, which posix_spawn would then ignore.
            signals.as_mut_ptr().write_bytes(0xff, 1);
            answer(libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, signals.as_ptr()))?;
            answer(libc::posix_spawnattr_setpgroup(&raw mut attributes.0, 0))?;
            answer(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags as c_short))?;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, and never used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
