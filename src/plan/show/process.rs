//! The operations of the process: what it becomes before its program is executed.

use std::ffi::CStr;

use super::operation::{Operations, text};
use crate::plan::capabilities;
use crate::plan::process::ProcessPlan;

pub(super) fn process(plan: &ProcessPlan, all: &mut Operations) {
    if let Some(terminal) = &plan.terminal {
        let size = terminal.size.map(|(rows, columns)| format!("{rows}x{columns}"));
        all.add("terminal", "/process/terminal", size.unwrap_or_default());
    }
    all.optional("keyring", "", plan.keyring.as_ref());
    if let Some(adjustment) = plan.oom_score_adj {
        all.add("oom score adjustment", "/process/oomScoreAdj", adjustment);
    }
    all.add("umask", "/process/user/umask", format_args!("{:04o}", plan.umask));
    for limit in &plan.limits {
        let amounts = format!("{} {} {}", limit.name, amount(limit.soft), amount(limit.hard));
        all.entry("limit", "/process/rlimits", limit.index, amounts);
    }
    for (name, pointer, detail) in plan.scheduling.lines() {
        all.add(name, pointer, detail);
    }
    if let Some(personality) = plan.personality {
        all.add("personality", "/linux/personality", personality);
    }
    if plan.no_new_privileges {
        all.add("no new privileges", "/process/noNewPrivileges", "");
    }
    all.optional("apparmor", "/process/apparmorProfile", plan.apparmor.as_ref());
    all.optional("selinux", "/process/selinuxLabel", plan.selinux.as_ref());
    if let Some(filter) = &plan.seccomp {
        let when = if plan.no_new_privileges { "last" } else { "before capabilities go" };
        all.add("seccomp", "/linux/seccomp", format_args!("{when}: {}", filter.summary()));
    }
    for variable in &plan.env {
        all.add("env", environment_field(variable), text(variable));
    }
    user(plan, all);
    if plan.listen_pid {
        all.add("env", "", "LISTEN_PID its own");
    }
    if plan.preserve_fds > 0 {
        all.add("keep descriptors", "", format_args!("3..{}", u64::from(plan.preserve_fds) + 3));
    }
}

/// The field of a variable; a service manager's come from the runtime's own environment.
fn environment_field(variable: &CStr) -> &'static str {
    let inherited: [&[u8]; 3] = [b"LISTEN_FDS=", b"LISTEN_FDNAMES=", b"NOTIFY_SOCKET="];
    match inherited.iter().any(|name| variable.to_bytes().starts_with(name)) {
        true => "",
        false => "/process/env",
    }
}

fn user(plan: &ProcessPlan, all: &mut Operations) {
    let groups = plan.groups.as_ref().map_or_else(
        || "as they are".into(),
        |groups| groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    );
    let groups = if groups.is_empty() { "none" } else { &groups };
    all.add("user", "/process/user", format_args!("{}:{} groups {groups}", plan.uid, plan.gid));
    all.add("cwd", "/process/cwd", text(&plan.cwd));
    let sets = &plan.capabilities;
    for (name, pointer, set) in [
        ("capabilities bounding", "/process/capabilities/bounding", sets.bounding),
        ("capabilities permitted", "/process/capabilities/permitted", sets.permitted),
        ("capabilities effective", "/process/capabilities/effective", sets.effective),
        ("capabilities inheritable", "/process/capabilities/inheritable", sets.inheritable),
        ("capabilities ambient", "/process/capabilities/ambient", sets.ambient),
    ] {
        let names = capabilities::names(set);
        all.add(name, pointer, if names.is_empty() { "none".into() } else { names.join(",") });
    }
}

fn amount(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".into() } else { limit.to_string() }
}
