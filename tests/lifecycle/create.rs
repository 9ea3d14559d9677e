//! `create`: pid file, pidfd, descriptors, and what it leaves when it fails.

use std::fs;
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::support::{Bundle, machine, wait_until};

#[test]
fn a_pid_file_is_the_number_alone() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.tare(&["create", "--pid-file", "pid", &bundle.id]).ok();
    assert_eq!(bundle.read("pid"), bundle.pid());
    let left: Vec<_> = fs::read_dir(&bundle.dir).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn a_pid_file_that_cannot_be_written_fails_and_leaves_nothing() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.tare(&["create", "--pid-file", "/no/such/pid", &bundle.id]).fails(1, "/no/such/pid");
    bundle.leaves_nothing();
}

#[test]
fn a_bundle_can_be_elsewhere() {
    let Some(bundle) = Bundle::new() else { return };
    let mut command = bundle.command(&["create", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id]);
    crate::support::run::wait_for(command.current_dir("/")).ok();
    assert_eq!(bundle.state()["bundle"], *bundle.dir.to_str().unwrap());
    bundle.delete_force().ok();
    let parent = bundle.dir.parent().unwrap();
    let mut command = bundle.command(&["run", "-b", &bundle.id, &bundle.id]);
    crate::support::run::wait_for(command.current_dir(parent)).ok();
}

#[test]
fn a_failed_create_leaves_nothing_and_frees_the_id() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/no/such/program"]);
    let answer = bundle.create().fails(1, "exec: \"/no/such/program\": stat /no/such/program: no such file");
    assert!(
        answer.stderr.contains("unable to start container process: error during container init: "),
        "{answer:?}"
    );
    bundle.leaves_nothing();
    bundle.args(&["true"]).create().ok();
}

#[test]
fn a_program_is_looked_for_before_the_start() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.rootfs().join("bin/text"), "no program").unwrap();
    let rows = [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/nosuch", "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        ("/bin", "exec: \"/bin\": is a directory"),
        ("/bin/text", "exec: \"/bin/text\": permission denied"),
        ("text", "exec: \"text\": "),
        ("/bin/text/x", "exec: \"/bin/text/x\": stat /bin/text/x: not a directory"),
    ];
    for (program, words) in rows {
        bundle.args(&[program]);
        bundle.create().fails(1, words);
        bundle.run().fails(1, words);
    }
    bundle.leaves_nothing();
}

#[test]
fn create_returns_while_the_container_holds_its_streams() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("read line; echo said $line");
    let mut call = bundle.command(&["create", &bundle.id]);
    call.stdin(std::process::Stdio::piped());
    let mut running = crate::support::run::Running::start(&mut call);
    let input = running.child.stdin.take().unwrap();
    wait_until("create", || running_has_ended(&bundle));
    bundle.start().ok();
    std::io::Write::write_all(&mut &input, b"this\n").unwrap();
    wait_until("output", || running.said() == "said this\n");
    running.wait().ok();
}

fn running_has_ended(bundle: &Bundle) -> bool {
    bundle.tare(&["state", &bundle.id]).stdout.contains("\"created\"")
}

#[test]
fn preserved_descriptors_are_the_only_ones_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.dir.join("a"), "from a").unwrap();
    fs::write(bundle.dir.join("b"), "from b").unwrap();
    bundle.args(&["sh", "-c", "cat <&3; cat <&4; echo; ls /proc/self/fd"]);
    let leak = "exec 3<a 4<b 5<a 17</; exec \"$@\"";
    let answer = bundle.tare_by(leak, &["run", "--preserve-fds", "2", &bundle.id]).ok();
    // The last descriptor is the one with which ls reads the directory.
    assert_eq!(answer.stdout, "from afrom b\n0\n1\n2\n3\n4\n5\n");
    bundle.args(&["ls", "/proc/self/fd"]);
    let answer = bundle.tare_by(leak, &["run", &bundle.id]).ok();
    assert_eq!(answer.stdout, "0\n1\n2\n3\n");
}

#[test]
fn a_preserved_descriptor_that_is_not_open_is_told_by_its_index() {
    let Some(bundle) = Bundle::new() else { return };
    let answer = bundle.tare_by("exec 3</ 4<&-; exec \"$@\"", &["create", "--preserve-fds", "2", &bundle.id]);
    answer.fails(1, "unable to stat preserved-fd 1 (of 2)");
    bundle.leaves_nothing();
}

