//! `Step`: the steps of the new process. A step that occurs several times carries a datum.

/// The kinds of ids that a user has, each with its system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum IdKind {
    /// setresuid(2).
    User,
    /// setresgid(2).
    Group,
    /// setgroups(2).
    SupplementaryGroups,
}

/// A Linux security module that labels the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Lsm {
    AppArmor,
    Selinux,
}

/// The datum of a step: a number of 32 bits in the message.
trait Datum: Sized {
    fn encode(self) -> u32;
    fn decode(number: u32) -> Option<Self>;
}

impl Datum for usize {
    /// Indexes of lists in a configuration are far below 2^32.
    fn encode(self) -> u32 {
        self as u32
    }

    fn decode(number: u32) -> Option<Self> {
        Some(number as Self)
    }
}

impl Datum for IdKind {
    fn encode(self) -> u32 {
        self as u32
    }

    fn decode(number: u32) -> Option<Self> {
        [Self::User, Self::Group, Self::SupplementaryGroups].get(number as usize).copied()
    }
}

impl Datum for Lsm {
    fn encode(self) -> u32 {
        self as u32
    }

    fn decode(number: u32) -> Option<Self> {
        [Self::AppArmor, Self::Selinux].get(number as usize).copied()
    }
}

/// Lists the steps once, and makes of them the enum and its conversions to and from the bytes of a message.
macro_rules! steps {
    (@pattern $datum:ident $kind:ident) => { $datum };
    ($($(#[$doc:meta])* $step:ident $(($kind:ident))?,)+) => {
        /// A step of the new process, roughly in the order of a start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Step {
            $($(#[$doc])* $step $(($kind))?,)+
        }

        /// The steps without their data.
        #[repr(u8)]
        enum Number {
            $($step,)+
        }

        impl Step {
            /// Returns the step's number, and its datum or 0.
            pub(super) fn encode(self) -> (u8, u32) {
                match self {
                    $(Self::$step $((steps!(@pattern datum $kind)))? => {
                        (Number::$step as u8, 0 $(+ <$kind as Datum>::encode(datum))?)
                    })+
                }
            }

            /// Returns `None` for bytes that `encode` never makes.
            pub(super) fn decode(number: u8, datum: u32) -> Option<Self> {
                $(if number == Number::$step as u8 {
                    return Some(Self::$step $((<$kind as Datum>::decode(datum)?))?);
                })+
                let _ = datum;
                None
            }
        }
    };
}

steps! {
    /// The beginning of every new process: the parent death signal, a session.
    NewProcess,
    /// Joins its v1 cgroups.
    JoinCgroup,
    /// The helper makes itself undumpable before it joins a pid namespace that has processes.
    Helper,
    /// Joins a namespace, by its index in /linux/namespaces.
    JoinNamespace(usize),
    /// `exec`: joins all namespaces of the container in one call.
    JoinContainer,
    /// `debug`: makes the root with the tools.
    Toolbox,
    UserNamespace,
    /// Becomes id 0 of the user namespace that was just entered.
    BecomeRoot(IdKind),
    TimeOffsets,
    /// Closes descriptors: the helper, those that the container's process must not have from the start; that
    /// process, all but the program's.
    CloseDescriptors,
    /// The helper clones the container's process.
    CloneInit,
    Keyring,
    CgroupNamespace,
    Loopback,
    Rootfs,
    /// Takes the host's null device, which masks files.
    NullDevice,
    /// Index in the plan's mounts.
    Mount(usize),
    /// `mounts --remove`: the index in the list of the command line.
    Unmount(usize),
    /// Index in the plan's nodes.
    Device(usize),
    /// Index in the plan's links.
    Link(usize),
    /// The link /dev/core.
    CoreLink,
    CreateContainerHook,
    Pivot,
    /// 0, 1 or 2.
    StandardStream(usize),
    Console,
    Hostname,
    Domainname,
    /// Mounts a procfs through which kernel parameters are written.
    SysctlProcfs,
    /// Index in the plan's sysctls.
    Sysctl(usize),
    /// Index in /linux/readonlyPaths.
    ReadOnlyPath(usize),
    /// Index in /linux/maskedPaths.
    MaskedPath(usize),
    ReadOnlyRoot,
    /// Index in /process/rlimits.
    Rlimit(usize),
    NoNewPrivileges,
    Affinity,
    Scheduler,
    IoPriority,
    MemoryPolicy,
    Personality,
    Label(Lsm),
    WorkingDirectory,
    UserId(IdKind),
    Capabilities,
    FindProgram,
    Seccomp,
    /// The conversation with the runtime.
    Handshake,
    ExecFifo,
    Signals,
    StartContainerHook,
    Execute,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_comes_back_with_its_datum() {
        let steps = [
            Step::NewProcess,
            Step::Mount(0),
            Step::Mount(65_536),
            Step::UserId(IdKind::User),
            Step::UserId(IdKind::Group),
            Step::BecomeRoot(IdKind::SupplementaryGroups),
            Step::Label(Lsm::AppArmor),
            Step::Label(Lsm::Selinux),
            Step::Execute,
        ];
        for step in steps {
            let (number, datum) = step.encode();
            assert_eq!(Step::decode(number, datum), Some(step));
        }
    }

    #[test]
    fn what_is_no_step_is_none() {
        assert_eq!(Step::decode(u8::MAX, 0), None);
        let (label, _) = Step::Label(Lsm::Selinux).encode();
        assert_eq!(Step::decode(label, 2), None);
    }
}
