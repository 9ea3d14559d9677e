//! `tare seccomp record`: what a container calls becomes the profile under which it runs again.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::run::Running;
use support::{Answer, Bundle, wait_until};

/// `tare seccomp record` with these words; the profile goes to `profile.json` in the bundle directory.
fn command(bundle: &Bundle, words: &[&str]) -> Command {
    let mut command = Command::new(&bundle.program);
    command.arg("--root").arg(bundle.state_root());
    command.args(["seccomp", "record", "--output", &bundle.path("profile.json")]).args(words);
    command
}

fn record(bundle: &Bundle, more: &[&str]) -> Answer {
    let path = bundle.path("");
    Running::start(&mut command(bundle, &[&["--bundle", &path, &bundle.id], more].concat())).wait()
}

fn profile(bundle: &Bundle) -> Value {
    serde_json::from_str(&bundle.read("profile.json")).unwrap()
}

fn permitted(profile: &Value) -> Vec<&str> {
    profile["syscalls"][0]["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// The container gets the profile that was recorded.
fn confine(bundle: &mut Bundle) {
    let profile = profile(bundle);
    bundle.patch(|config| config["linux"]["seccomp"] = profile);
}

/// Whether the container's first process executes this program.
fn is_running(bundle: &Bundle, program: &str) -> bool {
    let state = bundle.tare(&["state", &bundle.id]);
    let pid = if state.code == 0 { state.json()["pid"].to_string() } else { return false };
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == program)
}

/// What a recording has left in the directory of its profile.
fn leftovers(bundle: &Bundle) -> Vec<String> {
    let entries = fs::read_dir(&bundle.dir).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.')).collect()
}

#[test]
fn what_was_recorded_runs_again_and_nothing_else_does() {
    for no_new_privileges in [true, false] {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges));
        bundle.script("ls / >/dev/null; (sleep 0.01 & wait); echo heard; exit 7");
        let answer = record(&bundle, &[]);
        assert_eq!((answer.code, answer.stdout.as_str(), answer.stderr.as_str()), (7, "heard\n", ""));
        assert_eq!(leftovers(&bundle), [""; 0]);
        let profile = profile(&bundle);
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        for call in ["execve", "exit_group", "getdents64", "write"] {
            assert!(permitted(&profile).contains(&call), "{call}: {profile}");
        }
        // What the runtime calls before the program counts only if the filter comes before it.
        assert_eq!(permitted(&profile).contains(&"setresuid"), !no_new_privileges);
        assert!(!permitted(&profile).contains(&"mkdir"), "{profile}");

        confine(&mut bundle);
        let again = bundle.run();
        assert_eq!((again.code, again.stdout.as_str()), (7, "heard\n"), "{again:?}");
        bundle.script("mkdir /tmp/x");
        let refused = bundle.run().fails(1, "Operation not permitted");
        assert!(refused.stderr.contains("mkdir"), "{refused:?}");
        let explain = |call: &str| {
            let words = ["seccomp", "explain", &bundle.path("profile.json"), call];
            String::from_utf8(Command::new(&bundle.program).args(words).output().unwrap().stdout).unwrap()
        };
        assert!(explain("getdents64").contains("ALLOW: the kernel executes the call"));
        assert!(explain("mkdir").contains("ERRNO(1): the call fails with EPERM"));
        bundle.leaves_nothing();
    }
}

#[test]
fn a_process_of_another_user_and_create_with_start_work_under_the_profile_of_a_run() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(false));
    bundle.args(&["sleep", "0.01"]);
    assert_eq!(record(&bundle, &[]).code, 0);
    confine(&mut bundle);
    bundle.args(&["sleep", "1000"]);
    bundle.create().ok();
    bundle.start().ok();
    for user in ["0", "1000:1000"] {
        for more in [&[][..], &["--tty", "--cwd", "/tmp", "--cap", "CAP_CHOWN"]] {
            bundle.tare(&[&["exec", "--user", user], more, &[&bundle.id, "sleep", "0"]].concat()).ok();
        }
    }
}

