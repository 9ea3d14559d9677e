//! SCMP_ACT_NOTIFY: system calls of a container that an agent outside answers.
#![allow(clippy::unwrap_used, unsafe_code)]

mod support;

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use support::Bundle;
use tare::sys::socket::receive_fd;

/// Listens at `agent` in the bundle directory. What is said to it comes out here; of the calls it fails mkdir with
/// ENOMEDIUM and lets all others happen.
fn agent(bundle: &Bundle) -> Receiver<Value> {
    let listener = UnixListener::bind(bundle.path("agent")).unwrap();
    let (said, hear) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut message = vec![0; 64 << 10];
            let (length, seccomp) = receive_fd(stream.as_fd(), &mut message).unwrap();
            let _ = said.send(serde_json::from_slice(&message[..length]).unwrap());
            thread::spawn(move || answer(&seccomp.unwrap()));
        }
    });
    hear
}

/// What busybox calls to make a directory: newer architectures never had the old call.
#[cfg(target_arch = "x86_64")]
const SYS_MKDIR: libc::c_long = libc::SYS_mkdir;
#[cfg(not(target_arch = "x86_64"))]
const SYS_MKDIR: libc::c_long = libc::SYS_mkdirat;
const MKDIR: &str = if cfg!(target_arch = "x86_64") { "mkdir" } else { "mkdirat" };

fn answer(seccomp: &OwnedFd) {
    loop {
        let mut waiting = [PollFd::new(seccomp.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::NONE).unwrap();
        if !waiting[0].revents().unwrap().contains(PollFlags::POLLIN) {
            // Nobody is left who could call.
            return;
        }
        // SAFETY: both are plain data for which zero is valid, and the kernel wants the first to be zero.
        let (mut call, mut answer): (libc::seccomp_notif, libc::seccomp_notif_resp) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        // SAFETY: the kernel writes one notification into the live struct.
        if unsafe { libc::ioctl(seccomp.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) } != 0 {
            continue;
        }
        answer.id = call.id;
        if i64::from(call.data.nr) == SYS_MKDIR {
            answer.error = -libc::ENOMEDIUM;
        } else {
            answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        }
        // SAFETY: the kernel reads the live struct. Whoever called may be dead by now.
        unsafe { libc::ioctl(seccomp.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    }
}

fn bundle(names: &[&str]) -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    let path = bundle.path("agent");
    bundle.patch(|config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
            "listenerMetadata": "bar", "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}]});
        config["annotations"] = json!({"a": "b"});
    });
    Some(bundle)
}

const REFUSED: &str = "No medium found";

#[test]
fn the_agent_answers_whether_privileges_can_be_gained_or_not() {
    for no_new_privileges in [false, true] {
        let Some(mut bundle) = bundle(&[MKDIR]) else { return };
        let agent = agent(&bundle);
        bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges));
        bundle.script("mkdir /tmp/x 2>&1; true");
        let output = bundle.output();
        assert!(output.contains(REFUSED), "{no_new_privileges}: {output}");
        let said = agent.recv().unwrap();
        assert_eq!(said["ociVersion"], "1.3.0");
        assert_eq!((&said["fds"], &said["metadata"]), (&json!(["seccompFd"]), &json!("bar")));
        assert_eq!(said["state"]["status"], "creating");
        assert_eq!((&said["state"]["id"], &said["state"]["pid"]), (&json!(bundle.id), &said["pid"]));
        assert_eq!(said["state"]["annotations"], json!({"a": "b"}));
        bundle.leaves_nothing();
    }
}

#[test]
fn a_container_that_is_created_and_started_has_its_agent_too() {
    for no_new_privileges in [false, true] {
        let Some(mut bundle) = bundle(&[MKDIR]) else { return };
        let agent = agent(&bundle);
        bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges));
        bundle.writable().script("mkdir /tmp/x 2>/out; sleep 1000");
        bundle.create().ok();
        assert_eq!(agent.recv().unwrap()["pid"].to_string(), bundle.pid());
        bundle.start().ok();
        support::wait_until("mkdir is refused", || bundle.read("rootfs/out").contains(REFUSED));
    }
}

