//! Reduces the rules to their result: a default, and the exceptions from it.

use std::collections::BTreeMap;
use std::fmt;

use oci_spec::runtime::LinuxDeviceCgroup;

use super::rule::{Access, DevicePattern, DeviceType, Rule};
use crate::cgroup::plan::pointer::invalid_resource;
use crate::error::Result;

/// The result of the rules. If `allow` is set, the exceptions are denied, otherwise they are allowed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub allow: bool,
    pub exceptions: BTreeMap<DevicePattern, Access>,
    /// The nodes in the order of the rules. The order does not change what is allowed, but v1 shows them in
    /// it.
    order: Vec<DevicePattern>,
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.allow == other.allow && self.exceptions == other.exceptions
    }
}

impl Eq for Filter {}

/// The error for a later rule that cannot be kept: it would cut a hole into a wider exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleConflict {
    pub wider: DevicePattern,
    pub access: Access,
}

/// The devices that every container may use in addition to its own rules, as in runc. None gives access to
/// data of the host.
const DEFAULT_DEVICES: &[(DevicePattern, Access)] = &[
    // Making a node is harmless if opening it is not allowed, and images are unpacked inside containers.
    (DevicePattern::char(None, None), Access::MKNOD),
    (DevicePattern { kind: DeviceType::Block, major: None, minor: None }, Access::MKNOD),
    // null, zero, full, random, urandom, tty
    (DevicePattern::char(Some(1), Some(3)), Access::ALL),
    (DevicePattern::char(Some(1), Some(5)), Access::ALL),
    (DevicePattern::char(Some(1), Some(7)), Access::ALL),
    (DevicePattern::char(Some(1), Some(8)), Access::ALL),
    (DevicePattern::char(Some(1), Some(9)), Access::ALL),
    (DevicePattern::char(Some(5), Some(0)), Access::ALL),
    // ptmx, the terminals that it makes, and tun: VPN software in containers expects it to be open.
    (DevicePattern::char(Some(5), Some(2)), Access::ALL),
    (DevicePattern::char(Some(136), None), Access::ALL),
    (DevicePattern::char(Some(10), Some(200)), Access::ALL),
];

impl Filter {
    /// Makes the filter from the configuration's list alone.
    pub fn from_rules(rules: &[LinuxDeviceCgroup]) -> Result<Self> {
        let mut filter = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            let rule = Rule::from_spec(rule, index)?;
            filter
                .add_rule(&rule)
                .map_err(|conflict| conflict_error(&format!("devices/{index}"), &rule, conflict))?;
        }
        Ok(filter)
    }

    /// Makes the filter from the configuration's list, followed by the default devices.
    pub fn with_default_devices(rules: &[LinuxDeviceCgroup]) -> Result<Self> {
        let mut filter = Self::from_rules(rules)?;
        for &(node, access) in DEFAULT_DEVICES {
            let DevicePattern { kind, major, minor } = node;
            let rule = Rule { allow: true, kind: Some(kind), major, minor, access };
            filter.set(true, node, access).map_err(|conflict| conflict_error("devices", &rule, conflict))?;
        }
        Ok(filter)
    }

    /// Adds a rule, which overrides the rules before it.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<(), RuleConflict> {
        if rule.is_all() {
            *self = Self { allow: rule.allow, ..Self::default() };
            return Ok(());
        }
        rule.nodes().try_for_each(|node| self.set(rule.allow, node, rule.access))
    }

    fn set(&mut self, allow: bool, node: DevicePattern, access: Access) -> Result<(), RuleConflict> {
        if allow != self.allow {
            self.add_exception(node, access);
            return Ok(());
        }
        // This returns to the default. The interfaces have no exceptions from exceptions. So if a wider one
        // would still hold, this is an error (the v1 kernel silently ignores such a rule).
        let wider = |(other, held): &(&DevicePattern, &Access)| {
            **other != node && !node.covers(other) && other.overlaps(&node) && !held.and(access).is_empty()
        };
        if let Some((&wider, &access)) = self.exceptions.iter().find(wider) {
            return Err(RuleConflict { wider, access });
        }
        for (_, held) in self.exceptions.iter_mut().filter(|(other, _)| node.covers(other)) {
            *held = held.without(access);
        }
        self.exceptions.retain(|_, held| !held.is_empty());
        self.order.retain(|node| self.exceptions.contains_key(node));
        Ok(())
    }

    /// Adds an exception from the default, after the others.
    pub fn add_exception(&mut self, node: DevicePattern, access: Access) {
        let held = self.exceptions.entry(node).or_insert_with(|| {
            self.order.push(node);
            Access::default()
        });
        *held = held.or(access);
    }

    /// Returns the exceptions, in the order of the rules.
    pub fn exceptions_in_order(&self) -> impl Iterator<Item = (&DevicePattern, &Access)> {
        self.order.iter().filter_map(|node| self.exceptions.get_key_value(node))
    }

    /// Whether everything is allowed.
    pub fn allows_everything(&self) -> bool {
        self.allow && self.exceptions.is_empty()
    }

    /// Returns what the kernel would answer. Both interfaces are tested against this.
    pub fn allows(&self, kind: DeviceType, major: u32, minor: u32, access: Access) -> bool {
        let node = DevicePattern { kind, major: Some(major), minor: Some(minor) };
        let mut at_node =
            self.exceptions.iter().filter(|(other, _)| other.covers(&node)).map(|(_, held)| held);
        if self.allow {
            // One forbidden way is enough to refuse an open that asks for more than one.
            !at_node.any(|held| !held.and(access).is_empty())
        } else {
            at_node.any(|held| access.without(*held).is_empty())
        }
    }
}

