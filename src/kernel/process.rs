//! Capability sets, resource limits and execution domains of a process.

/// A set of capabilities, bit N for capability N of capabilities(7).
pub(crate) type CapabilitySet = u64;

/// The type of a resource number is i32 with musl and u32 with glibc; prlimit(2) itself takes an int.
macro_rules! resources {
    ($($name:ident)*) => {$(pub(crate) const $name: i32 = libc::$name as i32;)*};
}

resources! {
    RLIMIT_AS RLIMIT_CORE RLIMIT_CPU RLIMIT_DATA RLIMIT_FSIZE RLIMIT_LOCKS RLIMIT_MEMLOCK RLIMIT_MSGQUEUE RLIMIT_NICE
    RLIMIT_NOFILE RLIMIT_NPROC RLIMIT_RSS RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING RLIMIT_STACK
}

/// personality(2): the execution domains (linux/personality.h).
pub(crate) const PER_LINUX: u64 = 0;
pub(crate) const PER_LINUX32: u64 = 8;
