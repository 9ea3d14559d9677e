//! Rules for what a container needs besides a valid document: a process, and the namespaces that its other
//! fields change. Without the namespace, such a field would change the host.

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType as Type, Spec};

use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use super::namespaces::Namespaces;
use super::sysctl;
use crate::error::matched;

pub(super) fn rules(spec: &Spec, diagnostics: &mut Diagnostics) {
    if spec.process().is_none() {
        diagnostics.error(&JsonPointer::ROOT.key("process"), matched::PROCESS_EMPTY);
    }
    // The namespaces could not be read, so rules that depend on them would only guess.
    if diagnostics.lacks("/linux/namespaces") {
        return;
    }
    let namespaces = Namespaces::new(spec.linux().as_ref());
    uts(spec, &namespaces, diagnostics);
    let Some(linux) = spec.linux() else { return };
    let at = JsonPointer::ROOT.key("linux");
    if let Some(name) = spec.domainname() {
        sysctl::same_domainname(name, linux.sysctl().as_ref(), &at.key("sysctl"), diagnostics);
    }
    if !(diagnostics.lacks("/linux/uidMappings") || diagnostics.lacks("/linux/gidMappings")) {
        user(linux, &namespaces, &at, diagnostics);
    }
    time(linux, &namespaces, &at, diagnostics);
    network(linux, &namespaces, &at, diagnostics);
    mount(linux, &namespaces, &at, diagnostics);
    sysctl::rules(linux.sysctl().as_ref(), &namespaces, &at.key("sysctl"), diagnostics);
}

fn uts(spec: &Spec, namespaces: &Namespaces<'_>, diagnostics: &mut Diagnostics) {
    if namespaces.has(Type::Uts) {
        return;
    }
    for (name, value) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        if value.is_some() {
            diagnostics.error(
                &JsonPointer::ROOT.key(name),
                format!("unable to set {name} without a private UTS namespace"),
            );
        }
    }
}

fn user(linux: &Linux, namespaces: &Namespaces<'_>, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let given = |mappings: &Option<Vec<LinuxIdMapping>>| mappings.as_ref().is_some_and(|all| !all.is_empty());
    let lists =
        [("uidMappings", "user", linux.uid_mappings()), ("gidMappings", "group", linux.gid_mappings())];
    let any = lists.iter().any(|(.., list)| given(list));
    if !namespaces.has(Type::User) {
        for (name, ..) in lists.iter().filter(|(.., list)| given(list)) {
            let message =
                "ignored: user namespace mappings specified, but user namespace isn't enabled in the config";
            diagnostics.warn(&at.key(name), message);
        }
        return;
    }
    // Only the host knows the mappings of a joined namespace: `launch` compares them.
    if namespaces.joined(Type::User) {
        return;
    }
    if !any {
        let message =
            "user namespaces enabled, but no namespace path to join nor mappings to apply specified";
        diagnostics.error(&at.key("namespaces"), message);
        return;
    }
    for (name, what, list) in lists {
        root_is_mapped(list.as_deref().unwrap_or_default(), what, &at.key(name), diagnostics);
    }
}

/// Without a root inside, nobody could set up the container.
fn root_is_mapped(
    mappings: &[LinuxIdMapping],
    what: &str,
    at: &JsonPointer<'_>,
    diagnostics: &mut Diagnostics,
) {
    if mappings.is_empty() {
        diagnostics.error(at, format!("user namespaces enabled, but no {what} mappings found"));
    } else if !mappings.iter().any(|mapping| mapping.container_id() == 0 && mapping.size() > 0) {
        diagnostics.error(
            at,
            format!("user namespaces enabled, but no {what} mapping found for id 0 of the container"),
        );
    }
}

fn time(linux: &Linux, namespaces: &Namespaces<'_>, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    if linux.time_offsets().as_ref().is_none_or(std::collections::HashMap::is_empty) {
        return;
    }
    if !namespaces.has(Type::Time) {
        let message = "time namespace offsets specified, but time namespace isn't enabled in the config";
        diagnostics.error(&at.key("timeOffsets"), message);
    } else if namespaces.joined(Type::Time) {
        let message = "time namespace enabled, but both namespace path and time offsets specified \
                       -- you may only provide one";
        diagnostics.error(&at.key("timeOffsets"), message);
    }
}

fn network(linux: &Linux, namespaces: &Namespaces<'_>, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let has_devices = linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty());
    if has_devices && !namespaces.has(Type::Network) {
        diagnostics.error(&at.key("netDevices"), "unable to move network devices without a NET namespace");
    }
}

fn mount(linux: &Linux, namespaces: &Namespaces<'_>, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    if namespaces.has(Type::Mount) {
        return;
    }
    for (name, paths) in [("maskedPaths", linux.masked_paths()), ("readonlyPaths", linux.readonly_paths())] {
        if paths.as_ref().is_some_and(|paths| !paths.is_empty()) {
            diagnostics
                .error(&at.key(name), "unable to restrict sys entries without a private MNT namespace");
        }
    }
}
