//! `state`: reports the status of a container, as the document of runtime.md, "State".

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::Result;
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::Globals;
use crate::spec;

/// The document that `state` prints and hooks read, with runc's members in runc's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    pub oci_version: &'static str,
    pub id: ContainerId,
    /// 0 if the container is stopped.
    pub pid: i32,
    pub status: &'static str,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub owner: String,
}

/// Returns the state document of a container.
pub(crate) fn state(globals: &Globals, id: &ContainerId) -> Result<State> {
    load::container(globals, id).map(from_container)
}

/// Makes the state document of a loaded container.
pub(crate) fn from_container(container: LoadedContainer) -> State {
    let record = container.record;
    let alive = container.status != Status::Stopped;
    State {
        oci_version: spec::VERSION,
        id: record.id,
        pid: record.init.filter(|_| alive).map_or(0, |init| init.pid),
        status: container.status.word(),
        bundle: record.bundle,
        rootfs: record.rootfs,
        created: record.created,
        annotations: record.annotations,
        owner: String::new(),
    }
}
