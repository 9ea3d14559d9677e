//! Prints a plan as `tare plan` shows it: one line an operation, in the order in which things happen, under
//! the phase in which they do.

mod difference;
mod mounts;
mod operation;
mod process;

use std::fmt::{self, Display, Formatter};

use super::Plan;
use super::delegation::Delegation;
use super::devices::Device;
use super::hooks::Hook;
use super::namespaces::{Namespace, NamespacePlan};
use super::rdt::{Existence, Rdt};
use super::rootfs::{RootSwitch, Rootfs};
use crate::kernel::file;
use crate::spec::escape;
pub(crate) use difference::{Change, differences};
use mounts::{propagation, ranges};
pub(crate) use operation::Operation;
use operation::{Operations, text};

/// The phases of a container's life, in their order: all but the last two are of `create`.
pub(crate) const PHASES: [&str; 8] =
    ["cgroup", "namespaces", "filesystem", "hooks", "root", "process", "start", "delete"];

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "container {}", self.id)?;
        for warning in self.all_warnings() {
            writeln!(f, "warning {warning}")?;
        }
        let operations = self.operations();
        for same in operations.chunk_by(|one, other| one.phase == other.phase) {
            writeln!(f, "\n{}", same[0].phase.to_uppercase())?;
            same.iter().try_for_each(|operation| writeln!(f, "  {operation}"))?;
        }
        Ok(())
    }
}

impl Plan {
    pub(crate) fn all_warnings(&self) -> impl Iterator<Item = &String> {
        self.warnings.iter().chain(self.process.seccomp.iter().flat_map(|filter| &filter.warnings))
    }

    /// Returns all operations, phase by phase, in the order in which they are done.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        let mut all = Operations::default();
        for phase in PHASES {
            all.phase = phase;
            match phase {
                "cgroup" => self.cgroup_operations(&mut all),
                "namespaces" => self.namespace_operations(&mut all),
                "filesystem" => self.filesystem_operations(&mut all),
                "hooks" => self.runtime_hooks(&mut all),
                "root" => self.root_operations(&mut all),
                "process" => process::process(&self.process, &mut all),
                "start" => self.start_operations(&mut all),
                _ => hooks(&mut all, "hook poststop", "/hooks/poststop", &self.hooks.poststop),
            }
        }
        all.list
    }

    fn cgroup_operations(&self, all: &mut Operations) {
        for (name, pointer, detail) in self.cgroup.operations() {
            all.add(name, &pointer, detail);
        }
        delegation(&self.delegation, all);
        self.rdt.iter().for_each(|wanted| rdt(wanted, all));
    }

    fn namespace_operations(&self, all: &mut Operations) {
        namespaces(&self.namespaces, all);
        for device in &self.net_devices {
            let pointer = format!("/linux/netDevices/{}", escape(&device.name));
            all.add("network device", &pointer, format_args!("{} becomes {}", device.name, device.inside));
        }
    }

    fn filesystem_operations(&self, all: &mut Operations) {
        all.add("rootfs", "/root/path", &self.rootfs);
        for mount in &self.mounts {
            all.entry("mount", "/mounts", mount.origin.index(), mount);
        }
        for node in &self.devices.nodes {
            all.entry("device", "/linux/devices", node.index, node);
        }
        for link in &self.devices.links {
            all.add("link", "", format_args!("{} -> {}", text(&link.path), text(&link.to)));
        }
    }

    /// Adds the hooks that run before the root is changed.
    fn runtime_hooks(&self, all: &mut Operations) {
        let [out, err] = &self.hook_output;
        all.optional("hooks write to", "/annotations", out.as_ref());
        all.optional("hooks write errors to", "/annotations", err.as_ref());
        hooks(all, "hook prestart", "/hooks/prestart", &self.hooks.prestart);
        hooks(all, "hook createRuntime", "/hooks/createRuntime", &self.hooks.create_runtime);
        hooks(all, "hook createContainer", "/hooks/createContainer", &self.hooks.create_container);
    }

    /// The container's root is entered, and what is set in it.
    fn root_operations(&self, all: &mut Operations) {
        all.add("enter", "/root/path", self.rootfs.switch);
        all.optional("hostname", "/hostname", self.hostname.as_ref());
        all.optional("domainname", "/domainname", self.domainname.as_ref());
        for sysctl in &self.sysctls {
            let value = String::from_utf8_lossy(&sysctl.value);
            let pointer = format!("/linux/sysctl/{}", escape(&sysctl.key));
            let detail = format!("{} = {}", text(&sysctl.file), value.escape_debug());
            all.add("sysctl", &pointer, detail);
        }
        for (index, path) in self.read_only_paths.iter().enumerate() {
            all.entry("read-only", "/linux/readonlyPaths", index, text(path));
        }
        for (index, path) in self.masked_paths.iter().enumerate() {
            all.entry("mask", "/linux/maskedPaths", index, text(path));
        }
        let context = self.mask_context.as_ref().filter(|_| !self.masked_paths.is_empty());
        if let Some((key, Some(value))) = context {
            all.add("masks with", "/linux/mountLabel", format_args!("{}={}", text(key), text(value)));
        }
        if self.rootfs.read_only {
            all.add("read-only", "/root/readonly", "/");
        }
    }

    fn start_operations(&self, all: &mut Operations) {
        hooks(all, "hook startContainer", "/hooks/startContainer", &self.hooks.start_container);
        let args: Vec<_> = self.process.args.iter().map(|arg| text(arg)).collect();
        all.add("execute", "/process/args", args.join(" "));
        hooks(all, "hook poststart", "/hooks/poststart", &self.hooks.poststart);
    }
}

