//! Rules for the top level of the document, and the way to those of its objects.

use oci_spec::runtime::Spec;

use super::fault::{At, Faults};
use super::{hooks, linux, mounts, process};

/// HOST_NAME_MAX of the kernel, which is also the limit of a domain name.
const NAME: usize = 64;

pub(super) fn rules(spec: &Spec, faults: &mut Faults) {
    root(spec, faults);
    for (name, value) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        if value.as_ref().is_some_and(|value| value.len() > NAME) {
            faults.add(&At::ROOT.key(name), format!("longer than {NAME} bytes"));
        }
    }
    if let Some(process) = spec.process() {
        process::rules(process, &At::ROOT.key("process"), faults);
    }
    mounts::rules(spec, faults);
    if let Some(wanted) = spec.hooks() {
        hooks::rules(wanted, &At::ROOT.key("hooks"), faults);
    }
    annotations(spec, faults);
    if let Some(linux) = spec.linux() {
        linux::rules(linux, &At::ROOT.key("linux"), faults);
    }
}

fn root(spec: &Spec, faults: &mut Faults) {
    let at = At::ROOT.key("root");
    match spec.root() {
        None => faults.add(&at, "root must be specified"),
        Some(root) if root.path().as_os_str().is_empty() => faults.add(&at.key("path"), "must not be empty"),
        Some(_) => {}
    }
}

fn annotations(spec: &Spec, faults: &mut Faults) {
    if spec.annotations().as_ref().is_some_and(|annotations| annotations.contains_key("")) {
        faults.add(&At::ROOT.key("annotations"), "a key must not be empty");
    }
}
