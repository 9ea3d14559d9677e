//! Loads device filters for cgroups and attaches them: bpf(2).
//!
//! The argument of each command is a prefix of `union bpf_attr`; the kernel takes its length and reads zeros
//! for the rest.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::{Result, check};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;

/// One instruction, `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    pub code: u8,
    /// Destination register in the low half, source in the high half.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

/// The argument of BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The argument of BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replace: u32,
}

/// The argument of BPF_PROG_QUERY.
#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// The argument of BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_long> {
    // SAFETY: attr is a live, zero-padding-free repr(C) prefix of union bpf_attr with its own size; the
    // pointers in it come from slices that the caller keeps alive over the call.
    check(unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), std::mem::size_of::<T>())
    })
}

fn descriptor(fd: libc::c_long) -> OwnedFd {
    // SAFETY: a descriptor (close-on-exec, as all of bpf's) that the kernel has just made, owned by nobody
    // else.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Loads a device filter: BPF_PROG_LOAD.
///
/// # Errors
/// EINVAL or EACCES if the kernel's verifier refuses the program; EPERM without CAP_BPF or CAP_SYS_ADMIN.
pub fn load_device_filter(program: &[Insn], license: &CStr) -> Result<OwnedFd> {
    let mut name = [0; 16];
    name[..12].copy_from_slice(b"tare_devices");
    let mut attr = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        flags: 0,
        name,
    };
    // KERNEL(5.0 and before): EAGAIN if a signal interrupts the verifier.
    for _ in 0..5 {
        match bpf(BPF_PROG_LOAD, &mut attr) {
            Err(Errno::EAGAIN) => {}
            other => return other.map(descriptor),
        }
    }
    bpf(BPF_PROG_LOAD, &mut attr).map(descriptor)
}

fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, flags: u32, replace: u32) -> Attach {
    Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        flags,
        replace,
    }
}

/// Attaches a device filter to a cgroup, in addition to existing ones: a device must pass all of them. It
/// stays as long as the cgroup.
pub fn attach_device_filter(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    bpf(BPF_PROG_ATTACH, &mut attach(cgroup, program, BPF_F_ALLOW_MULTI, 0)).map(drop)
}

/// Replaces the device filter `old` by another in one step: BPF_F_REPLACE, KERNEL(5.6).
pub fn replace_device_filter(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    old: BorrowedFd<'_>,
) -> Result<()> {
    let flags = BPF_F_ALLOW_MULTI | BPF_F_REPLACE;
    bpf(BPF_PROG_ATTACH, &mut attach(cgroup, program, flags, old.as_raw_fd() as u32)).map(drop)
}

/// Detaches a device filter from a cgroup.
pub fn detach_device_filter(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    bpf(BPF_PROG_DETACH, &mut attach(cgroup, program, 0, 0)).map(drop)
}

/// Lists the device filters of a cgroup itself, without those of its ancestors. The kernel allows 64.
pub fn device_filters(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; 64];
    let mut query = Query {
        target: cgroup.as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: 64,
        padding: 0,
    };
    bpf(BPF_PROG_QUERY, &mut query)?;
    let by_id = |&id| bpf(BPF_PROG_GET_FD_BY_ID, &mut ById { id, next_id: 0, flags: 0 }).map(descriptor);
    ids[..(query.count as usize).min(64)].iter().map(by_id).collect()
}
