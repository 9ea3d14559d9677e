//! Turns spans into one BPF program: a jump by architecture, a balanced tree over the call numbers, and
//! argument checks in the leaves that need them.
//!
//! The program is written from its end to its start. BPF jumps only forwards, so every target is known before
//! the jump to it, and equal ends are shared. A conditional jump reaches 255 instructions; an unconditional
//! one leads to targets that are farther away.

use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator};
use seccompiler::{BackendError, BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::action::Action;
use super::verdicts::{Check, Span, Verdict};
use crate::kernel::seccomp::{self as kernel, sock_filter};

/// Where the kernel puts the call's number and architecture (struct seccomp_data).
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;

const LOAD: u32 = kernel::BPF_LD | kernel::BPF_W | kernel::BPF_ABS;
const JUMP: u32 = kernel::BPF_JMP | kernel::BPF_JA;
const IF_EQUAL: u32 = kernel::BPF_JMP | kernel::BPF_JEQ | kernel::BPF_K;
const IF_AT_LEAST: u32 = kernel::BPF_JMP | kernel::BPF_JGE | kernel::BPF_K;
const RETURN: u32 = kernel::BPF_RET | kernel::BPF_K;

type Result<T> = std::result::Result<T, BackendError>;

/// Assembles the program of these sections. Each holds the spans of one `AUDIT_ARCH_*` value; the likeliest
/// comes first.
///
/// # Errors
/// What the rule generator refuses; a checked profile contains nothing of it.
pub(super) fn assemble(sections: &[(u32, Vec<Span<'_>>)], default: Action) -> Result<Vec<sock_filter>> {
    let mut program =
        Program { default, backwards: Vec::with_capacity(1024), returns: vec![], leaves: vec![] };
    let mut entries = Vec::with_capacity(sections.len());
    for (audit, spans) in sections.iter().rev() {
        entries.push((*audit, program.section(spans)?));
    }
    let mut start = Target::Return(Action::BAD_ARCH);
    for (audit, entry) in entries {
        start = program.branch(IF_EQUAL, audit, entry, start);
    }
    program.load(OFFSET_ARCH, start);
    program.backwards.reverse();
    Ok(program.backwards)
}

/// The target of a jump: an instruction, by its distance from the end, or an answer that can be given
/// anywhere.
#[derive(Clone, Copy)]
enum Target {
    At(usize),
    Return(Action),
}

struct Program<'a> {
    default: Action,
    /// The instructions, last one first.
    backwards: Vec<sock_filter>,
    /// The latest instruction that gives each answer.
    returns: Vec<(Action, usize)>,
    /// The leaves of argument checks that were written. Calls with the same rules share one.
    leaves: Vec<(&'a [Check<'a>], usize)>,
}

impl<'a> Program<'a> {
    /// Writes the tree of one section, which starts by loading the number.
    fn section(&mut self, spans: &'a [Span<'a>]) -> Result<Target> {
        let tree = self.tree(spans)?;
        Ok(match tree {
            Target::At(_) => self.load(OFFSET_NUMBER, tree),
            answer @ Target::Return(_) => answer,
        })
    }

    fn tree(&mut self, spans: &'a [Span<'a>]) -> Result<Target> {
        match spans {
            [] => Ok(Target::Return(self.default)),
            [span] => self.leaf(&span.verdict),
            spans => {
                let (lower, upper) = spans.split_at(spans.len() / 2);
                let when_upper = self.tree(upper)?;
                let when_lower = self.tree(lower)?;
                Ok(self.branch(IF_AT_LEAST, upper[0].from, when_upper, when_lower))
            }
        }
    }

    fn leaf(&mut self, verdict: &'a Verdict<'a>) -> Result<Target> {
        match verdict {
            Verdict::Always(action) => Ok(Target::Return(*action)),
            Verdict::ByArguments(checks) => {
                if let Some((_, at)) = self.leaves.iter().find(|(written, _)| written == checks) {
                    return Ok(Target::At(*at));
                }
                self.checks(checks)?;
                self.leaves.push((checks, self.last()));
                Ok(Target::At(self.last()))
            }
        }
    }

    /// Writes a leaf. Each check is a block: if all its conditions hold, it falls through to its answer;
    /// otherwise it jumps over that, to the next check.
    fn checks(&mut self, checks: &[Check<'_>]) -> Result<()> {
        self.push(RETURN, self.default.0, 0, 0);
        for check in checks.iter().rev() {
            self.push(RETURN, check.action.0, 0, 0);
            let block = BpfProgram::from(SeccompRule::new(conditions(check)?)?);
            for instruction in skip_rule_prologue(&block).iter().rev() {
                self.push(u32::from(instruction.code), instruction.k, instruction.jt, instruction.jf);
            }
        }
        Ok(())
    }

    fn branch(&mut self, test: u32, value: u32, when_true: Target, when_false: Target) -> Target {
        // Bringing the second target near may add one instruction.
        let when_true = self.within_reach(when_true, 1);
        let when_false = self.within_reach(when_false, 0);
        let (jt, jf) = (self.distance(when_true), self.distance(when_false));
        self.push(test, value, jt as u8, jf as u8);
        Target::At(self.last())
    }

    /// Writes a load of a word of the call's description, which continues at `then`.
    fn load(&mut self, offset: u32, then: Target) -> Target {
        let then = self.within_reach(then, 0);
        if self.distance(then) > 0 {
            self.push(JUMP, self.distance(then) as u32, 0, 0);
        }
        self.push(LOAD, offset, 0, 0);
        Target::At(self.last())
    }

    /// Returns an instruction that leads to `target` and that the next instruction but `spare` can jump to.
    fn within_reach(&mut self, target: Target, spare: usize) -> usize {
        let reach = usize::from(u8::MAX) - spare;
        match target {
            Target::At(at) if self.distance(at) <= reach => at,
            Target::At(at) => {
                self.push(JUMP, self.distance(at) as u32, 0, 0);
                self.last()
            }
            Target::Return(action) => {
                let latest = self.returns.iter().position(|(known, _)| *known == action);
                if let Some(index) = latest
                    && self.distance(self.returns[index].1) <= reach
                {
                    return self.returns[index].1;
                }
                self.push(RETURN, action.0, 0, 0);
                match latest {
                    Some(index) => self.returns[index].1 = self.last(),
                    None => self.returns.push((action, self.last())),
                }
                self.last()
            }
        }
    }

    /// Returns how many instructions the next one must skip to reach `at`.
    fn distance(&self, at: usize) -> usize {
        self.last() - at
    }

    fn last(&self) -> usize {
        self.backwards.len() - 1
    }

    fn push(&mut self, code: u32, k: u32, jt: u8, jf: u8) {
        self.backwards.push(sock_filter { code: code as u16, jt, jf, k });
    }
}

