//! The root filesystem as the container's process finds it: mounts, devices, masked paths, propagation.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod attributes;
mod binds;
mod cgroups;
mod devices;
mod live;
mod paths;
mod pinned;
mod propagation;
mod root;
mod symlinks;
mod tmpfs;

use support::Bundle;

/// A line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug, Clone)]
struct Mount {
    root: String,
    point: String,
    options: Vec<String>,
    /// `shared:N`, `master:N`, `unbindable`.
    propagation: Vec<String>,
    kind: String,
    source: String,
    of_filesystem: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Self {
        let (left, right) = line.split_once(" - ").unwrap_or_else(|| panic!("{line}"));
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let words = |text: &str| text.split(',').map(String::from).collect();
        Self {
            root: left[3].into(),
            point: left[4].into(),
            options: words(left[5]),
            propagation: left[6..].iter().map(ToString::to_string).collect(),
            kind: right[0].into(),
            source: right[1].into(),
            of_filesystem: words(right[2]),
        }
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }

    fn propagates(&self, how: &str) -> bool {
        self.propagation.iter().any(|one| one.starts_with(how))
    }
}

fn parse(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().map(Mount::parse).collect()
}

/// The mounts that the container's process sees.
#[track_caller]
fn mounts(bundle: &mut Bundle) -> Vec<Mount> {
    bundle.args(&["cat", "/proc/self/mountinfo"]);
    parse(&bundle.output())
}

/// The topmost at a place.
#[track_caller]
fn at<'a>(mounts: &'a [Mount], point: &str) -> &'a Mount {
    mounts
        .iter()
        .rfind(|mount| mount.point == point)
        .unwrap_or_else(|| panic!("nothing at {point}: {mounts:#?}"))
}

/// Runs the container in a mount namespace of the test's own, after `script`: what it mounts is gone with it.
#[track_caller]
fn run_after(bundle: &Bundle, script: &str) -> support::Answer {
    in_own_mounts(bundle, &format!("{script}\nexec \"$@\""))
}

/// A script in a mount namespace of its own; `"$@"` runs the container.
#[track_caller]
fn in_own_mounts(bundle: &Bundle, script: &str) -> support::Answer {
    let whole = format!("exec unshare -m --propagation private bash -ec '{script}' bash \"$@\"");
    bundle.tare_by(&whole, &["run", &bundle.id])
}
