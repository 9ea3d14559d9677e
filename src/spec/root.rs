//! Rules for the top level of the document, which call those of its objects.

use oci_spec::runtime::Spec;

use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use super::{hooks, linux, mounts, process};

/// HOST_NAME_MAX of the kernel, which is also the limit of a domain name.
const NAME: usize = 64;

pub(super) fn rules(spec: &Spec, diagnostics: &mut Diagnostics) {
    root(spec, diagnostics);
    for (name, value) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        if value.as_ref().is_some_and(|value| value.len() > NAME) {
            diagnostics.error(&JsonPointer::ROOT.key(name), format!("longer than {NAME} bytes"));
        }
    }
    if let Some(process) = spec.process() {
        process::rules(process, &JsonPointer::ROOT.key("process"), diagnostics);
    }
    mounts::rules(spec, diagnostics);
    if let Some(wanted) = spec.hooks() {
        hooks::rules(wanted, &JsonPointer::ROOT.key("hooks"), diagnostics);
    }
    annotations(spec, diagnostics);
    if let Some(linux) = spec.linux() {
        linux::rules(linux, &JsonPointer::ROOT.key("linux"), diagnostics);
    }
}

fn root(spec: &Spec, diagnostics: &mut Diagnostics) {
    let at = JsonPointer::ROOT.key("root");
    match spec.root() {
        None => diagnostics.error(&at, "root must be specified"),
        Some(root) if root.path().as_os_str().is_empty() => {
            diagnostics.error(&at.key("path"), "must not be empty");
        }
        Some(_) => {}
    }
}

fn annotations(spec: &Spec, diagnostics: &mut Diagnostics) {
    if spec.annotations().as_ref().is_some_and(|annotations| annotations.contains_key("")) {
        diagnostics.error(&JsonPointer::ROOT.key("annotations"), "a key must not be empty");
    }
}
