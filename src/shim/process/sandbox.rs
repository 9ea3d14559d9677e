//! What the shim remembers of a pod that it has made itself.

use super::Reply;
use crate::shim::wire::types::Timestamp;

pub(crate) struct Sandbox {
    /// Also the id of the container that holds its namespaces.
    pub(crate) id: String,
    pub(crate) started: Option<Timestamp>,
    /// Who waits for its end, as containerd has asked for it.
    pub(crate) ending: Option<Reply>,
}
