//! When and where a process runs: scheduler, I/O priority, CPUs, memory nodes.

use std::ffi::c_int;

use super::{Result, check};
use crate::kernel::scheduling::SchedulerAttributes;

/// struct sched_attr of linux/sched/types.h, with the size of KERNEL(5.3): libc's is older.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

/// Sets the scheduler of the calling thread: sched_setattr(2).
pub fn set_scheduler(attributes: &SchedulerAttributes) -> Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: attributes.policy,
        flags: attributes.flags,
        nice: attributes.nice,
        priority: attributes.priority,
        runtime: attributes.runtime,
        deadline: attributes.deadline,
        period: attributes.period,
        util_min: 0,
        util_max: 0,
    };
    // SAFETY: attr is a live struct that says its own size; the kernel reads it, and writes that size where
    // it knows a smaller one.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// Sets the I/O priority of the calling thread: ioprio_set(2). The class is in the bits from 13 on, the level
/// below.
pub fn set_io_priority(priority: c_int) -> Result<()> {
    const IOPRIO_WHO_PROCESS: c_int = 1;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) }).map(drop)
}

/// Sets the memory policy: set_mempolicy(2), with an MPOL_* and its flags, and the nodes.
pub fn set_memory_policy(mode: c_int, nodes: &[u64]) -> Result<()> {
    // The kernel subtracts one from the number of bits, and takes no pointer if there are none.
    let (pointer, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: the kernel reads as many bits as the slice has.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

/// Sets the CPUs of the calling thread: sched_setaffinity(2). Missing CPUs are left out; EINVAL if none
/// remains.
pub fn set_affinity(cpus: &[u64]) -> Result<()> {
    // SAFETY: a live slice of the length given, which the kernel reads.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(cpus), cpus.as_ptr()) })
        .map(drop)
}

/// Allows all CPUs: this undoes an affinity inherited from the engine. The cpuset still applies.
pub fn reset_affinity() -> Result<()> {
    set_affinity(&[u64::MAX; 128])
}
