//! Memory that this process shares with the processes that it clones: mmap(2) with MAP_SHARED and
//! MAP_ANONYMOUS.

use std::sync::atomic::AtomicU64;

use super::Result;

/// Maps `N` counters, all zero. They stay until this process ends, and until execve(2) in a cloned one.
pub fn counters<const N: usize>() -> Result<&'static [AtomicU64; N]> {
    let size = size_of::<[AtomicU64; N]>();
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, which overlaps nothing.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(nix::errno::Errno::last());
    }
    // SAFETY: the mapping has the array's size, is aligned to a page, is never unmapped, and all zero bytes
    // are valid counters. Other processes change it by atomic operations alone.
    Ok(unsafe { &*address.cast::<[AtomicU64; N]>() })
}
