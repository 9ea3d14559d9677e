//! stub until the cgroup layer lands
pub mod path;
use crate::error::Result;
use crate::host::cgroup::Layout;
pub use path::Place;
use std::os::fd::BorrowedFd;

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Driver {
    Cgroupfs,
    Systemd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub driver: Driver,
    pub places: Vec<Place>,
}
impl Plan {
    pub fn record(&self) -> Record {
        Record { places: self.places.clone() }
    }
    pub fn create(&self) -> Result<Group> {
        for p in &self.places {
            std::fs::create_dir_all(p.directory())?;
        }
        Ok(Group(self.record()))
    }
}
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    pub places: Vec<Place>,
}
pub struct Group(Record);
pub fn plan(
    linux: Option<&oci_spec::runtime::Linux>,
    id: &str,
    driver: Driver,
    layout: &Layout,
    _rootless: bool,
) -> Result<Plan> {
    let asked = linux.and_then(|l| l.cgroups_path().as_deref());
    Ok(Plan { driver, places: path::places(asked, id, layout)? })
}
impl Group {
    pub fn from_record(r: &Record) -> Self {
        Self(r.clone())
    }
    pub fn sub_group(&self, _: &[String]) -> Result<Group> {
        Ok(Group(self.0.clone()))
    }
    pub fn clone_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    pub fn join(&self, pid: i32) -> Result<()> {
        for p in self.0.places.iter().filter(|p| !p.controllers.iter().any(|c| c == "cpuset")) {
            std::fs::write(p.directory().join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }
    pub fn apply(&self, _plan: &Plan) -> Result<()> {
        Ok(())
    }
    pub fn freeze(&self) -> Result<()> {
        Ok(())
    }
    pub fn thaw(&self) -> Result<()> {
        Ok(())
    }
    pub fn is_frozen(&self) -> Result<bool> {
        Ok(false)
    }
    pub fn procs(&self) -> Result<Vec<i32>> {
        Ok(vec![])
    }
    pub fn kill_all(&self, _signal: i32) -> Result<()> {
        Ok(())
    }
    pub fn remove(&self) -> Result<()> {
        for p in &self.0.places {
            let _ = std::fs::remove_dir(p.directory());
        }
        Ok(())
    }
    pub fn oom_kills(&self) -> Option<u64> {
        None
    }
}
#[cfg(test)]
mod testing;

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for p in &self.places {
            writeln!(f, "cgroup {}", p.directory().display())?;
        }
        Ok(())
    }
}
