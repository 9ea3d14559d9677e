//! Scheduler, I/O priority and memory policy of a process: sched_setattr(2), ioprio_set(2), set_mempolicy(2).

pub(crate) use libc::{
    MPOL_BIND, MPOL_DEFAULT, MPOL_F_NUMA_BALANCING, MPOL_F_RELATIVE_NODES, MPOL_F_STATIC_NODES,
    MPOL_INTERLEAVE, MPOL_LOCAL, MPOL_PREFERRED, SCHED_BATCH, SCHED_DEADLINE, SCHED_FIFO,
    SCHED_FLAG_DL_OVERRUN, SCHED_FLAG_KEEP_PARAMS, SCHED_FLAG_KEEP_POLICY, SCHED_FLAG_RECLAIM,
    SCHED_FLAG_RESET_ON_FORK, SCHED_FLAG_UTIL_CLAMP_MAX, SCHED_FLAG_UTIL_CLAMP_MIN, SCHED_IDLE, SCHED_OTHER,
    SCHED_RR,
};

/// Reserved (linux/sched.h), and never implemented.
pub(crate) const SCHED_ISO: i32 = 4;

/// KERNEL(5.15); missing in libc.
pub(crate) const MPOL_PREFERRED_MANY: i32 = 5;
/// KERNEL(6.9); missing in libc.
pub(crate) const MPOL_WEIGHTED_INTERLEAVE: i32 = 6;

/// The class of an I/O priority is above the 13 bits of the level (linux/ioprio.h).
pub(crate) const IOPRIO_CLASS_SHIFT: i32 = 13;
pub(crate) const IOPRIO_CLASS_RT: i32 = 1;
pub(crate) const IOPRIO_CLASS_BE: i32 = 2;
pub(crate) const IOPRIO_CLASS_IDLE: i32 = 3;

/// A set of CPUs or memory nodes: bit N % 64 of word N / 64.
pub(crate) type Mask = Vec<u64>;

/// What sched_setattr(2) sets; times are in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedulerAttributes {
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}