#[test]
fn an_added_process_has_a_listener_of_its_own() {
    for no_new_privileges in [false, true] {
        let Some(mut bundle) = bundle(&[MKDIR]) else { return };
        let agent = agent(&bundle);
        bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges));
        bundle.up();
        let init = bundle.pid();
        assert_eq!(agent.recv().unwrap()["state"]["status"], "creating");
        let answer = bundle.exec(&["sh", "-c", "mkdir /tmp/x 2>&1; true"]).ok();
        assert!(answer.stdout.contains(REFUSED), "{answer:?}");
        let said = agent.recv().unwrap();
        assert_eq!((&said["state"]["status"], said["state"]["pid"].to_string()), (&json!("running"), init));
        assert_ne!(said["pid"], said["state"]["pid"]);
    }
}

#[test]
fn calls_that_the_runtime_itself_needs_may_notify() {
    let calls = [
        "execve",
        "openat",
        "open",
        "read",
        "close",
        "fcntl",
        "close_range",
        "sendto",
        "sendmsg",
        "recvmsg",
        "prctl",
        "chdir",
        "capset",
        "poll",
    ];
    for no_new_privileges in [false, true] {
        let Some(mut bundle) = bundle(&calls) else { return };
        let _agent = agent(&bundle);
        bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges));
        bundle.script("echo well");
        assert_eq!(bundle.output(), "well\n");
        bundle.args(&["sleep", "1000"]);
        bundle.create().ok();
        bundle.start().ok();
        assert_eq!(bundle.exec(&["echo", "well"]).ok().stdout, "well\n");
    }
}

#[test]
fn a_hook_in_the_container_gets_no_descriptor_of_it() {
    let Some(mut bundle) = bundle(&[MKDIR]) else { return };
    let _agent = agent(&bundle);
    bundle.writable().args(&["cat", "/out"]);
    bundle.patch(|config| {
        config["hooks"] =
            json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "ls /proc/self/fd >/out"]}]});
    });
    // 3 is the directory that ls reads.
    assert_eq!(bundle.output(), "0\n1\n2\n3\n");
}

#[test]
fn without_an_agent_nothing_is_made() {
    let rows = [
        (None, "connection refused"),
        (Some("/nonexistent/agent"), "no such file or directory"),
        (Some("@tare-test-nobody"), "connection refused"),
    ];
    for (path, why) in rows {
        let Some(mut bundle) = bundle(&[MKDIR]) else { return };
        // A socket that nobody listens at.
        drop(UnixListener::bind(bundle.path("agent")).unwrap());
        if let Some(path) = path {
            bundle.patch(|config| config["linux"]["seccomp"]["listenerPath"] = json!(path));
        }
        let answer = bundle.run().fails(1, "failed to connect with seccomp agent");
        assert!(answer.told().contains(why), "{answer:?}");
        bundle.leaves_nothing();
    }
}

#[test]
fn an_abstract_socket_is_an_agent_too() {
    use std::os::linux::net::SocketAddrExt;
    let Some(mut bundle) = bundle(&[MKDIR]) else { return };
    let name = bundle.id.clone();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    bundle.patch(|config| config["linux"]["seccomp"]["listenerPath"] = json!(format!("@{name}")));
    let heard = thread::spawn(move || listener.accept().unwrap());
    bundle.output();
    heard.join().unwrap();
}

#[test]
fn when_the_agent_is_gone_calls_are_answered_enosys() {
    let Some(mut bundle) = bundle(&[MKDIR]) else { return };
    let listener = UnixListener::bind(bundle.path("agent")).unwrap();
    let agent = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut message = vec![0; 64 << 10];
        // Taken and dropped.
        receive_fd(stream.as_fd(), &mut message).unwrap();
        thread::sleep(Duration::from_millis(1));
    });
    bundle.script("sleep 0.2; mkdir /tmp/x 2>&1; true");
    let output = bundle.output();
    assert!(output.contains("Function not implemented"), "{output}");
    agent.join().unwrap();
}

#[test]
fn an_agent_without_a_rule_that_notifies_is_not_called() {
    let Some(mut bundle) = bundle(&[MKDIR]) else { return };
    bundle.patch(|config| config["linux"]["seccomp"]["syscalls"] = json!([]));
    bundle.writable().script("mkdir /tmp/x");
    bundle.output();
    assert!(fs::exists(bundle.rootfs().join("tmp/x")).unwrap());
}
