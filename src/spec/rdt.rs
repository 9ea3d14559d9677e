//! Rules for `linux.intelRdt`: names and lines that become names and lines in resctrl.

use oci_spec::runtime::LinuxIntelRdt;

use super::config_error::quote;
use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;

pub(super) fn rules(rdt: &LinuxIntelRdt, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    // "/" alone is the root class.
    if let Some(id) = rdt.clos_id().as_deref()
        && (id == "." || id == ".." || (id.len() > 1 && id.contains('/')))
    {
        diagnostics.error(&at.key("closID"), format!("invalid intelRdt.ClosID {}", quote(id)));
    }
    if let Some(schema) = rdt.mem_bw_schema().as_deref()
        && (!schema.starts_with("MB:") || schema.contains('\n'))
    {
        diagnostics
            .error(&at.key("memBwSchema"), format!("{} is no line that starts with \"MB:\"", quote(schema)));
    }
    // The specification has not had it since 1.3.
    #[allow(deprecated)]
    for (name, value) in [("enableCMT", rdt.enable_cmt()), ("enableMBM", rdt.enable_mbm())] {
        if value == &Some(true) {
            diagnostics.warn(&at.key(name), "does nothing: enableMonitoring has taken its place");
        }
    }
    for (index, line) in rdt.schemata().iter().flatten().enumerate() {
        if line.contains('\n') {
            diagnostics.error(&at.key("schemata").item(index), "must be one line");
        }
    }
}
