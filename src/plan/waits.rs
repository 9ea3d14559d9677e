//! `Waits`: what a new process waits for before its program runs. It is decided once, here; the runtime and
//! the new process both read it, so that neither waits for a message that the other does not send.

use super::Plan;
use super::namespaces::{Namespace, NamespacePlan};
use super::process::ProcessPlan;

/// The acknowledgements that the new process waits for, in the order of the conversation (see `handshake`).
/// There is one more for each mount with
/// [`Mount::is_mapped_by_runtime`](super::mounts::Mount::is_mapped_by_runtime).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// `Placed`: the first process, helper or not, waits until the runtime has moved it and mapped its ids.
    pub placed: bool,
    /// `IdsMapped`: the helper makes the user namespace, and the runtime has the privilege to map its ids.
    pub ids_mapped: bool,
    /// `ResourcesAssigned`: network devices, and resctrl groups.
    pub resources_assigned: bool,
    /// `HooksDone`: prestart and createRuntime hooks, which the runtime runs.
    pub hooks_done: bool,
    pub ready: ReadyMoment,
}

/// When the new process says that it is ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ReadyMoment {
    /// Before it confines itself, so that both halves work at the same time. This is safe because the runtime
    /// does nothing after `Ready` that would have to be undone if the new process fails.
    BeforeConfinement,
    /// After it has confined itself: if others learn of the process between `Ready` and `Start`, only execve
    /// may still fail.
    #[default]
    AfterConfinement,
}

impl Waits {
    /// For a container's first process.
    pub(crate) fn for_container(plan: &Plan, ready: ReadyMoment) -> Self {
        Self {
            resources_assigned: !plan.net_devices.is_empty() || plan.rdt.is_some(),
            hooks_done: !plan.hooks.prestart.is_empty() || !plan.hooks.create_runtime.is_empty(),
            ..Self::for_exec(&plan.namespaces, &plan.process, ready)
        }
    }

    /// For a process that `exec` adds to a container.
    pub(crate) fn for_exec(namespaces: &NamespacePlan, process: &ProcessPlan, ready: ReadyMoment) -> Self {
        // The runtime fetches the listener of a filter before `Ready`: the filter is loaded by then.
        let notifies = process.seccomp.as_ref().is_some_and(|filter| filter.notify.is_some());
        let ready = if notifies { ReadyMoment::AfterConfinement } else { ready };
        Self { ready, ..Self::for_namespaces(namespaces) }
    }

    /// For a process that enters a container to change its mounts, and executes nothing.
    pub(crate) fn for_namespaces(namespaces: &NamespacePlan) -> Self {
        let helper = namespaces.needs_helper();
        Self {
            // Only a new user namespace that has no helper to ask for it is mapped at this moment.
            placed: helper || namespaces.id_maps.is_some(),
            ids_mapped: helper && namespaces.makes(Namespace::USER),
            resources_assigned: false,
            hooks_done: false,
            ready: ReadyMoment::default(),
        }
    }

    /// Adds a wait for `Placed` if the runtime must move the process into its cgroup: only the live group
    /// knows that.
    #[must_use]
    pub(crate) fn with_placement_by_runtime(self, by_runtime: bool) -> Self {
        Self { placed: self.placed || by_runtime, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::namespaces::IdMaps;

    #[test]
    fn ids_are_mapped_once_with_a_helper_and_without() {
        let alone = NamespacePlan {
            new_flags: Namespace::USER.0,
            id_maps: Some(IdMaps::default()),
            ..NamespacePlan::default()
        };
        let waits = Waits::for_namespaces(&alone);
        assert!(waits.placed && !waits.ids_mapped);
        let helped = NamespacePlan { time_offsets: Some(Vec::new()), ..alone };
        let waits = Waits::for_namespaces(&helped);
        assert!(waits.placed && waits.ids_mapped);
    }

    #[test]
    fn who_needs_nothing_of_the_runtime_waits_for_nothing_but_the_start() {
        let waits = Waits::for_namespaces(&NamespacePlan::default());
        assert!(!waits.placed && !waits.ids_mapped);
        assert!(waits.with_placement_by_runtime(true).placed);
    }
}
