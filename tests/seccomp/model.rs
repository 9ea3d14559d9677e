//! What a profile says about one call, read off its rules one by one: the third opinion beside the two programs, and
//! the judge of what libseccomp leaves open.

use std::collections::HashMap;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator};

use super::bpf::Call;
use super::oracle::{Names, action, alternatives};

const X86_64: u32 = Arch::ScmpArchX86_64 as u32;
const X86: u32 = Arch::ScmpArchX86 as u32;
const X32: u32 = Arch::ScmpArchX32 as u32;
const AARCH64: u32 = Arch::ScmpArchAarch64 as u32;
const ARM: u32 = Arch::ScmpArchArm as u32;
const RISCV64: u32 = Arch::ScmpArchRiscv64 as u32;
const BAD_ARCH: u32 = 0;
const ENOSYS: u32 = 0x0005_0000 | 38;
const X32_BIT: u32 = 0x4000_0000;
const ARM_PRIVATE: u32 = 0xf0000;
const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;

/// Where a verdict comes from, which says whether libseccomp must agree with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The default, or rules that are of one mind: libseccomp must agree.
    Rules,
    /// Above the newest call of the profile: that is what runc adds to libseccomp's program.
    Newer,
    /// Rules with conditions that hold together and answer differently: here the first counts, while libseccomp's
    /// answer depends on the tree that it makes of all conditions.
    Overlap,
    /// A rule with conditions on a call behind socketcall or ipc, whose arguments no filter sees: libseccomp drops
    /// the first condition and applies the others to whatever is in the registers.
    Hidden,
    /// Several rules that compare one argument, not all of them for being equal: libseccomp merges them into one tree
    /// and loses parts of some, so that an argument that a rule is about gets another rule's answer or the default.
    Tree,
    /// The version in ipc's first argument, which the kernel cuts off and libseccomp compares.
    IpcVersion,
}

/// All calls of one name.
#[derive(Default)]
pub(crate) struct Numbers(HashMap<String, Vec<(u32, u32)>>);

impl Numbers {
    pub(crate) fn new(names: &Names) -> Self {
        let mut numbers = Self::default();
        for ((arch, number), name) in names {
            numbers.0.entry(name.clone()).or_default().push((*arch, *number));
        }
        for (name, multiplexer, _) in behind() {
            numbers.0.entry(name.to_owned()).or_default().push((X86, multiplexer));
        }
        numbers
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.keys().map(String::as_str).collect();
        // x32 got it after Debian's libseccomp.
        names.retain(|name| *name != "map_shadow_stack");
        names.sort_unstable();
        names
    }

    fn of(&self, name: &str) -> &[(u32, u32)] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

pub(crate) struct Model<'a> {
    archs: Vec<u32>,
    default: u32,
    newest: HashMap<u32, u32>,
    ways: HashMap<(u32, u32), Vec<Way<'a>>>,
}

/// One of the ways in which a rule can match a call.
pub(crate) struct Way<'a> {
    action: u32,
    pub conditions: &'a [LinuxSeccompArg],
    /// What a multiplexer's first argument must be, and under which mask.
    behind: Option<(u64, u64)>,
}

impl<'a> Model<'a> {
    pub(crate) fn new(profile: &'a LinuxSeccomp, machine: Arch, numbers: &Numbers) -> Self {
        let default = action(profile.default_action(), profile.default_errno_ret());
        let archs = [machine]
            .into_iter()
            .chain(profile.architectures().iter().flatten().copied())
            .map(|arch| arch as u32)
            .collect();
        let mut model = Self { archs, default, newest: HashMap::new(), ways: HashMap::new() };
        let permissive = matches!(default & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000);
        for rule in profile.syscalls().iter().flatten() {
            let action = action(rule.action(), rule.errno_ret());
            for name in rule.names() {
                for (arch, number) in numbers.of(name) {
                    if !permissive {
                        model.see(*arch, *number);
                    }
                    if action != default {
                        let conditions = rule.args().as_deref().unwrap_or_default();
                        model.add(*arch, *number, name, action, conditions);
                    }
                }
            }
        }
        model
    }

    fn see(&mut self, arch: u32, number: u32) {
        if arch != ARM || number < ARM_PRIVATE {
            let newest = self.newest.entry(arch).or_insert(number);
            *newest = number.max(*newest);
        }
    }

    fn add(&mut self, arch: u32, number: u32, name: &str, action: u32, conditions: &'a [LinuxSeccompArg]) {
        let behind = behind()
            .find(|(call, multiplexer, _)| (arch, number, name) == (X86, *multiplexer, *call))
            .map(|(_, multiplexer, call)| (call, if multiplexer == IPC { 0xffff } else { 0xffff_ffff }));
        let ways = self.ways.entry((arch, number)).or_default();
        ways.extend(alternatives(conditions).into_iter().map(|conditions| Way {
            action,
            conditions,
            behind,
        }));
    }

