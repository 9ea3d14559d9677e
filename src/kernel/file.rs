//! File types in the mode of an inode (inode(7)).

pub(crate) use libc::{S_IFBLK, S_IFCHR, S_IFIFO, S_IFMT};
