//! Layouts for the tables of this layer.

use crate::host::cgroup::{Hierarchy, Layout, Unified};

pub(crate) const CONTROLLERS: &str = "cpuset cpu io memory hugetlb pids rdma misc";

fn tree(controllers: &[&str], own_path: &str) -> Hierarchy {
    Hierarchy {
        controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
        mountpoint: format!("/sys/fs/cgroup/{}", controllers.join(",")).into(),
        mount_root: "/".into(),
        own_path: own_path.into(),
    }
}

fn unified(mountpoint: &str, own_path: &str, controllers: &str) -> Unified {
    Unified {
        mountpoint: mountpoint.into(),
        mount_root: "/".into(),
        own_path: own_path.into(),
        controllers: controllers.split_whitespace().map(str::to_owned).collect(),
    }
}

/// memory in /jobs/a, cpu in /, the v2 tree in /jobs.
pub(crate) fn hybrid() -> Layout {
    Layout {
        v1: vec![tree(&["memory"], "/jobs/a"), tree(&["cpu", "cpuacct"], "/")],
        unified: Some(unified("/sys/fs/cgroup/unified", "/jobs", "")),
    }
}

/// Every controller in a hierarchy of its own.
pub(crate) fn v1() -> Layout {
    let names = [
        "cpuset", "cpu", "blkio", "memory", "devices", "freezer", "net_cls", "net_prio", "hugetlb", "pids",
        "rdma",
    ];
    Layout { v1: names.iter().map(|name| tree(&[name], "/")).collect(), unified: None }
}

/// The runtime in /jobs, every controller there.
pub(crate) fn v2() -> Layout {
    Layout { v1: Vec::new(), unified: Some(unified("/sys/fs/cgroup", "/jobs", CONTROLLERS)) }
}
