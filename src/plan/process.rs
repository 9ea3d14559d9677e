//! The process inside: what create and exec both need to know of it, ready for execve.

use std::ffi::CString;

use oci_spec::runtime::{PosixRlimit, PosixRlimitType as Type, Process, User};

use super::c_string::c_string;
use super::capabilities::{Capabilities, capabilities};
use super::scheduling::Scheduling;
use super::seccomp::Filter;
use crate::host::Facts;
use crate::kernel::process as kernel;
use crate::spec::ConfigError;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcessPlan {
    pub args: Vec<CString>,
    /// Without duplicates, the last of each name wins; HOME is added inside where it is missing.
    pub env: Vec<CString>,
    pub cwd: CString,
    /// Where the program may be: tried in order, inside the container.
    pub candidates: Vec<CString>,
    /// Whether the candidates come from PATH: decides how a missing program is put into words.
    pub searched: bool,
    pub terminal: Option<Terminal>,
    pub uid: u32,
    pub gid: u32,
    /// None: setgroups is not allowed here.
    pub groups: Option<Vec<u32>>,
    /// Those of our caller are never given up, either.
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
    /// The name of the session keyring to make; none with `--no-new-keyring`.
    pub keyring: Option<CString>,
    /// LISTEN_PID is set to the process's own id.
    pub listen_pid: bool,
    /// Descriptors from 3 on that the process keeps.
    pub preserve_fds: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Rows and columns, where given.
    pub size: Option<(u16, u16)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Index in /process/rlimits.
    pub item: usize,
    /// RLIMIT_*.
    pub resource: i32,
    pub name: &'static str,
    pub soft: u64,
    pub hard: u64,
}

/// What the process depends on besides its own object.
pub struct Around<'a> {
    pub facts: &'a Facts,
    pub new_user_namespace: bool,
    /// setgroups is denied where gids are mapped without privilege.
    pub setgroups: bool,
}

pub fn process(
    wanted: &Process,
    around: &Around<'_>,
    warnings: &mut Vec<String>,
) -> Result<ProcessPlan, ConfigError> {
    let args = strings(wanted.args().as_deref().unwrap_or_default(), "/process/args")?;
    let env = environment(wanted.env().as_deref().unwrap_or_default())?;
    let (candidates, searched) = candidates(&args, &env);
    let user = wanted.user();
    let text = |field: &Option<String>, pointer: &str| {
        let given = field.as_deref().filter(|text| !text.is_empty());
        given.map(|text| c_string(text, || pointer.to_owned())).transpose()
    };
    Ok(ProcessPlan {
        args,
        env,
        cwd: c_string(wanted.cwd().as_os_str(), || "/process/cwd".into())?,
        candidates,
        searched,
        terminal: wanted.terminal().unwrap_or(false).then(|| terminal(wanted)),
        uid: user.uid(),
        gid: user.gid(),
        groups: groups(user, around)?,
        umask: user.umask().unwrap_or(0o022),
        capabilities: capabilities(
            wanted.capabilities().as_ref(),
            around.facts,
            around.new_user_namespace,
            warnings,
        ),
        limits: wanted.rlimits().iter().flatten().enumerate().map(limit).collect(),
        no_new_privileges: wanted.no_new_privileges().unwrap_or(false),
        oom_score_adj: wanted.oom_score_adj(),
        apparmor: text(wanted.apparmor_profile(), "/process/apparmorProfile")?,
        selinux: text(wanted.selinux_label(), "/process/selinuxLabel")?,
        ..ProcessPlan::default()
    })
}

fn strings(texts: &[String], pointer: &str) -> Result<Vec<CString>, ConfigError> {
    texts.iter().enumerate().map(|(i, text)| c_string(text, || format!("{pointer}/{i}"))).collect()
}

fn environment(texts: &[String]) -> Result<Vec<CString>, ConfigError> {
    let mut env: Vec<CString> = Vec::with_capacity(texts.len() + 1);
    for text in strings(texts, "/process/env")? {
        match env.iter_mut().find(|known| name(known) == name(&text)) {
            Some(known) => *known = text,
            None => env.push(text),
        }
    }
    Ok(env)
}

/// The name of a variable.
pub fn name(variable: &CString) -> &[u8] {
    variable.to_bytes().split(|&b| b == b'=').next().unwrap_or_default()
}

/// As execvp searches: a name with a slash is a path, any other is looked for in the process's own PATH.
fn candidates(args: &[CString], env: &[CString]) -> (Vec<CString>, bool) {
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

fn terminal(wanted: &Process) -> Terminal {
    let clip = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    let size = wanted.console_size().map(|size| (clip(size.height()), clip(size.width())));
    Terminal { size: size.filter(|size| *size != (0, 0)) }
}

fn groups(user: &User, around: &Around<'_>) -> Result<Option<Vec<u32>>, ConfigError> {
    let wanted = user.additional_gids().clone().unwrap_or_default();
    if around.setgroups {
        return Ok(Some(wanted));
    }
    if wanted.is_empty() {
        return Ok(None);
    }
    let why = "cannot be set: setgroups is denied where gids are mapped without privilege";
    Err(ConfigError::new("/process/user/additionalGids", why))
}

fn limit((item, wanted): (usize, &PosixRlimit)) -> Limit {
    let (resource, name) = resource(wanted.typ());
    Limit { item, resource, name, soft: wanted.soft(), hard: wanted.hard() }
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
pub fn has(env: &[CString], wanted: &str) -> bool {
    env.iter().any(|variable| name(variable) == wanted.as_bytes())
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
