//! `process.scheduler`, `ioPriority`, `execCPUAffinity` and `linux.memoryPolicy`: when and where the process
//! runs, as the kernel's numbers.

use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass as Class, LinuxIOPriority, LinuxMemoryPolicy,
    LinuxSchedulerFlag as Flag, LinuxSchedulerPolicy as Policy, MemoryPolicyFlagType as NodeFlag,
    MemoryPolicyModeType as Mode, Process, Scheduler,
};

use crate::kernel::scheduling::{self as kernel, Mask, SchedulerAttributes};
use crate::spec::ConfigError;
use crate::spec::cpu_list::CpuList;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scheduling {
    pub scheduler: Option<SchedulerAttributes>,
    /// The value for ioprio_set(2).
    pub io_priority: Option<i32>,
    pub memory_policy: Option<MemoryPolicy>,
    /// For `exec`: the CPUs of the runtime, and so of the new process, until it is in its cgroup.
    pub initial_cpus: Option<Mask>,
    pub cpus: Cpus,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// MPOL_* with MPOL_F_*.
    pub mode: i32,
    pub nodes: Mask,
}

/// The CPUs of the process once it is in its cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cpus {
    /// All CPUs of its cpuset, whatever our caller was bound to.
    #[default]
    All,
    /// The CPUs that it started on: if only `initial` is set, the kernel decides.
    AsTheyAre,
    Only(Mask),
}

/// Plans when and where a process runs. `execCPUAffinity` applies only to processes that `exec` adds.
pub(super) fn plan_scheduling(
    process: &Process,
    memory_policy: Option<&LinuxMemoryPolicy>,
    is_exec: bool,
) -> Result<Scheduling, ConfigError> {
    let affinity = process.exec_cpu_affinity().as_ref();
    let initial = cpus(affinity.map(ExecCPUAffinity::initial), "/process/execCPUAffinity/initial")?;
    let last = cpus(affinity.map(ExecCPUAffinity::cpu_affinity_final), "/process/execCPUAffinity/final")?;
    Ok(Scheduling {
        scheduler: process.scheduler().as_ref().map(scheduler),
        io_priority: process.io_priority().as_ref().map(io_priority),
        memory_policy: memory_policy.map(self::memory_policy).transpose()?,
        cpus: match (last, &initial) {
            _ if !is_exec => Cpus::All,
            (Some(mask), _) => Cpus::Only(mask),
            (None, Some(_)) => Cpus::AsTheyAre,
            (None, None) => Cpus::All,
        },
        initial_cpus: initial.filter(|_| is_exec),
    })
}

fn scheduler(spec: &Scheduler) -> SchedulerAttributes {
    let flag = |flag: &Flag| match flag {
        Flag::SchedResetOnFork => kernel::SCHED_FLAG_RESET_ON_FORK,
        Flag::SchedFlagReclaim => kernel::SCHED_FLAG_RECLAIM,
        Flag::SchedFlagDLOverrun => kernel::SCHED_FLAG_DL_OVERRUN,
        Flag::SchedFlagKeepPolicy => kernel::SCHED_FLAG_KEEP_POLICY,
        Flag::SchedFlagKeepParams => kernel::SCHED_FLAG_KEEP_PARAMS,
        Flag::SchedFlagUtilClampMin => kernel::SCHED_FLAG_UTIL_CLAMP_MIN,
        Flag::SchedFlagUtilClampMax => kernel::SCHED_FLAG_UTIL_CLAMP_MAX,
    };
    let flags = spec.flags().iter().flatten().fold(0, |flags, name| flags | flag(name));
    SchedulerAttributes {
        policy: match spec.policy() {
            Policy::SchedOther => kernel::SCHED_OTHER,
            Policy::SchedFifo => kernel::SCHED_FIFO,
            Policy::SchedRr => kernel::SCHED_RR,
            Policy::SchedBatch => kernel::SCHED_BATCH,
            // The rules of `spec` refuse it: no kernel has it.
            Policy::SchedIso => kernel::SCHED_ISO,
            Policy::SchedIdle => kernel::SCHED_IDLE,
            Policy::SchedDeadline => kernel::SCHED_DEADLINE,
        } as u32,
        flags: flags as u64,
        nice: spec.nice().unwrap_or(0),
        priority: spec.priority().and_then(|priority| u32::try_from(priority).ok()).unwrap_or(0),
        runtime: spec.runtime().unwrap_or(0),
        deadline: spec.deadline().unwrap_or(0),
        period: spec.period().unwrap_or(0),
    }
}

/// IOPRIO_CLASS_* is shifted above the 13 bits of the level.
fn io_priority(spec: &LinuxIOPriority) -> i32 {
    let class = match spec.class() {
        Class::IoprioClassRt => kernel::IOPRIO_CLASS_RT,
        Class::IoprioClassBe => kernel::IOPRIO_CLASS_BE,
        Class::IoprioClassIdle => kernel::IOPRIO_CLASS_IDLE,
    };
    class << kernel::IOPRIO_CLASS_SHIFT | i32::try_from(spec.priority()).unwrap_or(0)
}

