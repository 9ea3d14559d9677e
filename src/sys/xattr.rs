//! Reads and writes extended attributes (xattr(7)), for which `nix` has no wrapper.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::Result;

/// Makes or replaces an attribute of an open file: fsetxattr(2).
pub fn fsetxattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<()> {
    // SAFETY: name is NUL-terminated, value is a live slice of the length given; the kernel only reads them.
    let result =
        unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

/// Makes or replaces an attribute of the file at `path`, whose last component is not followed: lsetxattr(2).
pub fn lsetxattr(path: &CStr, name: &CStr, value: &[u8]) -> Result<()> {
    // SAFETY: both strings are NUL-terminated, value is a live slice of the length given; the kernel only
    // reads them.
    let result =
        unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

/// Removes an attribute of an open file: fremovexattr(2).
pub fn fremovexattr(fd: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: name is NUL-terminated; the kernel only reads it.
    Errno::result(unsafe { libc::fremovexattr(fd.as_raw_fd(), name.as_ptr()) }).map(drop)
}

/// Removes an attribute of the file at `path`, whose last component is not followed: lremovexattr(2).
pub fn lremovexattr(path: &CStr, name: &CStr) -> Result<()> {
    // SAFETY: both strings are NUL-terminated; the kernel only reads them.
    Errno::result(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
}

/// Lists the attributes of an open file, each name with a NUL at its end: flistxattr(2).
pub fn flistxattr(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    with_buffer(|buffer| {
        // SAFETY: the kernel writes at most the buffer's length into it.
        Errno::result(unsafe { libc::flistxattr(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
    })
}

/// Reads an attribute of an open file: fgetxattr(2).
pub fn fgetxattr(fd: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>> {
    with_buffer(|buffer| {
        // SAFETY: name is NUL-terminated; the kernel writes at most the buffer's length into it.
        let result = unsafe {
            libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
        };
        Errno::result(result)
    })
}

/// Lists the attributes of the file at `path`, whose last component is not followed: llistxattr(2).
pub fn llistxattr(path: &CStr) -> Result<Vec<u8>> {
    with_buffer(|buffer| {
        // SAFETY: path is NUL-terminated; the kernel writes at most the buffer's length into it.
        Errno::result(unsafe { libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) })
    })
}

/// Reads an attribute of the file at `path`, whose last component is not followed: lgetxattr(2).
pub fn lgetxattr(path: &CStr, name: &CStr) -> Result<Vec<u8>> {
    with_buffer(|buffer| {
        // SAFETY: both strings are NUL-terminated; the kernel writes at most the buffer's length into it.
        let result = unsafe {
            libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
        };
        Errno::result(result)
    })
}

/// Makes the call with a large enough buffer, at most of the kernel's limit of 64 KiB.
fn with_buffer(mut call: impl FnMut(&mut [u8]) -> Result<isize>) -> Result<Vec<u8>> {
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
