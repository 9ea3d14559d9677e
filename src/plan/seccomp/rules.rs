//! Checks the profile's rules and takes them apart: one rule for each way to match, with the calls that it
//! applies to.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSyscall};

use super::action::{Action, takes_errno};
use super::table::{Row, TABLE};
use crate::error::{Faults, Kind, Result};
use crate::fail;

/// A system call has six arguments.
const ARGUMENTS: usize = 6;

/// An answer, and the conditions on the arguments that must all hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule<'a> {
    pub action: Action,
    /// Its place in the profile's list.
    pub index: u32,
    pub conditions: &'a [LinuxSeccompArg],
}

/// One call under one rule, in the profile's order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub call: &'static Row,
    pub rule: Rule<'a>,
}

#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub default: Action,
    pub entries: Vec<Entry<'a>>,
    /// All calls that the profile names, even if their rule gives the default's answer.
    pub known: Vec<&'static Row>,
    /// Whether a listener answers any call.
    pub notify: bool,
}

const NEW_LOOKS: u32 = 8;
const LOOKS: u32 = 13;

/// The place of a call among those that look at files, under the names that one C library or the other calls.
fn look(call: &str) -> Option<u32> {
    Some(match call {
        "openat" => 0,
        "newfstatat" => 1,
        "fstat" => 2,
        "readlinkat" => 3,
        "faccessat" => 4,
        "statfs" => 5,
        "pread64" => 6,
        "close" => 7,
        "open" => 8,
        "stat" => 9,
        "lstat" => 10,
        "readlink" => 11,
        "access" => 12,
        _ => return None,
    })
}

impl<'a> Rules<'a> {
    /// Reads the rules. Skipped ones are added to `warnings`.
    ///
    /// # Errors
    /// Values that the kernel has no place for, with the pointer of the field.
    pub(super) fn read(profile: &'a LinuxSeccomp, warnings: &mut Vec<String>) -> Result<Self> {
        let syscalls = profile.syscalls().as_deref().unwrap_or_default();
        let mut faults = Faults::default();
        let mut rules = Self {
            default: faults.keep(default_action(profile, warnings)).unwrap_or(Action::ALLOW),
            entries: Vec::with_capacity(512),
            known: Vec::with_capacity(512),
            notify: false,
        };
        for (index, syscall) in syscalls.iter().enumerate() {
            faults.keep(rules.add(index, syscall, warnings));
        }
        faults.into_result(rules)
    }

    /// Whether this call never kills its caller: at worst the call is refused.
    pub(super) fn never_kills(&self, call: &str) -> bool {
        let answers = self.entries.iter().filter(|entry| entry.call.0 == call).map(|entry| entry.rule.action);
        answers.chain([self.default]).all(Action::is_harmless)
    }

    /// Whether all calls by which a process looks at files (`init::refusal`) are let through, whatever their
    /// arguments, and no other ends it. `old`: also those that newer machines do not have. One pass: profiles
    /// are long.
    pub(super) fn permit_looks(&self, old: bool) -> bool {
        let wanted = if old { (1 << LOOKS) - 1 } else { (1 << NEW_LOOKS) - 1 };
        let mut permitted: u32 = if self.default.is_permissive() { wanted } else { 0 };
        for entry in &self.entries {
            let Some(look) = look(entry.call.0) else { continue };
            match entry.rule.conditions.is_empty() && entry.rule.action.is_permissive() {
                true => permitted |= 1 << look,
                false => return false,
            }
        }
        self.default.is_harmless() && permitted & wanted == wanted
    }

    /// Whether the profile permits this call, perhaps for some arguments only.
    pub(super) fn permit(&self, call: &str) -> bool {
        let answers = || self.entries.iter().filter(|entry| entry.call.0 == call).map(|entry| entry.rule);
        let is_decided = answers().any(|rule| rule.conditions.is_empty());
        answers().any(|rule| rule.action.reaches_somebody()) || !is_decided && self.default.reaches_somebody()
    }

