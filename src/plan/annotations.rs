//! Reads the annotations that have an effect. All others are only passed on, to `state` and to hooks.

use std::ffi::CString;
use std::path::{Component, Path, PathBuf};

use super::c_string::c_string;
use crate::spec::ConfigError;

/// crun's. Podman sets it for `--group-add keep-groups`.
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
/// crun's: the files that hooks write to.
const HOOKS_STDOUT: &str = "run.oci.hooks.stdout";
const HOOKS_STDERR: &str = "run.oci.hooks.stderr";
/// crun's: the process starts in a group below the one that has the limits.
pub(crate) const DELEGATE_CGROUP: &str = "run.oci.delegate-cgroup";
/// crun's: with the systemd driver, the container's group is this one below the unit's.
const SYSTEMD_SUBGROUP: &str = "run.oci.systemd.subgroup";
/// Ours.
const DEFAULT_DEVICE_RULES: &str = "run.oci.tare.default_device_rules";

/// runc's: CRIU's configuration file.
pub(crate) const CRIU_CONFIG: &str = "org.criu.config";

/// All annotations with an effect, for `features`. One that ends in a dot stands for all that begin with it.
pub(crate) const ACTING: &[&str] = &[
    CRIU_CONFIG,
    "org.systemd.property.",
    DELEGATE_CGROUP,
    "run.oci.hooks.",
    KEEP_GROUPS,
    super::mount_label::CONTEXT_TYPE,
    SYSTEMD_SUBGROUP,
    "run.oci.tare.",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Annotations {
    /// The process keeps the supplementary groups of our caller.
    pub keep_groups: bool,
    /// Whether the device rules that runc gives every container follow those of the configuration.
    pub default_device_rules: bool,
    /// Where the standard output and error of hooks go.
    pub hook_output: [Option<CString>; 2],
    pub delegate_cgroup: Option<PathBuf>,
    pub systemd_subgroup: Option<PathBuf>,
}

impl Default for Annotations {
    /// The values of a configuration without annotations.
    fn default() -> Self {
        Self {
            keep_groups: false,
            default_device_rules: true,
            hook_output: [None, None],
            delegate_cgroup: None,
            systemd_subgroup: None,
        }
    }
}

/// Reads the annotations through `get`. Fails if one with an effect has an invalid value.
pub(crate) fn read<'a>(get: impl Fn(&str) -> Option<&'a String>) -> Result<Annotations, ConfigError> {
    let switch = |key, default| get(key).map_or(Ok(default), |value| switch(key, value));
    let file = |key| get(key).map(|value| file(key, value)).transpose();
    // An empty name is the same as no annotation.
    let group = |key| {
        let name = get(key).filter(|name| !name.is_empty());
        name.map(|name| subgroup(name, key)).transpose()
    };
    Ok(Annotations {
        keep_groups: switch(KEEP_GROUPS, false)?,
        default_device_rules: switch(DEFAULT_DEVICE_RULES, true)?,
        hook_output: [file(HOOKS_STDOUT)?, file(HOOKS_STDERR)?],
        delegate_cgroup: group(DELEGATE_CGROUP)?,
        systemd_subgroup: group(SYSTEMD_SUBGROUP)?,
    })
}

fn switch(key: &str, value: &str) -> Result<bool, ConfigError> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(ConfigError::new(pointer(key), format!("must be true or false, not {other:?}"))),
    }
}

fn file(key: &str, path: &str) -> Result<CString, ConfigError> {
    if path.starts_with('/') {
        return c_string(path, || pointer(key));
    }
    Err(ConfigError::new(pointer(key), format!("must be an absolute path: {path}")))
}

pub(crate) fn pointer(key: &str) -> String {
    format!("/annotations/{key}")
}

/// Checks the name of a subgroup. People write it with a slash before it, which crun accepts.
fn subgroup(typed: &str, key: &str) -> Result<PathBuf, ConfigError> {
    let text = typed.strip_prefix('/').unwrap_or(typed);
    let path = Path::new(text);
    let mut parts = path.components();
    let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    // Files with this prefix are the kernel's own. A name with a newline breaks /proc/PID/cgroup.
    let is_file = text.starts_with("cgroup.");
    if is_name && !is_file && !text.contains(['\0', '\n', '/']) && text.len() < 256 {
        return Ok(path.into());
    }
    Err(ConfigError::new(pointer(key), format!("must be the name of a control group: {typed:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(key: &str, value: &str) -> Result<Annotations, ConfigError> {
        let value = value.to_owned();
        read(|name| (name == key).then_some(&value))
    }

    #[test]
    fn annotations_that_act_are_named_in_the_features() {
        let asked = std::cell::RefCell::new(Vec::new());
        read(|key| {
            asked.borrow_mut().push(key.to_owned());
            None
        })
        .unwrap();
        assert!(asked.borrow().len() >= 6);
        let is_named = |key: &str| {
            ACTING.iter().any(|name| *name == key || name.ends_with('.') && key.starts_with(name))
        };
        assert!(asked.borrow().iter().all(|key| is_named(key)), "{asked:?}");
        assert!(ACTING.is_sorted() && is_named(super::super::mount_label::CONTEXT_TYPE));
    }

    #[test]
    fn those_that_act_are_read_and_others_are_not() {
        let none = read(|_| None).unwrap();
        assert!(!none.keep_groups && none.default_device_rules && none.hook_output == [None, None]);
        assert_eq!(read_one("some.other", "x"), Ok(none));
        assert!(read_one(KEEP_GROUPS, "1").unwrap().keep_groups);
        assert!(!read_one(DEFAULT_DEVICE_RULES, "false").unwrap().default_device_rules);
        assert_eq!(read_one(HOOKS_STDERR, "/x").unwrap().hook_output, [None, Some(c"/x".into())]);
        for (key, value) in
            [(KEEP_GROUPS, "yes"), (DEFAULT_DEVICE_RULES, ""), (HOOKS_STDOUT, "x"), (DELEGATE_CGROUP, "../x")]
        {
            assert_eq!(read_one(key, value).unwrap_err().pointer, format!("/annotations/{key}"));
        }
    }

    #[test]
    fn a_name_is_one_component_and_leads_nowhere_else() {
        assert_eq!(subgroup("payload", "k").unwrap(), Path::new("payload"));
        assert_eq!(subgroup("/init", "k").unwrap(), Path::new("init"));
        let long = "a".repeat(256);
        for text in
            ["", ".", "..", "a/b", "/a/b", "//a", "/", "a/", "../a", "a\n", "a\0", "cgroup.procs", &long]
        {
            assert_eq!(subgroup(text, "k").unwrap_err().pointer, "/annotations/k", "{text:?}");
        }
    }
}
