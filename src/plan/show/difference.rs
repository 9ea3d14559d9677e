//! Compares two plans, phase by phase.

use super::PHASES;
use super::operation::Operation;

/// The operations of one phase that only one of the two plans has, in the order of the plans.
#[derive(Debug)]
pub(crate) struct Difference<'a> {
    pub phase: &'static str,
    pub changes: Vec<Change<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// Only the first plan has it.
    Removed(&'a Operation),
    /// Only the second plan has it.
    Added(&'a Operation),
}

/// The largest table of comparisons. Longer lists count as replaced from their first difference to their
/// last.
const LARGEST: usize = 1 << 22;

/// Returns the phases that differ. The indexes of entries are not compared: an entry that is inserted before
/// others is one difference.
pub(crate) fn differences<'a>(before: &'a [Operation], after: &'a [Operation]) -> Vec<Difference<'a>> {
    let of_phase = |all: &'a [Operation], phase| {
        all.iter().filter(move |operation| operation.phase == phase).collect::<Vec<_>>()
    };
    PHASES
        .into_iter()
        .map(|phase| Difference {
            phase,
            changes: changes(&of_phase(before, phase), &of_phase(after, phase)),
        })
        .filter(|difference| !difference.changes.is_empty())
        .collect()
}

fn is_same(one: &Operation, other: &Operation) -> bool {
    one.name == other.name && one.detail == other.detail
}

fn changes<'a>(before: &[&'a Operation], after: &[&'a Operation]) -> Vec<Change<'a>> {
    let start = before.iter().zip(after).take_while(|(one, other)| is_same(one, other)).count();
    let (before, after) = (&before[start..], &after[start..]);
    let ends = before.iter().rev().zip(after.iter().rev());
    let end = ends.take_while(|(one, other)| is_same(one, other)).count();
    let (before, after) = (&before[..before.len() - end], &after[..after.len() - end]);
    let common = match before.len().saturating_mul(after.len()) {
        0 => Vec::new(),
        size if size > LARGEST => Vec::new(),
        _ => common(before, after),
    };
    let mut changes = Vec::new();
    let (mut old, mut new) = (0, 0);
    for (one, other) in common.into_iter().chain([(before.len(), after.len())]) {
        changes.extend(before[old..one].iter().copied().map(Change::Removed));
        changes.extend(after[new..other].iter().copied().map(Change::Added));
        (old, new) = (one + 1, other + 1);
    }
    changes
}

/// The pairs of the longest list that both have, in order.
fn common(before: &[&Operation], after: &[&Operation]) -> Vec<(usize, usize)> {
    let width = after.len() + 1;
    // The length of the longest common list of what follows each pair.
    let mut lengths = vec![0_u32; (before.len() + 1) * width];
    for (i, one) in before.iter().enumerate().rev() {
        for (j, other) in after.iter().enumerate().rev() {
            lengths[i * width + j] = match is_same(one, other) {
                true => lengths[(i + 1) * width + j + 1] + 1,
                false => lengths[(i + 1) * width + j].max(lengths[i * width + j + 1]),
            };
        }
    }
    let (mut pairs, mut i, mut j) = (Vec::new(), 0, 0);
    while i < before.len() && j < after.len() {
        if is_same(before[i], after[j]) {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(details: &str) -> Vec<Operation> {
        let operation = |(index, detail): (usize, char)| Operation {
            phase: "filesystem",
            pointer: None,
            name: "mount",
            index: Some(index),
            detail: detail.into(),
        };
        details.chars().enumerate().map(operation).collect()
    }

    fn shown(before: &str, after: &str) -> String {
        let (before, after) = (plan(before), plan(after));
        let differences = differences(&before, &after);
        let changes = differences.iter().flat_map(|difference| &difference.changes);
        let show = |change: &Change<'_>| match change {
            Change::Removed(operation) => format!("-{}", operation.detail),
            Change::Added(operation) => format!("+{}", operation.detail),
        };
        changes.map(show).collect()
    }

    #[test]
    fn only_what_one_of_the_two_has_is_told_in_the_order_of_both() {
        let cases = [
            ("", "", ""),
            ("abc", "abc", ""),
            ("", "ab", "+a+b"),
            ("ab", "", "-a-b"),
            ("abc", "axbc", "+x"),
            ("abc", "ac", "-b"),
            ("abcd", "axcy", "-b+x-d+y"),
            ("aab", "ab", "-a"),
            ("ab", "ba", "-a+a"),
        ];
        for (before, after, expected) in cases {
            assert_eq!(shown(before, after), expected, "{before} and {after}");
        }
    }
}
