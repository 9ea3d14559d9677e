//! Why namespaces are not made for somebody without privileges, or in a container.

use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::error::Error;
use crate::plan::namespaces::{Namespace, NamespacePlan};

/// Settings of the host that keep users from user namespaces: the value that does, and what to say of it.
const SWITCHES: &[(&str, &str)] = &[
    ("/proc/sys/user/max_user_namespaces", "0"),
    // Debian's and Ubuntu's.
    ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
];

/// The error of a clone3(2) that was to make the namespaces of `namespaces`.
pub(super) fn clone_error(errno: Errno, namespaces: &NamespacePlan) -> Error {
    let error = Error::from(errno).context("clone3");
    match errno {
        Errno::EPERM if !namespaces.has(Namespace::USER) => {
            let who = if geteuid().is_root() { "without CAP_SYS_ADMIN" } else { "without root" };
            error
                .context(format!("/linux/namespaces: {who} a container needs a user namespace"))
                .with_hint("`tare spec --rootless` writes such a configuration")
        }
        Errno::EPERM | Errno::ENOSPC | Errno::EUSERS if namespaces.has(Namespace::USER) => {
            match switched_off() {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        }
        _ => error,
    }
}

/// The setting that keeps this process from making a user namespace, if one does.
fn switched_off() -> Option<String> {
    let is_set =
        |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let (path, value) = SWITCHES.iter().find(|(path, value)| is_set(path, value))?;
    Some(format!("this host keeps users from user namespaces: {path} is {value}"))
}
