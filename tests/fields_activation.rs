//! What a service manager hands on: sockets that it has opened, and the socket at which it hears that one is ready.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use support::run::Running;
use support::{Bundle, wait_until};
use tare::sys::socket::receive_fd;

/// The service manager.
struct Manager(UnixDatagram);

fn manager(bundle: &Bundle) -> Manager {
    let socket = UnixDatagram::bind(bundle.path("manager")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    Manager(socket)
}

impl Manager {
    /// The next message, and whether a descriptor came with it, which is closed.
    fn hear(&self) -> (String, bool) {
        let mut message = [0; 4096];
        let (length, fd) = receive_fd(self.0.as_fd(), &mut message).unwrap();
        (String::from_utf8_lossy(&message[..length]).into_owned(), fd.is_some())
    }

    fn hears(&self, ready: &str, main: &str) {
        assert_eq!(self.hear(), (format!("{ready}\n"), false));
        assert_eq!(self.hear(), (format!("MAINPID={main}\n"), false));
        assert_eq!(self.hear(), ("BARRIER=1".into(), true));
    }

    fn hears_nothing(&self) {
        self.0.set_nonblocking(true).unwrap();
        assert!(self.0.recv(&mut [0; 16]).is_err());
    }
}

fn start(bundle: &Bundle, args: &[&str]) -> Running {
    let mut command = bundle.command(args);
    Running::start(command.env("NOTIFY_SOCKET", bundle.path("manager")))
}

/// What the container's program would say, over the socket that it sees.
fn say(bundle: &Bundle, message: &str) {
    let path = format!("/proc/{}/root/run/notify/notify.sock", bundle.pid());
    wait_until("the socket is there", || fs::exists(&path).unwrap());
    UnixDatagram::unbound().unwrap().send_to(message.as_bytes(), path).unwrap();
}

fn wait_until_it_runs(bundle: &Bundle) {
    let record = bundle.state_root().join(&bundle.id).join("state.json");
    wait_until("the container runs", || fs::exists(&record).unwrap() && bundle.status() == "running");
}

#[test]
fn start_waits_until_the_program_is_ready_and_tells_the_manager() {
    let Some(mut bundle) = Bundle::new() else { return };
    let manager = manager(&bundle);
    bundle.args(&["sleep", "1000"]);
    start(&bundle, &["create", &bundle.id]).wait().ok();
    let starting = start(&bundle, &["start", &bundle.id]);
    wait_until("the container runs", || bundle.status() == "running");
    say(&bundle, "STATUS=nearly");
    // Others are not kept waiting.
    bundle.exec(&["true"]).ok();
    say(&bundle, "STATUS=now\nREADY=1\nMAINPID=1");
    manager.hears("READY=1", &bundle.pid());
    starting.wait().ok();
    manager.hears_nothing();
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn a_detached_run_waits_too() {
    let Some(mut bundle) = Bundle::new() else { return };
    let manager = manager(&bundle);
    bundle.args(&["sleep", "1000"]);
    let running = start(&bundle, &["run", "--detach", &bundle.id]);
    wait_until_it_runs(&bundle);
    say(&bundle, "READY=1");
    manager.hears("READY=1", &bundle.pid());
    running.wait().ok();
}

#[test]
fn in_the_foreground_the_manager_watches_the_runtime() {
    let Some(mut bundle) = Bundle::new() else { return };
    let manager = manager(&bundle);
    bundle.script("until [ -e /tmp/end ]; do sleep 0.01; done; exit 3").writable();
    let running = start(&bundle, &["run", &bundle.id]);
    wait_until_it_runs(&bundle);
    say(&bundle, "READY=1");
    manager.hears("READY=1", &running.child.id().to_string());
    fs::write(bundle.rootfs().join("tmp/end"), "").unwrap();
    assert_eq!(running.wait().code, 3);
    bundle.leaves_nothing();
}

#[test]
fn a_program_that_ends_without_having_been_ready_ends_the_wait() {
    let Some(mut bundle) = Bundle::new() else { return };
    let manager = manager(&bundle);
    bundle.script("echo $NOTIFY_SOCKET; ls /run/notify; touch /run/notify/x; exit 4");
    let answer = start(&bundle, &["run", &bundle.id]).wait();
    assert_eq!((answer.code, answer.stdout.as_str()), (4, "/run/notify/notify.sock\nnotify.sock\n"));
    start(&bundle, &["create", &bundle.id]).wait().ok();
    start(&bundle, &["start", &bundle.id]).wait().ok();
    bundle.wait_until_stopped();
    manager.hears_nothing();
    bundle.delete().ok();
    bundle.leaves_nothing();
}

#[test]
fn a_bind_of_the_socket_that_fails_is_told_as_what_it_is() {
    let Some(mut bundle) = Bundle::new() else { return };
    let _manager = manager(&bundle);
    bundle.writable();
    fs::create_dir_all(bundle.rootfs().join("run")).unwrap();
    fs::write(bundle.rootfs().join("run/notify"), "").unwrap();
    let answer = start(&bundle, &["run", &bundle.id]).wait();
    let told = answer.told();
    assert!(told.contains("NOTIFY_SOCKET: error mounting ") && !told.contains("/mounts/"), "{answer:?}");
    bundle.leaves_nothing();
}

#[test]
fn a_manager_that_is_gone_is_a_warning() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    let running = start(&bundle, &["run", "--detach", &bundle.id]);
    wait_until_it_runs(&bundle);
    say(&bundle, "READY=1");
    let answer = running.wait().ok();
    assert!(answer.told().contains("NOTIFY_SOCKET: connect to "), "{answer:?}");
}

#[test]
fn a_container_that_was_made_without_the_socket_is_started_all_the_same() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.create().ok();
    start(&bundle, &["start", &bundle.id]).wait().ok();
    // And one that was made with it by a manager that does not wait.
    bundle.wait_until_stopped();
    bundle.delete().ok();
    bundle.args(&["sleep", "1000"]);
    start(&bundle, &["create", &bundle.id]).wait().ok();
    bundle.start().ok();
    let directory = bundle.state_root().join(&bundle.id).join("notify");
    assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o755);
}

