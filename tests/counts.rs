//! What a command costs, in numbers that neither a slow nor a busy machine changes: system calls of the command and of
//! all that it starts, its instructions until it clones, the memory of a container that waits. Each has a ceiling a
//! little above what it is. `make bench` measures times; this only notices that a change makes a command do more.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::machine::cgroup2_alone;
use support::run::{Running, wait_for};
use support::{Bundle, program, skip, skip_part, wait_until};

/// The ceilings are for what `make` builds (`integration/cargo`). A plain build makes some 140 calls more in `run` (the C
/// library's heap, and what runs twice before the binary is sealed), and holds all that it has touched of itself.
fn is_tuned() -> bool {
    let tuned = cfg!(feature = "tuning");
    if !tuned {
        skip("needs a build with the feature `tuning`");
    }
    tuned
}

/// Runtime, container's process and program together; with cgroup2 alone, a kernel of 6.18 and the tests' container.
const CALLS_OF_RUN: u64 = 513;
const CALLS_OF_CREATE: u64 = 486;
const CALLS_OF_EXEC: u64 = 248;
/// Of a build without optimisation, which does what there is to do word by word.
const INSTRUCTIONS_OF_CREATE: u64 = 2_520_000;
const INSTRUCTIONS_OF_EXEC: u64 = 2_000_000;
/// KiB. A release holds half of it.
const RESIDENT: u64 = 350;
const ANONYMOUS: u64 = 240;

#[track_caller]
fn within(what: &str, count: u64, ceiling: u64) {
    println!("{what}: {count}");
    assert!(count > ceiling / 3, "{what}: {count} of at most {ceiling}: this counts something else");
    assert!(
        count <= ceiling,
        "{what}: {count}, and the ceiling is {ceiling}. If what the change brings is worth it, raise the ceiling in {} \
         to a twentieth above the count, and say so in the commit",
        file!()
    );
}

/// A command of the runtime, told to another program.
fn by(program: &str, options: &[&str], bundle: &Bundle, args: &[&str]) -> Command {
    let call = bundle.command(args);
    let mut command = Command::new(program);
    command.args(options).arg(call.get_program()).args(call.get_args());
    command.current_dir(&bundle.dir).stdin(Stdio::null());
    command
}

/// What strace counts of a command and all it starts, until the last of them has ended; `meanwhile` may see to that.
fn calls(bundle: &Bundle, args: &[&str], meanwhile: impl FnOnce()) -> u64 {
    let table = bundle.dir.join("strace");
    let options = ["-f", "-qq", "-c", "-U", "calls,name", "-o", table.to_str().unwrap()];
    let strace = Running::start(&mut by("strace", &options, bundle, args));
    meanwhile();
    strace.wait().ok();
    let count = |line: &str| {
        let (count, name) = line.trim().split_once(' ')?;
        // Nothing but the table's lines: strace may also say something of a process, which begins with its number.
        let is_call = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        count.parse::<u64>().ok().filter(|_| name.trim() != "total" && is_call(name.trim()))
    };
    fs::read_to_string(table).unwrap().lines().filter_map(count).sum()
}

fn bundle_on_cgroup2(tool: &str) -> Option<Bundle> {
    program(tool)?;
    if is_tuned() && cgroup2_alone() { Bundle::new() } else { None }
}

#[test]
fn system_calls_of_run_stay_below_a_ceiling() {
    let Some(mut bundle) = bundle_on_cgroup2("strace") else { return };
    bundle.args(&["true"]);
    within("system calls of run", calls(&bundle, &["run", &bundle.id], || {}), CALLS_OF_RUN);
}

/// A process that another one moves makes the kernel wait for a grace period: 7 to 15 ms, more than all else takes.
#[test]
fn on_v1_nobody_waits_for_a_process_that_is_moved() {
    if !Path::new("/sys/fs/cgroup/memory/tasks").exists() {
        return skip("needs cgroup v1");
    }
    let (Some(_), Some(mut bundle)) = (program("strace"), Bundle::new()) else { return };
    bundle.up();
    let trace = bundle.dir.join("trace");
    let options = ["-f", "-qq", "-e", "trace=openat2,openat", "-o", trace.to_str().unwrap()];
    wait_for(&mut by("strace", &options, &bundle, &["exec", &bundle.id, "true"])).ok();
    let trace = fs::read_to_string(trace).unwrap();
    let opened =
        |name: &str| trace.lines().filter(|line| line.contains(name) && line.contains("O_WRONLY")).count();
    assert!(opened("\"tasks\"") > 1, "{trace}");
    assert_eq!(opened("\"cgroup.procs\""), 0, "{trace}");
}

