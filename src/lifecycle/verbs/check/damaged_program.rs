//! Explains the end of a program that the kernel has executed although its file is damaged.

use std::path::Path;

use super::paths;
use crate::container::Entry;
use crate::{log, spec};

/// Exit statuses, in a shell's numbers, of a program that lacks a part of itself.
const OF_DAMAGE: [(i32, &str); 3] =
    [(128 + libc::SIGILL, "SIGILL"), (128 + libc::SIGBUS, "SIGBUS"), (128 + libc::SIGSEGV, "SIGSEGV")];

/// If the program in the rootfs is damaged, and the container has ended as such programs end, says so. Files are
/// looked at only then.
pub(crate) fn tell(entry: &Entry, bundle: &Path, status: i32) {
    let Some((_, signal)) = OF_DAMAGE.iter().find(|(of_damage, _)| *of_damage == status) else { return };
    let config = entry.config().ok().and_then(|config| spec::parse(&config).ok());
    let refused = config.and_then(|config| paths::refused_program(&config, bundle));
    if let Some(refused) = refused.filter(|refused| !refused.missing) {
        let paths::Refused { name, why, .. } = refused;
        log::warn_person(format_args!("exit status {status} is {signal}: {name}: {why}"));
    }
}
