//! When and where a process runs: scheduler, I/O priority, CPUs, memory nodes.

use std::ffi::c_int;

use super::{Result, check};
use crate::kernel::scheduling::SchedulerAttributes;

/// struct sched_attr of linux/sched/types.h, KERNEL(5.3) size: libc's is older.
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

/// sched_setattr(2) of the calling thread.
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
    // SAFETY: attr is a live struct that says its own size; the kernel reads it, and writes that size where it knows a
    // smaller one.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// ioprio_set(2) of the calling thread: the class in the bits from 13 on, the level below.
pub fn set_io_priority(priority: c_int) -> Result<()> {
    const IOPRIO_WHO_PROCESS: c_int = 1;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) }).map(drop)
}

/// set_mempolicy(2): an MPOL_* with its flags, and the nodes.
pub fn set_memory_policy(mode: c_int, nodes: &[u64]) -> Result<()> {
    // The kernel takes one off the number of bits, and no pointer where there are none.
    let (pointer, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: the kernel reads as many bits as the slice has.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

/// sched_setaffinity(2) of the calling thread. CPUs that there are not are left out; EINVAL if none remains.
pub fn set_affinity(cpus: &[u64]) -> Result<()> {
    // SAFETY: a live slice of the length given, which the kernel reads.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(cpus), cpus.as_ptr()) })
        .map(drop)
}

/// All the CPUs there may be: undoes an affinity inherited from the engine; the cpuset still bounds it.
pub fn reset_affinity() -> Result<()> {
    set_affinity(&[u64::MAX; 128])
}
