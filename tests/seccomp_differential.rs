//! The compiled filters against libseccomp's, answer by answer: both programs run in an interpreter over all call
//! numbers of all architectures, with arguments at the edges of what the rules compare.
//!
//! Longer runs: `SECCOMP_PROFILES=100000 SECCOMP_SEED=7 cargo test --test seccomp_differential`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::HashMap;
use std::path::Path;

use libc::sock_filter;
use oci_spec::runtime::{Arch, LinuxSeccomp};
use serde_json::Value;
use tare::testing::plan::seccomp::compile;

#[path = "seccomp/bpf.rs"]
mod bpf;
#[path = "seccomp/generate.rs"]
mod generate;
#[path = "seccomp/model.rs"]
mod model;
#[path = "seccomp/oracle.rs"]
mod oracle;
#[path = "support/skip.rs"]
mod skip;

use bpf::Call;
use generate::Dice;
use model::{Model, Numbers, Source};
use oracle::Oracle;

const ALL_FLAGS: libc::c_ulong = 0x3f;

/// How many answers were compared, and the steps that both programs took.
#[derive(Default)]
struct Tally {
    agreed: usize,
    /// ENOSYS, by the model alone.
    newer: usize,
    /// Where libseccomp cannot judge, with how many of its answers are others; as `Rules` those of a confused program.
    aside: HashMap<Source, (usize, usize)>,
    refused: usize,
    steps: (usize, usize),
}

impl Tally {
    fn report(&self, what: &str) {
        let mean = |steps: usize| steps as f64 / self.agreed.max(1) as f64;
        println!(
            "{what}: {} answers are libseccomp's and {} ENOSYS above the newest call; mean steps {:.1}, libseccomp's \
             {:.1}; set aside, with how many differ: {:?}; {} profiles refused by libseccomp",
            self.agreed,
            self.newer,
            mean(self.steps.0),
            mean(self.steps.1),
            self.aside,
            self.refused,
        );
    }
}

/// Both programs of a profile, and what its rules say.
struct Contest<'a> {
    model: Model<'a>,
    ours: &'a [sock_filter],
    theirs: &'a [sock_filter],
    /// The comparisons of theirs that cannot be trusted.
    confused: Vec<bool>,
}

impl<'a> Contest<'a> {
    fn new(model: Model<'a>, ours: &'a [sock_filter], theirs: &'a [sock_filter]) -> Self {
        let confused = oracle::confused(theirs);
        assert!(!oracle::confused(ours).contains(&true), "our own program is confused");
        Self { model, ours, theirs, confused }
    }

    /// Compares the answers to one call; where libseccomp cannot be the judge, the model is the only one.
    fn compare(&self, call: &Call, tally: &mut Tally) {
        let (expected, source) = self.model.verdict(call);
        let (mut our_steps, mut their_steps, mut confused) = (0, 0, false);
        let ours = bpf::trace(self.ours, call, |_| our_steps += 1);
        assert_eq!(ours, expected, "{call:x?}: ours is {ours:#x}, the rules say {expected:#x}");
        let theirs = bpf::trace(self.theirs, call, |at| {
            their_steps += 1;
            confused |= self.confused[at];
        });
        match source {
            Source::Newer => tally.newer += 1,
            Source::Rules if !confused => {
                assert_eq!(ours, theirs, "{call:x?}: ours is {ours:#x}, theirs is {theirs:#x}");
                tally.agreed += 1;
                tally.steps = (tally.steps.0 + our_steps, tally.steps.1 + their_steps);
            }
            source => {
                let aside = tally.aside.entry(source).or_default();
                *aside = (aside.0 + 1, aside.1 + usize::from(ours != theirs));
            }
        }
    }
}

/// Every number that could mean something on one of the architectures.
fn all_calls(archs: &[Arch]) -> Vec<Call> {
    let mut calls = Vec::new();
    let edges = [0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0xbfff_ffff, 0xc000_0000, 0xffff_fffe, 0xffff_ffff];
    for arch in archs {
        let base = if *arch == Arch::ScmpArchX32 { 0x4000_0000 } else { 0 };
        let private = if *arch == Arch::ScmpArchArm { 0xeffff..0xf0010 } else { 0..0 };
        let numbers = (base..base + 600).chain(private).chain(edges);
        calls.extend(numbers.map(|number| Call {
            number,
            arch: model::audit(*arch as u32),
            arguments: [0; 6],
        }));
    }
    // Architectures of other machines.
    calls.extend([0, 0x8000_0016, 0xc000_0015].map(|arch| Call { number: 1, arch, arguments: [0; 6] }));
    calls
}

