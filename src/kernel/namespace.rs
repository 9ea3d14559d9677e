//! The CLONE_NEW* flags, one for each kind of namespace (namespaces(7)).

pub(crate) use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS,
};

/// Time namespaces, KERNEL(5.6). libc lacks it on musl.
pub(crate) const CLONE_NEWTIME: i32 = 0x80;
