//! A user without any privilege runs a container: what `spec --rootless` writes, run by its own hand.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "support/skip.rs"]
mod skip;

use skip::skip;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An id that owns nothing on any machine.
const USER: u32 = 54321;

struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Home {
    fn new() -> Option<Self> {
        let busybox = Path::new("/bin/busybox");
        if !nix::unistd::geteuid().is_root() || !busybox.exists() {
            skip("needs root, to become another user, and /bin/busybox");
            return None;
        }
        let home = Self(std::env::temp_dir().join(format!("tare-rootless-{}", std::process::id())));
        fs::create_dir_all(home.0.join("rootfs/bin")).unwrap();
        fs::copy(busybox, home.0.join("rootfs/bin/sh")).unwrap();
        // Where that user can reach it: the folder of the build may be closed to others.
        fs::copy(env!("CARGO_BIN_EXE_tare"), home.0.join("tare")).unwrap();
        fs::set_permissions(&home.0, fs::Permissions::from_mode(0o755)).unwrap();
        for path in ["", "rootfs", "rootfs/bin"] {
            chown(home.0.join(path), Some(USER), Some(USER)).unwrap();
        }
        Some(home)
    }

    fn tare(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.0.join("tare"));
        command.arg("--root").arg(self.0.join("state")).args(args).current_dir(&self.0);
        command.uid(USER).gid(USER).env_clear();
        command
    }

    fn edit(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.0.join("config.json");
        let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(&path, config.to_string()).unwrap();
    }
}

#[test]
fn a_user_without_privilege_runs_what_spec_rootless_writes() {
    let Some(home) = Home::new() else { return };
    let written = home.tare(&["spec", "--rootless"]);
    assert!(written.status.success(), "{written:?}");
    home.edit(|config| {
        config["process"]["terminal"] = false.into();
        let script = "id -u; cat /proc/self/uid_map; exit 7";
        config["process"]["args"] = serde_json::json!(["sh", "-c", script]);
    });
    let ran = home.tare(&["run", "own"]);
    let out = String::from_utf8_lossy(&ran.stdout);
    let words: Vec<_> = out.split_whitespace().collect();
    assert_eq!((ran.status.code(), words), (Some(7), vec!["0", "0", "54321", "1"]), "{ran:?}");
    assert_eq!(fs::read_dir(home.0.join("state")).unwrap().count(), 0);
    home.edit(|config| config["process"]["args"] = serde_json::json!(["sh", "-c", "exec sh <>/dev/ptmx"]));
    // Without pipes, which the container would keep open.
    let mut start = home.command(&["run", "--detach", "own"]);
    let null = || std::process::Stdio::null();
    assert!(start.stdin(null()).stdout(null()).stderr(null()).status().unwrap().success());
    let script =
        "id -u; readlink /proc/1/root; ls -d /container/bin; touch /usr/x; setsid sleep 54321 & exit 6";
    let debugged = home.tare(&["debug", "own", "--", "sh", "-c", script]);
    let out = String::from_utf8_lossy(&debugged.stdout);
    assert_eq!((debugged.status.code(), &*out), (Some(6), "0\n/\n/container/bin\n"), "{debugged:?}");
    assert!(String::from_utf8_lossy(&debugged.stderr).contains("Read-only file system"), "{debugged:?}");
    let all = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&all.stdout).contains("sleep 54321"));
    assert!(home.tare(&["delete", "--force", "own"]).status.success());
}
