//! The error texts that other programs look for. Changing one breaks the program that its comment names.
//!
//! Engines decide on substrings of the last error of the log, or of standard error; most fold case. `dockerd`
//! means moby's daemon, `shim` containerd's runc shim, `suite` runc's own integration tests.

use std::fmt::Display;

/// shim: `does not exist` makes a delete succeed, and otherwise means "no such container"; CRI-O and Podman
/// likewise.
pub(crate) const DOES_NOT_EXIST: &str = "container does not exist";
/// The suite.
pub(crate) const ID_IN_USE: &str = "container with given ID already exists";
/// The suite.
pub(crate) const INVALID_ID: &str = "invalid container ID format";
/// The suite.
pub(crate) const EMPTY_ID: &str = "container id cannot be empty";
/// shim and CRI-O: `container not running` on kill means that the process has ended, which is no failure.
pub(crate) const NOT_RUNNING: &str = "container not running";
/// The suite.
pub(crate) const NOT_PAUSED: &str = "container not paused";
/// The suite, after `delete --force`.
pub(crate) const INIT_STILL_RUNNING: &str = "container init still running";

/// The suite.
pub(crate) const START_STOPPED: &str = "cannot start a container that has stopped";
/// The suite.
pub(crate) const START_RUNNING: &str = "cannot start an already running container";

/// The suite.
pub(crate) const EXEC_STOPPED: &str = "cannot exec in a stopped container";
/// The suite.
pub(crate) const EXEC_PAUSED: &str = "cannot exec in a paused container (use --ignore-paused to override)";
/// The suite.
pub(crate) const EXEC_ARGS_EMPTY: &str = "exec args cannot be empty";

/// The suite.
pub(crate) const NO_CONFIG: &str = "JSON specification file config.json not found";
/// The suite.
pub(crate) const CONFIG_NULL: &str = "config cannot be null";
/// The suite.
pub(crate) const PROCESS_EMPTY: &str = "process property must not be empty";
/// The suite.
pub(crate) const CWD_EMPTY: &str = "Cwd property must not be empty";
/// The suite.
pub(crate) const CWD_RELATIVE: &str = "Cwd must be an absolute path";
/// The suite.
pub(crate) const ARGS_EMPTY: &str = "args must not be empty";
/// The suite.
pub(crate) const SELINUX_DISABLED: &str =
    "selinux label is specified in config, but selinux is disabled or not supported";

/// The suite.
pub(crate) const TTY_NEEDS_SOCKET: &str =
    "cannot allocate tty if runc will detach without setting console socket";
/// The suite.
pub(crate) const SOCKET_NEEDS_TTY: &str = "cannot use console socket if runc will not detach or allocate tty";

/// The suite.
pub(crate) const OOM_KILLED: &str = "container init was OOM-killed (memory limit too low?)";
/// The suite; follows the message of an exec that failed.
pub(crate) const POSSIBLY_OOM_KILLED: &str = "(possibly OOM-killed)";
/// The suite.
pub(crate) const CGROUP_FROZEN: &str = "container's cgroup unexpectedly frozen";

/// The suite.
pub(crate) const INTERVAL_NOT_POSITIVE: &str = "duration interval must be greater than 0";
/// The suite.
pub(crate) const INVALID_FORMAT: &str = "invalid format option";
/// The suite.
pub(crate) const SPEC_EXISTS: &str = "File config.json exists. Remove it first";

/// The suite.
pub(crate) const SECCOMP_AGENT: &str = "failed to connect with seccomp agent";

/// Comes before every failure between the clone and the process. Podman shows it; the suite matches it.
pub(crate) const UNABLE_TO_START: &str = "unable to start container process";
/// Comes after `UNABLE_TO_START` if the container's init failed (never for exec). The suite.
pub(crate) const DURING_INIT: &str = "error during container init";
/// At debug level: a process is cloned. The suite.
pub(crate) const CONTAINER_SETUP: &str = "nsexec container setup";
/// At debug level: the process is in place and can execute. The suite.
pub(crate) const CHILD_IN_INIT: &str = "child process in init()";
/// At debug level: the container's first process executes. The suite.
pub(crate) const CLOSING_PIPE: &str = "init: closing the pipe to signal completion";
/// At debug level: a process that `exec` added executes. The suite.
pub(crate) const ABOUT_TO_EXEC: &str = "setns_init: about to exec";
/// Comes before every failure of `exec` before the process runs (exit code 255). The suite.
pub(crate) const EXEC_FAILED: &str = "exec failed";

