//! `/process`: what create and exec both need to know about the process, ready for execve(2).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CString;

use oci_spec::runtime::{Linux, PosixRlimit, PosixRlimitType as Type, Process, Spec, User};

use super::c_string::{c_string, c_strings, optional_c_string};
use super::capabilities::{Capabilities, plan_capabilities};
use super::namespaces::{Namespace, NamespacePlan};
use super::scheduling::{Scheduling, plan_scheduling};
use super::seccomp::{self, Filter};
use super::{Request, annotations, rootfs};
use crate::container_id::ContainerId;
use crate::error::{Error, Faults, Kind, Result, matched};
use crate::host::Facts;
use crate::kernel::process as kernel;
use crate::spec::ConfigError;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcessPlan {
    pub args: Vec<CString>,
    /// The environment without duplicates: the last of each name wins. If HOME is missing, it is added inside
    /// the container.
    pub env: Vec<CString>,
    pub cwd: CString,
    /// The paths where the program may be. They are tried in this order, inside the container.
    pub candidates: Vec<CString>,
    /// Whether the candidates come from PATH: that decides the words for a missing program.
    pub searched: bool,
    pub terminal: Option<Terminal>,
    pub uid: u32,
    pub gid: u32,
    /// `None`: setgroups must not be called, because it is not allowed or because of `keep_groups`.
    pub groups: Option<Vec<u32>>,
    /// The supplementary groups of our caller are kept, even in the helper.
    pub keep_groups: bool,
    pub umask: u32,
    pub capabilities: Capabilities,
    pub limits: Vec<Limit>,
    pub no_new_privileges: bool,
    pub oom_score_adj: Option<i32>,
    pub apparmor: Option<CString>,
    pub selinux: Option<CString>,
    pub personality: Option<u64>,
    pub scheduling: Scheduling,
    pub seccomp: Option<Filter>,
    /// The name of the session keyring to make or join; `None` with `--no-new-keyring`.
    pub keyring: Option<CString>,
    /// LISTEN_PID is set to the process's own id.
    pub listen_pid: bool,
    /// Descriptors from 3 on that the process keeps.
    pub preserve_fds: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Rows and columns, if the configuration gives them.
    pub size: Option<(u16, u16)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Index in /process/rlimits.
    pub index: usize,
    /// RLIMIT_*.
    pub resource: i32,
    pub name: &'static str,
    pub soft: u64,
    pub hard: u64,
}

/// What a process depends on besides its own object.
pub(crate) struct ProcessContext<'a> {
    /// The container's configuration.
    pub spec: &'a Spec,
    pub facts: &'a Facts,
    pub namespaces: &'a NamespacePlan,
}

/// What the command adds to the configured process.
#[derive(Debug, Default)]
pub(crate) struct ProcessRequest {
    pub preserve_fds: u32,
    /// Variables that replace those with the same name.
    environment: Vec<String>,
    listen_fds: u32,
    keyring: Option<CString>,
    /// Whether the process follows `execCPUAffinity`.
    is_exec: bool,
}

impl ProcessRequest {
    /// For the container's own process.
    pub(super) fn init(request: &Request<'_>) -> Self {
        Self {
            preserve_fds: request.preserve_fds,
            environment: request.activation.environment(),
            listen_fds: request.activation.listen_fds,
            keyring: (!request.no_new_keyring).then(|| keyring(request.id)),
            is_exec: false,
        }
    }

    /// For a process that `exec` adds. `container`: whose session keyring it joins. Without, it stays in that of whoever
    /// calls us, and can read the keys in it.
    pub(crate) fn exec(preserve_fds: u32, container: Option<&ContainerId>) -> Self {
        Self { preserve_fds, keyring: container.map(keyring), is_exec: true, ..Self::default() }
    }
}

fn keyring(id: &ContainerId) -> CString {
    // The id has been checked: it contains no NUL.
    CString::new(format!("_ses.{id}")).unwrap_or_default()
}

