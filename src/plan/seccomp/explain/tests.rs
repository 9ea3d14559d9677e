//! Each explanation against the compiled program, run in an interpreter.

use std::path::Path;

use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use super::super::arch::{self, Abi};
use super::super::compile;
use super::{Asked, Decision, Explanation, TABLE, abi, explain};

#[expect(clippy::duplicate_mod, reason = "an interpreter that the compiler's own tests use too")]
#[path = "../../../../tests/seccomp/bpf.rs"]
mod bpf;

const ARCHS: [&str; 6] = ["x86_64", "x86", "x32", "aarch64", "arm", "riscv64"];
/// Single calls, those behind socketcall and ipc, the multiplexers, one of a private block, one of few
/// machines.
const CALLS: [&str; 13] = [
    "read",
    "clone",
    "socket",
    "send",
    "accept4",
    "semop",
    "semtimedop",
    "socketcall",
    "ipc",
    "open",
    "cacheflush",
    "futex_time64",
    "clone3",
];
const NUMBERS: [&str; 8] = ["0", "102", "450", "500", "0x40000001", "0x7fffffff", "983042", "0xffffffff"];
const VALUES: [u64; 12] =
    [0, 1, 2, 9, 11, 0x1_000b, 0x7e02_0000, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x5_0000_0005, u64::MAX];
const ACTIONS: [&str; 8] = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "TRACE", "TRAP"];
const OPERATORS: [&str; 7] = super::super::OPERATORS;

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as usize % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn action(&mut self) -> String {
        format!("SCMP_ACT_{}", self.pick(&ACTIONS))
    }

    fn profile(&mut self) -> LinuxSeccomp {
        let archs = arch::names();
        let listed: Vec<_> = archs.iter().filter(|_| self.below(2) == 0).collect();
        let rules: Vec<Value> = (0..1 + self.below(6)).map(|_| self.rule()).collect();
        let value = json!({"defaultAction": self.action(), "architectures": listed, "syscalls": rules});
        serde_json::from_value(value).unwrap()
    }

    fn rule(&mut self) -> Value {
        let names: Vec<_> = (0..1 + self.below(3)).map(|_| self.pick(&CALLS)).collect();
        let conditions: Vec<Value> = (0..self.below(3))
            .map(|_| {
                json!({"index": self.below(3), "op": self.pick(&OPERATORS),
                    "value": self.pick(&VALUES), "valueTwo": self.pick(&VALUES)})
            })
            .collect();
        json!({"names": names, "action": self.action(), "args": conditions})
    }

    fn arguments(&mut self) -> [u64; 6] {
        std::array::from_fn(|_| self.pick(&VALUES))
    }
}

/// What the program answers to the call that was explained.
fn answer(profile: &LinuxSeccomp, why: &Explanation, convention: &Abi, arguments: [u64; 6]) -> Option<u32> {
    let machine = arch::machine_of(convention).unwrap();
    let filter = compile(profile, machine, 0x3f).unwrap();
    let mut arguments = arguments;
    if let Some(way) = why.call.through {
        arguments[0] = u64::from(way);
    }
    let call = bpf::Call { number: why.call.number?, arch: convention.audit, arguments };
    Some(bpf::trace(&filter.program, &call, |_| {}))
}

fn check(profile: &LinuxSeccomp, call: &str, arch: &str, arguments: [u64; 6]) {
    let explained = |known: usize| {
        let asked = Asked { call, arguments: &arguments[..known], arch: Some(arch) };
        explain(profile, &asked).unwrap()
    };
    let whole = explained(6);
    let place = format!("{call}{arguments:x?} on {arch}: {whole:?} of {profile:?}");
    let Some(answer) = answer(profile, &whole, abi(Some(arch)).unwrap(), arguments) else {
        assert_eq!(whole.decision, Decision::NoCall, "{place}");
        return;
    };
    if let Decision::Action(action) = whole.decision {
        assert_eq!(action.0, answer, "the program says {answer:#x}: {place}");
        let decides: Vec<_> = whole.fates.iter().filter(|fate| fate.decides).collect();
        assert!(decides.iter().all(|fate| fate.action == Some(action)), "{place}");
        assert!(decides.len() == 1 || whole.call.through.is_some(), "{place}");
    } else {
        // A rule on socketcall itself may compare the second argument, which is an address.
        assert!(whole.call.through.is_some(), "not decided: {place}");
    }
    for known in 0..6 {
        let is_possible = match explained(known).decision {
            Decision::Action(only) => only.0 == answer,
            Decision::OneOf(actions) => actions.iter().any(|action| action.0 == answer),
            Decision::NoCall => false,
        };
        assert!(is_possible, "with {known} arguments: {:?}; {place}", explained(known));
    }
}

