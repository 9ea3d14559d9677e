//! Rules for `process.scheduler`, `process.ioPriority` and `process.execCPUAffinity`.

use oci_spec::runtime::{
    ExecCPUAffinity, LinuxIOPriority, LinuxSchedulerPolicy as Policy, Process, Scheduler,
};

use super::cpu_list::CpuList;
use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;

pub(super) fn rules(process: &Process, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    if let Some(wanted) = process.scheduler() {
        scheduler(wanted, &at.key("scheduler"), diagnostics);
    }
    if let Some(wanted) = process.io_priority() {
        io_priority(wanted, &at.key("ioPriority"), diagnostics);
    }
    if let Some(wanted) = process.exec_cpu_affinity() {
        affinity(wanted, &at.key("execCPUAffinity"), diagnostics);
    }
}

/// sched_setattr(2) answers EINVAL to all of these, without saying to which.
fn scheduler(scheduler: &Scheduler, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let policy = *scheduler.policy();
    let nice = scheduler.nice().unwrap_or(0);
    if matches!(policy, Policy::SchedOther | Policy::SchedBatch) && !(-20..=19).contains(&nice) {
        diagnostics.error(
            &at.key("nice"),
            format!("invalid scheduler.nice: {nice} when scheduler.policy is {policy}"),
        );
    }
    if policy == Policy::SchedIso {
        diagnostics.error(&at.key("policy"), "SCHED_ISO is reserved: no kernel has it");
    }
    priority(scheduler, at, diagnostics);
    deadline(scheduler, at, diagnostics);
}

fn priority(scheduler: &Scheduler, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let priority = scheduler.priority().unwrap_or(0);
    if matches!(scheduler.policy(), Policy::SchedFifo | Policy::SchedRr) {
        if !(1..=99).contains(&priority) {
            diagnostics.error(&at.key("priority"), format!("must lie between 1 and 99, not {priority}"));
        }
    } else if priority != 0 {
        diagnostics.error(
            &at.key("priority"),
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        );
    }
}

fn deadline(scheduler: &Scheduler, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let [runtime, deadline, period] =
        [scheduler.runtime(), scheduler.deadline(), scheduler.period()].map(|time| time.unwrap_or(0));
    if *scheduler.policy() != Policy::SchedDeadline {
        if (runtime, deadline, period) != (0, 0, 0) {
            diagnostics.error(
                at,
                "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
            );
        }
    } else if runtime > deadline || (period != 0 && deadline > period) {
        // A period of 0 means the deadline's value (sched(7)).
        diagnostics.error(at, "must be runtime <= deadline <= period");
    }
}

fn io_priority(wanted: &LinuxIOPriority, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let priority = wanted.priority();
    if !(0..=7).contains(&priority) {
        diagnostics.error(&at.key("priority"), format!("invalid ioPriority.Priority: {priority}"));
    }
}

/// Checks the lists as `read_document` has read them.
fn affinity(wanted: &ExecCPUAffinity, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let lists = [("initial", "Initial", wanted.initial()), ("final", "Final", wanted.cpu_affinity_final())];
    for (name, go_name, list) in lists {
        if let Some(Err(cause)) = list.as_deref().map(CpuList::parse) {
            diagnostics.error(&at.key(name), format!("bad CPUAffinity.{go_name}: {cause}"));
        }
    }
}
