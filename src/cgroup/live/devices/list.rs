//! The v1 interface: reads `devices.list`, and finds the fewest writes to `devices.allow` and `devices.deny`
//! that lead from it to a filter.

use crate::cgroup::plan::devices::filter::Filter;
use crate::cgroup::plan::devices::rule::{Access, DevicePattern, DeviceType};

/// A write to one of the two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub file: &'static str,
    pub value: String,
}

/// Parses the filter that `devices.list` shows. For an open group it shows only the default and not the
/// exceptions. Returns `None` for text that no kernel writes.
pub(super) fn parse(text: &str) -> Option<Filter> {
    let mut filter = Filter::default();
    for line in text.lines() {
        let mut words = line.split([' ', ':']);
        let kind = words.next()?;
        let number = |word: &str| match word {
            "*" => Some(None),
            digits => digits.parse().ok().map(Some),
        };
        let (major, minor) = (number(words.next()?)?, number(words.next()?)?);
        let access = Access::parse(words.next()?)?;
        let kind = match kind {
            "a" => {
                filter.allow = true;
                continue;
            }
            "b" => DeviceType::Block,
            "c" => DeviceType::Char,
            _ => return None,
        };
        filter.add_exception(DevicePattern { kind, major, minor }, access);
    }
    Some(filter)
}

/// Returns the writes from one state to the other. Additions come first, so that anything allowed in both is
/// never denied in between.
pub(super) fn steps(from: &Filter, to: &Filter) -> Vec<Step> {
    let file = |allow| if allow { "devices.allow" } else { "devices.deny" };
    let mut steps = Vec::new();
    let mut held = from;
    let none = Filter::default();
    if from.allow != to.allow {
        steps.push(Step { file: file(to.allow), value: "a".to_owned() });
        held = &none;
    }
    let mut differ = |from: &Filter, to: &Filter, allow| {
        for (node, &wanted) in to.exceptions_in_order() {
            let missing = wanted.without(from.exceptions.get(node).copied().unwrap_or_default());
            if !missing.is_empty() {
                steps.push(Step { file: file(allow), value: format!("{node} {missing}") });
            }
        }
    };
    differ(held, to, !to.allow);
    differ(to, held, to.allow);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::plan::devices::filter::tests::filter;

    fn between(from: &Filter, to: &Filter) -> Vec<String> {
        let short = |step: Step| format!("{} {}", step.file.trim_start_matches("devices."), step.value);
        steps(from, to).into_iter().map(short).collect()
    }

    #[test]
    fn only_what_differs_is_written() {
        let open = filter(&["+a *:* rwm"]);
        let closed = filter(&[]);
        let nulls = filter(&["+c 1:3 rwm", "+c *:* m"]);
        let zeroes = filter(&["+c 1:3 rw", "+c 1:5 rwm", "+c *:* m"]);
        let holed = filter(&["+a *:* rwm", "-b 8:0 w"]);
        for (from, to, want) in [
            (&open, &nulls, &["deny a", "allow c 1:3 rwm", "allow c *:* m"][..]),
            (&nulls, &zeroes, &["allow c 1:5 rwm", "deny c 1:3 m"]),
            (&nulls, &closed, &["deny c 1:3 rwm", "deny c *:* m"]),
            (&nulls, &holed, &["allow a", "deny b 8:0 w"]),
            (&holed, &open, &["allow b 8:0 w"]),
            (&nulls, &nulls, &[]),
        ] {
            assert_eq!(between(from, to), want, "{from} -> {to}");
        }
    }

    #[test]
    fn the_kernels_list_reads_back() {
        assert_eq!(parse("a *:* rwm\n"), Some(filter(&["+a *:* rwm"])));
        assert_eq!(
            parse("c *:* m\nc 1:3 rwm\nb 8:0 r\n"),
            Some(filter(&["+c *:* m", "+c 1:3 rwm", "+b 8:0 r"]))
        );
        assert_eq!(parse(""), Some(filter(&[])));
        for bad in ["x 1:3 r", "c 1 r", "c 1:3", "c x:3 r", "c 1:3 z"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
