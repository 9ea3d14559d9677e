//! libseccomp as the oracle: `oracle.c`, compiled here against Debian's libseccomp-dev, fed as runc feeds it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use libc::sock_filter;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};

use crate::skip::skip;

/// The names of the calls, by convention (`Arch` as its number) and number.
pub(crate) type Names = HashMap<(u32, u32), String>;

pub(crate) struct Oracle {
    binary: PathBuf,
    pub names: Names,
}

/// A program, or the errno with which libseccomp refused a rule of the profile.
pub(crate) type Answer = Result<Vec<sock_filter>, i32>;

impl Oracle {
    /// Built once; `None`, which is recorded as a skip, where this host cannot compile it.
    #[track_caller]
    pub(crate) fn get() -> Option<&'static Self> {
        static ORACLE: OnceLock<Result<Oracle, String>> = OnceLock::new();
        let oracle = ORACLE.get_or_init(Self::build).as_ref();
        oracle.inspect_err(|needed| skip(needed)).ok()
    }

    /// Compiles the oracle; the error says what that needs.
    fn build() -> Result<Self, String> {
        let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seccomp-oracle");
        let fresh = binary.with_extension(std::process::id().to_string());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seccomp/oracle.c");
        match Command::new("cc").arg("-O1").arg("-o").arg(&fresh).arg(source).arg("-lseccomp").output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                return Err(format!("needs libseccomp-dev: {}", String::from_utf8_lossy(&output.stderr)));
            }
            Err(error) => return Err(format!("needs a C compiler: {error}")),
        }
        std::fs::rename(&fresh, &binary).unwrap();
        let output = Command::new(&binary).arg("names").output().unwrap();
        let names = String::from_utf8(output.stdout).unwrap().lines().map(parse_name).collect();
        Ok(Self { binary, names })
    }

    /// What libseccomp makes of each profile.
    pub(crate) fn programs(&self, machine: Arch, profiles: &[LinuxSeccomp]) -> Vec<Answer> {
        let input: String = profiles.iter().map(|profile| words(profile, machine)).collect();
        let mut child =
            Command::new(&self.binary).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "the oracle failed");
        let mut rest = output.stdout.as_slice();
        let answers: Vec<_> = profiles.iter().map(|_| parse_answer(&mut rest)).collect();
        assert!(rest.is_empty(), "the oracle said more than it was asked");
        answers
    }
}

fn parse_name(line: &str) -> ((u32, u32), String) {
    let [arch, number, name] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let arch = ARCHS.iter().find(|(_, theirs)| *theirs == arch).unwrap().0;
    ((arch as u32, number.parse().unwrap()), name.to_owned())
}

fn parse_answer(rest: &mut &[u8]) -> Answer {
    let mut word = || {
        let (word, tail) = rest.split_first_chunk::<4>().unwrap();
        *rest = tail;
        u32::from_ne_bytes(*word)
    };
    let (refusal, count) = (word().cast_signed(), word());
    let mut instruction = || {
        let (head, k) = (word().to_ne_bytes(), word());
        sock_filter { code: u16::from_ne_bytes([head[0], head[1]]), jt: head[2], jf: head[3], k }
    };
    let program = (0..count).map(|_| instruction()).collect();
    if refusal == 0 { Ok(program) } else { Err(-refusal) }
}

const ARCHS: [(Arch, &str); 6] = [
    (Arch::ScmpArchX86_64, "x86_64"),
    (Arch::ScmpArchX86, "x86"),
    (Arch::ScmpArchX32, "x32"),
    (Arch::ScmpArchAarch64, "aarch64"),
    (Arch::ScmpArchArm, "arm"),
    (Arch::ScmpArchRiscv64, "riscv64"),
];

