//! Rules for `hooks`.

use oci_spec::runtime::{Hook, Hooks};

use super::fault::{At, Faults};

pub(super) fn rules(hooks: &Hooks, at: &At<'_>, faults: &mut Faults) {
    // Deprecated since 1.0.2, and what Docker's network still uses.
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
            self::hook(hook, &at.item(index), faults);
        }
    }
}

fn hook(hook: &Hook, at: &At<'_>, faults: &mut Faults) {
    if !hook.path().is_absolute() {
        faults.add(&at.key("path"), "must be an absolute path");
    }
    if hook.timeout().is_some_and(|seconds| seconds <= 0) {
        faults.add(&at.key("timeout"), "must be greater than 0");
    }
}