/// Plans a process in a container: its own, or one that `exec` adds.
///
/// # Errors
/// Those of `plan_container`.
pub(crate) fn plan_process(
    spec: &Process,
    context: &ProcessContext<'_>,
    request: &ProcessRequest,
    warnings: &mut Vec<String>,
) -> Result<ProcessPlan> {
    let facts = context.facts;
    let linux = context.spec.linux().as_ref();
    let user_namespace = context.namespaces.has(Namespace::USER);
    let mut faults = Faults::default();
    let args = faults.keep(c_strings(spec.args().as_deref().unwrap_or_default(), "/process/args"));
    let args = args.unwrap_or_default();
    let env = faults.keep(environment(spec.env().as_deref().unwrap_or_default())).unwrap_or_default();
    let (candidates, searched) = candidates(&args, &env);
    let groups = faults.keep(groups(spec.user(), facts.euid == 0 || !user_namespace)).flatten();
    let capabilities = plan_capabilities(spec.capabilities().as_ref(), facts, user_namespace, warnings);
    let keep_groups = faults.keep(keeps_groups(context.spec)).unwrap_or_default();
    if keep_groups && groups.as_ref().is_some_and(|groups| !groups.is_empty()) {
        let why = "left out: run.oci.keep_original_groups keeps the groups of the caller";
        warnings.push(format!("/process/user/additionalGids: {why}"));
    }
    let memory_policy = linux.and_then(|linux| linux.memory_policy().as_ref());
    let plan = ProcessPlan {
        env: faults.keep(override_variables(env, &request.environment)).unwrap_or_default(),
        args,
        cwd: faults.keep(c_string(spec.cwd().as_os_str(), || "/process/cwd".into())).unwrap_or_default(),
        candidates,
        searched,
        terminal: spec.terminal().unwrap_or(false).then(|| terminal(spec)),
        uid: spec.user().uid(),
        gid: spec.user().gid(),
        groups: groups.filter(|_| !keep_groups),
        keep_groups,
        umask: spec.user().umask().unwrap_or(0o022),
        capabilities,
        limits: spec.rlimits().iter().flatten().enumerate().map(limit).collect(),
        no_new_privileges: spec.no_new_privileges().unwrap_or(false),
        oom_score_adj: spec.oom_score_adj(),
        apparmor: faults.keep(apparmor(spec, facts)).flatten(),
        selinux: faults.keep(selinux(spec, facts)).flatten(),
        personality: linux.and_then(|linux| linux.personality().as_ref()).map(rootfs::personality),
        scheduling: faults.keep(plan_scheduling(spec, memory_policy, request.is_exec)).unwrap_or_default(),
        seccomp: faults.keep(filter(linux, facts)).flatten(),
        keyring: request.keyring.clone(),
        listen_pid: request.listen_fds > 0,
        // No process has so many descriptors: the runtime has counted them.
        preserve_fds: request.preserve_fds.saturating_add(request.listen_fds),
    };
    faults.into_result(plan)
}

/// The AppArmor profile, which this host must be able to apply.
fn apparmor(spec: &Process, facts: &Facts) -> Result<Option<CString>, ConfigError> {
    let profile = optional_c_string(spec.apparmor_profile().as_deref(), "/process/apparmorProfile")?;
    if profile.is_some() && !facts.apparmor {
        let why = "apparmor profile is specified in config, but apparmor is disabled or not supported";
        return Err(ConfigError::new("/process/apparmorProfile", why));
    }
    Ok(profile)
}

/// The same for the SELinux label.
fn selinux(spec: &Process, facts: &Facts) -> Result<Option<CString>, ConfigError> {
    let label = optional_c_string(spec.selinux_label().as_deref(), "/process/selinuxLabel")?;
    if label.is_some() && !facts.selinux {
        return Err(ConfigError::new("/process/selinuxLabel", matched::SELINUX_DISABLED));
    }
    Ok(label)
}

fn keeps_groups(spec: &Spec) -> Result<bool, ConfigError> {
    Ok(annotations::read(|key| spec.annotations().as_ref()?.get(key))?.keep_groups)
}

fn filter(linux: Option<&Linux>, facts: &Facts) -> Result<Option<Filter>> {
    let Some(profile) = linux.and_then(|linux| linux.seccomp().as_ref()) else { return Ok(None) };
    let machine = seccomp::arch::native();
    let machine =
        machine.ok_or_else(|| Error::new(Kind::Unsupported, "seccomp is not supported on this machine"))?;
    seccomp::compile(profile, machine, facts.seccomp_flags).map(Some)
}

fn environment(texts: &[String]) -> Result<Vec<CString>> {
    let mut env: Vec<CString> = Vec::with_capacity(texts.len() + 1);
    let mut places: HashMap<Vec<u8>, usize> = HashMap::with_capacity(texts.len());
    for text in c_strings(texts, "/process/env")? {
        match places.entry(name(&text).to_vec()) {
            Entry::Occupied(place) => env[*place.get()] = text,
            Entry::Vacant(place) => {
                place.insert(env.len());
                env.push(text);
            }
        }
    }
    Ok(env)
}

/// Appends each of `variables`, in place of one with the same name.
fn override_variables(env: Vec<CString>, variables: &[String]) -> Result<Vec<CString>, ConfigError> {
    let variables = variables.iter().map(|variable| c_string(variable, || "/process/env".into()));
    let variables = variables.collect::<Result<Vec<_>, _>>()?;
    let is_overridden = |variable: &CString| variables.iter().any(|other| name(other) == name(variable));
    let kept: Vec<_> = env.into_iter().filter(|variable| !is_overridden(variable)).collect();
    Ok(kept.into_iter().chain(variables).collect())
}