    fn add(&mut self, index: usize, syscall: &'a LinuxSyscall, warnings: &mut Vec<String>) -> Result<()> {
        let at = |field: &str| format!("/linux/seccomp/syscalls/{index}/{field}");
        let action = Action::new(syscall.action(), syscall.errno_ret(), || at("errnoRet"))?;
        if syscall.errno_ret().is_some() && !takes_errno(syscall.action()) {
            warnings.push(format!("{}: has no meaning with {}", at("errnoRet"), syscall.action()));
        }
        if syscall.names().is_empty() {
            return Err(fail!(Kind::Spec, "{}: a rule needs the name of a system call", at("names")));
        }
        let conditions = syscall.args().as_deref().unwrap_or_default();
        check_indexes(conditions, |arg| at(&format!("args/{arg}/index")))?;
        for (position, name) in syscall.names().iter().enumerate() {
            let at = || at(&format!("names/{position}"));
            if name.is_empty() {
                return Err(fail!(Kind::Spec, "{}: the name of a system call cannot be empty", at()));
            }
            if syscall.action() == LinuxSeccompAction::ScmpActNotify {
                self.notify = true;
                refuse_notify_of_write(name, at)?;
            }
            match TABLE.binary_search_by_key(&name.as_str(), |row| row.0) {
                Ok(row) => self.add_call(&TABLE[row], Rule { action, index: index as u32, conditions }),
                Err(_) => warnings.push(format!("{}: no such system call, skipped: {name}", at())),
            }
        }
        Ok(())
    }

    fn add_call(&mut self, call: &'static Row, rule: Rule<'a>) {
        self.known.push(call);
        // A rule with the default's answer is dropped: it must not hide a more specific one.
        if rule.action == self.default {
            return;
        }
        // Two conditions on one argument are alternatives: engines write a list of allowed values in this
        // way.
        if repeats_an_index(rule.conditions) {
            let alternatives = rule.conditions.chunks(1).map(|one| Rule { conditions: one, ..rule });
            self.entries.extend(alternatives.map(|rule| Entry { call, rule }));
        } else {
            self.entries.push(Entry { call, rule });
        }
    }
}

fn default_action(profile: &LinuxSeccomp, warnings: &mut Vec<String>) -> Result<Action> {
    let action = profile.default_action();
    let at = "/linux/seccomp/defaultErrnoRet";
    if action == LinuxSeccompAction::ScmpActNotify {
        return Err(fail!(
            Kind::Spec,
            "/linux/seccomp/defaultAction: SCMP_ACT_NOTIFY cannot be used as default action"
        ));
    }
    if profile.default_errno_ret().is_some() && !takes_errno(action) {
        warnings.push(format!("{at}: has no meaning with {action}"));
    }
    Action::new(action, profile.default_errno_ret(), || at.to_owned())
}

/// Refuses a listener for write(2): it would stop the process that must report the listener, before anybody
/// listens.
fn refuse_notify_of_write(name: &str, at: impl Fn() -> String) -> Result<()> {
    if name == "write" {
        return Err(fail!(Kind::Spec, "{}: SCMP_ACT_NOTIFY cannot be used for the write syscall", at()));
    }
    Ok(())
}

fn check_indexes(conditions: &[LinuxSeccompArg], at: impl Fn(usize) -> String) -> Result<()> {
    match conditions.iter().position(|condition| condition.index() >= ARGUMENTS) {
        None => Ok(()),
        Some(arg) => {
            let index = conditions[arg].index();
            Err(fail!(
                Kind::Spec,
                "{}: a system call has {ARGUMENTS} arguments, counted from 0: {index}",
                at(arg)
            ))
        }
    }
}

fn repeats_an_index(conditions: &[LinuxSeccompArg]) -> bool {
    let mut seen = [false; ARGUMENTS];
    conditions.iter().any(|condition| std::mem::replace(&mut seen[condition.index()], true))
}
