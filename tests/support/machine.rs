//! What containers leave on the machine: state directories, control groups, mounts, processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Bundle;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Everything that names this test.
pub(crate) fn traces(name: &str) -> BTreeSet<String> {
    let mut traces = BTreeSet::new();
    traces.extend(groups(name).into_iter().map(|path| format!("cgroup {}", path.display())));
    traces.extend(mounts(name).into_iter().map(|line| format!("mount {line}")));
    traces.extend(processes(name).into_iter().map(|pid| format!("process {pid}: {}", command_line(pid))));
    traces
}

/// Control groups with the name in their own.
pub(crate) fn groups(name: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, name: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // Deepest first: in that order they can be removed.
                walk(&entry.path(), name, found);
                if entry.path().to_string_lossy().contains(name) {
                    found.push(entry.path());
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(CGROUPS), name, &mut found);
    found
}

/// Lines of our own mountinfo with the name in them.
pub(crate) fn mounts(name: &str) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().filter(|line| line.contains(name)).map(String::from).collect()
}

/// Processes, zombies aside, whose group, root or command line has the name.
///
/// Mounts do not count, but for the root: any process has a copy of a mount that was there when its namespace was made.
pub(crate) fn processes(name: &str) -> Vec<i32> {
    let own = std::process::id().to_string();
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && *pid != own)
        .filter(|pid| is_of(pid, name) && is_alive(pid))
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn is_of(pid: &str, name: &str) -> bool {
    let text = |file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let root = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        fields.next().is_some_and(|root| root.contains(name)) && fields.next() == Some("/")
    };
    let changed = fs::read_link(format!("/proc/{pid}/root"));
    text("cgroup").contains(name)
        || text("cmdline").contains(name)
        || changed.is_ok_and(|root| root.to_string_lossy().contains(name))
        || text("mountinfo").lines().any(root)
}

/// There, and no zombie.
pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Kills, unmounts and removes what bears the name.
pub(crate) fn clean(name: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    for path in groups(name) {
        let _ = fs::write(path.join("freezer.state"), "THAWED");
        let _ = fs::write(path.join("cgroup.freeze"), "0");
    }
    loop {
        let processes = processes(name);
        for pid in &processes {
            let pid = nix::unistd::Pid::from_raw(*pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        if processes.is_empty() || Instant::now() > end {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for line in mounts(name).iter().rev() {
        if let Some(point) = line.split(' ').nth(4).filter(|point| point.contains(name)) {
            let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
        }
    }
    for path in groups(name) {
        let _ = fs::remove_dir(path);
    }
}

impl Bundle {
    /// No state directory, group, mount or process is left of any container of this bundle. Processes that were
    /// killed get a moment to be gone.
    #[track_caller]
    pub(crate) fn leaves_nothing(&self) {
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            let mut left = traces(&self.id);
            let states = fs::read_dir(self.state_root()).into_iter().flatten().flatten();
            left.extend(states.map(|entry| format!("state {}", entry.path().display())));
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "left behind: {left:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether control groups here are the v2 tree alone, as the calling thread sees them.
pub(crate) fn is_v2() -> bool {
    Path::new(CGROUPS).join("cgroup.procs").exists()
}

/// Gives the calling thread, and the programs it starts, the v2 tree alone: with the controllers that v1 has left over.
/// False, which is recorded as a skip, where it cannot be mounted.
pub(crate) fn cgroup2_alone() -> bool {
    use nix::mount::{MsFlags, mount};
    if is_v2() {
        return true;
    }
    let none = None::<&Path>;
    let over = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
        .and_then(|()| mount(Some("none"), CGROUPS, Some("cgroup2"), MsFlags::empty(), none));
    if let Err(errno) = over {
        super::skip(&format!("needs cgroup2: {errno}"));
    }
    over.is_ok()
}

/// Whether limits of this controller (by its name on v2) can be set here.
pub(crate) fn has_controller(name: &str) -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    if is_v2() {
        return read("/sys/fs/cgroup/cgroup.controllers").split_whitespace().any(|one| one == name);
    }
    let name = if name == "io" { "blkio" } else { name };
    let own = read("/proc/self/cgroup");
    own.lines()
        .filter_map(|line| line.split(':').nth(1))
        .flat_map(|list| list.split(','))
        .any(|one| one == name)
}

/// The container's own group in the hierarchy that has this file.
pub(crate) fn group_with(id: &str, file: &str) -> Option<PathBuf> {
    groups(id)
        .into_iter()
        .find(|group| group.join(file).exists() && group.file_name().is_some_and(|name| name == id))
}
