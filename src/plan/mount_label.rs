//! `linux.mountLabel`: the SELinux context of the container's mounts.

use std::collections::HashMap;
use std::ffi::CString;

use oci_spec::runtime::Linux;

use super::c_string::c_string;
use super::mount_parameters::{LABELS, Parameter};
use crate::spec::ConfigError;

/// crun's annotation that names the mount option for the label.
pub(crate) const CONTEXT_TYPE: &str = "run.oci.mount_context_type";

/// The label of new filesystems.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountLabel {
    /// The label as a mount option; `None` without a label.
    pub parameter: Option<Parameter>,
    /// Whether SELinux is at work on this host.
    selinux: bool,
}

impl MountLabel {
    /// Reads the label and the option for it. `selinux`: SELinux is enabled on this host.
    ///
    /// # Errors
    /// The annotation names no such option, or there is a NUL character.
    pub(crate) fn new(
        linux: Option<&Linux>,
        annotations: &HashMap<String, String>,
        selinux: bool,
    ) -> Result<Self, ConfigError> {
        let label = linux.and_then(|linux| linux.mount_label().as_deref()).filter(|label| !label.is_empty());
        let Some(label) = label else { return Ok(Self { parameter: None, selinux }) };
        let requested = annotations.get(CONTEXT_TYPE).map_or("context", String::as_str);
        let context_type = LABELS.into_iter().find(|name| name.to_bytes() == requested.as_bytes());
        let context_type = context_type.ok_or_else(|| {
            let why = "must be context, fscontext, defcontext or rootcontext";
            ConfigError::new(format!("/annotations/{CONTEXT_TYPE}"), format!("{why}: {requested:?}"))
        })?;
        let value = c_string(label, || "/linux/mountLabel".into())?;
        Ok(Self { parameter: Some((context_type.into(), Some(value))), selinux })
    }

    /// Gives the label to a new filesystem of type `kind`, as one of its `parameters`. The root of mqueue
    /// takes it only as an attribute, and only if SELinux is enabled: then it is returned. Other filesystems
    /// of the kernel's own have one superblock for all containers, and get no label.
    pub(super) fn apply(&self, kind: &str, parameters: &mut Vec<Parameter>) -> Option<CString> {
        let context = self.parameter.as_ref()?;
        match kind {
            "proc" | "sysfs" | "cgroup" | "cgroup2" => None,
            "mqueue" => context.1.clone().filter(|_| self.selinux),
            _ => {
                if !has_context(parameters) {
                    parameters.push(context.clone());
                }
                None
            }
        }
    }
}

fn has_context(parameters: &[Parameter]) -> bool {
    let is_context = |key: &CString| LABELS.contains(&key.as_c_str());
    parameters.iter().any(|(key, _)| is_context(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_says_which_option_carries_the_label() {
        let linux: Linux = serde_json::from_value(serde_json::json!({"mountLabel": "a:b:c:s0"})).unwrap();
        let label = |annotations: &HashMap<String, String>| {
            MountLabel::new(Some(&linux), annotations, true).map(|label| label.parameter)
        };
        let annotated = |word: &str| label(&HashMap::from([(CONTEXT_TYPE.to_owned(), word.to_owned())]));
        let value = Some(c"a:b:c:s0".into());
        assert_eq!(label(&HashMap::new()), Ok(Some((c"context".into(), value.clone()))));
        assert_eq!(annotated("rootcontext"), Ok(Some((c"rootcontext".into(), value))));
        assert_eq!(annotated("x").unwrap_err().pointer, "/annotations/run.oci.mount_context_type");
        assert_eq!(
            MountLabel::new(None, &HashMap::new(), true),
            Ok(MountLabel { parameter: None, selinux: true })
        );
    }
}