#[test]
fn generated_profiles_are_explained_as_their_programs_answer() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..100 {
        let profile = dice.profile();
        for arch in ARCHS {
            for call in CALLS.iter().chain(&NUMBERS) {
                check(&profile, call, arch, dice.arguments());
            }
        }
    }
}

#[test]
fn engines_profiles_are_explained_as_their_programs_answer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut dice = Dice(7);
    for name in ["docker-default.json", "podman-default.json", "ctr-seccomp-limits.json"] {
        let config: Value = serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        let profile = serde_json::from_value(config["linux"]["seccomp"].clone()).unwrap();
        for (call, _) in TABLE.iter().step_by(7).chain(TABLE.iter().filter(|row| CALLS.contains(&row.0))) {
            for arch in ["x86_64", "x86", "aarch64"] {
                check(&profile, call, arch, dice.arguments());
            }
        }
    }
}

fn reasons(profile: &Value, call: &str, arguments: &[u64], arch: &str) -> Vec<String> {
    let profile = serde_json::from_value(profile.clone()).unwrap();
    let asked = Asked { call, arguments, arch: Some(arch) };
    let fates = explain(&profile, &asked).unwrap().fates.into_iter();
    fates.map(|fate| format!("{}: {}", fate.pointer.trim_start_matches("/linux/seccomp"), fate.why)).collect()
}

#[test]
fn each_rule_that_names_the_call_has_its_reason() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
            {"names": ["personality", "sned"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["personality"], "action": "SCMP_ACT_LOG", "args": [
                {"index": 0, "value": 0xf0, "valueTwo": 0x10, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["send", "vm86"], "action": "SCMP_ACT_ALLOW"},
        ],
    });
    let says = |call: &str, arguments: &[u64], arch: &str, expected: &[&str]| {
        assert_eq!(reasons(&profile, call, arguments, arch), expected, "{call}{arguments:?} on {arch}");
    };
    says(
        "personality",
        &[8],
        "amd64",
        &[
            "/syscalls/0: decides: argument 0 == 0x8",
            "/syscalls/2: not reached: an earlier rule decides",
            "/defaultAction: not reached",
            "/syscalls/1: left out: it is the default's answer, and other rules go before it",
        ],
    );
    says(
        "personality",
        &[0x15],
        "x86_64",
        &[
            "/syscalls/0: does not match: argument 0 == 0x8 is false of 0x15",
            "/syscalls/2: decides: argument 0 & 0xf0 == 0x10",
            "/defaultAction: not reached",
            "/syscalls/1: left out: it is the default's answer, and other rules go before it",
        ],
    );
    says("send", &[], "i386", &["/syscalls/3: decides", "/defaultAction: not reached"]);
    says("vm86", &[], "x86_64", &["/syscalls/3: skipped: there is no vm86 on SCMP_ARCH_X86_64"]);
    says("read", &[], "x32", &["/architectures: SCMP_ARCH_X32 is not listed: its calls end the thread"]);
    says(
        "500",
        &[],
        "x86_64",
        &["/syscalls: decides: newer than all calls that the profile names (up to 135, personality)"],
    );
    says(
        "sned",
        &[],
        "x86_64",
        &[
            "/syscalls/1: skipped: no such system call: sned (did you mean \"send\"?)",
            "/defaultAction: of a number that no rule names, up to 135; above, ERRNO(38)",
        ],
    );
    says("read", &[], "x86_64", &["/defaultAction: decides: no rule applies"]);
}

#[test]
fn what_cannot_be_asked_is_an_error() {
    let profile: LinuxSeccomp = serde_json::from_value(json!({"defaultAction": "SCMP_ACT_ALLOW"})).unwrap();
    for (call, arch, words) in [
        ("read", "vax", "unknown architecture vax: not one of aarch64, arm, riscv64, x32, x86, x86_64"),
        ("99999999999", "x86", "not the number of a system call: 99999999999"),
        ("0xzz", "x86", "not the number of a system call: 0xzz"),
    ] {
        let error = explain(&profile, &Asked { call, arguments: &[], arch: Some(arch) }).unwrap_err();
        assert_eq!(error.to_string(), words);
    }
}
