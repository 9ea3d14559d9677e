//! The control group of a container, found by its first process: its figures, its processes, its lack of memory.

mod memory;
mod rdma;
mod to_v1;
mod to_v2;

pub(crate) use memory::{Happened, MemoryEvents};

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::cgroup::Group;
use crate::cgroup::plan::{Location, Manager, Record};
use crate::error::{Context, Result};
use crate::host::cgroup::{Layout, Mode};
use crate::host::probe::cgroup::read_layout;
use crate::shim::wire::types::Any;

/// Where control groups are mounted on this host. It is read once: a host with many mounts has a long list.
pub(crate) struct Hierarchies(Layout);

impl Hierarchies {
    pub(crate) fn read() -> Result<Self> {
        read_layout().map(Self)
    }

    /// Finds the groups of a process in /proc/PID/cgroup, which has lines of the form `ID:controllers:path`.
    pub(crate) fn of_process(&self, pid: i32) -> Result<ContainerGroup> {
        let file = format!("/proc/{pid}/cgroup");
        let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        let locations = text.lines().filter_map(|line| self.location(line)).collect();
        Ok(ContainerGroup { mode: self.0.mode(), locations })
    }

    fn location(&self, line: &str) -> Option<Location> {
        let (_, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        let controllers: Vec<String> =
            names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let (mountpoint, root) = if controllers.is_empty() {
            self.0.unified.as_ref().map(|tree| (&tree.mountpoint, &tree.mount_root))?
        } else {
            let tree = self.0.v1.iter().find(|tree| tree.controllers == controllers)?;
            (&tree.mountpoint, &tree.mount_root)
        };
        let path = below(Path::new(path), root)?;
        Some(Location { controllers, mountpoint: mountpoint.clone(), path })
    }
}

/// The path below what a mount shows; `None` for the root itself, which is nobody's own, and for what lies outside.
fn below(path: &Path, root: &Path) -> Option<PathBuf> {
    let relative = path.strip_prefix(root).ok()?;
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && relative.components().next().is_some()).then(|| relative.to_owned())
}

/// The groups of one container.
#[derive(Debug, Clone)]
pub(crate) struct ContainerGroup {
    mode: Mode,
    locations: Vec<Location>,
}

impl ContainerGroup {
    fn live(&self) -> Group {
        Group::from_record(&Record {
            manager: Manager::default(),
            mode: self.mode,
            locations: self.locations.clone(),
            unit: None,
            resources: None,
            devices: Vec::new(),
            without_default_devices: false,
        })
    }

    /// Takes a sample, in the message that containerd expects of this kind of host.
    pub(crate) fn metrics(&self) -> Result<Any> {
        let group = self.live();
        let stats = group.stats()?;
        if self.mode != Mode::V2 {
            let rdma = Location::index_of(&self.locations, self.mode, "rdma");
            let rdma = rdma.map(|at| rdma::read(&self.locations[at].directory()));
            let metrics = to_v1::metrics(&stats, group.oom_kills(), rdma);
            return Ok(Any::wrap("io.containerd.cgroups.v1.Metrics", &metrics));
        }
        let dir = self.locations.first().map(Location::directory).unwrap_or_default();
        Ok(Any::wrap("io.containerd.cgroups.v2.Metrics", &to_v2::metrics(&stats, &to_v2::read_extra(&dir))))
    }

    /// Returns every process, sorted.
    pub(crate) fn processes(&self) -> Result<Vec<i32>> {
        self.live().procs()
    }

    /// Begins to listen for kills for lack of memory; `None` on a host without that controller.
    pub(crate) fn memory_events(&self) -> Result<Option<MemoryEvents>> {
        let Some(at) = Location::index_of(&self.locations, self.mode, "memory") else { return Ok(None) };
        MemoryEvents::open(&self.locations[at].directory(), self.mode == Mode::V2).map(Some)
    }
}
