//! Parses `--device [allow|deny] PATH [rwm]` and `--device [allow|deny] c|b|a MAJOR:MINOR [rwm]`: a device
//! rule that is added after those of the container. The device node is not made; the container may make it.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

use crate::cgroup::plan::devices::{Access, Filter};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// Appends the given rules to those of `resources`, or to the container's own if it has none.
pub(super) fn add(
    typed: &[String],
    saved: &[LinuxDeviceCgroup],
    resources: &mut LinuxResources,
) -> Result<()> {
    if typed.is_empty() {
        return Ok(());
    }
    let mut rules = resources.devices().clone().filter(|rules| !rules.is_empty());
    let rules = rules.get_or_insert_with(|| saved.to_vec());
    for text in typed {
        let doing = || format!("--device {text:?}");
        rules.push(rule(text).with_context(doing)?);
        Filter::with_default_devices(rules).with_context(doing)?;
    }
    resources.set_devices(Some(rules.clone()));
    Ok(())
}

fn rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let mut words = text.split_whitespace().peekable();
    let allow = match words.peek() {
        Some(&"deny") => words.next().is_none(),
        Some(&"allow") => words.next().is_some(),
        _ => true,
    };
    let node = words.next().ok_or_else(|| usage("names no device"))?;
    let (mut rule, access) = if node.starts_with('/') {
        // Engines write it as /dev/fuse:rw.
        let (path, access) = match node.rsplit_once(':') {
            Some((path, access)) if Access::parse(access).is_some() => (path, Some(access)),
            _ => (node, None),
        };
        (rule_for_node(path)?, access)
    } else {
        (rule_for_numbers(node, words.next())?, None)
    };
    let access = access.or_else(|| words.next()).unwrap_or("rwm");
    if Access::parse(access).is_none() {
        return Err(usage(&format!("must be one or more of r, w, m: {access:?}")));
    }
    if let Some(rest) = words.next() {
        return Err(usage(&format!("one word too many: {rest:?}")));
    }
    rule.set_allow(allow).set_access(Some(access.to_owned()));
    Ok(rule)
}

fn usage(what: &str) -> Error {
    fail!(Kind::Usage, "{what}")
        .with_hint("for example: --device '/dev/fuse rw', --device 'deny c 10:229 rwm'")
}

/// Returns the rule for a device node of the host.
fn rule_for_node(path: &str) -> Result<LinuxDeviceCgroup> {
    let found = std::fs::metadata(path).with_context(|| format!("look at {path}"))?;
    let kind = found.file_type();
    let kind = if kind.is_char_device() {
        LinuxDeviceType::C
    } else if kind.is_block_device() {
        LinuxDeviceType::B
    } else {
        return Err(usage(&format!("{path} is no device")));
    };
    let (major, minor) = (nix::sys::stat::major(found.rdev()), nix::sys::stat::minor(found.rdev()));
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_typ(Some(kind)).set_major(i64::try_from(major).ok()).set_minor(i64::try_from(minor).ok());
    Ok(rule)
}

/// Returns the rule for a type and MAJOR:MINOR. `*` stands for any number.
fn rule_for_numbers(kind: &str, numbers: Option<&str>) -> Result<LinuxDeviceCgroup> {
    let kind = match kind {
        "c" => LinuxDeviceType::C,
        "b" => LinuxDeviceType::B,
        "a" => LinuxDeviceType::A,
        other => return Err(usage(&format!("neither a path nor c, b or a: {other:?}"))),
    };
    let numbers = numbers.unwrap_or_default();
    let wrong = || usage(&format!("not MAJOR:MINOR, each a number or *: {numbers:?}"));
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_typ(Some(kind)).set_major(number(major)?).set_minor(number(minor)?);
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_path_or_numbers_with_what_is_done_before_and_the_ways_behind() {
        for (text, want) in [
            ("/dev/null", "true c 1 3 rwm"),
            ("/dev/null:rw", "true c 1 3 rw"),
            ("deny /dev/null w", "false c 1 3 w"),
            ("allow c 10:229 rw", "true c 10 229 rw"),
            ("b 8:*", "true b 8 * rwm"),
            (" deny  a  *:*  rwm ", "false a * * rwm"),
        ] {
            let rule = rule(text).unwrap();
            let number =
                |number: Option<i64>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
            let (major, minor) = (number(rule.major()), number(rule.minor()));
            let kind = rule.typ().unwrap();
            let got = format!(
                "{} {} {major} {minor} {}",
                rule.allow(),
                kind.as_str(),
                rule.access().as_ref().unwrap()
            );
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for (text, want) in [
            ("", "names no device"),
            ("deny", "names no device"),
            ("/dev/nosuch", "look at /dev/nosuch: no such file or directory"),
            ("/etc/passwd", "/etc/passwd is no device"),
            ("p 1:3", "neither a path nor c, b or a: \"p\""),
            ("c", "not MAJOR:MINOR, each a number or *: \"\""),
            ("c 1", "not MAJOR:MINOR, each a number or *: \"1\""),
            ("c 1:-3", "not MAJOR:MINOR, each a number or *: \"1:-3\""),
            ("c 1:3 x", "must be one or more of r, w, m: \"x\""),
            ("c 1:3 rwm more", "one word too many: \"more\""),
        ] {
            assert_eq!(rule(text).unwrap_err().to_string(), want, "{text:?}");
        }
    }
}
