//! Finds out why the kernel refuses to execute a program. This runs in the refused process, in its own root
//! and with its own rights, for two reasons. When an engine starts a created container, the runtime that
//! created it has ended. And no process with more rights must read files on behalf of the container.
//!
//! The files are not trusted: only regular files are opened, and only their first bytes are read.

mod content;
mod elf;
mod text;
mod way;

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{FileStat, fstat, lstat};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access, geteuid};

use content::Content;
use text::mode;
pub(super) use text::show;
use way::{Stop, walk};

/// How many interpreters of interpreters the kernel follows (fs/exec.c).
const MOST_INTERPRETERS: u32 = 5;
/// The longest single argument or variable (MAX_ARG_STRLEN, execve(2)).
const LONGEST_STRING: usize = 131_072;

/// Returns why execve(2) refused `path` with this errno. `None` if nothing explains it.
pub(super) fn reason(path: &CStr, args: &[CString], env: &[CString], errno: Errno) -> Option<String> {
    match errno {
        Errno::E2BIG => too_big(args, env),
        Errno::ETXTBSY => Some("somebody has it open for writing".into()),
        Errno::EAGAIN => too_many_processes(),
        _ => of_file(Path::new(OsStr::from_bytes(path.to_bytes())), errno, 0),
    }
}

/// Returns why the kernel will refuse to execute `file`, by its content: for a check before there is a
/// container. `exists` returns whether a path may exist in the container.
pub(crate) fn foreseen(file: BorrowedFd<'_>, exists: impl Fn(&Path) -> bool) -> Option<String> {
    // Opening a device may have an effect: a tape rewinds, a watchdog later resets the host.
    if let Some(other) = text::kind(&fstat(file).ok()?) {
        return Some(format!("{other}, no program"));
    }
    // Opened through the descriptor, because the name may now belong to another file.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let lacks = |needed: &[u8]| {
        let path = Path::new(OsStr::from_bytes(needed));
        (path.is_absolute() && !exists(path)).then(|| match needed.ends_with(b"\r") {
            true => format!("its interpreter is {path:?}: Windows line ends"),
            false => {
                let library =
                    elf::library(path).map_or(String::new(), |library| format!(" (the loader of {library})"));
                format!("it needs {}{library}, which is not in the root file system", show(path))
            }
        })
    };
    match content::of(Path::new(&path))? {
        Content::Script(line) => match content::interpreter(&line) {
            Ok(interpreter) => lacks(interpreter),
            Err(what) => Some(what.into()),
        },
        Content::Elf(program) => {
            let loader = || lacks(program.loader.as_deref()?);
            program.not_for_here().or_else(|| program.cut_off()).or_else(loader)
        }
        Content::Other(what) => Some(what),
    }
}

/// Returns why `path` cannot be executed.
fn of_file(path: &Path, errno: Errno, depth: u32) -> Option<String> {
    let found = match walk(path) {
        Ok(found) => found,
        Err(stop) => return stop.told(path),
    };
    let stat = lstat(&found).ok()?;
    if let Some(other) = text::kind(&stat) {
        return Some(format!("{other}, no program"));
    }
    if matches!(errno, Errno::EACCES | Errno::EPERM)
        && let Some(why) = not_allowed(&found, &stat)
    {
        return Some(why);
    }
    match content::of(&found)? {
        Content::Script(line) => of_script(&line, errno, depth),
        Content::Elf(program) => of_elf(&program, errno, depth),
        // The kernel answers ENOEXEC to such content, so another errno has another reason.
        Content::Other(what) => (errno == Errno::ENOEXEC).then_some(what),
    }
}

/// Returns why the mode or the mount forbids to execute `path`.
fn not_allowed(path: &Path, stat: &FileStat) -> Option<String> {
    if is_noexec(path) {
        return Some(format!("{} is mounted noexec", show(mount_of(path))));
    }
    // AT_EACCESS is not used, because a C library may need another process for it. The real and the effective
    // user are equal here.
    let refused = access(path, AccessFlags::X_OK) == Err(Errno::EACCES);
    refused.then(|| match stat.st_mode & 0o111 {
        0 => format!("mode {} has no x bit", mode(stat)),
        _ => {
            format!("mode {} of user {} does not let user {} execute it", mode(stat), stat.st_uid, geteuid())
        }
    })
}

fn is_noexec(path: &Path) -> bool {
    statvfs(path).is_ok_and(|stat| stat.flags().contains(FsFlags::ST_NOEXEC))
}