/// The profile in the oracle's words, with what runc does before it calls libseccomp: rules that say what the default
/// says are left out, and conditions on the same argument become rules of their own.
fn words(profile: &LinuxSeccomp, machine: Arch) -> String {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let syscalls = profile.syscalls().as_deref().unwrap_or_default();
    // runc asks for the binary tree above 32 rules.
    let optimize = if syscalls.iter().map(|rule| rule.names().len()).sum::<usize>() > 32 { 2 } else { 1 };
    let mut words = format!("profile {default:x} {optimize}");
    for arch in [machine].iter().chain(profile.architectures().iter().flatten()) {
        let name = ARCHS.iter().find(|(known, _)| known == arch).unwrap().1;
        let _ = write!(words, " {name}");
    }
    words.push_str(" end\n");
    for rule in syscalls {
        let action = action(rule.action(), rule.errno_ret());
        for name in rule.names().iter().filter(|_| action != default) {
            for conditions in alternatives(rule.args().as_deref().unwrap_or_default()) {
                let _ = write!(words, "rule {action:x} {name} {}", conditions.len());
                for condition in conditions {
                    let (op, a, b) = comparison(condition);
                    let _ = write!(words, " {} {op} {a:x} {b:x}", condition.index());
                }
                words.push('\n');
            }
        }
    }
    words + "end\n"
}

pub(crate) fn alternatives(conditions: &[LinuxSeccompArg]) -> Vec<&[LinuxSeccompArg]> {
    let indexes = |index| conditions.iter().filter(|condition| condition.index() == index).count();
    if (0..6).any(|index| indexes(index) > 1) { conditions.chunks(1).collect() } else { vec![conditions] }
}

fn comparison(condition: &LinuxSeccompArg) -> (u32, u64, u64) {
    let op = match condition.op() {
        LinuxSeccompOperator::ScmpCmpNe => 1,
        LinuxSeccompOperator::ScmpCmpLt => 2,
        LinuxSeccompOperator::ScmpCmpLe => 3,
        LinuxSeccompOperator::ScmpCmpEq => 4,
        LinuxSeccompOperator::ScmpCmpGe => 5,
        LinuxSeccompOperator::ScmpCmpGt => 6,
        LinuxSeccompOperator::ScmpCmpMaskedEq => 7,
    };
    (op, condition.value(), condition.value_two().unwrap_or_default())
}

pub(crate) fn action(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => 0,
        LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActErrno => 0x0005_0000 | errno.unwrap_or(1),
        LinuxSeccompAction::ScmpActNotify => 0x7fc0_0000,
        LinuxSeccompAction::ScmpActTrace => 0x7ff0_0000 | errno.unwrap_or(1),
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        LinuxSeccompAction::ScmpActAllow => 0x7fff_0000,
    }
}

/// The comparisons of a program that are reached with one word loaded by one way and another word by another way, or
/// that take the architecture for the number of the call. libseccomp (up to 2.6.1 at least) writes such programs where
/// it shares blocks between rules: it does not see that a block relies on a word that only some of the ways load.
pub(crate) fn confused(program: &[sock_filter]) -> Vec<bool> {
    // The words that may be loaded at each instruction, with their masks; jumps only go forwards.
    let mut loaded = vec![Vec::new(); program.len()];
    let mut confused = vec![false; program.len()];
    for (at, sock_filter { code, jt, jf, k }) in program.iter().enumerate() {
        let mut words: Vec<(u32, u32)> = std::mem::take(&mut loaded[at]);
        words.sort_unstable();
        words.dedup();
        let next = match code {
            0x20 => {
                words = vec![(*k, u32::MAX)];
                vec![at + 1]
            }
            0x54 => {
                words.iter_mut().for_each(|(_, mask)| *mask &= k);
                vec![at + 1]
            }
            0x05 => vec![at + 1 + *k as usize],
            0x06 => continue,
            _ => {
                let arch = ARCHS.iter().any(|(arch, _)| *arch as u32 == *k && *arch != Arch::ScmpArchX32);
                confused[at] = words.len() > 1 || words == [(4, u32::MAX)] && !arch;
                vec![at + 1 + usize::from(*jt), at + 1 + usize::from(*jf)]
            }
        };
        // The kernel refuses a jump over the end even where no way leads to it.
        assert!(next.iter().all(|next| *next < program.len()), "instruction {at} leads over the end");
        next.into_iter().for_each(|next| loaded[next].extend(&words));
    }
    confused
}
