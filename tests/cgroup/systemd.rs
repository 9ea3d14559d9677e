//! The systemd driver against a real systemd, started in namespaces of its own (`systemd.sh`): on v2 with the
//! controllers that v1 has left over, and on v1 with the rest.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bundles::{skip, timeout};

struct Machine {
    unshare: Child,
    /// systemd, as the host counts.
    pid: u32,
    group: String,
    folder: PathBuf,
}

impl Machine {
    fn boot(mode: &str) -> Option<Self> {
        for program in ["/lib/systemd/systemd", "/usr/bin/dbus-daemon", "/usr/bin/nsenter"] {
            if !nix::unistd::geteuid().is_root() || !Path::new(program).exists() {
                skip(&format!("needs root and {program}"));
                return None;
            }
        }
        if mode == "v1" && !Path::new("/sys/fs/cgroup/systemd").exists() {
            skip("needs cgroup v1");
            return None;
        }
        let group = format!("tare-systemd-{mode}-{}", std::process::id());
        let folder = std::env::temp_dir().join(&group);
        std::fs::create_dir(&folder).unwrap();
        let unshare = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--ipc", "--uts", "--net", "--kill-child", "sh", "-c"])
            .args([include_str!("systemd.sh"), "sh", mode, &group])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut machine = Self { unshare, pid: 0, group, folder };
        machine.wait();
        Some(machine)
    }

    /// Until its buses and the user's manager answer.
    fn wait(&mut self) {
        let end = Instant::now() + timeout(60);
        loop {
            let children = format!("/proc/{0}/task/{0}/children", self.unshare.id());
            let child = std::fs::read_to_string(children).unwrap_or_default();
            if let Some(pid) = child.split_whitespace().next() {
                self.pid = pid.parse().unwrap();
                let run = PathBuf::from(format!("/proc/{pid}/root/run"));
                let sockets = ["systemd/private", "dbus/system_bus_socket", "user/1234/systemd/private"];
                if sockets.iter().all(|socket| run.join(socket).exists()) {
                    return;
                }
            }
            assert!(self.unshare.try_wait().unwrap().is_none(), "systemd has ended");
            assert!(Instant::now() < end, "systemd does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs ignored tests of this binary in there.
    fn run(&self, tests: &str) {
        let status = Command::new("nsenter")
            .args(["-t", &self.pid.to_string(), "--mount", "--pid", "--net", "--cgroup", "--"])
            .arg(std::env::current_exe().unwrap())
            .args([tests, "--ignored", "--nocapture", "--test-threads=1"])
            .status()
            .unwrap();
        assert!(status.success(), "{tests}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.pid != 0 {
            let _ = Command::new("kill").args(["-KILL", &self.pid.to_string()]).status();
        }
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        // Its group in every hierarchy, as soon as all in it have died.
        let script = r#"
            mkdir "$2/tree"; mount -t cgroup2 none "$2/tree"
            for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                busy=0
                for tree in "$2/tree" /sys/fs/cgroup/*; do
                    [ -d "$tree/$1" ] || continue
                    find "$tree/$1" -depth -type d -exec rmdir {} + 2>/dev/null
                    [ -d "$tree/$1" ] && busy=1
                done
                [ $busy = 0 ] && break
                sleep 0.1
            done
            umount "$2/tree"; rmdir "$2/tree""#;
        let clean = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh", &self.group])
            .arg(&self.folder)
            .status();
        let _ = std::fs::remove_dir(&self.folder);
        assert!(clean.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn on_cgroup_v2() {
    if let Some(machine) = Machine::boot("v2") {
        machine.run("systemd::inside::v2");
        machine.run("table::inside_systemd");
    }
}

#[test]
fn on_cgroup_v1() {
    if let Some(machine) = Machine::boot("v1") {
        machine.run("systemd::inside::v1");
        machine.run("table::inside_systemd");
    }
}

mod inside;
