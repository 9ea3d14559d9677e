//! The options that containerd hands on from its configuration and from its clients.

use prost::Message;

/// runtimeoptions.v1.Options, which newer engines send for a runtime that they do not know.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeOptions {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(string, tag = "2")]
    pub(crate) config_path: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) config_body: Vec<u8>,
}

/// containerd.runc.v1.Options. As JSON it stands in the bundle, in the file and with the names of containerd's own shim, for
/// `delete` to read.
#[derive(Clone, PartialEq, Message, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    #[prost(bool, tag = "1")]
    pub(crate) no_pivot_root: bool,
    #[prost(bool, tag = "2")]
    pub(crate) no_new_keyring: bool,
    #[prost(string, tag = "3")]
    pub(crate) shim_cgroup: String,
    #[prost(uint32, tag = "4")]
    pub(crate) io_uid: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) io_gid: u32,
    #[prost(string, tag = "6")]
    pub(crate) binary_name: String,
    #[prost(string, tag = "7")]
    pub(crate) root: String,
    #[prost(bool, tag = "9")]
    pub(crate) systemd_cgroup: bool,
    #[prost(string, tag = "10")]
    pub(crate) criu_image_path: String,
    #[prost(string, tag = "11")]
    pub(crate) criu_work_path: String,
    #[prost(string, tag = "12")]
    pub(crate) task_api_address: String,
    #[prost(uint32, tag = "13")]
    pub(crate) task_api_version: u32,
}

/// containerd.linux.runc.CreateOptions, which clients of containerd send for a runtime whose name does not begin with
/// `io.containerd.runc`: `ctr run --uidmap`. What it says of a checkpoint to start from, a request says as well.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OlderOptions {
    #[prost(bool, tag = "1")]
    pub(crate) no_pivot_root: bool,
    #[prost(bool, tag = "8")]
    pub(crate) no_new_keyring: bool,
    #[prost(string, tag = "9")]
    pub(crate) shim_cgroup: String,
    #[prost(uint32, tag = "10")]
    pub(crate) io_uid: u32,
    #[prost(uint32, tag = "11")]
    pub(crate) io_gid: u32,
    #[prost(string, tag = "12")]
    pub(crate) criu_work_path: String,
    #[prost(string, tag = "13")]
    pub(crate) criu_image_path: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckpointOptions {
    #[prost(bool, tag = "1")]
    pub(crate) exit: bool,
    #[prost(bool, tag = "2")]
    pub(crate) open_tcp: bool,
    #[prost(bool, tag = "3")]
    pub(crate) external_unix_sockets: bool,
    #[prost(bool, tag = "4")]
    pub(crate) terminal: bool,
    #[prost(bool, tag = "5")]
    pub(crate) file_locks: bool,
    #[prost(string, repeated, tag = "6")]
    pub(crate) empty_namespaces: Vec<String>,
    #[prost(string, tag = "7")]
    pub(crate) cgroups_mode: String,
    #[prost(string, tag = "8")]
    pub(crate) image_path: String,
    #[prost(string, tag = "9")]
    pub(crate) work_path: String,
    #[prost(string, tag = "10")]
    pub(crate) parent_path: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProcessDetails {
    #[prost(string, tag = "1")]
    pub(crate) exec_id: String,
}