#[test]
fn a_process_that_exec_adds_is_recorded_with_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("trap 'exit 0' TERM; while :; do sleep 0.01; done");
    let path = bundle.path("");
    let recording = Running::start(&mut command(&bundle, &["--bundle", &path, &bundle.id]));
    wait_until("it runs", || is_running(&bundle, "sh"));
    bundle.exec(&["mkdir", "/tmp/x"]).fails(1, "Read-only file system");
    recording.signal(Signal::SIGTERM);
    assert_eq!(recording.wait().code, 0);
    assert!(permitted(&profile(&bundle)).contains(&"mkdir"));
    bundle.leaves_nothing();
}

#[test]
fn what_is_asked_to_end_has_its_profile_at_once_and_is_killed_when_asked_again() {
    let Some(mut bundle) = Bundle::new() else { return };
    // The first process of a pid namespace ignores what it does not handle.
    bundle.args(&["sleep", "1000"]);
    let path = bundle.path("");
    let recording = Running::start(&mut command(&bundle, &["--bundle", &path, &bundle.id]));
    wait_until("it sleeps", || is_running(&bundle, "sleep"));
    assert_eq!(bundle.read("profile.json"), "");
    recording.signal(Signal::SIGINT);
    wait_until("the profile is written", || !bundle.read("profile.json").is_empty());
    assert!(permitted(&profile(&bundle)).contains(&"execve"));
    recording.signal(Signal::SIGTERM);
    assert_eq!(recording.wait().code, 137);
    bundle.leaves_nothing();
}

#[test]
fn a_container_that_runs_cannot_be_recorded_but_a_command_in_it_can() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let answer = Running::start(&mut command(&bundle, &[&bundle.id])).wait();
    let answer = answer.fails(1, "only for itself and what it starts");
    assert!(answer.stderr.contains(&format!("tare seccomp record {} -- COMMAND", bundle.id)), "{answer:?}");
    let words = [&*bundle.id, "--", "--user", "1000:1000", "sh", "-c", "uname >/dev/null; exit 3"];
    assert_eq!(Running::start(&mut command(&bundle, &words)).wait().code, 3);
    let recorded = profile(&bundle);
    assert!(
        permitted(&recorded).contains(&"uname") && !permitted(&recorded).contains(&"mkdir"),
        "{recorded}"
    );
    let file = bundle.path("profile.json");
    let under = |words: &[&str]| bundle.tare(&[&["exec", "--seccomp", &file], words].concat());
    under(&["--user", "1000:1000", &bundle.id, "sh", "-c", "uname"]).ok();
    under(&[&bundle.id, "mkdir", "/tmp/x"]).fails(1, "Operation not permitted");
    bundle.exec(&["mkdir", "/tmp/x"]).fails(1, "Read-only file system");
}

#[test]
fn what_the_containers_own_profile_refuses_stays_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    let refused = json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5});
    let own = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]});
    bundle.patch(|config| config["linux"]["seccomp"] = own);
    bundle.script("mkdir /tmp/x || rmdir /tmp/x");
    record(&bundle, &[]).fails(1, "Input/output error");
    let profile = profile(&bundle);
    assert!(permitted(&profile).contains(&"rmdir") && !permitted(&profile).contains(&"mkdir"), "{profile}");
    assert_eq!(profile["syscalls"][1]["errnoRet"], 5);
}

