//! What `tare-image run` was asked for, as plain data.

use serde_json::Value;

use super::network::Network;
use super::network::ports::Port;
use super::resources::Resources;
use super::runtime::Runtime;
use crate::container_id::ContainerId;

/// What `tare-image run` was asked for, beside what `UnpackOptions` has.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    pub(crate) id: ContainerId,
    pub(crate) runtime: Runtime,
    /// Pass the standard input on.
    pub(crate) interactive: bool,
    pub(crate) tty: bool,
    /// Run it in the background.
    pub(crate) detach: bool,
    /// Remove the container when it has ended.
    pub(crate) remove: bool,
    pub(crate) hostname: Option<String>,
    pub(crate) read_only: bool,
    pub(crate) network: Network,
    pub(crate) ports: Vec<Port>,
    /// The mounts of `--volume` and `--tmpfs`.
    pub(crate) mounts: Vec<Value>,
    pub(crate) resources: Resources,
}
