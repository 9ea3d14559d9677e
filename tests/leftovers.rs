//! Two hundred containers, one after the other, leave the machine as it was.
//!
//! A runtime that forgets one descriptor, mount or control group a run is not noticed by a test of one run.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use support::Bundle;

const RUNS: usize = 200;

/// What a forgetful runtime would make grow.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    mounts: Vec<String>,
    groups: BTreeSet<String>,
    state: BTreeSet<String>,
    /// Descriptors of this process, which is every container's caller.
    descriptors: usize,
}

impl Machine {
    fn of(bundle: &Bundle) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut groups = BTreeSet::new();
        walk(Path::new("/sys/fs/cgroup"), &bundle.id, &mut groups);
        let state = fs::read_dir(bundle.state_root()).into_iter().flatten();
        Self {
            mounts: mounts.lines().filter(|line| line.contains(&bundle.id)).map(str::to_owned).collect(),
            groups,
            state: state.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect(),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        }
    }
}

/// Control groups below `directory` that bear the name. Others come and go while tests run side by side.
fn walk(directory: &Path, name: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().contains(name) {
                found.insert(entry.path().display().to_string());
            }
            walk(&entry.path(), name, found);
        }
    }
}

#[test]
fn two_hundred_runs_leave_the_machine_as_it_was() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["true"]);
    // One before the count, for what is made once: the state root.
    assert_eq!(bundle.run().code, 0);
    let before = Machine::of(&bundle);
    for run in 0..RUNS {
        let answer = bundle.run();
        assert_eq!(answer.code, 0, "run {run}: {answer:?}");
    }
    assert_eq!(Machine::of(&bundle), before);
    assert!(before.state.is_empty() && before.groups.is_empty() && before.mounts.is_empty(), "{before:?}");
    bundle.leaves_nothing();
}
