//! Decides which rights the process gets.
//!
//! The container must not gain by a process that it may trace. The kernel lets a process be traced by one with
//! CAP_SYS_PTRACE in its user namespace, or by one with the same ids that has all of its capabilities. So the
//! process has CAP_SYS_PTRACE, which excludes the second. If the container has it too, the process gets what
//! the container has, and nothing more.

use oci_spec::runtime::{Capabilities, LinuxCapabilities, Process, Spec, User};

use super::target::{ConfigSource, Target};
use super::toolbox::OpenToolbox;
use crate::bundle::read_config;
use crate::error::{Context, Error, Kind, Result};
use crate::host::probe::{Needed, NeededCgroup, read_facts};
use crate::launch::is_at_terminal;
use crate::lifecycle::load;
use crate::lifecycle::options::Debug;
use crate::plan::namespaces::NamespacePlan;
use crate::plan::process::{ProcessContext, ProcessPlan, ProcessRequest, plan_process};
use crate::plan::toolbox::PATH;
use crate::spec::{self, CheckedSpec};
use crate::{fail, log};

/// The capabilities of a person who debugs: those that engines give by default, without the right to make
/// devices, and those to trace, to look at the network and to change priorities. None can reach the host:
/// neither CAP_SYS_ADMIN nor CAP_DAC_READ_SEARCH is among them.
const CAPABILITIES: [&str; 18] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
    "CAP_SYS_NICE",
    "CAP_SYS_PTRACE",
];

/// Bit 19.
const CAP_SYS_PTRACE: u64 = 1 << 19;

/// Plans the process.
pub(super) fn plan(target: &Target, toolbox: &OpenToolbox, options: &Debug) -> Result<ProcessPlan> {
    let may_trace = bounding_set(target.pid)? & CAP_SYS_PTRACE != 0;
    if may_trace && !options.confined {
        let what = "the container has CAP_SYS_PTRACE and could take over a process with more rights";
        log::warn(format_args!("{what}: this one is confined like the container's"));
    }
    let (config, mut process) = match options.confined || may_trace {
        true => confined(target)?,
        false => (Spec::default(), free()),
    };
    add_capabilities(&mut process, &options.caps)?;
    let words = match &options.args[..] {
        [] => vec![toolbox.shell.to_owned()],
        args => args.to_vec(),
    };
    let home = if process.user().uid() == 0 { "HOME=/root" } else { "HOME=/tmp" };
    let term = std::env::var("TERM").ok().map(|term| format!("TERM={term}"));
    let env = [PATH.to_owned(), home.to_owned()].into_iter().chain(term).chain(options.env.iter().cloned());
    process
        .set_args(Some(words))
        .set_env(Some(env.collect()))
        .set_cwd("/".into())
        .set_terminal(Some(options.tty || is_at_terminal()))
        .set_console_size(None);
    spec::check_process(&process)?;
    let namespaces = NamespacePlan { new_flags: target.namespaces, ..NamespacePlan::default() };
    let needed = Needed {
        cgroup: NeededCgroup::Nothing,
        seccomp: config.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some()),
        resctrl: false,
        labels: load::is_labelled(&process),
    };
    let context = ProcessContext { spec: &config, facts: &read_facts(needed)?, namespaces: &namespaces };
    let mut warnings = Vec::new();
    let mut plan = plan_process(&process, &context, &ProcessRequest::exec(0, None), &mut warnings)?;
    // Not the caller's keys.
    plan.keyring = Some(c"_ses.debug".into());
    warnings.iter().for_each(|warning| log::debug(format_args!("{warning}")));
    match plan.seccomp.as_ref().is_some_and(|filter| filter.notify.is_some()) {
        true => Err(fail!(
            Kind::Unsupported,
            "the container's seccomp filter asks an agent, which expects no debugger"
        )),
        false => Ok(plan),
    }
}

/// Reads which capabilities the first process of the container and its children can have at most.
fn bounding_set(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = crate::sys::file::read_small_at(&*path).with_context(|| format!("read {path}"))?;
    let text = String::from_utf8_lossy(&text);
    let set = text.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.ok_or_else(|| fail!(Kind::Unsupported, "{path} has no CapBnd"))
}

/// The process of a person who debugs.
fn free() -> Process {
    let mut process = Process::default();
    process
        .set_user(User::default())
        .set_capabilities(Some(LinuxCapabilities::default()))
        .set_rlimits(None)
        .set_no_new_privileges(Some(false));
    let names = CAPABILITIES.iter().filter_map(|name| spec::parse_capability(name).ok());
    let set: Capabilities = names.collect();
    process.set_capabilities(Some(sets(set)));
    process
}

fn sets(set: Capabilities) -> LinuxCapabilities {
    let mut all = LinuxCapabilities::default();
    all.set_bounding(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_permitted(Some(set))
        .set_inheritable(None)
        .set_ambient(None);
    all
}

/// The container's configuration and its own process, as `exec` takes them.
fn confined(target: &Target) -> Result<(Spec, Process)> {
    let config: CheckedSpec = match &target.config {
        ConfigSource::Kept(bytes) => spec::parse(bytes)?,
        ConfigSource::Bundle(bundle) => read_config(bundle).context("read how the container is confined")?.0,
        ConfigSource::Unknown => {
            return Err(fail!(Kind::Unsupported, "nobody knows how the container is confined"));
        }
    };
    let config: Spec = (*config).clone();
    let process = config.process().clone();
    let process = process.ok_or_else(|| fail!(Kind::Spec, "/process: is missing"))?;
    Ok((config, process))
}

fn add_capabilities(process: &mut Process, more: &[String]) -> Result<()> {
    if more.is_empty() {
        return Ok(());
    }
    let own = process.capabilities().clone().unwrap_or_default();
    let mut set = own.bounding().clone().unwrap_or_default();
    for name in more {
        set.insert(spec::parse_capability(name).map_err(|why| Error::new(Kind::Usage, why))?);
    }
    process.set_capabilities(Some(sets(set)));
    Ok(())
}
