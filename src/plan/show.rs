//! Prints a plan as `tare plan` shows it: one line an operation, in the order in which things happen.

use std::ffi::{CStr, CString};
use std::fmt::{self, Display, Formatter};

use super::Plan;
use super::capabilities;
use super::delegation::Delegation;
use super::devices::Device;
use super::hooks::Hook;
use super::id_mapped::Ids;
use super::mounts::{Mount, MountOperation, TargetLookup};
use super::namespaces::{IdMap, Namespace, NamespacePlan};
use super::process::ProcessPlan;
use super::rdt::{Existence, Rdt};
use super::rootfs::{RootSwitch, Rootfs};
use crate::kernel::file;
use crate::kernel::mount::{
    self, Attributes, MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME,
};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "container {}", self.id)?;
        let filter = self.process.seccomp.iter().flat_map(|filter| &filter.warnings);
        for warning in self.warnings.iter().chain(filter) {
            writeln!(f, "warning {warning}")?;
        }
        write!(f, "{}{}", self.cgroup, self.delegation)?;
        self.rdt.as_ref().map_or(Ok(()), |rdt| write!(f, "{rdt}"))?;
        write!(f, "{}", self.namespaces)?;
        for device in &self.net_devices {
            writeln!(f, "network device {} becomes {}", device.name, device.inside)?;
        }
        self.fmt_filesystem(f)?;
        self.fmt_runtime_hooks(f)?;
        writeln!(f, "enter {}", self.rootfs.switch)?;
        self.fmt_settings(f)?;
        write!(f, "{}", self.process)?;
        hooks(f, "startContainer", &self.hooks.start_container)?;
        let args: Vec<_> = self.process.args.iter().map(|arg| text(arg)).collect();
        writeln!(f, "execute {}", args.join(" "))?;
        hooks(f, "poststart", &self.hooks.poststart)?;
        hooks(f, "poststop", &self.hooks.poststop)
    }
}

impl Plan {
    fn fmt_filesystem(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rootfs)?;
        for (index, mount) in self.mounts.iter().enumerate() {
            writeln!(f, "mount {index} {mount}")?;
        }
        for node in &self.devices.nodes {
            writeln!(f, "device {node}")?;
        }
        for link in &self.devices.links {
            writeln!(f, "link {} -> {}", text(&link.path), text(&link.to))?;
        }
        Ok(())
    }

    /// Those that run before the root is changed.
    fn fmt_runtime_hooks(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [out, err] = &self.hook_output;
        line(f, "hooks write to", out.as_ref())?;
        line(f, "hooks write errors to", err.as_ref())?;
        hooks(f, "prestart", &self.hooks.prestart)?;
        hooks(f, "createRuntime", &self.hooks.create_runtime)?;
        hooks(f, "createContainer", &self.hooks.create_container)
    }

    /// What is set once the container is in its root.
    fn fmt_settings(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, "hostname", self.hostname.as_ref())?;
        line(f, "domainname", self.domainname.as_ref())?;
        for sysctl in &self.sysctls {
            let value = String::from_utf8_lossy(&sysctl.value);
            writeln!(f, "sysctl {} = {}", text(&sysctl.file), value.escape_debug())?;
        }
        for path in &self.read_only_paths {
            writeln!(f, "read-only {}", text(path))?;
        }
        for path in &self.masked_paths {
            writeln!(f, "mask {}", text(path))?;
        }
        let context = self.mask_context.as_ref().filter(|_| !self.masked_paths.is_empty());
        if let Some((key, Some(value))) = context {
            writeln!(f, "masks with {}={}", text(key), text(value))?;
        }
        if self.rootfs.read_only {
            writeln!(f, "read-only /")?;
        }
        Ok(())
    }
}

impl Display for Delegation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(owner) = self.owner {
            writeln!(f, "cgroup owner {owner}")?;
        }
        if let Some(subgroup) = &self.subgroup {
            writeln!(f, "cgroup of the process {}", subgroup.display())?;
        }
        Ok(())
    }
}

impl Display for Rdt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let whose = match self.existence {
            Existence::Own => "its own",
            Existence::Shared => "shared",
            Existence::Required => "as it is",
        };
        writeln!(f, "resctrl class {} {whose}", self.class.display())?;
        for line in &self.schemata {
            writeln!(f, "resctrl schemata {}", line.escape_debug())?;
        }
        if let Some(monitor) = &self.monitor {
            writeln!(f, "resctrl monitor {}", monitor.display())?;
        }
        Ok(())
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

/// Printable, on one line.
fn text(text: &CStr) -> String {
    text.to_string_lossy().escape_debug().to_string()
}

