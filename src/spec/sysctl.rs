//! The kernel parameters that a container may set: those of a namespace of its own.

use std::collections::HashMap;

use oci_spec::runtime::LinuxNamespaceType as Type;

use super::config_error::quote;
use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use super::namespaces::Namespaces;

/// The parameters below `kernel` that belong to the IPC namespace (ipc_namespaces(7)); `fs.mqueue` belongs to
/// it too.
const IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn rules(
    wanted: Option<&HashMap<String, String>>,
    namespaces: &Namespaces<'_>,
    at: &JsonPointer<'_>,
    diagnostics: &mut Diagnostics,
) {
    // Sorted by name, so that the same document gives the same message.
    let mut names: Vec<&String> = wanted.into_iter().flat_map(HashMap::keys).collect();
    names.sort_unstable();
    for name in names {
        if let Some(refusal) = refusal(&dotted(name), namespaces) {
            diagnostics.error(&at.key(name), refusal);
        }
    }
}

/// Refuses two different domain names: the order of writing would decide which one holds.
pub(super) fn same_domainname(
    given: &str,
    wanted: Option<&HashMap<String, String>>,
    at: &JsonPointer<'_>,
    diagnostics: &mut Diagnostics,
) {
    for (name, value) in wanted.into_iter().flatten() {
        if dotted(name) == "kernel.domainname" && value.trim_end() != given {
            let name_ = quote(name);
            let message =
                format!("sysctl {name_} conflicts with the OCI \"domainname\" field {}", quote(given));
            diagnostics.error(&at.key(name), message);
        }
    }
}

/// Returns the name with `.` between its parts. With `/` between them, as sysctl(8) allows, a part may
/// contain a dot (`net/ipv4/conf/eth0.100/rp_filter`). The first separator shows which form it is; in the
/// second form the two are swapped.
pub(crate) fn dotted(name: &str) -> String {
    let swap = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    match name.find(['.', '/']) {
        Some(first) if name[first..].starts_with('/') => name.chars().map(swap).collect(),
        _ => name.to_owned(),
    }
}

/// Returns why the container may not set the parameter `name` (with dots); `None` if it may.
fn refusal(name: &str, namespaces: &Namespaces<'_>) -> Option<String> {
    let quoted = quote(name);
    // In a name with dots, a part of slashes would be a file name of dots, which would leave the directory.
    if name.split('.').any(|part| part.chars().all(|character| character == '/')) {
        return Some(format!("sysctl {quoted} is no name: an empty or dotted part"));
    }
    let has_own = |typ| namespaces.has(typ);
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        return (!has_own(Type::Ipc))
            .then(|| format!("sysctl {quoted} is not allowed in the hosts ipc namespace"));
    }
    if name.starts_with("net.") {
        return (!has_own(Type::Network))
            .then(|| format!("sysctl {quoted} not allowed in host network namespace"));
    }
    if name.starts_with("user.") {
        let refused = || format!("setting ucounts without a user namespace not allowed: {name}");
        return (!has_own(Type::User)).then(refused);
    }
    match name {
        "kernel.domainname" if has_own(Type::Uts) => None,
        "kernel.hostname" if has_own(Type::Uts) => {
            Some(format!("sysctl {quoted} is not allowed as it conflicts with the OCI \"hostname\" field"))
        }
        _ => Some(format!("sysctl {quoted} is not in a separate kernel namespace")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_tells_how_a_name_is_written() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", "net.ipv4.ip_forward"),
            ("net/ipv4/ip_forward", "net.ipv4.ip_forward"),
            ("net/ipv4/conf/eno2.100/rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
            ("net.ipv4.conf.eno2/100.rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
            ("foo", "foo"),
            ("", ""),
        ] {
            assert_eq!(dotted(name), expected);
        }
    }
}
