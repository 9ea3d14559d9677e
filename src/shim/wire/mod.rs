//! What containerd and the shim say to each other: frames, and messages with the numbers of containerd's published
//! `.proto` files.

pub(crate) mod bootstrap;
pub(crate) mod events;
pub(crate) mod frame;
pub(crate) mod metrics_v1;
pub(crate) mod metrics_v2;
pub(crate) mod options;
pub(crate) mod rdma;
pub(crate) mod rpc;
pub(crate) mod sandbox;
pub(crate) mod task;
pub(crate) mod types;
