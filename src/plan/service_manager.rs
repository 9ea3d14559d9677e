//! What a service manager passes to the container: open sockets (sd_listen_fds(3)), and a socket where the
//! program reports that it is ready (sd_notify(3)).

use std::path::PathBuf;

use super::c_string::c_string;
use super::mount::{Mount, MountOperation, MountOrigin};
use super::mount_options::Options;
use crate::kernel::mount::{
    Attributes, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
};
use crate::spec::ConfigError;

/// What our caller gave us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activation {
    /// How many sockets, from descriptor 3 on.
    pub listen_fds: u32,
    /// Their names, with colons between.
    pub listen_names: Option<String>,
    /// The directory, in the state directory, of the socket that replaces NOTIFY_SOCKET.
    pub notify: Option<PathBuf>,
}

/// The path of that directory in the container, as with runc.
const NOTIFY: &str = "/run/notify";
/// The socket in it.
pub(crate) const NOTIFY_SOCKET: &str = "notify.sock";

impl Activation {
    /// Returns the variables that describe what the process gets; each replaces a variable of the same name.
    /// LISTEN_PID is missing: only the process itself knows it.
    pub(super) fn environment(&self) -> Vec<String> {
        let mut variables = Vec::new();
        if self.listen_fds > 0 {
            variables.push(format!("LISTEN_FDS={}", self.listen_fds));
            variables.extend(self.listen_names.as_ref().map(|names| format!("LISTEN_FDNAMES={names}")));
        }
        if self.notify.is_some() {
            variables.push(format!("NOTIFY_SOCKET={NOTIFY}/{NOTIFY_SOCKET}"));
        }
        variables
    }

    /// Plans the bind through which the container sees the notify socket.
    pub(super) fn notify_mount(&self) -> Result<Option<Mount>, ConfigError> {
        let Some(directory) = &self.notify else { return Ok(None) };
        let set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        let options =
            Options { attributes: Attributes { set, ..Attributes::default() }, ..Options::default() };
        let path = c_string(directory, || "NOTIFY_SOCKET".into())?;
        let target = c_string(NOTIFY, || "NOTIFY_SOCKET".into())?;
        let bind = MountOperation::Bind {
            path,
            recursive: false,
            no_follow: true,
            copy_symlink: false,
            id_mapped: None,
            named: options.named,
            flags_locked: false,
            source_in_rootfs: false,
        };
        Ok(Some(Mount::new(MountOrigin::NotifySocket, target, bind, &options)))
    }
}