/// The command that has made the container.
fn creator(bundle: &Bundle) -> u64 {
    let record = fs::read(bundle.state_root().join(&bundle.id).join("state.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&record).unwrap()["creator"]["pid"].as_u64().unwrap()
}

#[test]
fn system_calls_of_create_stay_below_a_ceiling() {
    let Some(bundle) = bundle_on_cgroup2("strace") else { return };
    // strace counts until the container's process has ended, too.
    let end_it = || {
        let record = bundle.state_root().join(&bundle.id).join("state.json");
        wait_until("it is created", || fs::exists(&record).unwrap() && bundle.status() == "created");
        // The record is there a moment before the command has ended.
        let status = format!("/proc/{}/status", bundle.pid());
        let parent = format!("PPid:\t{}\n", creator(&bundle));
        wait_until("its creator has ended", || !fs::read_to_string(&status).unwrap().contains(&parent));
        bundle.delete_force().ok();
    };
    within("system calls of create", calls(&bundle, &["create", &bundle.id], end_it), CALLS_OF_CREATE);
}

#[test]
fn system_calls_of_exec_stay_below_a_ceiling() {
    let Some(mut bundle) = bundle_on_cgroup2("strace") else { return };
    bundle.up();
    within("system calls of exec", calls(&bundle, &["exec", &bundle.id, "true"], || {}), CALLS_OF_EXEC);
}

/// What valgrind counts of a command. It knows neither clone3 nor pidfd_open, so the command fails there: `create` when
/// all is decided, `exec` when it has read what there is to read.
#[track_caller]
fn instructions(bundle: &Bundle, args: &[&str]) -> u64 {
    let options = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let answer = wait_for(&mut by("valgrind", &options, bundle, args));
    assert!(answer.stderr.contains("function not implemented"), "{answer:?}");
    let (_, count) = answer.stderr.split_once("Collected : ").unwrap();
    count.lines().next().unwrap().trim().parse().unwrap()
}

/// To the command, /proc/self/exe is valgrind: on a read-only mount, so that the command takes itself for sealed and
/// does not try to execute valgrind instead.
fn sealed_valgrind() -> bool {
    use nix::mount::{MsFlags, mount};
    let none = None::<&Path>;
    let known = ["/usr/libexec/valgrind", "/usr/lib/valgrind"].into_iter();
    let Some(directory) = known.map(Path::new).find(|path| path.is_dir()) else {
        skip("needs valgrind");
        return false;
    };
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let sealed = mount(Some(directory), directory, none, MsFlags::MS_BIND, none)
        .and_then(|()| mount(none, directory, none, flags, none));
    if let Err(errno) = sealed {
        skip(&format!("needs {} mounted read-only: {errno}", directory.display()));
    }
    sealed.is_ok()
}

fn bundle_for_valgrind() -> Option<Bundle> {
    let bundle = bundle_on_cgroup2("valgrind")?;
    sealed_valgrind().then_some(bundle)
}

#[test]
fn instructions_of_create_stay_below_a_ceiling() {
    let Some(bundle) = bundle_for_valgrind() else { return };
    within("instructions of create", instructions(&bundle, &["create", &bundle.id]), INSTRUCTIONS_OF_CREATE);
}

#[test]
fn instructions_of_exec_stay_below_a_ceiling() {
    let Some(mut bundle) = bundle_for_valgrind() else { return };
    bundle.up();
    let count = instructions(&bundle, &["exec", &bundle.id, "true"]);
    within("instructions of exec", count, INSTRUCTIONS_OF_EXEC);
}

/// KiB of a process, by a name of smaps_rollup.
fn weight(pid: &str, name: &str) -> u64 {
    let weight = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = weight.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn container_that_waits_holds_little_memory() {
    let Some(bundle) = is_tuned().then(Bundle::new).flatten() else { return };
    bundle.create().ok();
    let pid = bundle.pid();
    if cfg!(target_arch = "x86_64") {
        wait_until("its resident memory is small", || weight(&pid, "Rss:") <= RESIDENT);
    } else {
        skip_part("needs x86-64, where the code around the wait is given back as well");
    }
    // Not what is dirty: of a binary just built, so are its pages in the page cache.
    let anonymous = weight(&pid, "Anonymous:");
    assert!(anonymous <= ANONYMOUS, "{anonymous} KiB");
}

/// It is loaded before the wait where no_new_privs is not wanted; after it, where it is.
#[test]
fn filter_that_ends_who_gives_memory_back_does_not_end_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    for no_new_privileges in [false, true] {
        bundle.patch(|config| {
            config["process"]["noNewPrivileges"] = no_new_privileges.into();
            config["linux"]["seccomp"] = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["madvise"], "action": "SCMP_ACT_KILL_PROCESS"}]});
        });
        bundle.up();
        assert_eq!(bundle.status(), "running");
        bundle.delete_force().ok();
    }
}