/// dockerd: `executable file not found` is exit code 127; Podman: `executable file not found in`.
pub(crate) fn not_in_path(name: &str) -> String {
    format!("exec: {name:?}: executable file not found in $PATH")
}

/// dockerd: `no such file or directory` is exit code 127; Podman likewise.
pub(crate) fn no_such_executable(path: &str) -> String {
    format!("exec: {path:?}: stat {path}: no such file or directory")
}

/// dockerd: `permission denied` is exit code 126; Podman likewise.
pub(crate) fn not_executable(path: &str) -> String {
    format!("exec: {path:?}: permission denied")
}

/// dockerd: `is a directory` is exit code 126; before 23.0 only `permission denied` is, and Podman knows no
/// other.
pub(crate) fn is_a_directory(path: &str) -> String {
    format!("exec: {path:?}: is a directory: permission denied")
}

/// shim and the suite. `status` is the container's.
pub(crate) fn not_stopped(id: impl Display, status: &str) -> String {
    format!("cannot delete container {id} that is not stopped: {status}")
}

/// The suite.
pub(crate) fn start_in_state(status: &str) -> String {
    format!("cannot start a container in the {status} state")
}

/// shim, for events of a container that has ended.
pub(crate) fn events_of_stopped(id: impl Display) -> String {
    format!("container with id {id} is not running")
}

/// The suite.
pub(crate) fn unknown_signal(signal: &str) -> String {
    format!("unknown signal {signal:?}")
}

/// The suite. `index` counts from 0.
pub(crate) fn no_preserved_fd(index: u32, count: u32) -> String {
    format!("unable to stat preserved-fd {index} (of {count})")
}

/// The suite.
pub(crate) fn wrong_rlimit(name: &str) -> String {
    format!("wrong rlimit value: {name}")
}

/// The suite.
pub(crate) fn cgroup_not_empty(processes: usize) -> String {
    format!("container's cgroup is not empty: {processes} process(es) found")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which program looks for which text, according to its source. The text is in lower case if the program
    /// folds case first.
    #[test]
    fn engines_find_what_they_look_for() {
        let folded = |text: String| text.to_lowercase();
        let cases = [
            ("containerd shim, delete", String::from(DOES_NOT_EXIST), "does not exist"),
            ("containerd shim, kill", String::from(NOT_RUNNING), "container not running"),
            ("CRI-O, kill", String::from(NOT_RUNNING), "container not running"),
            ("Podman, delete --force", String::from(DOES_NOT_EXIST), "does not exist"),
            ("containerd shim, events", events_of_stopped("c"), "is not running"),
            ("dockerd, exit code 127", folded(not_in_path("foo")), "executable file not found"),
            ("dockerd, exit code 127", folded(no_such_executable("/x")), "no such file or directory"),
            ("dockerd, exit code 126", folded(not_executable("/x")), "permission denied"),
            ("dockerd, exit code 126", folded(is_a_directory("/x")), "is a directory"),
            ("dockerd 20.10, exit code 126", folded(is_a_directory("/x")), "permission denied"),
            ("Podman, command not found", folded(not_in_path("foo")), "executable file not found in"),
            ("Podman, command not found", folded(no_such_executable("/x")), "no such file or directory"),
            ("Podman, permission", folded(not_executable("/x")), "permission denied"),
            ("Podman, permission", folded(is_a_directory("/x")), "permission denied"),
        ];
        for (who, text, needle) in cases {
            assert!(text.contains(needle), "{who} looks for {needle:?} in {text:?}");
        }
    }

    #[test]
    fn what_is_no_permission_problem_is_not_taken_for_one() {
        for text in [not_in_path("foo"), no_such_executable("/x")] {
            assert!(!text.contains("permission denied") && !text.contains("is a directory"), "{text}");
        }
    }
}
