//! The use of remote direct memory access, which is the same message in the metrics of either version.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RdmaStat {
    #[prost(message, repeated, tag = "1")]
    pub(crate) current: Vec<RdmaEntry>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) limit: Vec<RdmaEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RdmaEntry {
    #[prost(string, tag = "1")]
    pub(crate) device: String,
    #[prost(uint32, tag = "2")]
    pub(crate) hca_handles: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) hca_objects: u32,
}