fn line(f: &mut Formatter<'_>, name: &str, value: Option<&CString>) -> fmt::Result {
    value.map_or(Ok(()), |value| writeln!(f, "{name} {}", text(value)))
}

fn hooks(f: &mut Formatter<'_>, kind: &str, hooks: &[Hook]) -> fmt::Result {
    for (index, hook) in hooks.iter().enumerate() {
        let args: Vec<_> = hook.args.iter().map(|arg| text(arg)).collect();
        write!(f, "hook {kind} {index} {} {}", text(&hook.path), args.join(" "))?;
        match hook.timeout {
            Some(seconds) => writeln!(f, " timeout {seconds}s")?,
            None => writeln!(f)?,
        }
    }
    Ok(())
}

impl Display for NamespacePlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for join in &self.joins {
            writeln!(f, "join {} {}", join.namespace.name(), text(&join.path))?;
        }
        let all = [
            Namespace::USER,
            Namespace::PID,
            Namespace::MOUNT,
            Namespace::NETWORK,
            Namespace::IPC,
            Namespace::UTS,
            Namespace::CGROUP,
            Namespace::TIME,
        ];
        let new_names: Vec<_> =
            all.iter().filter(|kind| self.makes(**kind)).map(|kind| kind.name()).collect();
        let helper = if self.needs_helper() { " by a helper" } else { "" };
        writeln!(
            f,
            "clone{helper} new {}",
            if new_names.is_empty() { "nothing".into() } else { new_names.join(",") }
        )?;
        if let Some(maps) = &self.id_maps {
            writeln!(f, "map uids {}", ranges(&maps.uid))?;
            writeln!(f, "map gids {}", ranges(&maps.gid))?;
        }
        if let Some(maps) = &self.joined_maps {
            writeln!(f, "joined uids must be {} gids {}", ranges(&maps.uid), ranges(&maps.gid))?;
        }
        if let Some(offsets) = &self.time_offsets {
            writeln!(f, "time offsets {}", String::from_utf8_lossy(offsets).trim_end().replace('\n', ", "))?;
        }
        Ok(())
    }
}

impl Display for Rootfs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "rootfs {}", text(&self.path))?;
        let word = self.propagation.map(propagation);
        writeln!(f, " propagation {}", word.as_deref().unwrap_or("rslave until entered"))
    }
}

impl Display for RootSwitch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PivotRoot => "by pivot_root",
            Self::MoveMount => "by mount move and chroot",
            Self::Chroot => "by chroot",
        })
    }
}

fn propagation(flags: u64) -> String {
    let word = match flags & !mount::MS_REC {
        mount::MS_SHARED => "shared",
        mount::MS_SLAVE => "slave",
        mount::MS_UNBINDABLE => "unbindable",
        _ => "private",
    };
    format!("{}{word}", if flags & mount::MS_REC == 0 { "" } else { "r" })
}

impl Display for Mount {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.operation {
            MountOperation::Filesystem { kind, source, parameters, inherit_mode, relabel, copy_up } => {
                write!(f, "{} {} at {}", text(kind), text(source), text(&self.target))?;
                for (key, value) in parameters {
                    write!(f, " {}", text(key))?;
                    if let Some(value) = value {
                        write!(f, "={}", text(value))?;
                    }
                }
                f.write_str(if *inherit_mode { " mode of the directory below" } else { "" })?;
                if let Some(label) = relabel {
                    write!(f, " labelled {}", text(label))?;
                }
                f.write_str(if *copy_up { " with a copy of what it covers" } else { "" })?;
            }
            MountOperation::Bind { path, recursive, no_follow, copy_symlink, id_mapped, inside, .. } => {
                let kind = if *recursive { "rbind" } else { "bind" };
                write!(f, "{kind} {} at {}", text(path), text(&self.target))?;
                f.write_str(if *inside { " inside the rootfs" } else { "" })?;
                f.write_str(if *no_follow { " not following its source" } else { "" })?;
                f.write_str(if *copy_symlink { " or the same symlink" } else { "" })?;
                if let Some(id_mapped) = id_mapped {
                    write!(f, " {}idmap {}", if id_mapped.recursive { "r" } else { "" }, id_mapped.ids)?;
                }
            }
            MountOperation::Remount => write!(f, "remount {}", text(&self.target))?,
            MountOperation::Symlink { to } => write!(f, "symlink {} -> {}", text(&self.target), text(to))?,
        }
        attributes(f, "", self.attributes)?;
        attributes(f, "r", self.recursive_attributes)?;
        for &(kind, recursive) in &self.propagation {
            write!(f, " {}{}", if recursive { "r" } else { "" }, propagation(kind))?;
        }
        f.write_str(if self.late_read_only { " ro at the end" } else { "" })?;
        f.write_str(match self.lookup {
            TargetLookup::Follow => "",
            TargetLookup::NoSymlinks => " on an ordinary directory",
            TargetLookup::NoFollow => " not following its target",
        })
    }
}

