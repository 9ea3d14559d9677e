//! What `tare-image run` was asked for, as plain data.

use super::network::Network;
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
    /// Remove the container when it has ended.
    pub(crate) remove: bool,
    pub(crate) hostname: Option<String>,
    pub(crate) read_only: bool,
    pub(crate) network: Network,
}
