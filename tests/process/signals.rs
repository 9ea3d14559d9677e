//! Signals as the process finds them.

use crate::support::Bundle;

/// The lines SigBlk, SigIgn and SigCgt.
fn masks(status: &str) -> Vec<String> {
    let names = ["SigBlk:", "SigIgn:", "SigCgt:"];
    let of = |name: &&str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    names.iter().map(of).collect()
}

const NONE: &str = "0000000000000000";

/// Ignores all that can be ignored, blocks all that can be blocked, then becomes the runtime.
const DEAF: &str = "exec python3 -c '
import os, signal, sys
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
os.execvp(sys.argv[1], sys.argv[1:])' \"$@\"";

#[test]
fn none_is_blocked_ignored_or_caught() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["cat", "/proc/self/status"]);
    assert_eq!(masks(&bundle.output()), [NONE; 3]);
    bundle.up();
    assert_eq!(masks(&bundle.exec(&["cat", "/proc/self/status"]).ok().stdout), [NONE; 3]);
}

#[test]
fn what_the_caller_ignores_and_blocks_is_not_inherited() {
    let Some(mut bundle) = Bundle::new() else { return };
    if crate::support::program("python3").is_none() {
        return;
    }
    bundle.args(&["cat", "/proc/self/status"]);
    assert_eq!(masks(&bundle.tare_by(DEAF, &["run", &bundle.id]).ok().stdout), [NONE; 3]);
    bundle.up();
    let words = ["exec", &*bundle.id, "cat", "/proc/self/status"];
    assert_eq!(masks(&bundle.tare_by(DEAF, &words).ok().stdout), [NONE; 3]);
    bundle.delete_force().ok();
    bundle.args(&["sleep", "1000"]);
    bundle.tare_by(DEAF, &["create", &bundle.id]).ok();
    bundle.start().ok();
    let status = || std::fs::read_to_string(format!("/proc/{}/status", bundle.pid())).unwrap();
    crate::support::wait_until("execve", || status().starts_with("Name:\tsleep"));
    assert_eq!(masks(&status()), [NONE; 3]);
}

#[test]
fn a_closed_pipe_ends_a_writer_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("pid").args(&["yes"]);
    let answer = bundle.tare_by("\"$@\" | head -n 1; exit ${PIPESTATUS[0]}", &["run", &bundle.id]);
    assert_eq!((answer.code, &*answer.stdout), (141, "y\n"));
}

#[test]
fn a_parents_death_signal_is_not_left_on_the_process() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    let words = ["run", "-d", &*bundle.id];
    bundle.tare_by("(exec \"$@\")", &words).ok();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(bundle.status(), "running");
}
