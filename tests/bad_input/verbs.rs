//! Calls that make no sense in the container's state, or at all.

use crate::refused;
use crate::support::Bundle;

#[test]
fn a_call_out_of_order_is_one_sentence() {
    let Some(mut bundle) = Bundle::new() else { return };
    let id = bundle.id.clone();
    let no_such = "container does not exist";
    for verb in ["start", "state", "kill", "delete", "pause", "resume", "ps"] {
        refused(verb, no_such, || bundle.tare(&[verb, &id]));
    }
    bundle.up();
    refused("create again", "already exists", || bundle.tare(&["create", &id]));
    refused("start again", "already running", || bundle.start());
    refused("resume", "container not paused", || bundle.tare(&["resume", &id]));
    refused("delete", "not stopped: running", || bundle.delete());
    refused("signal", "unknown signal \"NOSUCH\"", || bundle.kill("NOSUCH"));
    refused("exec", "executable file not found", || bundle.exec(&["nosuch"]));
    refused("exec", "is a directory", || bundle.exec(&["/bin"]));
    refused("exec", "permission denied", || bundle.exec(&["/etc/passwd"]));
    assert_eq!(bundle.status(), "running");
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn a_wrong_command_line_is_told() {
    let Some(bundle) = Bundle::new() else { return };
    let calls: [(&[&str], &str); 7] = [
        (&["state"], "requires exactly 1 argument"),
        (&["state", "a", "b"], "requires exactly 1 argument"),
        (&["create", "--no-such-flag", "a"], "no-such-flag"),
        (&["list", "--format", "yaml"], "invalid format option"),
        (&["exec", "a"], "exec args cannot be empty"),
        (&["create", "--preserve-fds", "many", "a"], "preserve-fds"),
        (&["create", "--preserve-fds", "-1", "a"], "preserve-fds"),
    ];
    for (call, words) in calls {
        let answer = bundle.tare(call);
        assert!(answer.code != 0 && answer.told().contains(words), "{call:?}: {answer:?}");
    }
    bundle.leaves_nothing();
}