/// Removes the start of a generated rule. It is a jump over a jump out of the rule, which is never taken. In
/// the last rule that one would lead over the program's end: the kernel refuses this even in unreachable
/// code.
fn skip_rule_prologue(block: &[seccompiler::sock_filter]) -> &[seccompiler::sock_filter] {
    match block {
        [over, out, rest @ ..]
            if u32::from(over.code) == JUMP && over.k == 1 && u32::from(out.code) == JUMP =>
        {
            rest
        }
        block => block,
    }
}

fn conditions(check: &Check<'_>) -> Result<Vec<SeccompCondition>> {
    let length = if check.wide { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    let multiplexed = check.multiplexed.map(|multiplexed| {
        let operator = SeccompCmpOp::MaskedEq(u64::from(multiplexed.mask));
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, u64::from(multiplexed.call))
    });
    let own_conditions = check.conditions.iter().map(|condition| {
        let (operator, value) = comparison(condition);
        SeccompCondition::new(condition.index() as u8, length.clone(), operator, value)
    });
    multiplexed.into_iter().chain(own_conditions).collect()
}

/// Returns the operator with the value to compare with; for a mask it is the OCI object's second value.
fn comparison(condition: &LinuxSeccompArg) -> (SeccompCmpOp, u64) {
    let value = condition.value();
    match condition.op() {
        LinuxSeccompOperator::ScmpCmpNe => (SeccompCmpOp::Ne, value),
        LinuxSeccompOperator::ScmpCmpLt => (SeccompCmpOp::Lt, value),
        LinuxSeccompOperator::ScmpCmpLe => (SeccompCmpOp::Le, value),
        LinuxSeccompOperator::ScmpCmpEq => (SeccompCmpOp::Eq, value),
        LinuxSeccompOperator::ScmpCmpGe => (SeccompCmpOp::Ge, value),
        LinuxSeccompOperator::ScmpCmpGt => (SeccompCmpOp::Gt, value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (SeccompCmpOp::MaskedEq(value), condition.value_two().unwrap_or_default())
        }
    }
}