fn conflict_error(field: &str, rule: &Rule, conflict: RuleConflict) -> crate::error::Error {
    let RuleConflict { wider, access } = conflict;
    let what =
        format_args!("rule \"{rule}\" cannot punch a hole in the wider rule \"{wider} {access}\" before it");
    invalid_resource(field, what).with_hint("put the wider rule last, or name the devices one by one")
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (default, other) = if self.allow { ("allow", "deny") } else { ("deny", "allow") };
        write!(f, "{default} all")?;
        for (index, (node, access)) in self.exceptions.iter().enumerate() {
            write!(f, "{} {node} {access}", if index == 0 { format!(", {other}") } else { ",".to_owned() })?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Rules as a table writes them: `+c 1:3 rwm`, `-a *:* rwm`.
    pub(crate) fn rule(text: &str) -> Rule {
        let words: Vec<&str> = text[1..].split([' ', ':']).collect();
        let number = |text: &str| (text != "*").then(|| text.parse().unwrap());
        let kind = match words[0] {
            "b" => Some(DeviceType::Block),
            "c" => Some(DeviceType::Char),
            _ => None,
        };
        let access = Access::parse(words[3]).unwrap();
        Rule { allow: text.starts_with('+'), kind, major: number(words[1]), minor: number(words[2]), access }
    }

    pub(crate) fn filter(rules: &[&str]) -> Filter {
        let mut filter = Filter::default();
        for text in rules {
            filter.add_rule(&rule(text)).unwrap_or_else(|conflict| panic!("{text}: {conflict:?}"));
        }
        filter
    }

    #[test]
    fn rules_come_down_to_a_default_and_exceptions() {
        for (rules, want) in [
            (&[][..], "deny all"),
            (&["-a *:* rwm"], "deny all"),
            (&["+a *:* rwm"], "allow all"),
            (&["+c 1:3 rw", "+c 1:3 m"], "deny all, allow c 1:3 rwm"),
            (&["+c 1:3 rwm", "-c 1:3 w"], "deny all, allow c 1:3 rm"),
            (&["+c 1:3 rwm", "-c 1:3 rwm"], "deny all"),
            (&["-c 10:229 rwm"], "deny all"),
            (&["+c 1:3 rwm", "+b 8:0 r", "-c *:* rwm"], "deny all, allow b 8:0 r"),
            (&["+c 1:3 rwm", "-a *:* rwm", "+b 8:0 r"], "deny all, allow b 8:0 r"),
            (&["+a *:* rwm", "-b 8:* w", "-c 1:1 r"], "allow all, deny b 8:* w, c 1:1 r"),
            (&["+a *:* rwm", "-b 8:* rwm", "+b *:* w"], "allow all, deny b 8:* rm"),
            (&["+a *:* r"], "deny all, allow b *:* r, c *:* r"),
            (&["+c *:* m", "-c 1:3 w"], "deny all, allow c *:* m"),
        ] {
            assert_eq!(filter(rules).to_string(), want, "{rules:?}");
        }
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_refused() {
        for (rules, last) in [
            (&["+c *:* rwm"][..], "-c 1:3 rwm"),
            (&["+c 1:* rwm"], "-c 1:3 w"),
            (&["+c *:3 rwm"], "-c 1:* r"),
            (&["+a *:* rwm", "-b *:* w"], "+b 8:0 rw"),
        ] {
            assert!(filter(rules).add_rule(&rule(last)).is_err(), "{rules:?} {last}");
        }
    }

    #[test]
    fn the_ways_asked_for_together_are_judged_together() {
        let closed = filter(&["+c 1:3 rw", "+c *:* m"]);
        assert!(closed.allows(DeviceType::Char, 1, 3, Access::READ.or(Access::WRITE)));
        assert!(!closed.allows(DeviceType::Char, 1, 3, Access::ALL), "no single rule allows all three");
        assert!(closed.allows(DeviceType::Char, 9, 9, Access::MKNOD));
        assert!(!closed.allows(DeviceType::Block, 9, 9, Access::MKNOD));
        let open = filter(&["+a *:* rwm", "-b 8:0 w"]);
        assert!(!open.allows(DeviceType::Block, 8, 0, Access::READ.or(Access::WRITE)));
        assert!(open.allows(DeviceType::Block, 8, 0, Access::READ));
    }

    fn spec(json: &str) -> Result<Filter> {
        Filter::with_default_devices(&serde_json::from_str::<Vec<LinuxDeviceCgroup>>(json).unwrap())
    }

    #[test]
    fn what_every_container_needs_is_allowed_after_its_rules() {
        let plain = spec(r#"[{"allow": false, "access": "rwm"}]"#).unwrap();
        assert_eq!(
            plain.to_string(),
            "deny all, allow b *:* m, c *:* m, c 1:3 rwm, c 1:5 rwm, c 1:7 rwm, c 1:8 rwm, c 1:9 rwm, \
             c 5:0 rwm, c 5:2 rwm, c 10:200 rwm, c 136:* rwm"
        );
        assert_eq!(spec("[]").unwrap(), plain);
        assert!(spec(r#"[{"allow": true, "access": "rwm"}]"#).unwrap().allows_everything());
    }

    #[test]
    fn faults_name_the_rule_and_the_field() {
        for (json, want) in [
            (
                r#"[{"allow": true}]"#,
                "/linux/resources/devices/0/access: must be one or more of r, w, m: \"\"",
            ),
            (
                r#"[{"allow": true, "access": "rx"}]"#,
                "/linux/resources/devices/0/access: must be one or more of r, w, m: \"rx\"",
            ),
            (
                r#"[{"allow": true, "access": "r"}, {"allow": true, "type": "p", "access": "r"}]"#,
                "/linux/resources/devices/1/type: invalid cgroup device type: \"p\"",
            ),
            (
                r#"[{"allow": true, "type": "c", "major": 4096, "access": "r"}]"#,
                "/linux/resources/devices/0/major: not a device number below 4096: 4096",
            ),
            (
                r#"[{"allow": true, "type": "c", "access": "rw"}, {"allow": false, "type": "c", "major": 1, "minor": 3, "access": "r"}]"#,
                "/linux/resources/devices/1: rule \"deny c 1:3 r\" cannot punch a hole in the wider rule \"c *:* rw\" before it",
            ),
        ] {
            assert_eq!(spec(json).unwrap_err().to_string(), want);
        }
        assert!(spec(r#"[{"allow": true, "type": "c", "major": -1, "minor": -1, "access": "m"}]"#).is_ok());
    }
}