fn memory_policy(spec: &LinuxMemoryPolicy) -> Result<MemoryPolicy, ConfigError> {
    let mode = match spec.mode() {
        Mode::MpolDefault => kernel::MPOL_DEFAULT,
        Mode::MpolPreferred => kernel::MPOL_PREFERRED,
        Mode::MpolBind => kernel::MPOL_BIND,
        Mode::MpolInterleave => kernel::MPOL_INTERLEAVE,
        Mode::MpolLocal => kernel::MPOL_LOCAL,
        Mode::MpolPreferredMany => kernel::MPOL_PREFERRED_MANY,
        Mode::MpolWeightedInterleave => kernel::MPOL_WEIGHTED_INTERLEAVE,
    };
    let flag = |flag: &NodeFlag| match flag {
        NodeFlag::MpolFNumaBalancing => kernel::MPOL_F_NUMA_BALANCING,
        NodeFlag::MpolFRelativeNodes => kernel::MPOL_F_RELATIVE_NODES,
        NodeFlag::MpolFStaticNodes => kernel::MPOL_F_STATIC_NODES,
    };
    let nodes = mask(spec.nodes().as_deref().unwrap_or_default(), "/linux/memoryPolicy/nodes")?;
    Ok(MemoryPolicy { mode: spec.flags().iter().flatten().fold(mode, |mode, name| mode | flag(name)), nodes })
}

fn cpus(list: Option<&Option<String>>, pointer: &str) -> Result<Option<Mask>, ConfigError> {
    let mask = mask(list.and_then(|list| list.as_deref()).unwrap_or_default(), pointer)?;
    Ok((!mask.is_empty()).then_some(mask))
}

fn mask(list: &str, pointer: &str) -> Result<Mask, ConfigError> {
    let list = CpuList::parse(list).map_err(|why| ConfigError::new(pointer, why))?;
    Ok(list.to_mask())
}

impl Scheduling {
    /// What is done, each with the JSON pointer of the field that asks for it.
    pub(super) fn lines(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut lines = Vec::new();
        let affinity = "/process/execCPUAffinity";
        if let Some(cpus) = &self.initial_cpus {
            lines.push(("cpus at first", affinity, list(cpus)));
        }
        match &self.cpus {
            Cpus::All => {}
            Cpus::AsTheyAre => lines.push(("cpus as they are", affinity, String::new())),
            Cpus::Only(cpus) => lines.push(("cpus", affinity, list(cpus))),
        }
        if let Some(attributes) = &self.scheduler {
            let SchedulerAttributes { policy, flags, nice, priority, runtime, deadline, period } = attributes;
            let times = format!("runtime {runtime} deadline {deadline} period {period}");
            let detail = format!("policy {policy} flags {flags:#x} nice {nice} priority {priority} {times}");
            lines.push(("scheduler", "/process/scheduler", detail));
        }
        if let Some(priority) = self.io_priority {
            let (class, level) = (priority >> kernel::IOPRIO_CLASS_SHIFT, priority & 0x1fff);
            lines.push(("io priority", "/process/ioPriority", format!("class {class} level {level}")));
        }
        if let Some(policy) = &self.memory_policy {
            let detail = format!("{:#x} nodes {}", policy.mode, list(&policy.nodes));
            lines.push(("memory policy", "/linux/memoryPolicy", detail));
        }
        lines
    }
}

/// The bits that are set, one by one.
fn list(mask: &[u64]) -> String {
    let bits = 0..mask.len() * 64;
    let set = bits.filter(|bit| mask[bit / 64] >> (bit % 64) & 1 == 1);
    let text: Vec<String> = set.map(|bit| bit.to_string()).collect();
    if text.is_empty() { "none".into() } else { text.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::needless_pass_by_value)]
    fn plan_text(process: serde_json::Value) -> String {
        let mut whole = serde_json::json!({"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}});
        for (key, value) in process.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let plan = plan_scheduling(&serde_json::from_value(whole).unwrap(), None, true).unwrap();
        plan.lines()
            .iter()
            .map(|(name, _, detail)| format!("{name} {detail}").trim_end().to_owned() + "\n")
            .collect()
    }

    #[test]
    fn fields_become_the_numbers_of_the_kernel() {
        let rows = [
            (serde_json::json!({}), ""),
            (
                serde_json::json!({"scheduler": {"policy": "SCHED_BATCH", "nice": 19,
                    "flags": ["SCHED_RESET_ON_FORK", "SCHED_FLAG_KEEP_PARAMS"]}}),
                "scheduler policy 3 flags 0x11 nice 19 priority 0 runtime 0 deadline 0 period 0\n",
            ),
            (
                serde_json::json!({"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2,
                    "period": 3}}),
                "scheduler policy 6 flags 0x0 nice 0 priority 0 runtime 1 deadline 2 period 3\n",
            ),
            (
                serde_json::json!({"ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 7}}),
                "io priority class 3 level 7\n",
            ),
            (serde_json::json!({"execCPUAffinity": {"final": "0,64-65"}}), "cpus 0,64,65\n"),
            (serde_json::json!({"execCPUAffinity": {"initial": "1"}}), "cpus at first 1\ncpus as they are\n"),
        ];
        for (process, shown) in rows {
            assert_eq!(plan_text(process), shown);
        }
    }
}
