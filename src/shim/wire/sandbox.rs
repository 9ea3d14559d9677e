//! The messages of containerd's sandbox service, and as much of the configuration of a pod as it takes to make one.

use std::collections::BTreeMap;

use prost::Message;

use super::types::{Any, Mount, Timestamp};

pub(crate) const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateSandboxRequest {
    #[prost(string, tag = "1")]
    pub(crate) sandbox_id: String,
    #[prost(string, tag = "2")]
    pub(crate) bundle_path: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) rootfs: Vec<Mount>,
    #[prost(message, optional, tag = "4")]
    pub(crate) options: Option<Any>,
    #[prost(string, tag = "5")]
    pub(crate) netns_path: String,
}

/// Every other request, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxRequest {
    #[prost(string, tag = "1")]
    pub(crate) sandbox_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StartSandboxResponse {
    #[prost(uint32, tag = "1")]
    pub(crate) pid: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) created_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxStatusResponse {
    #[prost(string, tag = "1")]
    pub(crate) sandbox_id: String,
    #[prost(uint32, tag = "2")]
    pub(crate) pid: u32,
    #[prost(string, tag = "3")]
    pub(crate) state: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    pub(crate) exited_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PlatformResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Platform {
    #[prost(string, tag = "1")]
    pub(crate) os: String,
    #[prost(string, tag = "2")]
    pub(crate) architecture: String,
    #[prost(string, tag = "3")]
    pub(crate) variant: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxMetricsResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) metrics: Option<Metric>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metric {
    #[prost(message, optional, tag = "1")]
    pub(crate) timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) data: Option<Any>,
}

/// runtime.v1.PodSandboxConfig of the Container Runtime Interface.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodSandboxConfig {
    #[prost(string, tag = "2")]
    pub(crate) hostname: String,
    #[prost(message, optional, tag = "8")]
    pub(crate) linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    pub(crate) cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) security_context: Option<SecurityContext>,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) sysctls: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SecurityContext {
    #[prost(message, optional, tag = "1")]
    pub(crate) namespace_options: Option<NamespaceOption>,
}

/// Whose namespaces: 0 the pod's, 1 each container's own, 2 the node's.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamespaceOption {
    #[prost(int32, tag = "1")]
    pub(crate) network: i32,
    #[prost(int32, tag = "2")]
    pub(crate) pid: i32,
    #[prost(int32, tag = "3")]
    pub(crate) ipc: i32,
    #[prost(message, optional, tag = "5")]
    pub(crate) userns_options: Option<UserNamespace>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UserNamespace {
    #[prost(int32, tag = "1")]
    pub(crate) mode: i32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) uids: Vec<IdMapping>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) gids: Vec<IdMapping>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct IdMapping {
    #[prost(uint32, tag = "1")]
    pub(crate) host_id: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) container_id: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) length: u32,
}