const SOCKETS: &str = "echo one >one; echo two >two; echo three >three; exec 3<one 4<two 5<three;";

#[test]
fn sockets_for_us_become_the_containers() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle
        .script("echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; cat <&3; cat <&4; cat <&5; ls /proc/self/fd");
    let ours = format!("{SOCKETS} LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=a:b exec \"$@\"");
    let answer = bundle.tare_by(&ours, &["run", "--preserve-fds", "1", &bundle.id]).ok();
    assert_eq!(answer.stdout, "2 1 a:b\none\ntwo\nthree\n0\n1\n2\n3\n4\n5\n6\n");
    // Its own id, also where it is another than 1.
    bundle.without_namespace("pid").script("[ $LISTEN_PID = $$ ] && echo its own");
    bundle.patch(|config| {
        config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/proc");
        config["linux"]["maskedPaths"] = serde_json::json!([]);
        config["linux"]["readonlyPaths"] = serde_json::json!([]);
    });
    assert_eq!(bundle.tare_by(&ours, &["run", &bundle.id]).ok().stdout, "its own\n");
}

#[test]
fn sockets_for_another_process_are_not_ours_to_give() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("echo ${LISTEN_FDS-none}; ls /proc/self/fd");
    let others = format!("{SOCKETS} LISTEN_FDS=2 LISTEN_PID=1 exec \"$@\"");
    assert_eq!(bundle.tare_by(&others, &["run", &bundle.id]).ok().stdout, "none\n0\n1\n2\n3\n");
}

#[test]
fn descriptors_to_keep_are_counted_after_the_sockets() {
    let Some(bundle) = Bundle::new() else { return };
    let ours = format!("{SOCKETS} LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"");
    let answer = bundle.tare_by(&ours, &["run", "--preserve-fds", "2", &bundle.id]);
    answer.fails(1, "unable to stat preserved-fd 1 (of 2)");
    bundle.leaves_nothing();
}
