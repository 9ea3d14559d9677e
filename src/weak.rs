//! Switches single defences off, so that a test can show that it would notice: the attack that it makes must go well then.
//!
//! Only programs with the feature `weak` can do that, which `integration/security/test` builds for itself. In all others
//! `stands` is the constant `true`, and the compiler drops the question and what it guards.

#[cfg(all(feature = "weak", not(debug_assertions)))]
compile_error!("the feature `weak` is for tests alone: no release has it");

/// What keeps an attack from going well, each at one place of the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defence {
    /// Paths of an image are resolved inside its root (`inroot`).
    InRoot,
    /// Only a procfs comes over /proc, and little into it (`init::mount_target`).
    ProcTarget,
    /// A mount does not cover the root (`init::mount_target`, `init::masked_paths`).
    RootTarget,
    /// The mask of a file is the host's null device, not what the container has by that name (`init::masked_paths`).
    HostNull,
    /// A path that cannot be looked at is no missing one (`init::masked_paths`).
    MaskErrors,
    /// A symlink at /dev/console is not followed (`init::console`).
    ConsoleLink,
    /// Files of /proc are written through a procfs of our own (`init::sysctl`).
    PrivateProc,
    /// A process that joins cannot be traced (`init::namespaces`).
    Undumpable,
    /// The runtime's own binary is not writable through /proc (`launch::seal`).
    Seal,
    /// Descriptors of the host are closed, and a working directory outside is refused (`init`).
    Descriptors,
    /// Nodes of the host come on a read-only mount (`sys::shielded`).
    ReadOnlyNodes,
    /// A node that is there already is changed by descriptor, once judged (`init::devices`).
    JudgedNode,
    /// What is copied up is judged before it is opened (`init::copy_up`).
    JudgedCopy,
    /// The mode of the notify socket is changed by descriptor (`launch::notify`).
    JudgedSocket,
    /// What lies on a mount is found from its descriptor (`init::place`).
    PlaceByMount,
    /// Supplementary groups of the caller are dropped (`init::confine`).
    Groups,
    /// A joined process leads a session of its own (`init`).
    Session,
    /// `exec --cap` adds nothing inheritable (`lifecycle::verbs::exec`).
    Inheritable,
    /// The user of `exec` is a number or an error (`cli::value_parsers`).
    UserNumber,
    /// Annotations set no property of a unit that does something to the host (`cgroup::plan::systemd::annotations`).
    UnitProperty,
    /// An id is a single component of a path (`container_id`).
    Id,
    /// A pid counts with its start time only (`container::status`).
    StartTime,
    /// A state directory is the caller's, and no symlink (`container::state_dir`).
    StateDir,
    /// The root of an image stays a directory (`image::unpack::create_entry`).
    RootEntry,
    /// A document is of one shape (`image::document::manifest`).
    OneShape,
    /// A user of an image that looks like a number is one (`image::bundle::user`).
    ImageUser,
    /// Files of an image are read if they are regular, up to a limit (`image::bundle::user`).
    ImageFile,
    /// Bundles and the store are closed to other users (`image::bundle::staging`, `image::store`).
    ClosedBundle,
    /// Labels that runtimes act on are left out (`image::bundle::config`).
    Labels,
    /// The size of an extended header counts for the way to the next one too (`image::archive`).
    PaxSize,
    /// Whiteouts of nothing are refused (`image::unpack::whiteout`).
    WhiteoutName,
    /// Marks of an overlay are left out (`image::unpack::entry_adapter`).
    OverlayMarks,
    /// What is decompressed, counted or nested has limits (`image::limits`).
    Limits,
    /// Content is what its digest says (`image::blob::digest`).
    Digest,
    /// Credentials are for one origin (`image::source::registry::client`).
    Origin,
}

/// Whether a defence stands.
#[cfg(not(feature = "weak"))]
pub(crate) const fn stands(_: Defence) -> bool {
    true
}

/// Whether a defence stands: not if the environment's TARE_WEAK names it in its list.
#[cfg(feature = "weak")]
pub(crate) fn stands(defence: Defence) -> bool {
    let off = std::env::var("TARE_WEAK").unwrap_or_default();
    let name = format!("{defence:?}");
    !off.split(',').any(|other| other == name)
}
