//! `spec`: writes a template of config.json for this host and this user.

use std::path::Path;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{getegid, geteuid};

use crate::bundle::{CONFIG, TemplateTarget, write_template};
use crate::error::Result;
use crate::lifecycle::options::Spec;

/// Writes the template.
pub(crate) fn spec(options: &Spec) -> Result<()> {
    let bundle = options.bundle.as_deref().unwrap_or_else(|| Path::new("."));
    let rootless = options.rootless.then(|| (geteuid().as_raw(), getegid().as_raw()));
    let target = match &options.file {
        // A file that --file names may exist.
        Some(file) => TemplateTarget::Overwrite(bundle.join(file)),
        None => TemplateTarget::New(bundle.join(CONFIG)),
    };
    write_template(&target, rootless, cgroup_v2_alone())
}

/// Whether the cgroup tree itself is version 2. On a hybrid host it is a tmpfs that contains the trees.
fn cgroup_v2_alone() -> bool {
    statfs(Path::new("/sys/fs/cgroup")).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC)
}
