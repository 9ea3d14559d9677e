//! Rules for `process`, of the configuration and of `exec --process`.

use oci_spec::runtime::{PosixRlimit, Process, User};

use super::config_error::quote;
use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use super::scheduling;
use crate::error::matched;

/// NGROUPS_MAX of the kernel.
const GROUPS: usize = 65536;

pub(super) fn rules(process: &Process, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    cwd(process, &at.key("cwd"), diagnostics);
    if process.args().as_deref().unwrap_or_default().is_empty() {
        diagnostics.error(&at.key("args"), matched::ARGS_EMPTY);
    }
    env(process.env().as_deref().unwrap_or_default(), &at.key("env"), diagnostics);
    user(process.user(), &at.key("user"), diagnostics);
    rlimits(process.rlimits().as_deref().unwrap_or_default(), &at.key("rlimits"), diagnostics);
    if process.oom_score_adj().is_some_and(|adj| !(-1000..=1000).contains(&adj)) {
        diagnostics.error(&at.key("oomScoreAdj"), "must lie between -1000 and 1000");
    }
    console(process, &at.key("consoleSize"), diagnostics);
    scheduling::rules(process, at, diagnostics);
}

fn cwd(process: &Process, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    if process.cwd().as_os_str().is_empty() {
        diagnostics.error(at, matched::CWD_EMPTY);
    } else if !process.cwd().is_absolute() {
        diagnostics.error(at, matched::CWD_RELATIVE);
    }
}

fn env(entries: &[String], at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    for (index, entry) in entries.iter().enumerate() {
        match entry.find('=') {
            None => diagnostics.error(&at.item(index), "invalid environment variable: missing '='"),
            Some(0) => {
                diagnostics.error(&at.item(index), "invalid environment variable: name cannot be empty");
            }
            Some(_) => {}
        }
    }
}

fn user(user: &User, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let groups = user.additional_gids().as_deref().unwrap_or_default();
    // To the kernel, an id of all ones means "do not change".
    for (name, id) in [("uid", user.uid()), ("gid", user.gid())] {
        if id == u32::MAX {
            diagnostics.error(&at.key(name), format!("{id} is no id"));
        }
    }
    let at = at.key("additionalGids");
    if let Some(index) = groups.iter().position(|&gid| gid == u32::MAX) {
        diagnostics.error(&at.item(index), format!("{} is no id", u32::MAX));
    }
    if groups.len() > GROUPS {
        diagnostics.error(&at, format!("{} groups, where the kernel takes at most {GROUPS}", groups.len()));
    }
}

fn rlimits(limits: &[PosixRlimit], at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    for (index, limit) in limits.iter().enumerate() {
        let at = at.item(index);
        if limits[..index].iter().any(|before| before.typ() == limit.typ()) {
            diagnostics.error(&at.key("type"), format!("{} is given twice", limit.typ()));
        }
        if limit.soft() > limit.hard() {
            let (soft, hard) = (limit.soft(), limit.hard());
            diagnostics
                .error(&at.key("soft"), format!("the soft limit {soft} is above the hard limit {hard}"));
        }
    }
}

fn console(process: &Process, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    // Without a terminal, the specification says that the size is ignored.
    let Some(size) = process.console_size().filter(|_| process.terminal() == Some(true)) else { return };
    for (name, value) in [("height", size.height()), ("width", size.width())] {
        if u16::try_from(value).is_err() {
            diagnostics.error(&at.key(name), format!("{} is more than a terminal can have", quote(value)));
        }
    }
}
