//! Extended attributes, which `nix` has no wrapper for.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::Result;

/// fsetxattr(2): makes or replaces an attribute of an open file.
pub fn fsetxattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<()> {
    // SAFETY: name is NUL-terminated, value is a live slice of the length given; the kernel only reads them.
    let result =
        unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

/// lsetxattr(2): as above by path, the last component not followed.
pub fn lsetxattr(path: &CStr, name: &CStr, value: &[u8]) -> Result<()> {
    // SAFETY: both strings are NUL-terminated, value is a live slice of the length given; the kernel only reads them.
    let result =
        unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

/// fremovexattr(2).
pub fn fremovexattr(fd: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: name is NUL-terminated; the kernel only reads it.
    Errno::result(unsafe { libc::fremovexattr(fd.as_raw_fd(), name.as_ptr()) }).map(drop)
}

/// flistxattr(2): the names, each ended by a NUL.
pub fn flistxattr(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    grown(|buffer| {
        // SAFETY: the kernel writes at most the buffer's length into it.
        Errno::result(unsafe { libc::flistxattr(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
    })
}

/// fgetxattr(2).
pub fn fgetxattr(fd: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>> {
    grown(|buffer| {
        // SAFETY: name is NUL-terminated; the kernel writes at most the buffer's length into it.
        let result = unsafe {
            libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
        };
        Errno::result(result)
    })
}

/// llistxattr(2): as `flistxattr` by path, the last component not followed.
pub fn llistxattr(path: &CStr) -> Result<Vec<u8>> {
    grown(|buffer| {
        // SAFETY: path is NUL-terminated; the kernel writes at most the buffer's length into it.
        Errno::result(unsafe { libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) })
    })
}

/// lgetxattr(2): as `fgetxattr` by path, the last component not followed.
pub fn lgetxattr(path: &CStr, name: &CStr) -> Result<Vec<u8>> {
    grown(|buffer| {
        // SAFETY: both strings are NUL-terminated; the kernel writes at most the buffer's length into it.
        let result = unsafe {
            libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
        };
        Errno::result(result)
    })
}

/// Calls with a buffer that grows to the kernel's limit of 64 KiB.
fn grown(mut call: impl FnMut(&mut [u8]) -> Result<isize>) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length.unsigned_abs());
                return Ok(buffer);
            }
            Err(Errno::ERANGE) if buffer.len() < 65536 => buffer.resize(65536, 0),
            Err(errno) => return Err(errno),
        }
    }
}