    /// The rules on one number.
    pub(crate) fn ways(&self, call: &Call) -> &[Way<'a>] {
        convention(call).and_then(|arch| self.ways.get(&(arch, call.number))).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn verdict(&self, call: &Call) -> (u32, Source) {
        let Some(arch) = convention(call).filter(|arch| self.archs.contains(arch)) else {
            let skipped = call.arch == audit(X86_64) && call.number == u32::MAX;
            return (if skipped { self.default } else { BAD_ARCH }, Source::Rules);
        };
        let newer = self.newest.get(&arch).is_some_and(|newest| call.number > *newest);
        if newer && (arch != ARM || call.number < ARM_PRIVATE) {
            return (ENOSYS, Source::Newer);
        }
        let wide = matches!(arch, X86_64 | AARCH64 | RISCV64);
        let ways = self.ways(call);
        if let Some(way) = ways.iter().find(|way| way.behind.is_none() && way.is_unconditional(wide)) {
            return (way.action, Source::Rules);
        }
        self.among(ways, call, wide)
    }

    fn among(&self, ways: &[Way<'_>], call: &Call, wide: bool) -> (u32, Source) {
        let strict = |action: u32| (action & 0xffff_0000).cast_signed();
        let hidden = |way: &Way<'_>| way.behind.is_some() && !way.is_unconditional(false);
        let holding: Vec<_> = ways
            .iter()
            .filter(|way| way.selects(call.arguments[0]))
            .filter(|way| !hidden(way) || strict(way.action) < strict(self.default))
            .filter(|way| hidden(way) || way.conditions.iter().all(|one| holds(one, &call.arguments, wide)))
            .map(|way| way.action)
            .collect();
        let verdict = holding.first().copied().unwrap_or(self.default);
        let source = if ways.iter().any(hidden) {
            Source::Hidden
        } else if ways.iter().any(|way| way.behind.is_some())
            && call.number == IPC
            && call.arguments[0] & 0xffff_0000 != 0
        {
            Source::IpcVersion
        } else if holding.iter().any(|action| *action != verdict) {
            Source::Overlap
        } else if share_an_argument(ways) {
            Source::Tree
        } else {
            Source::Rules
        };
        (verdict, source)
    }

    /// The numbers that the rules are about, as calls.
    pub(crate) fn calls(&self) -> impl Iterator<Item = Call> + '_ {
        self.ways.keys().map(|(arch, number)| Call { number: *number, arch: audit(*arch), arguments: [0; 6] })
    }
}

impl Way<'_> {
    fn is_unconditional(&self, wide: bool) -> bool {
        let mask = if wide { u64::MAX } else { 0xffff_ffff };
        let always = |one: &LinuxSeccompArg| {
            one.op() == LinuxSeccompOperator::ScmpCmpMaskedEq && one.value() & mask == 0
        };
        self.conditions.iter().all(always)
    }

    fn selects(&self, argument: u64) -> bool {
        self.behind.is_none_or(|(call, mask)| argument & mask == call)
    }
}

fn share_an_argument(ways: &[Way<'_>]) -> bool {
    let equality = [LinuxSeccompOperator::ScmpCmpEq, LinuxSeccompOperator::ScmpCmpMaskedEq];
    (0..6).any(|index| {
        let conditions = ways.iter().flat_map(|way| way.conditions);
        let here: Vec<_> = conditions.filter(|condition| condition.index() == index).collect();
        here.len() > 1 && here.iter().any(|condition| !equality.contains(&condition.op()))
    })
}

fn holds(condition: &LinuxSeccompArg, arguments: &[u64; 6], wide: bool) -> bool {
    let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let (argument, value) = (cut(arguments[condition.index()]), cut(condition.value()));
    match condition.op() {
        LinuxSeccompOperator::ScmpCmpNe => argument != value,
        LinuxSeccompOperator::ScmpCmpLt => argument < value,
        LinuxSeccompOperator::ScmpCmpLe => argument <= value,
        LinuxSeccompOperator::ScmpCmpEq => argument == value,
        LinuxSeccompOperator::ScmpCmpGe => argument >= value,
        LinuxSeccompOperator::ScmpCmpGt => argument > value,
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            argument & value == cut(condition.value_two().unwrap_or_default()) & value
        }
    }
}

/// libseccomp's numbers are the kernel's `AUDIT_ARCH_*`, but for x32, which has none.
pub(crate) fn audit(arch: u32) -> u32 {
    if arch == X32 { X86_64 } else { arch }
}

fn convention(call: &Call) -> Option<u32> {
    match call.arch {
        X86_64 if call.number >= X32_BIT => Some(X32),
        X86_64 | X86 | AARCH64 | ARM | RISCV64 => Some(call.arch),
        _ => None,
    }
}

/// The calls behind 32-bit x86's multiplexers, from linux/net.h and linux/ipc.h: name, multiplexer, selector.
fn behind() -> impl Iterator<Item = (&'static str, u32, u64)> {
    let sockets = "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom \
                   shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg";
    let ipc = "1 semop 2 semget 3 semctl 4 semtimedop 11 msgsnd 12 msgrcv 13 msgget 14 msgctl 21 shmat 22 shmdt \
               23 shmget 24 shmctl";
    let sockets = sockets.split_whitespace().zip(1..).map(|(name, call)| (name, SOCKETCALL, call));
    let mut words = ipc.split_whitespace();
    let ipc = std::iter::from_fn(move || {
        let call = words.next()?.parse().ok()?;
        Some((words.next()?, IPC, call))
    });
    sockets.chain(ipc)
}
