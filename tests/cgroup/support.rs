//! Groups with names of their own, and processes that sit in them.
#![allow(unsafe_code)]

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tare::testing::cgroup::plan::{Request, new_group};
use tare::testing::cgroup::{Group, Manager, Plan};
use tare::testing::container_id::ContainerId;
use tare::testing::error::Error;
use tare::testing::host::cgroup::Layout;

/// `/tare-test-PID-N/group`
pub(crate) fn path() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("/tare-test-{}-{}/group", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn id() -> ContainerId {
    ContainerId::parse("id").unwrap()
}

pub(crate) fn planned(path: &str, resources: &Value, layout: &Layout) -> Plan {
    let linux = serde_json::from_value(json!({"cgroupsPath": path, "resources": resources})).unwrap();
    new_group(&Request {
        linux: Some(&linux),
        annotations: None,
        id: &id(),
        manager: Manager::Cgroupfs,
        layout,
        rootless: false,
        systemd_subgroup: None,
        without_default_devices: false,
    })
    .unwrap()
}

/// A group that is gone, with its parent, when the test is over; whatever happened.
pub(crate) struct Scratch {
    pub plan: Plan,
    pub group: Group,
}

impl Scratch {
    pub(crate) fn try_new(path: &str, resources: &Value, layout: &Layout) -> Result<Self, Error> {
        let plan = planned(path, resources, layout);
        let group = plan.create()?;
        let scratch = Self { plan, group };
        scratch.group.apply(&scratch.plan)?;
        Ok(scratch)
    }

    pub(crate) fn new(resources: &Value, layout: &Layout) -> Self {
        Self::try_new(&path(), resources, layout).unwrap()
    }

    pub(crate) fn directory(&self, controller: &str) -> PathBuf {
        let record = self.group.record();
        record.locations[record.location_of(controller).unwrap()].directory()
    }

    pub(crate) fn read(&self, file: &str) -> String {
        let controller = file.split('.').next().unwrap();
        let path = self.directory(controller).join(file);
        std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned()
    }

    /// A sleeping process in the group.
    pub(crate) fn sleeper(&self) -> Inmate {
        let inmate = Inmate::outside();
        self.group.join(inmate.pid()).unwrap();
        inmate
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.group.kill_all(libc::SIGKILL);
        let _ = self.group.remove();
        for location in &self.group.record().locations {
            let _ = std::fs::remove_dir(location.directory().parent().unwrap());
        }
    }
}

/// A process that is killed and reaped when the test is over.
pub(crate) struct Inmate(pub Child);

impl Inmate {
    pub(crate) fn outside() -> Self {
        Self(Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// The letter of /proc/PID/stat.
    pub(crate) fn groups(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/cgroup", self.0.id())).unwrap()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Inmate {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A child that comes into the group as a container's process does, and ends at once with what `body` answers.
pub(crate) fn born_in(group: &Group, body: fn() -> i32) -> i32 {
    let placement = group.placement().unwrap();
    assert!(!placement.parent_joins);
    // SAFETY: zero is valid for clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(directory) = placement.clone_into {
        // CLONE_INTO_CGROUP: the constant of libc is too narrow.
        args.flags = 1 << 33;
        args.cgroup = directory.as_raw_fd() as u64;
    }
    // SAFETY: args is live and of the size given; the child calls `body` and ends without unwinding.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const args, std::mem::size_of_val(&args)) } {
        0 => {
            let joined = placement.self_join.iter().all(|tasks| tasks.enter().is_ok());
            // SAFETY: _exit has no preconditions.
            unsafe { libc::_exit(if joined { body() } else { 255 }) }
        }
        -1 => panic!("clone3: {}", nix::errno::Errno::last()),
        pid => {
            let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid as i32), None).unwrap();
            match status {
                nix::sys::wait::WaitStatus::Exited(_, code) => code,
                other => panic!("{other:?}"),
            }
        }
    }
}

pub(crate) fn open_errno(path: &std::ffi::CStr, flags: i32) -> i32 {
    // SAFETY: path is NUL-terminated.
    if unsafe { libc::open(path.as_ptr(), flags) } >= 0 { 0 } else { nix::errno::Errno::last_raw() }
}

/// The sentence names the field and the directory; the hint the file that says so.
#[track_caller]
pub(crate) fn assert_told(error: &Error, what: &str) {
    let text = error.to_string();
    assert!(text.starts_with("/linux/cgroupsPath: /sys/fs/cgroup/") && text.ends_with(what), "{text}");
    assert!(error.hint().unwrap().starts_with("see /sys/fs/cgroup/"), "{:?}", error.hint());
}