/// A program of 64 bits that calls getpgrp and socketcall(SYS_SOCKET) as those of 32 bits do.
#[cfg(target_arch = "x86_64")]
fn calls_of_32_bits() -> Vec<u8> {
    let code: &[u8] = &[
        0xb8, 65, 0, 0, 0, 0xcd, 0x80, // getpgrp
        0xb8, 102, 0, 0, 0, 0xbb, 1, 0, 0, 0, 0x31, 0xc9, 0xcd, 0x80, // socketcall(1, NULL)
        0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05, // exit(0)
    ];
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    let words: [(u64, usize); 13] = [
        (2, 2),
        (62, 2),
        (1, 4),
        (0x40_0078, 8),
        (64, 8),
        (0, 8),
        (0, 4),
        (64, 2),
        (56, 2),
        (1, 2),
        (0, 2),
        (0, 2),
        (0, 2),
    ];
    let size = 0x78 + code.len() as u64;
    let segment: [(u64, usize); 8] =
        [(1, 4), (5, 4), (0, 8), (0x40_0000, 8), (0x40_0000, 8), (size, 8), (size, 8), (0x1000, 8)];
    for (word, bytes) in words.iter().chain(&segment) {
        elf.extend(&word.to_le_bytes()[..*bytes]);
    }
    elf.extend(code);
    elf
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_32_bit_programs_are_recorded_by_their_architecture() {
    use std::os::unix::fs::PermissionsExt;
    if !fs::exists("/proc/sys/abi/vsyscall32").unwrap() {
        support::skip("needs a kernel that runs programs of 32 bits");
        return;
    }
    let Some(mut bundle) = Bundle::new() else { return };
    let program = bundle.rootfs().join("bin/old");
    fs::write(&program, calls_of_32_bits()).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.args(&["/bin/old"]);
    assert_eq!(record(&bundle, &[]).code, 0);
    let recorded = profile(&bundle);
    assert_eq!(recorded["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
    assert_eq!(permitted(&recorded), ["execve", "exit", "exit_group", "getpgrp", "socket", "write"]);
    confine(&mut bundle);
    assert_eq!(bundle.run().code, 0);
    // Without the architecture the kernel ends it.
    bundle.patch(|config| config["linux"]["seccomp"]["architectures"] = json!(["SCMP_ARCH_X86_64"]));
    assert_eq!(bundle.run().code, 159);
}

#[test]
fn without_a_recording_there_is_no_profile() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.dir.join("profile.json"), "before").unwrap();
    bundle.args(&["nosuch"]);
    record(&bundle, &[]).fails(1, "executable file not found in $PATH");
    record(&bundle, &["--", "--nosuch"]).fails(1, "flag provided but not defined: -nosuch");
    record(&bundle, &["--", "--config", "x"]).fails(1, "its own configuration");
    bundle.patch(|config| config["root"] = json!(7));
    record(&bundle, &[]).fails(1, "/root");
    bundle.patch(|config| config["root"] = json!({"path": "rootfs"}));
    assert_eq!(bundle.read("profile.json"), "before");
    assert_eq!(leftovers(&bundle), [""; 0]);
    bundle.args(&["true"]);
    for (output, why) in
        [("/dev/null", "not a regular file"), ("/nonexistent/x", "no such file or directory")]
    {
        let path = bundle.path("");
        let words = ["seccomp", "record", "--output", output, "--bundle", &path, &bundle.id];
        let mut command = Command::new(&bundle.program);
        Running::start(command.arg("--root").arg(bundle.state_root()).args(words)).wait().fails(1, why);
    }
    bundle.leaves_nothing();
}

#[test]
fn the_options_of_run_hold() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("uname >/dev/null; sleep 0.2; mkdir /tmp/x; true");
    let pid_file = bundle.path("pid");
    // The command of a detached run has ended long before the container, which is recorded to its end.
    assert_eq!(record(&bundle, &["--", "--detach", "--pid-file", &pid_file]).code, 0);
    assert!(!bundle.read("pid").is_empty());
    assert!(permitted(&profile(&bundle)).contains(&"mkdir"));
    bundle.delete().ok();
}

#[test]
fn a_profile_is_not_written_through_a_link_of_whoever_owns_its_directory() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().script("until [ -e /tmp/end ]; do sleep 0.05; done");
    fs::write(bundle.path("canary"), "untouched").unwrap();
    let path = bundle.path("");
    let running = Running::start(&mut command(&bundle, &["--bundle", &path, &bundle.id]));
    wait_until("it runs", || is_running(&bundle, "sh"));
    for name in leftovers(&bundle) {
        fs::remove_file(bundle.path(&name)).unwrap();
        std::os::unix::fs::symlink(bundle.path("canary"), bundle.path(&name)).unwrap();
    }
    fs::write(bundle.path("rootfs/tmp/end"), "").unwrap();
    running.wait().ok();
    assert_eq!(bundle.read("canary"), "untouched");
    assert!(fs::symlink_metadata(bundle.path("profile.json")).unwrap().is_file());
    assert!(permitted(&profile(&bundle)).contains(&"execve"));
}