/// Returns the topmost directory above `path` that is on the same filesystem and also noexec.
fn mount_of(path: &Path) -> &Path {
    let device = |path: &Path| lstat(path).map(|stat| stat.st_dev).ok();
    let own = device(path);
    path.ancestors().take_while(|above| device(above) == own && is_noexec(above)).last().unwrap_or(path)
}

fn of_script(line: &[u8], errno: Errno, depth: u32) -> Option<String> {
    let interpreter = match content::interpreter(line) {
        Ok(interpreter) => interpreter,
        Err(what) => return Some(what.into()),
    };
    let path = Path::new(OsStr::from_bytes(interpreter));
    if interpreter.ends_with(b"\r") && walk(path).is_err() {
        return Some(format!("its interpreter is {path:?}: Windows line ends"));
    }
    if depth == MOST_INTERPRETERS {
        return Some(format!(
            "its interpreter is a script, and so on for more than {MOST_INTERPRETERS} times"
        ));
    }
    of_needed("its interpreter", path, errno, depth)
}

fn of_elf(program: &elf::Program, errno: Errno, depth: u32) -> Option<String> {
    if let Some(what) = program.not_for_here() {
        return matches!(errno, Errno::ENOEXEC | Errno::ELIBBAD | Errno::ENOENT).then_some(what);
    }
    match &program.loader {
        Some(loader) => of_needed("its loader", Path::new(OsStr::from_bytes(loader)), errno, depth),
        None if errno == Errno::ENOEXEC => program.damage().map(Into::into).or_else(|| program.cut_off()),
        None => None,
    }
}

/// Returns why `path`, which a program names as its interpreter or loader, cannot be used.
fn of_needed(what: &str, path: &Path, errno: Errno, depth: u32) -> Option<String> {
    // Stops at files that name each other as interpreter or loader.
    if depth > MOST_INTERPRETERS {
        return None;
    }
    let shown = show(path);
    match walk(path) {
        Err(Stop::Missing { link: None, .. }) => {
            let library =
                elf::library(path).map_or(String::new(), |library| format!(" (the loader of {library})"));
            Some(format!("it needs {shown}{library}, which is not in the root file system"))
        }
        _ => of_file(path, errno, depth + 1).map(|why| format!("{what} {shown}: {why}")),
    }
}

/// Returns which of the two limits of execve(2) the arguments and the environment exceed.
fn too_big(args: &[CString], env: &[CString]) -> Option<String> {
    let length = |text: &CString| text.as_bytes_with_nul().len();
    let long = |list: &[CString]| list.iter().position(|text| length(text) > LONGEST_STRING);
    if let Some(index) = long(args) {
        return Some(format!(
            "argument {index} is {} bytes long, one may be {LONGEST_STRING}",
            length(&args[index])
        ));
    }
    if let Some(index) = long(env) {
        let name = env[index].to_bytes().split(|&byte| byte == b'=').next().unwrap_or_default();
        return Some(format!(
            "the variable {} is {} bytes long, one may be {LONGEST_STRING}",
            show(Path::new(OsStr::from_bytes(name))),
            length(&env[index])
        ));
    }
    let total: usize = args.iter().chain(env).map(|text| length(text) + size_of::<usize>()).sum();
    let (stack, _) = getrlimit(Resource::RLIMIT_STACK).ok()?;
    let most = (stack / 4).clamp(LONGEST_STRING as u64, 6 << 20);
    (total as u64 > most).then(|| {
        format!(
            "arguments and environment take {total} bytes, of {most} that a quarter of RLIMIT_STACK allows"
        )
    })
}

/// A change of user that exceeds RLIMIT_NPROC makes the following execve fail.
fn too_many_processes() -> Option<String> {
    let (most, _) = getrlimit(Resource::RLIMIT_NPROC).ok()?;
    Some(format!("user {} has more processes than its RLIMIT_NPROC of {most} allows", geteuid()))
}

/// Explains why a program was not found at all, if a name in `PATH` is a dangling symlink.
pub(super) fn dangling(candidates: &[CString]) -> Option<String> {
    candidates.iter().find_map(|candidate| {
        let path = Path::new(OsStr::from_bytes(candidate.to_bytes()));
        lstat(path).ok()?;
        walk(path).err()?.told(path).map(|why| match why.starts_with(&show(path)) {
            true => why,
            false => format!("{}: {why}", show(path)),
        })
    })
}
