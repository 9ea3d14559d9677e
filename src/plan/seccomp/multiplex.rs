//! The calls that 32-bit x86 reaches through one number: socketcall(2) and ipc(2).
//!
//! There `socket` is both call 359 and `socketcall(1, …)`. A rule on the name must hold for both, but a
//! multiplexer's arguments are in memory, where no filter can look.

/// One call behind a multiplexer: the multiplexer's number, and the value of its first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Multiplexed {
    pub number: u32,
    pub call: u32,
    /// The part of the first argument that selects the call: ipc(2) carries a version in the upper half.
    pub mask: u32,
}

pub(super) const SOCKETCALL: u32 = 102;
pub(super) const IPC: u32 = 117;

/// From linux/net.h.
const SOCKET_CALLS: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// From linux/ipc.h.
const IPC_CALLS: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// Returns the multiplexer through which 32-bit x86 also reaches the call of this name.
pub(super) fn multiplexed(name: &str) -> Option<Multiplexed> {
    if let Some(index) = SOCKET_CALLS.iter().position(|call| *call == name) {
        return Some(Multiplexed { number: SOCKETCALL, call: index as u32 + 1, mask: u32::MAX });
    }
    let (_, call) = IPC_CALLS.iter().find(|(call, _)| *call == name)?;
    Some(Multiplexed { number: IPC, call: *call, mask: 0xffff })
}
