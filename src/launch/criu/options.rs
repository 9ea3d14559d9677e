//! The numbers of CRIU's options (`criu_opts`) that are used here.

pub const IMAGES_DIR_FD: u32 = 1;
pub const PID: u32 = 2;
pub const LEAVE_RUNNING: u32 = 3;
pub const EXT_UNIX_SK: u32 = 4;
pub const TCP_ESTABLISHED: u32 = 5;
pub const EVASIVE_DEVICES: u32 = 6;
pub const SHELL_JOB: u32 = 7;
pub const FILE_LOCKS: u32 = 8;
pub const LOG_LEVEL: u32 = 9;
pub const LOG_FILE: u32 = 10;
pub const PAGE_SERVER: u32 = 11;
pub const NOTIFY_SCRIPTS: u32 = 12;
pub const ROOT: u32 = 13;
pub const PARENT_IMG: u32 = 14;
pub const TRACK_MEM: u32 = 15;
pub const AUTO_DEDUP: u32 = 16;
pub const WORK_DIR_FD: u32 = 17;
pub const LINK_REMAP: u32 = 18;
pub const EXT_MNT: u32 = 23;
pub const MANAGE_CGROUPS: u32 = 24;
pub const CG_ROOT: u32 = 25;
pub const RST_SIBLING: u32 = 26;
pub const INHERIT_FD: u32 = 27;
pub const MANAGE_CGROUPS_MODE: u32 = 34;
pub const EXTERNAL: u32 = 37;
pub const EMPTY_NS: u32 = 38;
pub const JOIN_NS: u32 = 39;
pub const FREEZE_CGROUP: u32 = 44;
pub const TCP_SKIP_IN_FLIGHT: u32 = 46;
pub const LAZY_PAGES: u32 = 48;
pub const ORPHAN_PTS_MASTER: u32 = 50;
pub const CONFIG_FILE: u32 = 51;
pub const LSM_PROFILE: u32 = 53;
pub const LSM_MOUNT_CONTEXT: u32 = 63;

/// Of `criu_features`.
pub const MEM_TRACK: u32 = 1;
pub const FEATURE_LAZY_PAGES: u32 = 2;