fn archs_of(machine: Arch) -> &'static [Arch] {
    match machine {
        Arch::ScmpArchX86_64 => &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        Arch::ScmpArchAarch64 => &[Arch::ScmpArchAarch64, Arch::ScmpArchArm, Arch::ScmpArchX86],
        _ => &[Arch::ScmpArchRiscv64, Arch::ScmpArchAarch64],
    }
}

/// A profile without the calls that this libseccomp is too old to know.
fn known_to(numbers: &Numbers, profile: &LinuxSeccomp) -> LinuxSeccomp {
    let names = numbers.names();
    let mut profile = profile.clone();
    let mut syscalls = profile.syscalls().clone().unwrap_or_default();
    for rule in &mut syscalls {
        let known = rule.names().iter().filter(|name| names.binary_search(&name.as_str()).is_ok()).cloned();
        let known = known.collect();
        rule.set_names(known);
    }
    profile.set_syscalls(Some(syscalls));
    profile
}

/// The profiles in the configurations that engines wrote.
fn engines() -> Vec<(String, LinuxSeccomp)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut profiles = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        if let Some(profile) = config.pointer("/linux/seccomp") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            profiles.push((name, serde_json::from_value(profile.clone()).unwrap()));
        }
    }
    assert!(profiles.len() >= 5, "the corpus has lost its profiles");
    profiles
}

#[test]
fn engines_profiles_answer_every_call_as_libseccomps_do() {
    let Some(oracle) = Oracle::get() else { return };
    let numbers = Numbers::new(&oracle.names);
    let machine = Arch::ScmpArchX86_64;
    for (name, profile) in engines() {
        let profile = known_to(&numbers, &profile);
        let ours = compile(&profile, machine, ALL_FLAGS).unwrap();
        assert_eq!(ours.warnings, [""; 0], "{name}");
        let theirs = oracle.programs(machine, std::slice::from_ref(&profile)).remove(0).unwrap();
        let contest = Contest::new(Model::new(&profile, machine, &numbers), &ours.program, &theirs);
        let (mut tally, mut dice) = (Tally::default(), Dice::new(1));
        for call in all_calls(archs_of(machine)) {
            let ways = contest.model.ways(&call);
            let count = if ways.iter().all(|way| way.conditions.is_empty()) { 14 } else { 2000 };
            for call in generate::around(&mut dice, &call, ways, count) {
                contest.compare(&call, &mut tally);
            }
        }
        tally.report(&format!("{name}, {} instructions to {}", ours.program.len(), theirs.len()));
        assert!(2 * ours.program.len() < theirs.len(), "{name}");
        assert!(tally.aside.values().all(|(_, differ)| *differ == 0), "{name}");
    }
}

#[test]
fn generated_profiles_answer_as_libseccomps_do() {
    let Some(oracle) = Oracle::get() else { return };
    let numbers = Numbers::new(&oracle.names);
    let names = numbers.names();
    let setting = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let mut dice = Dice::new(setting("SECCOMP_SEED", 1));
    let count = setting("SECCOMP_PROFILES", 2400) as usize;
    for (machine, share) in [
        (Arch::ScmpArchX86_64, count / 2),
        (Arch::ScmpArchAarch64, count / 3),
        (Arch::ScmpArchRiscv64, count / 6),
    ] {
        let profiles: Vec<_> = (0..share).map(|_| generate::profile(&mut dice, machine, &names)).collect();
        let all_calls = all_calls(archs_of(machine));
        let mut tally = Tally::default();
        for (profile, theirs) in profiles.iter().zip(oracle.programs(machine, &profiles)) {
            let ours = compile(profile, machine, ALL_FLAGS).unwrap();
            let Ok(theirs) = theirs else {
                tally.refused += 1;
                continue;
            };
            let contest = Contest::new(Model::new(profile, machine, &numbers), &ours.program, &theirs);
            all_calls.iter().for_each(|call| contest.compare(call, &mut tally));
            for call in contest.model.calls() {
                for call in generate::around(&mut dice, &call, contest.model.ways(&call), 24) {
                    contest.compare(&call, &mut tally);
                }
            }
        }
        tally.report(&format!("{share} generated profiles for {machine}"));
    }
}
