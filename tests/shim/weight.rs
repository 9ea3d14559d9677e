//! What the shim does for a call, counted: programs that are executed, wake-ups; and what it holds for that.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Shim;
use super::client::{Named, Number};
use super::life::exec_request;
use super::support::{program, wait_until};
use prost::Message;

/// strace of the shim and of what it starts.
struct Traced {
    strace: Child,
    file: PathBuf,
}

impl Traced {
    fn new(shim: &Shim, calls: &str) -> Option<Self> {
        program("strace")?;
        let file = shim.bundle.dir.join("strace");
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-s", "200", "-e", &format!("trace={calls}"), "-e", "signal=none"])
            .args([Path::new("-o"), &file])
            .args(["-p", &shim.pid.to_string()])
            .spawn()
            .unwrap();
        let status = format!("/proc/{}/status", shim.pid);
        wait_until("it is traced", || !fs::read_to_string(&status).unwrap().contains("TracerPid:\t0\n"));
        Some(Self { strace, file })
    }

    /// The lines that strace has written.
    fn ended(mut self) -> Vec<String> {
        kill(Pid::from_raw(self.strace.id() as i32), Signal::SIGINT).unwrap();
        self.strace.wait().unwrap();
        fs::read_to_string(&self.file).unwrap().lines().map(str::to_owned).collect()
    }
}

/// A shim with a container that runs, made by a copy of the runtime that nobody else executes.
fn started() -> Option<Shim> {
    let mut shim = Shim::new(&["sleep", "1000"])?;
    let copy = shim.bundle.dir.join("tare");
    // By another process: one that is cloned here meanwhile would have our descriptor, and nobody executes a file that
    // somebody may write to (ETXTBSY).
    assert!(Command::new("cp").args([shim.runtime.as_ref(), copy.as_os_str()]).status().unwrap().success());
    shim.runtime = copy.to_string_lossy().into_owned();
    let named = shim.named();
    shim.client.call("Create", &shim.create()).unwrap();
    shim.client.call("Start", &named).unwrap();
    Some(shim)
}

/// A process that is added, to its end: its status.
fn exec(shim: &mut Shim, name: &str) -> u32 {
    exec_script(shim, name, "exit 3")
}

fn exec_script(shim: &mut Shim, name: &str, script: &str) -> u32 {
    let process = Named { exec_id: name.to_owned(), ..shim.named() };
    shim.client.call("Exec", &exec_request(shim, name, &["sh", "-c", script])).unwrap();
    shim.client.call("Start", &process).unwrap();
    let exit = shim.client.call("Wait", &process).unwrap();
    shim.client.call("Delete", &process).unwrap();
    Number::decode(exit.as_slice()).unwrap().number
}

/// The runtime once, from a file that needs no sealing, and the program itself; no process beside.
#[test]
fn for_an_exec_two_programs_are_executed() {
    let Some(mut shim) = started() else { return };
    assert_eq!(exec(&mut shim, "first"), 3);
    let Some(traced) = Traced::new(&shim, "execve,execveat,clone,clone3,fork,vfork,open_tree") else {
        return;
    };
    assert_eq!(exec(&mut shim, "second"), 3);
    let lines = traced.ended();
    let of =
        |words: &[&str]| lines.iter().filter(|line| words.iter().any(|word| line.contains(word))).count();
    assert_eq!(of(&["execve(", "execveat("]), 2, "{lines:#?}");
    // Neither for the runtime's own file, nor for the process's streams, which are /dev/null.
    assert_eq!(of(&["open_tree("]), 0, "{lines:#?}");
    // The runtime, in the shim's memory until it is executed; its helper in the container; the program.
    assert_eq!(of(&["clone(", "clone3(", "fork("]), 3, "{lines:#?}");
    assert_eq!(of(&["CLONE_VM|CLONE_VFORK"]), 1, "{lines:#?}");
}

#[allow(unsafe_code)] // nix does not know mount_setattr
/// CVE-2019-5736: a container's root that reaches what is executed, through /proc, does not get at the host's file.
#[test]
fn what_the_shim_holds_of_the_runtime_cannot_be_made_writable() {
    let Some(mut shim) = started() else { return };
    assert_eq!(exec(&mut shim, "one"), 3);
    let runtime = fs::metadata(&shim.runtime).unwrap();
    let held: Vec<PathBuf> = fs::read_dir(format!("/proc/{}/fd", shim.pid))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|fd| {
            fs::metadata(fd).is_ok_and(|found| (found.dev(), found.ino()) == (runtime.dev(), runtime.ino()))
        })
        .collect();
    assert_eq!(held.len(), 1, "one descriptor: {held:?}");
    let written = fs::OpenOptions::new().write(true).open(&held[0]).unwrap_err();
    assert_eq!(written.raw_os_error(), Some(Errno::EROFS as i32));
    let path = std::ffi::CString::new(held[0].to_str().unwrap()).unwrap();
    let change =
        libc::mount_attr { attr_set: 0, attr_clr: libc::MOUNT_ATTR_RDONLY, propagation: 0, userns_fd: 0 };
    // SAFETY: a string and a struct that outlive the call.
    let changed = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            0,
            &raw const change,
            size_of_val(&change),
        )
    };
    assert_eq!((changed, Errno::last()), (-1, Errno::EINVAL), "it is in no mount namespace");
}

/// The mode that it has is set, so that the host loses nothing where this fails.
#[test]
fn the_null_device_of_a_process_is_no_way_to_the_mode_of_the_hosts() {
    let Some(mut shim) = started() else { return };
    let script =
        "[ -c /proc/self/fd/0 ] || exit 9; echo x >&1 || exit 8; chmod 666 /proc/self/fd/0 && exit 7; exit 0";
    assert_eq!(exec_script(&mut shim, "one", script), 0);
}

#[test]
fn a_new_version_of_the_runtime_is_taken_at_once_and_may_be_a_script() {
    let Some(mut shim) = started() else { return };
    assert_eq!(exec(&mut shim, "before"), 3);
    let (dir, own) = (shim.bundle.dir.clone(), env!("CARGO_BIN_EXE_tare"));
    let new = dir.join("new");
    let script = format!("#!/bin/sh\ntouch {}\nexec {own} \"$@\"\n", dir.join("called").display());
    fs::write(&new, script).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, &shim.runtime).unwrap();
    assert_eq!(exec(&mut shim, "after"), 3);
    assert!(dir.join("called").exists(), "the new file was executed");
}

/// Who takes an answer does not wake the shim by that.
#[test]
fn a_call_wakes_the_shim_once() {
    const CALLS: usize = 20;
    let Some(mut shim) = started() else { return };
    wait_until("the events are out", || shim.events.seen().len() == 2);
    let Some(traced) = Traced::new(&shim, "epoll_wait,epoll_pwait") else { return };
    for _ in 0..CALLS {
        shim.state();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let lines = traced.ended();
    let woken = lines.iter().filter(|line| line.contains(" = ") && !line.contains(" = 0")).count();
    assert!((1..=CALLS + 1).contains(&woken), "{woken} times for {CALLS} calls: {lines:#?}");
}

/// What could not be sent whole goes on when there is room, to a client as to containerd.
#[test]
fn answers_that_nobody_takes_for_a_while_come_whole() {
    const CALLS: usize = 4000;
    let Some(mut shim) = started() else { return };
    let named = shim.named();
    let streams: Vec<u32> = (0..CALLS).map(|_| shim.client.send("State", &named)).collect();
    for stream in streams {
        shim.client.answer(stream).unwrap();
    }
}
