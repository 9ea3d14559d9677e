//! Profiles and arguments out of a seeded generator: every action and operator, rules that meet, values at the edges.

use oci_spec::runtime::{Arch, LinuxSeccomp};
use serde_json::{Value, json};

use super::bpf::Call;
use super::model::Way;

/// xorshift64*: small, and the same on every host.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_NOTIFY",
];
const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];
const VALUES: [u64; 14] = [
    0,
    1,
    2,
    5,
    16,
    40,
    0x7e02_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x5_0000_0005,
    0x8000_0000_0000_0000,
    u64::MAX,
];
/// Names that 32-bit x86 has behind a multiplexer, to be met more often than by chance.
const MULTIPLEXED: [&str; 8] =
    ["socket", "send", "accept4", "semop", "semtimedop", "shmat", "socketcall", "ipc"];

/// One profile for the machine.
pub(crate) fn profile(dice: &mut Dice, machine: Arch, names: &[&str]) -> LinuxSeccomp {
    // Few names for many rules, so that rules meet on one call.
    let mut few: Vec<_> = (0..6).map(|_| dice.pick(names)).collect();
    few.push(dice.pick(&MULTIPLEXED));
    let few_actions = [dice.pick(&ACTIONS), dice.pick(&ACTIONS)];
    let count = 1 + dice.below(12);
    let syscalls: Vec<_> = (0..count).map(|_| rule(dice, names, &few, &few_actions)).collect();
    let default = dice.pick(&ACTIONS[..8]);
    serde_json::from_value(json!({
        "defaultAction": default,
        "defaultErrnoRet": errno(dice, default),
        "architectures": architectures(dice, machine),
        "listenerPath": "/run/agent.sock",
        "syscalls": syscalls,
    }))
    .unwrap()
}

fn architectures(dice: &mut Dice, machine: Arch) -> Vec<&'static str> {
    let all: &[&str] = match machine {
        Arch::ScmpArchX86_64 => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        Arch::ScmpArchAarch64 => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => &["SCMP_ARCH_RISCV64"],
    };
    if dice.one_in(2) { all.to_vec() } else { all.iter().copied().filter(|_| dice.one_in(2)).collect() }
}

fn rule(dice: &mut Dice, names: &[&str], few: &[&str], few_actions: &[&str]) -> Value {
    let count = if dice.one_in(4) { 20 } else { 1 + dice.below(3) };
    let mut chosen: Vec<_> = (0..count)
        .map(|_| if count < 20 && !dice.one_in(4) { dice.pick(few) } else { dice.pick(names) })
        .collect();
    let action = if dice.one_in(3) { dice.pick(&ACTIONS) } else { dice.pick(few_actions) };
    if action == "SCMP_ACT_NOTIFY" {
        chosen.retain(|name| *name != "write");
    }
    let conditions = dice.below(8).saturating_sub(3).min(3);
    let args: Vec<_> = (0..conditions).map(|_| condition(dice)).collect();
    json!({"names": chosen, "action": action, "errnoRet": errno(dice, action), "args": args})
}

fn errno(dice: &mut Dice, action: &str) -> Option<u32> {
    let takes = matches!(action, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
    if takes && dice.one_in(2) { Some(dice.pick(&[0, 1, 22, 38, 4094])) } else { None }
}

fn condition(dice: &mut Dice) -> Value {
    json!({
        "index": dice.below(6) / (1 + dice.below(3)),
        "op": dice.pick(&OPERATORS),
        "value": dice.pick(&VALUES),
        "valueTwo": dice.pick(&VALUES),
    })
}

/// The call with arguments around every value that its rules compare with.
pub(crate) fn around(dice: &mut Dice, call: &Call, ways: &[Way<'_>], count: usize) -> Vec<Call> {
    let mut edges: [Vec<u64>; 6] = std::array::from_fn(|_| vec![0, 1, u64::MAX]);
    for condition in ways.iter().flat_map(|way| way.conditions) {
        let (one, two) = (condition.value(), condition.value_two().unwrap_or_default());
        edges[condition.index()].extend([
            one,
            one.wrapping_sub(1),
            one.wrapping_add(1),
            one ^ 1 << 32,
            one & 0xffff_ffff,
            one | 0xffff_ffff_0000_0000,
            one.rotate_left(32),
            !one,
            two,
            one & two,
            two | !one,
        ]);
    }
    let mut calls: Vec<_> = (0..count)
        .map(|_| Call { arguments: std::array::from_fn(|index| dice.pick(&edges[index])), ..*call })
        .collect();
    if call.arch == 0x4000_0003 && matches!(call.number, 102 | 117) {
        calls.extend((0..26).map(|selector| Call { arguments: [selector, 0, 1, 2, 3, 4], ..*call }));
        calls
            .extend((0..26).map(|selector| Call { arguments: [1 << 16 | selector, 0, 1, 2, 3, 4], ..*call }));
    }
    calls
}
