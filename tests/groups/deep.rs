//! A tree of groups that is deeper than a process may have descriptors: a container to which its group is delegated
//! can make one.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};

use crate::support::{Bundle, machine};

const LEVELS: usize = 2000;

/// Makes groups one below the other; returns how many the kernel has let us make.
fn dig(group: &Path) -> usize {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut here: OwnedFd = open(group, flags, Mode::empty()).unwrap();
    for level in 0..LEVELS {
        match mkdirat(&here, "deep", Mode::from_bits_truncate(0o755)) {
            Ok(()) => here = openat(&here, "deep", flags, Mode::empty()).unwrap(),
            Err(Errno::EAGAIN | Errno::ENOMEM | Errno::ENOSPC) => return level,
            Err(errno) => panic!("level {level}: {errno}"),
        }
    }
    LEVELS
}

#[test]
fn a_deep_tree_is_frozen_listed_and_removed_with_few_descriptors() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let groups = machine::groups(&bundle.id);
    let depth = dig(groups.first().unwrap());
    assert!(depth > 100, "{depth}");
    let few = "ulimit -n 64 -s 512; \"$@\"";
    let listed = bundle.tare_by(few, &["ps", "--format", "json", &bundle.id]).ok().json();
    assert_eq!(listed[0].to_string(), bundle.pid());
    bundle.tare_by(few, &["delete", "--force", &bundle.id]).ok();
    bundle.leaves_nothing();
}
