//! The field numbers of `criu_opts` and `criu_features` in CRIU's rpc.proto that are used here.

pub(crate) const IMAGES_DIR_FD: u32 = 1;
pub(crate) const PID: u32 = 2;
pub(crate) const LEAVE_RUNNING: u32 = 3;
pub(crate) const EXT_UNIX_SK: u32 = 4;
pub(crate) const TCP_ESTABLISHED: u32 = 5;
pub(crate) const EVASIVE_DEVICES: u32 = 6;
pub(crate) const SHELL_JOB: u32 = 7;
pub(crate) const FILE_LOCKS: u32 = 8;
pub(crate) const LOG_LEVEL: u32 = 9;
pub(crate) const LOG_FILE: u32 = 10;
pub(crate) const PAGE_SERVER: u32 = 11;
pub(crate) const NOTIFY_SCRIPTS: u32 = 12;
pub(crate) const ROOT: u32 = 13;
pub(crate) const PARENT_IMG: u32 = 14;
pub(crate) const TRACK_MEM: u32 = 15;
pub(crate) const AUTO_DEDUP: u32 = 16;
pub(crate) const WORK_DIR_FD: u32 = 17;
pub(crate) const LINK_REMAP: u32 = 18;
pub(crate) const EXT_MNT: u32 = 23;
pub(crate) const MANAGE_CGROUPS: u32 = 24;
pub(crate) const CG_ROOT: u32 = 25;
pub(crate) const RST_SIBLING: u32 = 26;
pub(crate) const INHERIT_FD: u32 = 27;
pub(crate) const MANAGE_CGROUPS_MODE: u32 = 34;
pub(crate) const EXTERNAL: u32 = 37;
pub(crate) const EMPTY_NS: u32 = 38;
pub(crate) const JOIN_NS: u32 = 39;
pub(crate) const FREEZE_CGROUP: u32 = 44;
pub(crate) const TCP_SKIP_IN_FLIGHT: u32 = 46;
pub(crate) const LAZY_PAGES: u32 = 48;
pub(crate) const ORPHAN_PTS_MASTER: u32 = 50;
pub(crate) const CONFIG_FILE: u32 = 51;
pub(crate) const LSM_PROFILE: u32 = 53;
pub(crate) const LSM_MOUNT_CONTEXT: u32 = 63;

// Fields of `criu_features`.
pub(crate) const MEM_TRACK: u32 = 1;
pub(crate) const FEATURE_LAZY_PAGES: u32 = 2;