fn delegation(plan: &Delegation, all: &mut Operations) {
    if let Some(owner) = plan.owner {
        all.add("cgroup owner", "", owner);
    }
    if let Some(subgroup) = &plan.subgroup {
        all.add("cgroup of the process", "/annotations", subgroup.display());
    }
}

fn rdt(plan: &Rdt, all: &mut Operations) {
    let whose = match plan.existence {
        Existence::Own => "its own",
        Existence::Shared => "shared",
        Existence::Required => "as it is",
    };
    all.add("resctrl class", "/linux/intelRdt", format_args!("{} {whose}", plan.class.display()));
    for line in &plan.schemata {
        all.add("resctrl schemata", "/linux/intelRdt", line.escape_debug());
    }
    if let Some(monitor) = &plan.monitor {
        all.add("resctrl monitor", "/linux/intelRdt/enableMonitoring", monitor.display());
    }
}

impl Display for Device {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            file::S_IFBLK => "block",
            file::S_IFIFO => "fifo",
            _ => "char",
        };
        let Self { major, minor, mode, uid, gid, .. } = self;
        write!(f, "{} {kind} {major}:{minor} mode {mode:04o} owner {uid}:{gid}", text(&self.path))
    }
}

fn hooks(all: &mut Operations, name: &'static str, pointer: &str, hooks: &[Hook]) {
    for (index, hook) in hooks.iter().enumerate() {
        let args: Vec<_> = hook.args.iter().map(|arg| text(arg)).collect();
        let timeout = hook.timeout.map_or_else(String::new, |seconds| format!(" timeout {seconds}s"));
        all.entry(name, pointer, index, format_args!("{} {}{timeout}", text(&hook.path), args.join(" ")));
    }
}

fn namespaces(plan: &NamespacePlan, all: &mut Operations) {
    for join in &plan.joins {
        let detail = format!("{} {}", join.namespace.name(), text(&join.path));
        all.entry("join", "/linux/namespaces", join.index, detail);
    }
    let kinds = [
        Namespace::USER,
        Namespace::PID,
        Namespace::MOUNT,
        Namespace::NETWORK,
        Namespace::IPC,
        Namespace::UTS,
        Namespace::CGROUP,
        Namespace::TIME,
    ];
    let new: Vec<_> = kinds.iter().filter(|kind| plan.makes(**kind)).map(|kind| kind.name()).collect();
    let new = if new.is_empty() { "nothing".into() } else { new.join(",") };
    let helper = if plan.needs_helper() { "by a helper " } else { "" };
    all.add("clone", "/linux/namespaces", format_args!("{helper}new {new}"));
    if let Some(maps) = &plan.id_maps {
        all.add("map uids", "/linux/uidMappings", ranges(&maps.uid));
        all.add("map gids", "/linux/gidMappings", ranges(&maps.gid));
    }
    if let Some(maps) = &plan.joined_maps {
        let detail = format!("{} gids {}", ranges(&maps.uid), ranges(&maps.gid));
        all.add("joined uids must be", "/linux/uidMappings", detail);
    }
    if let Some(offsets) = &plan.time_offsets {
        let offsets = String::from_utf8_lossy(offsets).trim_end().replace('\n', ", ");
        all.add("time offsets", "/linux/timeOffsets", offsets);
    }
}

impl Display for Rootfs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = self.propagation.map(propagation);
        let word = word.as_deref().unwrap_or("rslave until entered");
        write!(f, "{} propagation {word}", text(&self.path))
    }
}

impl Display for RootSwitch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PivotRoot => "by pivot_root",
            Self::TreeNamespace => "by a mount namespace of it alone",
            Self::MoveMount => "by mount move and chroot",
            Self::Chroot => "by chroot",
        })
    }
}
