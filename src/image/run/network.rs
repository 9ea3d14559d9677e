//! The network of a container.

use serde::{Deserialize, Serialize};

/// What `--network` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Network {
    /// A network namespace with nothing but the loopback device.
    None,
    /// The host's.
    Host,
}