impl Display for Ids {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maps(maps) => write!(f, "uids {} gids {}", ranges(&maps.uid), ranges(&maps.gid)),
            Self::Joined => f.write_str("of the joined user namespace"),
        }
    }
}

fn ranges(maps: &[IdMap]) -> String {
    let show = |map: &IdMap| format!("{}:{}:{}", map.inner, map.host, map.size);
    maps.iter().map(show).collect::<Vec<_>>().join(",")
}

fn attributes(f: &mut Formatter<'_>, prefix: &str, attributes: Attributes) -> fmt::Result {
    let words = [
        (MOUNT_ATTR_RDONLY, "ro", "rw"),
        (MOUNT_ATTR_NOSUID, "nosuid", "suid"),
        (MOUNT_ATTR_NODEV, "nodev", "dev"),
        (MOUNT_ATTR_NOEXEC, "noexec", "exec"),
        (MOUNT_ATTR_NODIRATIME, "nodiratime", "diratime"),
        (MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    for (bit, set, clear) in words {
        if attributes.set & bit != 0 {
            write!(f, " {prefix}{set}")?;
        } else if attributes.clear & bit != 0 {
            write!(f, " {prefix}{clear}")?;
        }
    }
    if attributes.clear & MOUNT_ATTR_ATIME != 0 {
        let word = match attributes.set & MOUNT_ATTR_ATIME {
            MOUNT_ATTR_NOATIME => "noatime",
            MOUNT_ATTR_STRICTATIME => "strictatime",
            _ => "relatime",
        };
        write!(f, " {prefix}{word}")?;
    }
    match attributes.propagation {
        0 => Ok(()),
        kind => write!(f, " {prefix}{}", propagation(kind)),
    }
}

impl Display for ProcessPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(terminal) = &self.terminal {
            match terminal.size {
                Some((rows, columns)) => writeln!(f, "terminal {rows}x{columns}")?,
                None => writeln!(f, "terminal")?,
            }
        }
        line(f, "keyring", self.keyring.as_ref())?;
        if let Some(adjustment) = self.oom_score_adj {
            writeln!(f, "oom score adjustment {adjustment}")?;
        }
        writeln!(f, "umask {:04o}", self.umask)?;
        for limit in &self.limits {
            writeln!(f, "limit {} {} {}", limit.name, amount(limit.soft), amount(limit.hard))?;
        }
        write!(f, "{}", self.scheduling)?;
        if let Some(personality) = self.personality {
            writeln!(f, "personality {personality}")?;
        }
        if self.no_new_privileges {
            writeln!(f, "no new privileges")?;
        }
        line(f, "apparmor", self.apparmor.as_ref())?;
        line(f, "selinux", self.selinux.as_ref())?;
        if let Some(filter) = &self.seccomp {
            let when = if self.no_new_privileges { "last" } else { "before capabilities go" };
            writeln!(f, "seccomp {when}: {}", filter.summary())?;
        }
        for variable in &self.env {
            writeln!(f, "env {}", text(variable))?;
        }
        self.fmt_user(f)?;
        if self.listen_pid {
            writeln!(f, "env LISTEN_PID its own")?;
        }
        if self.preserve_fds > 0 {
            writeln!(f, "keep descriptors 3..{}", u64::from(self.preserve_fds) + 3)?;
        }
        Ok(())
    }
}

impl ProcessPlan {
    fn fmt_user(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let groups = self.groups.as_ref().map_or_else(
            || "as they are".into(),
            |groups| groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        );
        writeln!(
            f,
            "user {}:{} groups {}",
            self.uid,
            self.gid,
            if groups.is_empty() { "none" } else { &groups }
        )?;
        writeln!(f, "cwd {}", text(&self.cwd))?;
        for (name, set) in [
            ("bounding", self.capabilities.bounding),
            ("permitted", self.capabilities.permitted),
            ("effective", self.capabilities.effective),
            ("inheritable", self.capabilities.inheritable),
            ("ambient", self.capabilities.ambient),
        ] {
            let names = capabilities::names(set);
            writeln!(
                f,
                "capabilities {name} {}",
                if names.is_empty() { "none".into() } else { names.join(",") }
            )?;
        }
        Ok(())
    }
}

fn amount(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".into() } else { limit.to_string() }
}
