//! `seccomp explain`: which rule of a profile decides a system call; and `seccomp record`, in its own file. Only
//! tare has this verb.

pub(crate) mod record;
mod recorder;

use std::path::Path;

use oci_spec::runtime::LinuxSeccomp;
use serde_json::Value;

use crate::bundle::{CONFIG, read_config_bytes};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::lifecycle::options::Explain;
use crate::plan::seccomp::{self, Asked, Explanation};
use crate::spec::parse_alone;

/// The explanation, with what it is about.
#[derive(Debug)]
pub(crate) struct Explained<'a> {
    pub options: &'a Explain,
    /// Whether the file is a profile, and not a configuration with one. Pointers then begin at the profile.
    pub alone: bool,
    pub explanation: Explanation,
}

/// Explains a call.
///
/// # Errors
/// A profile that cannot be read or that `create` would refuse; a configuration without one.
pub(crate) fn explain(options: &Explain) -> Result<Explained<'_>> {
    let (profile, alone) = read_profile(&options.profile)?;
    let asked = Asked { call: &options.call, arguments: &options.arguments, arch: options.arch.as_deref() };
    let explanation = seccomp::explain(&profile, &asked)?;
    Ok(Explained { options, alone, explanation })
}

/// Reads the profile of a file that is one, of a configuration, or of a bundle. Also returns whether it was the
/// first.
pub(super) fn read_profile(path: &Path) -> Result<(LinuxSeccomp, bool)> {
    let path = if path.is_dir() { path.join(CONFIG) } else { path.to_owned() };
    let bytes = read_config_bytes(&path)?;
    let document: Value =
        serde_json::from_slice(&bytes).map_err(|error| fail!(Kind::Spec, "{}: {error}", path.display()))?;
    let alone = document.get("defaultAction").is_some();
    if alone {
        refuse_engines_profile(&document, &path)?;
    }
    let profile = match alone {
        true => alone_profile(&document),
        false => profile_of(&bytes),
    };
    profile.with_context(|| path.display().to_string()).map(|profile| (profile, alone))
}

/// Engines write `linux.seccomp` of a profile with more members: rules that hold for some architectures,
/// kernels or capabilities only. What is not read here would be answered wrongly.
fn refuse_engines_profile(document: &Value, path: &Path) -> Result<()> {
    let rules = document.get("syscalls").and_then(Value::as_array).into_iter().flatten();
    let conditions = ["includes", "excludes", "name"];
    let is_conditional =
        |rule: &Value| conditions.iter().any(|member| rule.get(member).is_some_and(|value| !is_empty(value)));
    if document.get("archMap").is_none() && !rules.into_iter().any(is_conditional) {
        return Ok(());
    }
    Err(fail!(
        Kind::Spec,
        "{}: a profile for an engine, which makes linux.seccomp of it when it creates a container",
        path.display()
    )
    .with_hint("give the config.json that the engine has written for the container"))
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Reads the profile as a member of a configuration, by the same rules.
fn alone_profile(document: &Value) -> Result<LinuxSeccomp> {
    let config = serde_json::json!({
        "ociVersion": crate::spec::VERSION, "root": { "path": "/" }, "linux": { "seccomp": document }
    });
    profile_of(config.to_string().as_bytes())
}

fn profile_of(config: &[u8]) -> Result<LinuxSeccomp> {
    let spec = parse_alone(config)?;
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone());
    profile.ok_or_else(|| Error::new(Kind::Spec, "no linux.seccomp: every system call reaches the kernel"))
}
