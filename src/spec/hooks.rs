//! Rules for `hooks`.

use oci_spec::runtime::{Hook, Hooks};

use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;

pub(super) fn rules(hooks: &Hooks, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    // Deprecated since 1.0.2, but Docker's network still uses it.
    #[allow(deprecated)]
    let prestart = hooks.prestart();
    let kinds = [
        ("prestart", prestart),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (name, hooks) in kinds {
        let at = at.key(name);
        for (index, hook) in hooks.iter().flatten().enumerate() {
            self::hook(hook, &at.item(index), diagnostics);
        }
    }
}

fn hook(hook: &Hook, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    if !hook.path().is_absolute() {
        diagnostics.error(&at.key("path"), "must be an absolute path");
    }
    if hook.timeout().is_some_and(|seconds| seconds <= 0) {
        diagnostics.error(&at.key("timeout"), "must be greater than 0");
    }
}
