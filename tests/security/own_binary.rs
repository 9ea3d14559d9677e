//! CVE-2019-5736: the runtime's own binary, which is in the container as /proc/PID/exe, cannot be written to from there.
//! Each test has a copy of the binary to lose.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use serde_json::json;

use crate::support::{Bundle, runtime, wait_until};

/// A bundle that is run by a copy of the binary, and the copy's content.
fn with_copy() -> Option<(Bundle, Vec<u8>)> {
    let mut bundle = Bundle::new()?;
    let copy = bundle.dir.join("tare");
    let made = std::process::Command::new("cp").arg(runtime()).arg(&copy).status().unwrap();
    assert!(made.success());
    bundle.program = copy.to_str().unwrap().into();
    let content = fs::read(&copy).unwrap();
    Some((bundle, content))
}

#[track_caller]
fn is_whole(bundle: &Bundle, content: &[u8]) {
    assert!(fs::read(&bundle.program).unwrap() == content, "the runtime's binary was overwritten");
}

/// Written to through /proc, now or later, by the host's root even.
#[track_caller]
fn cannot_be_written(path: &str) {
    let error = OpenOptions::new().write(true).open(path).unwrap_err();
    let refusals = [libc::EROFS, libc::ETXTBSY, libc::EPERM, libc::EACCES];
    assert!(refusals.contains(&error.raw_os_error().unwrap()), "{path}: {error}");
}

#[test]
fn of_a_waiting_container_stays_closed_for_writing_when_all_is_over() {
    let Some((mut bundle, content)) = with_copy() else { return };
    bundle.args(&["sleep", "1000"]);
    bundle.create().ok();
    let path = format!("/proc/{}/exe", bundle.pid());
    cannot_be_written(&path);
    let kept = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path).unwrap();
    bundle.delete_force().ok();
    wait_until("its end", || !fs::exists(&path).unwrap());
    // Nobody executes it now, so that only its mount or seals refuse.
    cannot_be_written(&format!("/proc/self/fd/{}", kept.as_raw_fd()));
    drop(kept);
    is_whole(&bundle, &content);
}

/// In the container, as its root: every program that shows up is opened, and written to for ever after.
const RESIDENT: &str = "while :; do for pid in /proc/[0-9]*; do case $(readlink $pid/exe) in */busybox|'') continue;; esac; \
    ( exec 9<$pid/exe && for try in $(seq 200); do echo overwritten > /proc/self/fd/9 && break; usleep 5000; done ) \
        2>/dev/null & done; done 2>/dev/null";

fn attack(config: impl Fn(&mut Bundle)) {
    let Some((mut bundle, content)) = with_copy() else { return };
    // A program whose interpreter is the runtime itself, by the name that the container has for it.
    for name in ["evil", "sh-evil"] {
        let path = bundle.rootfs().join("bin").join(name);
        fs::write(&path, "#!/proc/self/exe\n").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    bundle.writable().patch(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] =
                json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"]);
        }
        config["process"]["noNewPrivileges"] = json!(false);
    });
    config(&mut bundle);
    bundle.script(RESIDENT);
    bundle.create().ok();
    bundle.start().ok();
    for _ in 0..15 {
        for program in ["/bin/evil", "true"] {
            // One that was overwritten may do anything.
            bundle.tare_by("timeout -s KILL 10 \"$@\"", &["exec", &bundle.id, program]);
            is_whole(&bundle, &content);
        }
    }
    assert_eq!(bundle.status(), "running");
    is_whole(&bundle, &content);
    bundle.delete_force().ok();
    is_whole(&bundle, &content);
}

#[test]
fn is_not_overwritten_by_a_container_that_is_joined() {
    attack(|_| {});
}

#[test]
fn is_not_overwritten_through_a_user_namespace() {
    attack(|bundle| {
        bundle.user_namespace();
    });
}

#[test]
fn is_not_overwritten_by_an_entrypoint_that_is_the_runtime() {
    let Some((mut bundle, content)) = with_copy() else { return };
    let path = bundle.rootfs().join("bin/evil");
    fs::write(&path, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    bundle.writable().args(&["/bin/evil"]).run();
    is_whole(&bundle, &content);
    bundle.leaves_nothing();
}

#[test]
fn can_be_replaced_while_containers_wait() {
    // An upgrade unlinks the old one: who waits does not mind.
    let Some((mut bundle, _)) = with_copy() else { return };
    bundle.args(&["sleep", "1000"]);
    bundle.create().ok();
    fs::remove_file(&bundle.program).unwrap();
    bundle.program = runtime();
    bundle.start().ok();
    bundle.exec(&["true"]).ok();
    drop(File::open("/dev/null").unwrap());
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}
