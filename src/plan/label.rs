//! linux.mountLabel: the SELinux context of what is mounted for the container.

use std::collections::HashMap;
use std::ffi::{CStr, CString};

use oci_spec::runtime::Linux;

use super::c_string::c_string;
use super::mount_options::Parameter;
use super::mounts::{Mount, Source};
use crate::spec::ConfigError;

/// crun's: which mount option carries the label.
pub const CONTEXT_TYPE: &str = "run.oci.mount_context_type";
const CONTEXT_TYPES: [&CStr; 4] = [c"context", c"fscontext", c"defcontext", c"rootcontext"];

/// The label as a mount option.
pub fn context(
    linux: Option<&Linux>,
    annotations: &HashMap<String, String>,
) -> Result<Option<Parameter>, ConfigError> {
    let label = linux.and_then(|linux| linux.mount_label().as_deref()).filter(|label| !label.is_empty());
    let Some(label) = label else { return Ok(None) };
    let wanted = annotations.get(CONTEXT_TYPE).map_or("context", String::as_str);
    let known = CONTEXT_TYPES.into_iter().find(|known| known.to_bytes() == wanted.as_bytes());
    let known = known.ok_or_else(|| {
        let why = "must be context, fscontext, defcontext or rootcontext";
        ConfigError::new(format!("/annotations/{CONTEXT_TYPE}"), format!("{why}: {wanted:?}"))
    })?;
    Ok(Some((known.into(), Some(c_string(label, || "/linux/mountLabel".into())?))))
}

/// Gives the label to each new filesystem. mqueue takes it as an attribute, and only where SELinux is at work; others
/// of the kernel's own have one superblock for all containers, and no label.
pub fn apply(mounts: &mut [Mount], context: &Parameter, selinux: bool) {
    for mount in mounts {
        let Source::Filesystem { kind, parameters, relabel, .. } = &mut mount.source else { continue };
        match kind.to_bytes() {
            b"proc" | b"sysfs" | b"cgroup" | b"cgroup2" => {}
            b"mqueue" => *relabel = context.1.clone().filter(|_| selinux),
            _ if has_context(parameters) => {}
            _ => parameters.push(context.clone()),
        }
    }
}

fn has_context(parameters: &[Parameter]) -> bool {
    let is_context = |key: &CString| CONTEXT_TYPES.contains(&key.as_c_str());
    parameters.iter().any(|(key, _)| is_context(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_says_which_option_carries_the_label() {
        let linux: Linux = serde_json::from_value(serde_json::json!({"mountLabel": "a:b:c:s0"})).unwrap();
        let of = |word: &str| {
            let annotations = HashMap::from([(CONTEXT_TYPE.to_owned(), word.to_owned())]);
            context(Some(&linux), &annotations)
        };
        let label = Some(c"a:b:c:s0".into());
        assert_eq!(context(Some(&linux), &HashMap::new()), Ok(Some((c"context".into(), label.clone()))));
        assert_eq!(of("rootcontext"), Ok(Some((c"rootcontext".into(), label))));
        assert_eq!(of("x").unwrap_err().pointer, "/annotations/run.oci.mount_context_type");
        assert_eq!(context(None, &HashMap::new()), Ok(None));
    }
}
