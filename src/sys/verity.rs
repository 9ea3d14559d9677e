//! fs-verity (Documentation/filesystems/fsverity.rst): a file that nobody changes any more, and whose pages the
//! kernel proves as they are read.

use std::ffi::c_ulong;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::{Result, check};

/// `_IOW('f', 133, struct fsverity_enable_arg)`.
const FS_IOC_ENABLE_VERITY: c_ulong = 0x4080_6685;
/// `_IOWR('f', 134, struct fsverity_digest)`.
const FS_IOC_MEASURE_VERITY: c_ulong = 0xc004_6686;
const FS_VERITY_HASH_ALG_SHA256: u32 = 1;
const BLOCK: u32 = 4096;

/// `struct fsverity_enable_arg` of linux/fsverity.h.
#[repr(C)]
#[derive(Default)]
struct Enable {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved1: u32,
    signature: u64,
    reserved2: [u64; 11],
}

/// `struct fsverity_digest`, with room for SHA-256.
#[repr(C)]
#[derive(Default)]
struct Measured {
    algorithm: u16,
    size: u16,
    digest: [u8; 32],
}

/// Switches it on for a file that is open for reading alone, and that nobody has open for writing.
///
/// # Errors
///
/// ENOTTY, EOPNOTSUPP and, for blocks of this size, EINVAL where the filesystem or the kernel has no fs-verity;
/// ETXTBSY if somebody writes to the file.
pub fn enable(file: BorrowedFd<'_>) -> Result<()> {
    let argument = Enable {
        version: 1,
        hash_algorithm: FS_VERITY_HASH_ALG_SHA256,
        block_size: BLOCK,
        ..Enable::default()
    };
    // SAFETY: a live struct of the kernel's layout, which it only reads.
    let done = check(unsafe {
        libc::syscall(libc::SYS_ioctl, file.as_raw_fd(), FS_IOC_ENABLE_VERITY, &raw const argument)
    });
    match done {
        // It is on already.
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The digest by which the kernel proves a file: of its tree of hashes, not of its bytes.
///
/// # Errors
///
/// ENODATA, ENOTTY and EOPNOTSUPP for a file without fs-verity, EOVERFLOW for a longer digest than SHA-256.
pub fn measure(file: BorrowedFd<'_>) -> Result<[u8; 32]> {
    let mut measured = Measured { size: 32, ..Measured::default() };
    // SAFETY: a live struct of the kernel's layout; it writes no more digits than `size` says.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, file.as_raw_fd(), FS_IOC_MEASURE_VERITY, &raw mut measured)
    })?;
    match (u32::from(measured.algorithm), measured.size) {
        (FS_VERITY_HASH_ALG_SHA256, 32) => Ok(measured.digest),
        _ => Err(Errno::EOVERFLOW),
    }
}
