//! What a service manager hands on to the container: sockets that it has opened (sd_listen_fds(3)), and a place where
//! the program says that it is ready (sd_notify(3)).

use std::ffi::CString;
use std::path::PathBuf;

use super::c_string::c_string;
use super::mounts::{Find, Mount, Source};
use super::process::{self, ProcessPlan};
use super::{Plan, mount_options};
use crate::spec::ConfigError;

/// What our caller gave us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activation {
    /// Sockets, from descriptor 3 on.
    pub listen_fds: u32,
    /// Their names, with colons between.
    pub listen_names: Option<String>,
    /// The directory, in the state directory, of the socket that stands for NOTIFY_SOCKET.
    pub notify: Option<PathBuf>,
}

/// Where that directory is in the container, as with runc.
const NOTIFY: &str = "/run/notify";
/// The socket in it.
pub const NOTIFY_SOCKET: &str = "notify.sock";

pub fn apply(activation: &Activation, plan: &mut Plan, item: usize) -> Result<(), ConfigError> {
    if activation.listen_fds > 0 {
        let process = &mut plan.process;
        process.preserve_fds += activation.listen_fds;
        set(process, format!("LISTEN_FDS={}", activation.listen_fds))?;
        if let Some(names) = &activation.listen_names {
            set(process, format!("LISTEN_FDNAMES={names}"))?;
        }
        process.listen_pid = true;
    }
    if let Some(directory) = &activation.notify {
        set(&mut plan.process, format!("NOTIFY_SOCKET={NOTIFY}/{NOTIFY_SOCKET}"))?;
        let words = ["nosuid", "noexec", "nodev", "ro"].map(String::from);
        let options = mount_options::parse(&words).unwrap_or_default();
        let path = c_string(directory, || "NOTIFY_SOCKET".into())?;
        let source = Source::Bind {
            path,
            recursive: false,
            no_follow: true,
            copy_symlink: false,
            id_mapped: None,
            named: mount_options::NamedFlags::default(),
            locked: false,
            inside: false,
        };
        plan.mounts.push(Mount {
            item,
            target: CString::new(NOTIFY).unwrap_or_default(),
            source,
            attributes: options.attributes,
            recursive: options.recursive,
            propagation: Vec::new(),
            late_read_only: false,
            find: Find::Follow,
        });
    }
    Ok(())
}

/// In the place of one of the same name.
fn set(process: &mut ProcessPlan, variable: String) -> Result<(), ConfigError> {
    let variable = c_string(variable, || "/process/env".into())?;
    process.env.retain(|known| process::name(known) != process::name(&variable));
    process.env.push(variable);
    Ok(())
}
