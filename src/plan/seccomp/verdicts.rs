//! Computes the answer for each call number of one `AUDIT_ARCH_*`: the whole range of 32-bit numbers, cut
//! into spans.

use std::ops::Range;

use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator};

use super::action::Action;
use super::arch::Abi;
use super::multiplex::Multiplexed;
use super::rules::{Entry, Rule, Rules};

/// A range of numbers with the same answer: from here to the next span.
#[derive(Debug)]
pub(super) struct Span<'a> {
    pub from: u32,
    pub verdict: Verdict<'a>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Verdict<'a> {
    Always(Action),
    /// The first check that holds gives the answer; if none holds, the default does.
    ByArguments(Vec<Check<'a>>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Check<'a> {
    pub action: Action,
    pub conditions: &'a [LinuxSeccompArg],
    /// The call behind a multiplexer that this check is for.
    pub multiplexed: Option<Multiplexed>,
    /// Whether 64 bits of an argument are compared, and not 32.
    pub wide: bool,
}

/// Returns the spans of one `AUDIT_ARCH_*` value, in order, from number 0 on. `abis` are the admitted
/// conventions with that value.
pub(super) fn spans<'a>(rules: &Rules<'a>, abis: &[&Abi]) -> Vec<Span<'a>> {
    let mut spans = Spans { list: Vec::with_capacity(2 * rules.entries.len() + 8), default: rules.default };
    let mut end = 0;
    for abi in abis {
        let calls = calls(rules, abi);
        for (index, block) in abi.blocks.iter().enumerate() {
            spans.add_block(block, &calls, rules, abi.wide);
            if index == 0 && !rules.default.is_permissive() {
                spans.answer_newer_calls_with_enosys(block, rules, abi);
            }
            end = block.end;
        }
    }
    if end < u32::MAX {
        spans.add(end, Verdict::Always(Action::BAD_ARCH));
        // KERNEL(4.8): -1 (how a tracer skips a call) has bit 30 set but is no x32 call (seccomp(2)).
        spans.add(u32::MAX, Verdict::Always(rules.default));
    }
    spans.list
}

/// An entry of the rules, under one of its numbers in one convention.
struct Call {
    number: u32,
    /// Its index among the entries.
    entry: u32,
    multiplexed: Option<Multiplexed>,
}

/// Returns all calls of one convention by number, and those of one number in the profile's order.
fn calls(rules: &Rules<'_>, abi: &Abi) -> Vec<Call> {
    let mut calls = Vec::with_capacity(rules.entries.len() + 32);
    for (index, entry) in (0..).zip(&rules.entries) {
        if let Some(number) = abi.number(entry.call) {
            calls.push(Call { number, entry: index, multiplexed: None });
        }
        let multiplexed = abi.multiplexed(entry.call);
        if let Some(multiplexed) = multiplexed.filter(|_| applies_to_multiplexer(entry.rule, rules.default)) {
            calls.push(Call { number: multiplexed.number, entry: index, multiplexed: Some(multiplexed) });
        }
    }
    calls.sort_unstable_by_key(|call| (call.number, call.entry));
    calls
}

/// Whether the rule is also applied to the socketcall or ipc form of the call, whose arguments the filter
/// cannot read. There a rule that forbids does so under all conditions, and a rule that permits only under
/// conditions is left out.
fn applies_to_multiplexer(rule: Rule<'_>, default: Action) -> bool {
    rule.action.is_stricter_than(default)
        || rule.conditions.iter().all(|condition| always_holds(condition, false))
}

struct Spans<'a> {
    list: Vec<Span<'a>>,
    default: Action,
}

impl<'a> Spans<'a> {
    /// Sets the answer from this number on. It replaces a span that begins there, and extends one with the
    /// same answer.
    fn add(&mut self, from: u32, verdict: Verdict<'a>) {
        if self.list.last().is_some_and(|last| last.from == from) {
            self.list.pop();
        }
        if self.list.last().is_none_or(|last| last.verdict != verdict) {
            self.list.push(Span { from, verdict });
        }
    }

    fn add_block(&mut self, block: &Range<u32>, calls: &[Call], rules: &Rules<'a>, wide: bool) {
        self.add(block.start, Verdict::Always(self.default));
        for same in calls.chunk_by(|one, other| one.number == other.number) {
            let number = same[0].number;
            if block.contains(&number) {
                self.add(number, verdict(same, rules, wide));
                self.add(number + 1, Verdict::Always(self.default));
            }
        }
    }

    /// Adds calls that are newer than the profile. Programs try new calls first and fall back to old ones
    /// only on ENOSYS, so numbers above the newest that the profile names are answered as a kernel without
    /// them would.
    fn answer_newer_calls_with_enosys(&mut self, block: &Range<u32>, rules: &Rules<'_>, abi: &Abi) {
        if let Some(newest) = newest(block, rules, abi) {
            self.add(newest + 1, Verdict::Always(Action::ENOSYS));
        }
    }
}

/// The newest call that the profile names.
pub(super) fn newest(block: &Range<u32>, rules: &Rules<'_>, abi: &Abi) -> Option<u32> {
    let known = rules.known.iter().flat_map(|call| {
        let multiplexed = abi.multiplexed(call).map(|multiplexed| multiplexed.number);
        abi.number(call).into_iter().chain(multiplexed)
    });
    known.filter(|number| block.contains(number)).max()
}

/// The rules that apply to one number of a convention, in the profile's order: those that its verdict was
/// made of.
pub(super) fn applied<'a>(
    rules: &Rules<'a>,
    abi: &Abi,
    number: u32,
) -> impl Iterator<Item = (Entry<'a>, Check<'a>)> {
    let calls = calls(rules, abi).into_iter().filter(move |call| call.number == number);
    let applied: Vec<_> =
        calls.map(|call| (rules.entries[call.entry as usize], check(&call, rules, abi.wide))).collect();
    applied.into_iter()
}

/// Returns the verdict for calls of one number. A rule without conditions decides alone, wherever it is among
/// the others.
fn verdict<'a>(calls: &[Call], rules: &Rules<'a>, wide: bool) -> Verdict<'a> {
    let check = |call: &Call| check(call, rules, wide);
    match calls.iter().map(check).find(Check::always_holds) {
        Some(settled) => Verdict::Always(settled.action),
        None => Verdict::ByArguments(calls.iter().map(check).collect()),
    }
}

fn check<'a>(call: &Call, rules: &Rules<'a>, wide: bool) -> Check<'a> {
    let Rule { action, conditions, .. } = rules.entries[call.entry as usize].rule;
    let conditions = if call.multiplexed.is_some() { &[] } else { conditions };
    Check { action, conditions, multiplexed: call.multiplexed, wide }
}

impl Check<'_> {
    pub(super) fn always_holds(&self) -> bool {
        self.multiplexed.is_none()
            && self.conditions.iter().all(|condition| always_holds(condition, self.wide))
    }
}

fn always_holds(condition: &LinuxSeccompArg, wide: bool) -> bool {
    let mask = if wide { condition.value() } else { condition.value() & u64::from(u32::MAX) };
    condition.op() == LinuxSeccompOperator::ScmpCmpMaskedEq && mask == 0
}