/// The name of a variable.
pub(crate) fn name(variable: &CString) -> &[u8] {
    variable.to_bytes().split(|&b| b == b'=').next().unwrap_or_default()
}

/// Searches as execvp does: a name with a slash is a path, any other is looked up in the process's own PATH.
pub(crate) fn candidates(args: &[CString], env: &[CString]) -> (Vec<CString>, bool) {
    let Some(program) = args.first() else { return (Vec::new(), false) };
    if program.to_bytes().contains(&b'/') {
        return (vec![program.clone()], false);
    }
    let path = env.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
    let in_directory = |directory: &[u8]| {
        let directory = if directory.is_empty() { b"." } else { directory };
        CString::new([directory, b"/", program.to_bytes()].concat()).unwrap_or_default()
    };
    let found = if program.is_empty() { None } else { path };
    (found.map_or_else(Vec::new, |path| path.split(|&b| b == b':').map(in_directory).collect()), true)
}

fn terminal(spec: &Process) -> Terminal {
    let clip = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    let size = spec.console_size().map(|size| (clip(size.height()), clip(size.width())));
    Terminal { size: size.filter(|size| *size != (0, 0)) }
}

/// Returns the supplementary groups. `None` if setgroups(2) is denied, as it is after gids were mapped
/// without privilege.
fn groups(user: &User, may_set: bool) -> Result<Option<Vec<u32>>, ConfigError> {
    let groups = user.additional_gids().clone().unwrap_or_default();
    if may_set {
        return Ok(Some(groups));
    }
    if groups.is_empty() {
        return Ok(None);
    }
    let why = "cannot be set: setgroups is denied where gids are mapped without privilege";
    Err(ConfigError::new("/process/user/additionalGids", why))
}

fn limit((index, spec): (usize, &PosixRlimit)) -> Limit {
    let (resource, name) = resource(spec.typ());
    Limit { index, resource, name, soft: spec.soft(), hard: spec.hard() }
}

fn resource(kind: Type) -> (i32, &'static str) {
    match kind {
        Type::RlimitCpu => (kernel::RLIMIT_CPU, "RLIMIT_CPU"),
        Type::RlimitFsize => (kernel::RLIMIT_FSIZE, "RLIMIT_FSIZE"),
        Type::RlimitData => (kernel::RLIMIT_DATA, "RLIMIT_DATA"),
        Type::RlimitStack => (kernel::RLIMIT_STACK, "RLIMIT_STACK"),
        Type::RlimitCore => (kernel::RLIMIT_CORE, "RLIMIT_CORE"),
        Type::RlimitRss => (kernel::RLIMIT_RSS, "RLIMIT_RSS"),
        Type::RlimitNproc => (kernel::RLIMIT_NPROC, "RLIMIT_NPROC"),
        Type::RlimitNofile => (kernel::RLIMIT_NOFILE, "RLIMIT_NOFILE"),
        Type::RlimitMemlock => (kernel::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"),
        Type::RlimitAs => (kernel::RLIMIT_AS, "RLIMIT_AS"),
        Type::RlimitLocks => (kernel::RLIMIT_LOCKS, "RLIMIT_LOCKS"),
        Type::RlimitSigpending => (kernel::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"),
        Type::RlimitMsgqueue => (kernel::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"),
        Type::RlimitNice => (kernel::RLIMIT_NICE, "RLIMIT_NICE"),
        Type::RlimitRtprio => (kernel::RLIMIT_RTPRIO, "RLIMIT_RTPRIO"),
        Type::RlimitRttime => (kernel::RLIMIT_RTTIME, "RLIMIT_RTTIME"),
    }
}

/// Whether a variable of this name is set.
pub(crate) fn has(env: &[CString], searched: &str) -> bool {
    env.iter().any(|variable| name(variable) == searched.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_each_variable_wins_in_the_first_place() {
        let texts = ["A=1", "B=2", "A=3"].map(String::from);
        assert_eq!(environment(&texts).unwrap(), [c"A=3".into(), CString::from(c"B=2")]);
    }

    #[test]
    fn a_name_is_searched_and_a_path_is_not() {
        let env = [CString::from(c"PATH=/bin::/usr/bin")];
        let (paths, searched) = candidates(&[c"sh".into()], &env);
        assert!(searched);
        assert_eq!(paths, [c"/bin/sh".into(), c"./sh".into(), CString::from(c"/usr/bin/sh")]);
        assert_eq!(candidates(&[c"./sh".into()], &env), (vec![c"./sh".into()], false));
        assert_eq!(candidates(&[c"".into()], &env), (vec![], true));
    }
}