#[test]
fn the_waiting_process_holds_nothing_of_the_host() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.tare_by("exec 7</ 8</etc/passwd 99</; exec \"$@\"", &["create", &bundle.id]).ok();
    let pid = bundle.pid();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(entry.path()).unwrap();
        let harmless = target.to_str().unwrap().starts_with("socket:")
            || target == bundle.state_root().join(&bundle.id).join("exec.fifo");
        assert!(number < 3 || harmless, "{number} -> {}", target.display());
    }
}

#[test]
fn a_pidfd_socket_gets_the_process() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    let listener = UnixListener::bind(bundle.dir.join("socket")).unwrap();
    let receiver = std::thread::spawn(move || (0..2).map(|_| receive(&listener)).collect::<Vec<_>>());
    bundle.tare(&["create", "--pidfd-socket", "socket", &bundle.id]).ok();
    bundle.start().ok();
    bundle
        .tare(&["exec", "-d", "--pid-file", "pid", "--pidfd-socket", "socket", &bundle.id, "sleep", "1000"])
        .ok();
    let received = receiver.join().unwrap();
    assert_eq!(received[0], ("standard".into(), bundle.pid()));
    assert_eq!(received[1], ("setns".into(), bundle.read("pid")));
}

/// The message's text, and the pid of the pidfd that came with it.
fn receive(listener: &UnixListener) -> (String, String) {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::AsRawFd;
    let (stream, _) = listener.accept().unwrap();
    let mut bytes = [0; 4096];
    let mut space = nix::cmsg_space!([i32; 2]);
    let mut slices = [std::io::IoSliceMut::new(&mut bytes)];
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty()).unwrap();
    let fds: Vec<i32> = message
        .cmsgs()
        .unwrap()
        .flat_map(|one| match one {
            ControlMessageOwned::ScmRights(fds) => fds,
            other => panic!("{other:?}"),
        })
        .collect();
    let length = message.bytes;
    assert_eq!(fds.len(), 1);
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fds[0])).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:\t")).unwrap().to_owned();
    (String::from_utf8(bytes[..length].to_vec()).unwrap(), pid)
}

#[test]
fn a_pidfd_socket_where_nobody_listens_fails_and_leaves_nothing() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.tare(&["create", "--pidfd-socket", "nosocket", &bundle.id]).fails(1, "nosocket");
    bundle.leaves_nothing();
}

#[test]
fn a_terminal_needs_a_console_socket_and_the_other_way_round() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.tare(&["create", "--console-socket", "socket", &bundle.id]).fails(1, "cannot use console socket");
    bundle.patch(|config| config["process"]["terminal"] = json!(true));
    bundle.create().fails(1, "cannot allocate tty if");
    bundle.tare(&["run", "-d", &bundle.id]).fails(1, "cannot allocate tty if");
    bundle.tare(&["create", "--console-socket", "nosuch", &bundle.id]).fails(1, "nosuch");
    bundle.leaves_nothing();
}

#[test]
fn the_waiting_process_does_not_die_with_its_caller() {
    let Some(bundle) = Bundle::new() else { return };
    // The shell that called is gone by now, and with it the session's leader.
    bundle.tare_by("setsid \"$@\"", &["create", &bundle.id]).ok();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(machine::is_alive(&bundle.pid()));
    assert_eq!(bundle.status(), "created");
    bundle.start().ok();
}

#[test]
fn config_is_read_at_creation_and_not_later() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    fs::remove_file(bundle.dir.join("config.json")).unwrap();
    bundle.exec(&["true"]).ok();
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.delete().ok();
    bundle.leaves_nothing();
}

/// As `--pid-file /dev/null` would take the device away from the whole host.
#[test]
fn a_pid_file_takes_nothing_elses_place() {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    use std::os::unix::fs::FileTypeExt;
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/true"]);
    let (device, link) = (bundle.dir.join("null"), bundle.dir.join("out"));
    mknod(&device, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 3)).unwrap();
    std::os::unix::fs::symlink("/proc/self/fd/1", &link).unwrap();
    for path in [&device, &link] {
        bundle
            .tare(&["run", "--pid-file", path.to_str().unwrap(), &bundle.id])
            .fails(1, "not a regular file");
        bundle.leaves_nothing();
    }
    assert!(device.symlink_metadata().unwrap().file_type().is_char_device() && link.is_symlink());
}
