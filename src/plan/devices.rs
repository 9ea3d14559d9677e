//! `linux.devices`: device nodes and links in the container's /dev.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount};

use super::c_string::c_string;
use crate::error::{Faults, Result};
use crate::kernel::file;
use crate::spec::ConfigError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The index in /linux/devices; `None` for a default device.
    pub index: Option<usize>,
    pub path: CString,
    /// S_IFCHR, S_IFBLK or S_IFIFO.
    pub kind: u32,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub path: CString,
    pub to: CString,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    pub nodes: Vec<Device>,
    pub links: Vec<Link>,
}

/// The devices of every container (runtime-spec, config-linux.md, "Default Devices"). console and ptmx are
/// made elsewhere.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// config-linux.md, "Default Devices" and runtime-linux.md, "Dev symbolic links".
const LINKS: [(&std::ffi::CStr, &std::ffi::CStr); 5] = [
    (c"/dev/ptmx", c"pts/ptmx"),
    (c"/dev/fd", c"/proc/self/fd"),
    (c"/dev/stdin", c"/proc/self/fd/0"),
    (c"/dev/stdout", c"/proc/self/fd/1"),
    (c"/dev/stderr", c"/proc/self/fd/2"),
];

/// Plans the nodes and links. `terminal` is whether the process has a terminal, which is bound over
/// /dev/console. Plans nothing if /dev is a bind, because then it belongs to the host or to another
/// container.
pub(crate) fn plan_devices(spec: &[LinuxDevice], mounts: &[Mount], terminal: bool) -> Result<Devices> {
    if mounts.iter().any(binds_dev) {
        return Ok(Devices::default());
    }
    let mut nodes: BTreeMap<Vec<u8>, Device> = BTreeMap::new();
    for (path, major, minor) in DEFAULT {
        let path_c = c_string(path, || "/linux/devices".into())?;
        let device = Device {
            index: None,
            path: path_c,
            kind: file::S_IFCHR,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        };
        nodes.insert(path.as_bytes().to_vec(), device);
    }
    let mut faults = Faults::default();
    for (index, device) in spec.iter().enumerate() {
        let is_at = |place| device.path() == Path::new(place);
        if is_at("/dev/ptmx") || terminal && is_at("/dev/console") {
            continue;
        }
        // If two devices have the same path, the first one is made, as with runc and crun. A device of the
        // configuration replaces a default one.
        let Some(node) = faults.keep(plan_node(index, device)) else { continue };
        let path = node.path.to_bytes().to_vec();
        if nodes.get(&path).is_none_or(|made| made.index.is_none()) {
            nodes.insert(path, node);
        }
    }
    let links = LINKS.iter().map(|(path, to)| Link { path: (*path).into(), to: (*to).into() }).collect();
    faults.into_result(Devices { nodes: nodes.into_values().collect(), links })
}

fn binds_dev(mount: &Mount) -> bool {
    let bind = |word: &String| word == "bind" || word == "rbind";
    mount.destination() == Path::new("/dev")
        && (mount.typ().as_deref() == Some("bind") || mount.options().iter().flatten().any(bind))
}

/// Returns the path without empty and `.` components, not even at the end: mknod refuses those.
fn clean_device_path(path: &Path, pointer: impl Fn() -> String) -> Result<CString, ConfigError> {
    match path.components().next_back() {
        Some(std::path::Component::Normal(_)) => {}
        _ => return Err(ConfigError::new(pointer(), "a device needs a name below the root")),
    }
    let clean: std::path::PathBuf = path.components().collect();
    c_string(clean.as_os_str(), pointer)
}

fn plan_node(index: usize, device: &LinuxDevice) -> Result<Device, ConfigError> {
    let pointer = |field: &str| format!("/linux/devices/{index}/{field}");
    let number = |field: &str, value: i64| {
        u32::try_from(value)
            .map_err(|_| ConfigError::new(pointer(field), format!("not a device number: {value}")))
    };
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => file::S_IFCHR,
        LinuxDeviceType::B => file::S_IFBLK,
        LinuxDeviceType::P => file::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(ConfigError::new(pointer("type"), "`a` is no kind of node, only of a rule"));
        }
    };
    let fifo = kind == file::S_IFIFO;
    Ok(Device {
        index: Some(index),
        path: clean_device_path(device.path(), || pointer("path"))?,
        kind,
        major: if fifo { 0 } else { number("major", device.major())? },
        minor: if fifo { 0 } else { number("minor", device.minor())? },
        // runc and crun pass on the setuid bits of fileMode, and lose them again when they change the owner.
        mode: device.file_mode().unwrap_or(0o666) & 0o777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}
