//! File types in the mode of an inode (inode(7)).

pub use libc::{S_IFBLK, S_IFCHR, S_IFIFO, S_IFMT};
